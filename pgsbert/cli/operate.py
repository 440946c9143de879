"""Commands that operate: doctor for people, health for probes, both with an exit code that scripts can use."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pgsbert import doctor as examination
from pgsbert.cli.options import Dsn, Json, show_table
from pgsbert.database import connect, plain_statement
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg


def doctor(dsn: Dsn = None, as_json: Json = False) -> None:
    """Look for what keeps the installation from working, and say what to do; exit code 1 if there is a problem.

    Connect as the installer or a superuser.
    """
    with connect(database_dsn(dsn), application_name="pgsbert doctor") as connection:
        findings = examination.examine(connection)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    elif findings:
        show_table(("", "what", "found", "what to do"), ((f.level, f.about, f.found, f.advice) for f in findings))
    else:
        typer.echo("Nothing is wrong.")
    if any(finding.level == "problem" for finding in findings):
        raise typer.Exit(1)


def health(
    dsn: Dsn = None,
    here: Annotated[
        bool, typer.Option("--here", help="Only whether a worker of this host serves: for the probe of a container.")
    ] = False,
    max_lag: Annotated[
        Optional[float],
        typer.Option("--max-lag", min=0, help="Seconds that a row may wait at most.", show_default=False),
    ] = None,
) -> None:
    """End with 0 if a worker is alive, listens and has its models, and no vectorizer is broken; else with 1."""
    with connect(database_dsn(dsn), application_name="pgsbert health") as connection:
        reasons = [*_worker_reasons(connection, socket.gethostname() if here else None)]
        if not here:
            reasons += _vectorizer_reasons(connection, max_lag)
    for reason in reasons:
        typer.echo(reason)
    if reasons:
        raise typer.Exit(1)
    typer.echo("healthy")


def _worker_reasons(connection: psycopg.Connection[Any], host: str | None) -> Iterator[str]:
    """Yield why no worker (of ``host``) serves; one that does is enough."""
    workers = connection.execute(plain_statement("serving_workers")).fetchall()
    reasons = {id_: reason for id_, worker_host, reason in workers if host in (None, worker_host)}
    if not reasons:
        yield f"no worker is alive{f' on {host}' if host else ''}"
    elif all(reasons.values()):
        for id_, reason in reasons.items():
            yield f"worker {id_}: {reason}"


def _vectorizer_reasons(connection: psycopg.Connection[Any], max_lag: float | None) -> Iterator[str]:
    query = "select name, state, reason, extract(epoch from clock_timestamp() - oldest_pending) from pgsbert.status"
    for name, state, reason, lag in connection.execute(query).fetchall():
        if state == "broken":
            yield f"vectorizer {name} is broken: {reason}"
        elif max_lag is not None and state != "paused" and lag is not None and lag > max_lag:
            yield f"vectorizer {name}: a row has waited for {lag:.0f} s"
