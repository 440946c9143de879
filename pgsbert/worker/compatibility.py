"""Whether this worker fits the database: its schema, its version and the connection; else one sentence says why not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pgsbert
from pgsbert.database import statement
from pgsbert.errors import SchemaError
from pgsbert.schema import head

if TYPE_CHECKING:
    import psycopg


async def check_schema(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise SchemaError where pgsbert is not installed, or too old for this worker, or needs a newer one."""
    if not (await _row(connection, "is_installed"))[0]:
        raise SchemaError('Schema pgsbert is not in this database: run "pgsbert install".')
    [version] = await _row(connection, "schema_version") or [None]
    if version is None:
        raise SchemaError('Schema pgsbert was restored without its data: run "pgsbert upgrade".')
    if version < head():
        raise SchemaError(f'Schema is at {version}, this worker needs {head()}: run "pgsbert upgrade".')
    await check_fit(connection)


async def check_fit(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise SchemaError where the schema needs a newer worker; an upgrade may have come while this one runs.

    A newer schema that needs no newer worker is worked on: workers need not be stopped before an upgrade.
    """
    needed, version = await _row(connection, "needs_worker")
    if _release(needed) > _release(pgsbert.__version__):
        raise SchemaError(
            f"Schema is at {version} and needs a worker of {needed} or newer, this one is {pgsbert.__version__}:"
            " upgrade the package."
        )


async def check_direct(connection: psycopg.AsyncConnection[Any]) -> None:
    """Raise SchemaError where a pooler stands between: LISTEN, session locks and settings need the server itself."""
    if await _row(connection, "backend_pid") != (connection.info.backend_pid,):
        raise SchemaError(_NOT_DIRECT)


def refuse_pooler(error: psycopg.OperationalError) -> None:
    """Raise SchemaError if the connection was refused by a pooler, which takes no settings."""
    if "unsupported startup parameter" in str(error):
        raise SchemaError(_NOT_DIRECT) from error


_NOT_DIRECT = (
    "This is a connection pooler, and a worker needs a connection to the server itself, for LISTEN and session locks:"
    " give its address with --dsn, or beside the pooler's with --listen-dsn; where there is no way to it, --poll-only."
)


def _release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: "0.10.0rc1" is (0, 10, 0)."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


async def _row(connection: psycopg.AsyncConnection[Any], name: str) -> tuple[Any, ...]:
    return await (await connection.execute(statement(name))).fetchone() or ()
