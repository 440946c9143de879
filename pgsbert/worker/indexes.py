"""Build the HNSW index of a vectorizer once its first fill is done, without blocking writers."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from psycopg import sql

from pgsbert.database import connect_async, statement
from pgsbert.events import log
from pgsbert.queue import Names, Vectorizer, read_vectorizers


async def build_index(dsn: str, vectorizer: Vectorizer) -> None:
    """Build the index CONCURRENTLY over a connection of its own; what cannot be built is said in pgsbert.status.

    Only one worker builds; an invalid index that a killed build left behind is dropped first.
    """
    build = Names(vectorizer).statement("build_index")
    async with await connect_async(dsn, application_name="pgsbert index") as connection:
        cursor = await connection.execute(statement("index_lock"), {"id": vectorizer.id})
        row = await cursor.fetchone()
        if row is None or not row[0]:
            return
        if not await _is_wanted_now(connection, vectorizer):
            return
        if not vectorizer.owns_table:
            await connection.execute(
                statement("index_failed"),
                {
                    "id": vectorizer.id,
                    "error": f"the table's owner must run: {build.as_string(connection).replace('%%', '%')}",
                },
            )
            return
        started = time.monotonic()
        try:
            await _drop_invalid(connection, vectorizer)
            await connection.execute(build, {})  # with parameters, as all statements of Names
        except psycopg.errors.UndefinedTable:
            return  # dropped meanwhile
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            await connection.execute(statement("index_failed"), {"id": vectorizer.id, "error": str(error)})
            log("index_failed", vectorizer=vectorizer.name, error=error)
        else:
            log("index_built", vectorizer=vectorizer.name, seconds=time.monotonic() - started)


async def _is_wanted_now(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> bool:
    """Look again under the lock: another worker may have built it, and rows of the first fill may be on their way."""
    if not any(v.id == vectorizer.id and v.index_wanted for v in await read_vectorizers(connection)):
        return False
    cursor = await connection.execute(Names(vectorizer).statement("fill_settled"), {"id": vectorizer.id})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _drop_invalid(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> None:
    table = sql.Identifier(vectorizer.vector_schema_name, vectorizer.vector_table_name).as_string(connection)
    cursor = await connection.execute(statement("invalid_indexes"), {"table": table})
    for name in await cursor.fetchall():
        await connection.execute(sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(*name)))
