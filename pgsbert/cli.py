"""The command line: exit code 0 for done, 1 for a failure, 2 for a wrong call; no traceback for a user's mistake."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from datetime import timedelta
from typing import Annotated, Optional

import psycopg
import typer

import pgsbert
from pgsbert import schema
from pgsbert.errors import PgsbertError, UsageError
from pgsbert.settings import database_dsn

app = typer.Typer(
    name="pgsbert",
    help="Semantic search inside PostgreSQL: SBERT embeddings kept true by a worker, used from plain SQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Dsn = Annotated[
    Optional[str],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--dsn",
        help="Connection string; without it PGSBERT_DSN, then libpq's own variables.",
        show_default=False,
    ),
]


def main() -> None:
    """Run the command line; every error a user can cause is one line on stderr."""
    try:
        app()
    except UsageError as error:
        _fail(error, code=2)
    except PgsbertError as error:
        _fail(error, code=1)
    except psycopg.OperationalError as error:
        _fail(f"No connection to PostgreSQL: {str(error).strip()}", code=1)
    except psycopg.Error as error:
        hint = error.diag.message_hint
        _fail(f"{error.diag.message_primary or error}{f' ({hint})' if hint else ''}", code=1)


def _fail(message: object, *, code: int) -> None:
    typer.echo(f"pgsbert: {message}", err=True)
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


@app.command()
def install(dsn: Dsn = None) -> None:
    """Create schema pgsbert with its roles and the default model, or bring it up to date."""
    typer.echo(f"pgsbert is installed, schema version {schema.install(database_dsn(dsn))}. Next: pgsbert worker")


@app.command()
def upgrade(dsn: Dsn = None) -> None:
    """Bring an installed schema to this package's version."""
    typer.echo(f"Schema is at {schema.upgrade(database_dsn(dsn))}.")


@app.command()
def worker(
    dsn: Dsn = None,
    drain: Annotated[bool, typer.Option("--drain", help="End when nothing is left to embed.")] = False,
    poll: Annotated[
        float, typer.Option("--poll", min=0.05, help="Seconds between looks without a notification.")
    ] = 5.0,
    device: Annotated[Optional[str], typer.Option("--device", help="torch device, for example cuda.")] = None,  # noqa: UP045 - as above
    allow_fake: Annotated[bool, typer.Option("--allow-fake", help="Allow the fake models that tests use.")] = False,
) -> None:
    """Embed new and changed rows and answer questions, until SIGTERM or Ctrl-C."""
    from pgsbert.models.load import load
    from pgsbert.worker import Options, Worker

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    options = Options(dsn=database_dsn(dsn), drain=drain, poll=timedelta(seconds=poll))

    async def run() -> None:
        one = Worker(options, lambda model: load(model, allow_fake=allow_fake, device=device))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, one.stop)
        await one.run()

    asyncio.run(run())
    sys.stderr.flush()
    # a model that hangs in its thread must not hold up the end
    os._exit(0)
