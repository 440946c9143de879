"""pgsbert in Django: a field whose vector the database keeps true, and querysets that search by meaning.

Add 'pgsbert.django' to INSTALLED_APPS. The vectors are pgvector's own field and functions; everything else is one of
the SQL functions of schema pgsbert.
"""

from pgsbert.django.expressions import Embed
from pgsbert.django.fields import EmbeddingField
from pgsbert.django.operations import InstallPgsbert
from pgsbert.django.querysets import SearchManager, SearchQuerySet

__all__ = ["Embed", "EmbeddingField", "InstallPgsbert", "SearchManager", "SearchQuerySet"]
