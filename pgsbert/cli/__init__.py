"""The command line: exit code 0 for done, 1 for a failure, 2 for a wrong call; no traceback for a user's mistake."""

from __future__ import annotations

import sys
from typing import Annotated

import psycopg
import typer

import pgsbert
from pgsbert.cli import analyse, ask, evaluate, gateway, models, operate, run, setup, train
from pgsbert.errors import PgsbertError, UsageError

app = typer.Typer(
    name="pgsbert",
    help="Semantic search inside PostgreSQL: SBERT embeddings kept true by a worker, used from plain SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(setup.install)
app.command()(setup.upgrade)
app.command()(run.worker)
app.command()(run.demo)
app.command()(run.up)
app.command()(ask.status)
app.command()(operate.doctor)
app.command()(operate.health)
app.command()(ask.embed)
app.command()(ask.search)
app.command()(ask.rerank)
app.command()(analyse.cluster)
app.command()(analyse.duplicates)
app.add_typer(models.app)
app.add_typer(gateway.app)
app.add_typer(train.app)
app.add_typer(evaluate.app)


def main() -> None:
    """Run the command line; every error a user can cause is one line on stderr."""
    try:
        app()
    except UsageError as error:
        _fail(error, code=2)
    except PgsbertError as error:
        _fail(error, code=1)
    except psycopg.Error as error:
        if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
            _fail(f"No connection to PostgreSQL: {str(error).strip()}", code=1)
        hint = error.diag.message_hint
        if error.sqlstate in {"3F000", "42P01"} and "pgsbert" in str(error):
            hint = 'run "pgsbert install" first'
        _fail(f"{error.diag.message_primary or error}{f' ({hint})' if hint else ''}", code=1)


def _fail(message: object, *, code: int) -> None:
    # libpq explains itself in several lines
    lines = (line.strip() for line in str(message).splitlines())
    typer.echo(f"pgsbert: {' '.join(line for line in lines if line)}", err=True)
    sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"pgsbert {pgsbert.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Semantic search inside PostgreSQL."""
