"""A connection through a transaction pooler: every statement is a transaction of its own and brings its settings along.

Between two transactions the pooler may give the server's connection to somebody else: no setting, lock or prepared
statement outlives one. What is written here is otherwise used like any connection in autocommit.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg.pq import TransactionStatus

from pgsbert.database import connect_async, statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from psycopg.abc import Params


class PooledConnection(psycopg.AsyncConnection[Any]):
    """A connection of the worker to a pooler, in autocommit."""

    def __init__(self, *arguments: Any, **parameters: Any) -> None:
        super().__init__(*arguments, **parameters)
        self.cursor_factory = _Cursor
        self._settings: Mapping[str, str] = {}
        self._turn = asyncio.Lock()
        self._transaction_of: asyncio.Task[Any] | None = None

    def bring(self, settings: Mapping[str, str]) -> None:
        """Set these for every transaction from now on."""
        self._settings = settings

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Make one statement a transaction, sent as a whole: a worker that is stopped meanwhile leaves none open."""
        if self._transaction_of is asyncio.current_task():
            yield
            return
        async with self._turn:
            try:
                async with self.pipeline():
                    await self._plain("begin isolation level read committed")
                    await self._set()
                    yield
                    await self._plain("commit")
            finally:
                if not self.closed and self.info.transaction_status is not TransactionStatus.IDLE:
                    await self.rollback()

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[psycopg.AsyncTransaction]:
        """Begin a transaction with the settings; statements of other tasks wait for its end."""
        if self._transaction_of is asyncio.current_task():
            async with super().transaction(savepoint_name, force_rollback) as nested:
                yield nested
            return
        async with self._turn:
            self._transaction_of = asyncio.current_task()
            try:
                async with super().transaction(savepoint_name, force_rollback) as begun:
                    await self._set()
                    yield begun
            finally:
                self._transaction_of = None

    async def _set(self) -> None:
        names, values = list(self._settings), list(self._settings.values())
        await self._plain(statement("set_for_transaction"), {"names": names, "values": values})

    async def _plain(self, query: Any, parameters: Params | None = None) -> None:
        await psycopg.AsyncCursor(self).execute(query, parameters)


class _Cursor(psycopg.AsyncCursor[Any]):
    """Runs each statement in a transaction of its own, unless its task has begun one."""

    async def execute(
        self, query: Any, params: Params | None = None, *, prepare: bool | None = None, binary: bool | None = None
    ) -> Self:
        connection = self.connection
        assert isinstance(connection, PooledConnection)
        async with connection.alone():
            await super().execute(query, params, prepare=prepare, binary=binary)
        return self


async def connect_pooled(dsn: str, *, application_name: str, settings: Mapping[str, str]) -> PooledConnection:
    """Open a connection through a pooler whose transactions run with ``settings``."""
    connection = await connect_async(
        dsn, application_name=application_name, factory=PooledConnection, prepare_threshold=None
    )
    assert isinstance(connection, PooledConnection)
    await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
    connection.bring(settings)
    return connection
