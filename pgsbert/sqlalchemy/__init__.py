"""pgsbert in SQLAlchemy: vectorizers declared with their tables, distances and searches in the ORM.

The vectors are pgvector's own type; every operation is one of the SQL functions of schema pgsbert.
"""

import pgsbert.sqlalchemy.events  # noqa: F401  # create_all and drop_all follow what is declared
from pgsbert.sqlalchemy.ddl import CreateVectorizer, DropVectorizer
from pgsbert.sqlalchemy.functions import embed, embed_for, rerank, similarity
from pgsbert.sqlalchemy.search import Hit, search
from pgsbert.sqlalchemy.vectorizer import Vectorizer, embedded_column, vectorizers_of

__all__ = [
    "CreateVectorizer",
    "DropVectorizer",
    "Hit",
    "Vectorizer",
    "embed",
    "embed_for",
    "embedded_column",
    "rerank",
    "search",
    "similarity",
    "vectorizers_of",
]
