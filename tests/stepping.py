"""Users and workers that move one step at a time, so that a test decides how their transactions interleave."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from pgsbert.database import connect_async, register_vector_async, statement
from pgsbert.queue import Queue, read_vectorizers
from pgsbert.testing import FakeEncoder
from pgsbert.work import Change, Embedded, Failed, embed
from pgsbert.worker.connections import ROWS_OPTIONS
from pgsbert.worker.settling import CATALOG_MOVED, HELD_BY_OTHERS
from tests.support import rows, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

ENCODER = FakeEncoder(8)
# Nobody holds a lock while another moves but open transactions, which will not end meanwhile: no wait is worth while.
LOCK_TIMEOUT = "10ms"


def outcomes(changes: Sequence[Change]) -> list[Embedded]:
    """Embed what was claimed, as a worker does."""
    return [outcome for outcome in embed(changes, ENCODER.encode_counted) if isinstance(outcome, Embedded)]


class SteppedQueue(Queue):
    """A queue whose claim stops between its two statements for as long as `may_read` is not set."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.may_read = asyncio.Event()
        self.is_leased = asyncio.Event()
        self.may_read.set()

    async def _execute(self, name: str, **parameters: object) -> psycopg.AsyncCursor[Any]:
        if name == "texts":
            self.is_leased.set()
            await self.may_read.wait()
        return await super()._execute(name, **parameters)


class SteppedWorker:
    """A worker without its loop: what it claimed stays in its hands until it is told to settle, or dies."""

    def __init__(self, runner: asyncio.Runner, dsn: str, vectorizer: str) -> None:
        self._runner = runner
        self._dsn = dsn
        self._vectorizer = vectorizer
        self._claiming: asyncio.Task[list[Change]] | None = None
        self.held: list[Change] = []
        self._runner.run(self._connect())

    def claim(self, limit: int, *, stop_halfway: bool) -> None:
        """Claim new rows; halfway they are leased and their texts not yet read."""
        self.finish_claim()
        self._run(self._claim, limit, stop_halfway)

    def finish_claim(self) -> None:
        """Read the texts, if a claim stopped halfway."""
        if self._claiming is not None:
            self._run(self._finish_claim)

    def claim_again(self) -> None:
        """Claim rows whose lease ran out."""
        self.finish_claim()
        self.held += self._run(self._queue.claim_again) or []

    def settle(self, most: int) -> None:
        """Store the vectors of the first rows in hand, and defer those that cannot be stored now."""
        self.finish_claim()
        piece, self.held = self.held[:most], self.held[most:]
        self._run(self._settle, piece)

    def fail(self, *, for_good: bool) -> None:
        """Let the model fail on the first row in hand."""
        self.finish_claim()
        if self.held:
            change = self.held.pop(0)
            failed = Failed(change.revision, change.attempts, "ValueError", "the model cannot take this text")
            if not (for_good and self._run(self._queue.give_up, failed)):
                self._run(self._queue.try_later, failed, timedelta(hours=1))

    def fill(self, limit: int) -> bool:
        """Walk on over the existing rows; returns whether there may be more."""
        self.finish_claim()
        passed = self._run(self._queue.fill, limit)
        return passed is not None and passed >= limit

    def release(self) -> None:
        """Give everything back, and forget nothing: what is in hand may be settled all the same."""
        self.finish_claim()
        self._run(self._queue.release)

    def tidy(self) -> None:
        """End the leases of the dead, forget those of rows that are gone."""
        self.finish_claim()
        self._run(self._tidy)

    def look(self) -> None:
        """Read the catalog again."""
        self.finish_claim()
        self._run(self._open)

    def crash(self, admin: psycopg.Connection[Any]) -> None:
        """Die with everything in hand, and start anew as another worker."""
        self._runner.run(self._disconnect())
        # its locks go with its backend
        wait_until(lambda: not rows(admin, "select pid from pg_stat_activity where pid = %s", self._pid))
        self.held = []
        self._runner.run(self._connect())

    def close(self) -> None:
        """End the connection."""
        self._runner.run(self._disconnect())

    def _run(self, step: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Take a step; what the worker's loop does when somebody is in the way is done here too."""
        return self._runner.run(self._attempt(step, *arguments))

    async def _attempt(self, step: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        try:
            return await step(*arguments)
        except HELD_BY_OTHERS:
            await self._queue.release()
        except CATALOG_MOVED:
            await self._queue.release()
            await self._open()
        return None

    async def _connect(self) -> None:
        self._connection = await connect_async(self._dsn, application_name="stepped worker", options=ROWS_OPTIONS)
        self._pid = self._connection.info.backend_pid
        await self._connection.execute(f"set lock_timeout = '{LOCK_TIMEOUT}'")
        await register_vector_async(self._connection)
        registration = {"host": "here", "pid": self._pid, "version": "0", "serves": ["rows"]}
        row = await (await self._connection.execute(statement("register_worker"), registration)).fetchone()
        assert row is not None
        self._number = row[0]
        await self._open()

    async def _disconnect(self) -> None:
        if self._claiming is not None:
            self._claiming.cancel()
            await asyncio.gather(self._claiming, return_exceptions=True)
            self._claiming = None
        await self._connection.close()

    async def _open(self) -> None:
        found = {v.name: v for v in await read_vectorizers(self._connection)}
        self._queue = SteppedQueue(found[self._vectorizer], self._connection, self._number)

    async def _claim(self, limit: int, stop_halfway: bool) -> None:
        if stop_halfway:
            self._queue.may_read.clear()
        self._claiming = asyncio.ensure_future(self._queue.claim(limit))
        halfway = asyncio.ensure_future(self._queue.is_leased.wait())
        await asyncio.wait((self._claiming, halfway), return_when=asyncio.FIRST_COMPLETED)
        halfway.cancel()
        if not stop_halfway or self._claiming.done():
            await self._finish_claim()

    async def _finish_claim(self) -> None:
        claiming, self._claiming = self._claiming, None
        assert claiming is not None
        self._queue.may_read.set()
        try:
            self.held += await claiming
        finally:
            self._queue.is_leased.clear()

    async def _settle(self, piece: list[Change]) -> None:
        settled = await self._queue.settle(outcomes(piece)) if piece else set()
        await self._queue.defer(change.revision for change in piece if change.revision not in settled)

    async def _tidy(self) -> None:
        await self._connection.execute(statement("dead_workers"), {"worker": self._number})
        await self._queue.expire()
        await self._queue.forget()


class User:
    """A session with one transaction at a time, which a statement opens."""

    REFUSALS = (
        psycopg.errors.LockNotAvailable,
        psycopg.errors.SerializationFailure,
        psycopg.errors.UniqueViolation,
        psycopg.errors.InvalidSavepointSpecification,
    )

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, options=f"-c lock_timeout={LOCK_TIMEOUT}")

    @property
    def is_in_transaction(self) -> bool:
        """Whether there is something to commit."""
        return self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE

    def isolate(self, level: psycopg.IsolationLevel) -> None:
        """Set the isolation of all transactions to come."""
        self._connection.isolation_level = level

    def do(self, query: str, *parameters: object) -> psycopg.Error | None:
        """Run a statement; if it is refused the transaction is over, and the refusal is returned."""
        try:
            self._connection.execute(sql.SQL(query), parameters)
        except self.REFUSALS as refusal:
            self._connection.rollback()
            return refusal
        return None

    def commit(self) -> None:
        """Make it so."""
        self._connection.commit()

    def rollback(self) -> None:
        """Undo it."""
        self._connection.rollback()

    def close(self) -> None:
        """End the session."""
        self._connection.close()
