"""The sidecar worker: embeds new and changed rows, answers questions, and comes back after every lost connection."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, get_args

import psycopg
from psycopg.types.json import Jsonb

from pgsbert.backoff import delay
from pgsbert.database import statement
from pgsbert.errors import ModelHangsError
from pgsbert.events import log
from pgsbert.requests import Requests
from pgsbert.types import Service
from pgsbert.wakeups import RECONNECT_FIRST, RECONNECT_MOST, Gate, Listener
from pgsbert.worker.connections import Route
from pgsbert.worker.indexes import build_index, leave_index
from pgsbert.worker.inference import LIMIT, MOST_HUNG, Inference
from pgsbert.worker.models import Models
from pgsbert.worker.questions import Questions
from pgsbert.worker.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from pgsbert.queue import Vectorizer
    from pgsbert.types import VectorizerId
    from pgsbert.worker.connections import Connections
    from pgsbert.worker.models import Load

HEARTBEAT_EVERY = 2.0  # seconds; questions are refused when none was seen for 15
COUNT_EACH = 5  # heartbeats, for the metrics
POLL_WITHOUT_NOTIFY = timedelta(seconds=1)
KINDS: Mapping[Service, tuple[str, ...]] = {"rows": (), "embed": ("embed",), "rerank": ("rerank", "classify")}
STOP_WITHIN = 7.0  # seconds for the batch in the model to end after SIGTERM


@dataclass(frozen=True, slots=True)
class Options:
    """How one worker runs."""

    dsn: str
    listen_dsn: str | None = None  # the server itself, where dsn leads to a pooler
    poll_only: bool = False
    drain: bool = False
    poll: timedelta = timedelta(seconds=5)
    counts_queues: bool = False  # for the metrics
    model_timeout: timedelta = LIMIT
    sweep_every: timedelta = timedelta(minutes=10)
    serves: tuple[Service, ...] = get_args(Service)


class Worker:
    """One worker process: its connections, one thread for the models."""

    def __init__(self, options: Options, load: Load) -> None:
        self._options = options
        self._route = Route(options.dsn, options.listen_dsn, options.poll_only)
        self._inference = Inference(limit=options.model_timeout, worn_out=self._wear_out)
        self._models = Models(load, self._inference)
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._asked = asyncio.Event()
        self._catalog_changed = asyncio.Event()
        self._is_connected = False
        self._rows: Rows | None = None  # while connected, if it serves rows
        self._listener: Listener | None = None  # a worker that only polls has none
        self._is_worn_out = False

    @property
    def is_connected(self) -> bool:
        """Tell whether this worker is registered in the database and takes rows and questions."""
        return self._is_connected

    @property
    def unready(self) -> str | None:
        """Why this worker does not serve at the moment, None if it does: connected, listening, its models loaded."""
        if self._stop.is_set():
            return "it is stopping"
        if not self._is_connected:
            return "no connection to PostgreSQL"
        if self._listener is not None and not self._listener.is_listening:
            return "the listener has no connection"
        states = self._models.states
        for name in sorted({vectorizer.model for vectorizer in self._rows.vectorizers} if self._rows else ()):
            if not states.get(name, "").startswith("present"):
                return f"model {name}: {states.get(name, 'not loaded yet')}"
        return None

    def stop(self) -> None:
        """End after the batch in the model, with all leases given back."""
        self._stop.set()
        self._changed.set()
        self._asked.set()

    def _wear_out(self) -> None:
        self._is_worn_out = True
        self.stop()

    async def run(self) -> None:
        """Work until stopped, or with ``drain`` until nothing is left; reconnects for ever.

        Raises SchemaError when the database and this package do not fit, and ModelHangsError when too many calls hang
        in the model: what was claimed is given back, and a new process must go on.
        """
        await self._run()
        if self._is_worn_out:
            raise ModelHangsError(
                f"{MOST_HUNG} calls of the model hang: this worker ends, start a new one in its place"
                " (systemd, a container or pgsbert up do)."
            )

    async def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            connected = time.monotonic()
            try:
                await self._unless_stopped(self._work())
            except CUT_OFF as error:
                if time.monotonic() - connected > RECONNECT_MOST.total_seconds():
                    attempt = 0
                log("connection_lost", error=type(error).__name__, reason=str(error).strip().partition("\n")[0])
            else:
                return
            wait = delay(attempt, first=RECONNECT_FIRST, most=RECONNECT_MOST, chance=random.random())
            attempt += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), wait.total_seconds())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work``; once stopped it has a little time to end by itself, also while it connects."""
        working, stopped = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((working,), timeout=STOP_WITHIN + 1)
        finally:
            stopped.cancel()
            working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            connections = await self._route.open(stack)
            worker = await connections.register(self._options.serves)
            log("started", worker=worker, serves=",".join(self._options.serves))
            poll = await self._poll(connections.rows)
            rows = self._new_rows(connections, worker, poll) if "rows" in self._options.serves else None
            self._rows, self._listener, self._is_connected = rows, self._new_listener(), True
            stack.callback(self._forget_connections)
            await self._run_together(
                self._run_rows(rows, connections, worker),
                self._answer(connections.questions, worker, poll),
                self._beat(connections.questions, rows, worker),
                *([] if rows is None else [self._build_indexes(rows, connections)]),
                *([] if self._listener is None else [self._listener.run()]),
            )

    def _new_rows(self, connections: Connections, worker: int, poll: timedelta) -> Rows:
        return Rows(
            connections.rows,
            worker=worker,
            gate=None if connections.direct is None else Gate(connections.direct),
            models=self._models,
            inference=self._inference,
            changed=self._changed,
            catalog_changed=self._catalog_changed,
            stop=self._stop,
            poll=poll,
            sweep_every=self._options.sweep_every,
        )

    def _new_listener(self) -> Listener | None:
        if self._route.direct_dsn is None:
            return None
        events = {"pgsbert": self._changed, "pgsbert_request": self._asked, "pgsbert_catalog": self._catalog_changed}
        return Listener(self._route.direct_dsn, events)

    def _forget_connections(self) -> None:
        self._rows = self._listener = None
        self._is_connected = False

    async def _poll(self, connection: psycopg.AsyncConnection[Any]) -> timedelta:
        """Return how often to look: often, where writers do not notify because transactions may be prepared."""
        cursor = await connection.execute("select current_setting('max_prepared_transactions')::int > 0")
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return min(self._options.poll, POLL_WITHOUT_NOTIFY)
        return self._options.poll

    async def _answer(self, connection: psycopg.AsyncConnection[Any], worker: int, poll: timedelta) -> None:
        """Answer questions of the kinds that this worker serves, until it is stopped."""
        kinds = [kind for service in self._options.serves for kind in KINDS[service]]
        if not kinds:
            await self._stop.wait()
            return
        cursor = await connection.execute("select pgsbert.vector_schema()")
        row = await cursor.fetchone()
        assert row is not None
        questions = Questions(
            connection,
            requests=Requests(connection, worker=worker, type_schema=row[0], kinds=kinds),
            models=self._models,
            inference=self._inference,
            asked=self._asked,
            stop=self._stop,
            poll=poll,
        )
        await questions.run()

    async def _run_together(self, rows: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
        """Run until the first ends: the rows, because the worker stops, or any of them by an error."""
        tasks = [asyncio.ensure_future(part) for part in (rows, *others)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if self._stop.is_set() and not any(task.exception() for task in done):
                # the batch and the question that are in the model now
                await asyncio.wait(tasks[:2], timeout=STOP_WITHIN)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_rows(self, rows: Rows | None, connections: Connections, worker: int) -> None:
        try:
            if rows is None:
                await self._stop.wait()
                return
            await rows.run(drain=self._options.drain)
            if self._options.drain and not self._stop.is_set():
                for vectorizer in rows.vectorizers:
                    if vectorizer.index_wanted:
                        await self._build_index(vectorizer, connections)
        finally:
            # also when cancelled, with the model hanging: what is leased is anybody's at once
            with suppress(psycopg.Error):
                await asyncio.shield(self._leave(rows, connections.rows, worker))

    async def _leave(self, rows: Rows | None, connection: psycopg.AsyncConnection[Any], worker: int) -> None:
        if rows is not None:
            await rows.release()
        await connection.execute(statement("unregister_worker"), {"worker": worker})
        # rows committed while this worker was awake notified nobody
        await connection.execute(statement("wake_others"))
        log("stopped", worker=worker)

    async def _beat(self, connection: psycopg.AsyncConnection[Any], rows: Rows | None, worker: int) -> None:
        seen: dict[VectorizerId, int] = {}
        for beat in itertools.count():
            settled = rows.settled if rows is not None else {}
            rates = {str(v): (count - seen.get(v, 0)) / HEARTBEAT_EVERY for v, count in settled.items()}
            seen = settled
            cursor = await connection.execute(
                statement("heartbeat"),
                {
                    "worker": worker,
                    "models": Jsonb(self._models.states),
                    "rates": Jsonb(rates),
                    "listening": self._listener is not None and self._listener.is_listening,
                },
            )
            if await cursor.fetchone() is None:
                raise ConnectionLostError("this worker was taken for dead: its connection was gone")
            if self._options.counts_queues and beat % COUNT_EACH == 0:
                cursor = await connection.execute(statement("queue_state"))
                log("queue_counted", level=logging.DEBUG, counts=await cursor.fetchall())
            await asyncio.sleep(HEARTBEAT_EVERY)

    async def _build_index(self, vectorizer: Vectorizer, connections: Connections) -> None:
        if self._route.direct_dsn is None:
            await leave_index(connections.questions, vectorizer)
        else:
            await build_index(self._route.direct_dsn, vectorizer)

    async def _build_indexes(self, rows: Rows, connections: Connections) -> None:
        while True:
            for vectorizer in rows.vectorizers:
                if vectorizer.filled and vectorizer.index_wanted:
                    try:
                        await self._build_index(vectorizer, connections)
                    except psycopg.OperationalError as error:
                        # no connection left, or a deadlock between two builds: the rows go on meanwhile
                        log("index_put_off", vectorizer=vectorizer.name, error=type(error).__name__)
            await asyncio.sleep(1)


class ConnectionLostError(Exception):
    """The database side of this worker is gone; it starts anew."""


CUT_OFF = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,  # a standby that will be promoted, or a primary that was closed to writers
    ConnectionLostError,
)
