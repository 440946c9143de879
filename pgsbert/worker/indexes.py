"""Build the HNSW index of a vectorizer once its first fill is done, without blocking writers."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pgsbert.database import connect_async, statement
from pgsbert.events import log
from pgsbert.queue import Names, Vectorizer, read_vectorizers

LOCK_TIMEOUT = "200ms"  # then the build is put off for a second


@dataclass(frozen=True, slots=True)
class Part:
    """A partitioned table or one of its partitions, with the index it has."""

    oid: int
    parent: int | None
    schema_name: str
    table_name: str
    is_partitioned: bool
    index_schema: str | None
    index_name: str | None
    is_attached: bool

    @property
    def index(self) -> sql.Identifier | None:
        """The name of its index, as SQL."""
        if self.index_schema is None or self.index_name is None:
            return None
        return sql.Identifier(self.index_schema, self.index_name)


async def build_index(dsn: str, vectorizer: Vectorizer) -> None:
    """Build the index CONCURRENTLY over a connection of its own; what cannot be built is said in pgsbert.status.

    Only one worker builds; an invalid index that a killed build left behind is dropped first.
    """
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
                    "error": f"the table's owner must run: {_build(vectorizer, connection)}",
                },
            )
            return
        started = time.monotonic()
        try:
            if vectorizer.is_partitioned:
                await _build_by_partition(connection, vectorizer)
            else:
                await _drop_invalid(connection, vectorizer)
                await connection.execute(_composed(vectorizer), {})  # with parameters, as all statements of Names
        except psycopg.errors.UndefinedTable:
            return  # dropped meanwhile
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            await connection.execute(statement("index_failed"), {"id": vectorizer.id, "error": str(error)})
            log("index_failed", vectorizer=vectorizer.name, error=error)
        else:
            log("index_built", vectorizer=vectorizer.name, seconds=time.monotonic() - started)


async def leave_index(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> None:
    """Say in pgsbert.status what the owner must run, where no worker can hold a lock while it builds."""
    names = Names(vectorizer)
    error = f"workers that only poll build no index, the table's owner must run: {_build(vectorizer, connection)}"
    await connection.execute(names.statement("leave_index"), {"id": vectorizer.id, "error": error})


def _build(vectorizer: Vectorizer, connection: psycopg.AsyncConnection[Any]) -> str:
    """Return the statement for people to run."""
    return _composed(vectorizer).as_string(connection).replace("%%", "%")


def _composed(vectorizer: Vectorizer) -> sql.Composed:
    return Names(vectorizer).statement("build_index_of_partitions" if vectorizer.is_partitioned else "build_index")


async def _is_wanted_now(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> bool:
    """Look again under the lock: another worker may have built it, and rows of the first fill may be on their way."""
    if not any(v.id == vectorizer.id and v.index_wanted for v in await read_vectorizers(connection)):
        return False
    cursor = await connection.execute(Names(vectorizer).statement("fill_settled"), {"id": vectorizer.id})
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def _build_by_partition(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> None:
    """Build the index of each partition CONCURRENTLY and attach it; goes on where an earlier build was ended."""
    for part in await _parts(connection, vectorizer):
        # each is looked up again: the part above it has its index by now, and indexes spread to new partitions
        await _build_part(connection, vectorizer, part.oid)


async def _build_part(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer, oid: int) -> None:
    part = (await _parts_by_oid(connection, vectorizer)).get(oid)
    if part is None or part.is_attached:
        return
    if part.index is None:
        of_part = replace(vectorizer, vector_schema_name=part.schema_name, vector_table_name=part.table_name)
        if part.is_partitioned:
            await _execute_soon(connection, Names(of_part).statement("build_index_without_partitions"), {})
        else:
            await _drop_invalid(connection, of_part)
            await connection.execute(Names(of_part).statement("build_index"), {})
    parts = await _parts_by_oid(connection, vectorizer)
    part = parts.get(oid)
    if part is not None and part.parent is not None and part.index is not None and not part.is_attached:
        whole = parts[part.parent].index
        assert whole is not None
        await _execute_soon(connection, statement("attach_index", whole=whole, part=part.index))


async def _parts(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> list[Part]:
    table = sql.Identifier(vectorizer.vector_schema_name, vectorizer.vector_table_name).as_string(connection)
    async with connection.cursor(row_factory=class_row(Part)) as cursor:
        await cursor.execute(statement("partition_indexes"), {"table": table, "target": vectorizer.target})
        return await cursor.fetchall()


async def _parts_by_oid(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> dict[int, Part]:
    return {part.oid: part for part in await _parts(connection, vectorizer)}


async def _execute_soon(
    connection: psycopg.AsyncConnection[Any], ddl: sql.Composed, parameters: dict[str, object] | None = None
) -> None:
    """Run DDL that takes a moment once it has its lock; users do not queue behind it for longer than that."""
    async with connection.transaction():
        await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute(ddl, parameters)


async def _drop_invalid(connection: psycopg.AsyncConnection[Any], vectorizer: Vectorizer) -> None:
    table = sql.Identifier(vectorizer.vector_schema_name, vectorizer.vector_table_name).as_string(connection)
    cursor = await connection.execute(statement("invalid_indexes"), {"table": table})
    for name in await cursor.fetchall():
        await connection.execute(sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(*name)))
