"""The connections of one worker, with their settings: what needs the server itself, what may go through a pooler."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

import pgsbert
from pgsbert.database import connect_async, register_vector_async, statement
from pgsbert.errors import SchemaError
from pgsbert.worker.compatibility import check_direct, check_schema, refuse_pooler
from pgsbert.worker.pooled import connect_pooled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AsyncExitStack

# Plans are kept by the server and must suit queues of any size: probe by index, always. A lock that a user holds is
# not waited for; a worker that is stopped within a transaction (the walk has one) does not make users wait for long.
ROWS_SETTINGS = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "lock_timeout": "100ms",
    "jit": "off",
    "idle_in_transaction_session_timeout": "5s",
}
QUESTIONS_SETTINGS = {"synchronous_commit": "off", "jit": "off"}


def _as_options(settings: Mapping[str, str]) -> str:
    """Return settings as libpq's parameter ``options``, with the isolation level that all statements are made for."""
    given = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return f"{given} -c default_transaction_isolation=read\\ committed"


ROWS_OPTIONS = _as_options(ROWS_SETTINGS)


@dataclass(frozen=True, slots=True)
class Route:
    """How a worker comes to its database: directly, through a pooler and beside it, or through a pooler alone."""

    dsn: str
    listen_dsn: str | None = None
    poll_only: bool = False

    @property
    def direct_dsn(self) -> str | None:
        """Where LISTEN, locks and builds of indexes go: the server itself; None where nothing leads there."""
        return None if self.poll_only else self.listen_dsn or self.dsn

    async def open(self, stack: AsyncExitStack) -> Connections:
        """Open the connections until ``stack`` ends; raises SchemaError if they or the schema do not serve."""
        rows = await stack.enter_async_context(await self._connect("pgsbert rows", ROWS_SETTINGS))
        direct = await self._direct(rows, stack)
        await check_schema(rows)
        questions = await stack.enter_async_context(await self._connect("pgsbert questions", QUESTIONS_SETTINGS))
        for connection in (rows, questions):
            await register_vector_async(connection)
        return Connections(rows, questions, direct)

    async def _connect(self, name: str, settings: Mapping[str, str]) -> psycopg.AsyncConnection[Any]:
        if self.direct_dsn != self.dsn:
            return await connect_pooled(self.dsn, application_name=name, settings=settings)
        try:
            return await connect_async(self.dsn, application_name=name, options=_as_options(settings))
        except psycopg.OperationalError as error:
            refuse_pooler(error)
            raise

    async def _direct(
        self, rows: psycopg.AsyncConnection[Any], stack: AsyncExitStack
    ) -> psycopg.AsyncConnection[Any] | None:
        if self.direct_dsn is None:
            return None
        if self.direct_dsn != self.dsn:
            opened = await connect_async(self.direct_dsn, application_name="pgsbert locks")
            await check_direct(await stack.enter_async_context(opened))
            return opened
        await check_direct(rows)
        return rows


@dataclass(frozen=True, slots=True)
class Connections:
    """What a worker works over; ``direct`` is to the server itself, for locks, and None where there is none."""

    rows: psycopg.AsyncConnection[Any]
    questions: psycopg.AsyncConnection[Any]
    direct: psycopg.AsyncConnection[Any] | None

    async def register(self, serves: Sequence[str]) -> int:
        """Make this worker known and return its number; the others see by its lock, or its heartbeat, that it lives."""
        named = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": pgsbert.__version__,
            "serves": list(serves),
        }
        if self.direct is None:
            return int(await _value(self.rows, "register_poll_only_worker", named))
        worker = int(await _value(self.direct, "register_worker", named))
        if self.direct is not self.rows and await _value(self.rows, "leads_elsewhere", {"worker": worker}):
            await self.direct.execute(statement("unregister_worker"), {"worker": worker})
            raise SchemaError("--dsn and --listen-dsn lead to different databases: give two ways to the same one.")
        return worker


async def _value(connection: psycopg.AsyncConnection[Any], name: str, parameters: Mapping[str, object]) -> Any:
    row = await (await connection.execute(statement(name), parameters)).fetchone()
    assert row is not None
    return row[0]
