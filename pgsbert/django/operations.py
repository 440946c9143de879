"""A migration operation that installs pgsbert, as VectorExtension installs pgvector: for test databases above all."""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations.base import Operation

from pgsbert.django.databases import dsn_of


class InstallPgsbert(Operation):
    """Run ``pgsbert install`` on the database: schema, extensions and default model, where this role may make them.

    It runs on a connection of its own and stays when the migration fails or is reversed, for other tables may use it.
    """

    reversible = True
    reduces_to_sql = False

    def state_forwards(self, app_label: str, state: Any) -> None:
        """Change no model."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Install, or bring up to date."""
        from django.db import router

        from pgsbert import schema

        connection = schema_editor.connection
        if connection.vendor == "postgresql" and router.allow_migrate(connection.alias, app_label):
            schema.install(dsn_of(connection))

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """Leave it: other tables may use it."""

    def describe(self) -> str:
        """Return what ``migrate --plan`` shows."""
        return "Installs schema pgsbert"

    @property
    def migration_name_fragment(self) -> str:
        """Return what the migration is called after."""
        return "install_pgsbert"
