"""Wait for work: the gate that tells writers whether to notify, and a listener that survives every reconnect.

The protocol: a worker holds an exclusive advisory lock while it is awake, and writers notify only when they can take
it shared. Before it sleeps, the worker unlocks, takes a transaction id, and claims again until every transaction that
may have committed without notifying has ended, which is when the oldest running id has reached its own.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from pgsbert.backoff import delay
from pgsbert.database import connect_async, statement
from pgsbert.events import log

if TYPE_CHECKING:
    from collections.abc import Mapping

RECONNECT_FIRST = timedelta(milliseconds=100)
RECONNECT_MOST = timedelta(seconds=15)


class Gate:
    """The awake lock of the workers of one database, over one connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self.is_held = False

    async def become_awake(self) -> None:
        """Try to hold the lock; another worker may have it, which serves as well."""
        if not self.is_held:
            self.is_held = bool(await self._value("become_awake"))

    async def become_sleepy(self) -> int:
        """Let writers notify again; returns the transaction id that the drain waits for."""
        cursor = await self._connection.execute(statement("become_sleepy"))
        row = await cursor.fetchone()
        assert row is not None
        self.is_held = False
        return int(row[1])

    async def oldest_running(self) -> int:
        """Return the oldest transaction id that is still running, by a snapshot taken now."""
        return int(await self._value("oldest_running"))

    async def _value(self, name: str) -> Any:
        cursor = await self._connection.execute(statement(name))
        row = await cursor.fetchone()
        assert row is not None
        return row[0]


class Listener:
    """LISTENs on a connection of its own and sets the event of each channel that was notified.

    After every (re)connect all events are set: what was notified meanwhile is lost, so everybody looks for himself.
    """

    def __init__(self, dsn: str, events: Mapping[str, asyncio.Event]) -> None:
        self._dsn = dsn
        self._events = events
        self.is_listening = False

    async def run(self) -> None:
        """Listen until cancelled; never raises on a lost connection."""
        attempt = 0
        while True:
            try:
                async with await connect_async(self._dsn, application_name="pgsbert listener") as connection:
                    for channel in self._events:
                        await connection.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
                    attempt = 0
                    self.is_listening = True
                    for event in self._events.values():
                        event.set()
                    async for notification in connection.notifies():
                        self._events[notification.channel].set()
            except psycopg.OperationalError as error:
                log("listener_lost", error=type(error).__name__)
            finally:
                self.is_listening = False
            wait = delay(attempt, first=RECONNECT_FIRST, most=RECONNECT_MOST, chance=random.random())
            attempt += 1
            await asyncio.sleep(wait.total_seconds())


async def wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set or after ``seconds``; the event is cleared."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    event.clear()
