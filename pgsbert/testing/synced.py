"""Wait until what a test has committed is embedded; the error says why it is not."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pgsbert import client
from pgsbert.database import connect
from pgsbert.errors import VectorizerTimeoutError

if TYPE_CHECKING:
    import psycopg

LIMIT = timedelta(seconds=30)


def wait_until_synced(dsn: str, vectorizer: str | None = None, *, timeout: timedelta = LIMIT) -> None:
    """Return when nothing committed waits to be embedded, in all vectorizers of the database or the named one.

    A row that was given up does not wait: it is in pgsbert.failures. Raises VectorizerTimeoutError with what is
    pending and how many workers live.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    with connect(dsn, application_name="pgsbert test") as connection:
        names = [vectorizer] if vectorizer is not None else _all(connection)
        for name in names:
            left = timedelta(seconds=max(0.0, deadline - time.monotonic()))
            try:
                client.wait_until_synced(connection, name, timeout=left)
            except VectorizerTimeoutError as error:
                raise VectorizerTimeoutError(_explained(connection, name, timeout)) from error


def _all(connection: psycopg.Connection[Any]) -> list[str]:
    return [row[0] for row in connection.execute("select name from pgsbert.status order by name").fetchall()]


def _explained(connection: psycopg.Connection[Any], name: str, timeout: timedelta) -> str:
    row = connection.execute(
        "select state, reason, pending, workers from pgsbert.status where name = %s", [name]
    ).fetchone()
    state, reason, pending, workers = row or ("gone", None, 0, 0)
    because = f" ({reason})" if reason else ""
    return (
        f'Vectorizer "{name}" was not in sync after {timeout.total_seconds():g} s: it is {state}{because},'
        f" {pending} rows are pending, {workers} workers are alive."
        " Ask for the fixture pgsbert_worker, or use run_worker()."
    )
