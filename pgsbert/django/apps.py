"""The app: it teaches migrations what an embedding is, and registers the checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class PgsbertConfig(AppConfig):
    """'pgsbert.django' in INSTALLED_APPS."""

    name = "pgsbert.django"
    label = "pgsbert"
    verbose_name = "pgsbert"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Follow embeddings in the migrations of all PostgreSQL databases of the settings."""
        from django.db import connections

        from pgsbert.django.checks import check_databases, check_names
        from pgsbert.django.schema_editor import follow_embeddings

        for connection in connections.all():
            if connection.vendor == "postgresql":
                # Of the backend, not of one connection: there is one for each thread.
                type(connection).SchemaEditorClass = follow_embeddings(connection.SchemaEditorClass)
        checks.register(check_names, checks.Tags.models)
        checks.register(check_databases, checks.Tags.database)
