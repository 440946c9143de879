"""Commands that set up: install, upgrade."""

from __future__ import annotations

from typing import Annotated

import typer

from pgsbert import dba, schema
from pgsbert.cli.options import Dsn
from pgsbert.settings import database_dsn


def install(
    dsn: Dsn = None,
    print_dba_sql: Annotated[
        bool, typer.Option("--print-dba-sql", help="Print what an administrator must run first for this role.")
    ] = False,
) -> None:
    """Create schema pgsbert with its roles and the default model, or bring it up to date."""
    if print_dba_sql:
        typer.echo(dba.script(database_dsn(dsn)), nl=False)
        return
    version = schema.install(database_dsn(dsn))
    following = "pgsbert gateway set-password" if schema.needs_password(database_dsn(dsn)) else "pgsbert worker"
    typer.echo(f"pgsbert is installed, schema version {version}. Next: {following}")


def upgrade(dsn: Dsn = None) -> None:
    """Bring an installed schema to this package's version."""
    typer.echo(f"Schema is at {schema.upgrade(database_dsn(dsn))}.")
