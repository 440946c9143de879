"""Commands on the loopback connection: gateway set-password."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from pgsbert import gateway
from pgsbert.cli.options import Dsn
from pgsbert.errors import UsageError
from pgsbert.settings import database_dsn, first_line

app = typer.Typer(name="gateway", help="The loopback connection of embed(): set-password.", no_args_is_help=True)

VARIABLE = "PGSBERT_GATEWAY_PASSWORD"


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


@app.command("set-password")
def set_password(
    dsn: Dsn = None,
    host: Annotated[str, typer.Option("--host", help="Where the server reaches itself.")] = "127.0.0.1",
    port: Annotated[Optional[int], typer.Option("--port", help="Else the server's own.", show_default=False)] = None,
    sslmode: Annotated[
        Optional[str], typer.Option("--sslmode", help="For example require.", show_default=False)
    ] = None,
    password_file: Annotated[
        Optional[Path], typer.Option("--password-file", help="Its first line is the password.", show_default=False)
    ] = None,
    random: Annotated[bool, typer.Option("--random", help="Make one up that nobody needs to know.")] = False,
) -> None:
    """Let the loopback connection log in with a password, where pgsbert is not installed by a superuser.

    The password comes from --random, --password-file, PGSBERT_GATEWAY_PASSWORD or a prompt, never from an argument.
    """
    password = secrets.token_urlsafe(32) if random else _password(password_file)
    must_run = gateway.set_password(database_dsn(dsn), password, gateway.Address(host=host, port=port, sslmode=sslmode))
    if must_run is None:
        typer.echo("The gateway logs in with this password.")
    else:
        typer.echo("-- This role may not alter pgsbert_gateway. For an administrator; then embed() works:")
        typer.echo(f"{must_run};")


def _password(file: Path | None) -> str:
    if file is not None:
        password = first_line(file)
    elif VARIABLE in os.environ:
        password = os.environ[VARIABLE]
    elif sys.stdin.isatty():
        password = typer.prompt("Password of pgsbert_gateway", hide_input=True, confirmation_prompt=True)
    else:
        raise UsageError(f"There is no terminal to ask for the password: set {VARIABLE}, or give --password-file.")
    if not password or "\0" in password:
        raise UsageError("The password is empty or holds a zero byte.")
    return str(password)
