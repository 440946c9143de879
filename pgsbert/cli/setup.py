"""Commands that set up: install, upgrade."""

from __future__ import annotations

import typer

from pgsbert import schema
from pgsbert.cli.options import Dsn
from pgsbert.settings import database_dsn


def install(dsn: Dsn = None) -> None:
    """Create schema pgsbert with its roles and the default model, or bring it up to date."""
    typer.echo(f"pgsbert is installed, schema version {schema.install(database_dsn(dsn))}. Next: pgsbert worker")


def upgrade(dsn: Dsn = None) -> None:
    """Bring an installed schema to this package's version."""
    typer.echo(f"Schema is at {schema.upgrade(database_dsn(dsn))}.")
