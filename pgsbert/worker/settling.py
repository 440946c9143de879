"""Settle what the model returned, in pieces that hold row locks for 50 ms at most; what cannot be stored now waits."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from pgsbert.backoff import delay
from pgsbert.batching import Pace
from pgsbert.events import log
from pgsbert.failures import is_about_row
from pgsbert.queue import refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Revision
    from pgsbert.work import Embedded, Failed

MAX_ATTEMPTS = 5
# Nearly all pieces shall end within 50 ms, and one may take twice as long as the one before. The first are small:
# 64 rows into an HNSW index take longer than that. With fewer than eight the commit is what takes long, for each piece.
# measured, with such an index: p99 15 to 21 ms; aimed at 30 ms it was 63 to 79 ms, for 5 % more rows a second
PACE = Pace(size=16, least=8, most=1024, target=timedelta(milliseconds=20))

HELD_BY_OTHERS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.QueryCanceled,
)
CATALOG_MOVED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.UndefinedObject,  # the type vector, whose extension moved
)


class Settler:
    """Stores the vectors of one vectorizer and records its failures."""

    def __init__(self) -> None:
        self.pace = PACE
        self.settled = 0  # rows since the worker began
        self._indexes = 0

    async def settle(self, queue: Queue, done: Sequence[Embedded]) -> None:
        """Settle in pieces that hold row locks for about 20 ms."""
        if queue.vectorizer.indexes != self._indexes:
            # what a row costs is another thing now: a piece as large as before would hold its locks 30 times as long
            self._indexes = queue.vectorizer.indexes
            self.pace = PACE
        position = 0
        while position < len(done):
            piece = done[position : position + self.pace.size]
            position += len(piece)
            started = time.monotonic()
            settled = await self._settle_piece(queue, piece)
            took = time.monotonic() - started
            self.pace = self.pace.after(rows=len(piece), took=timedelta(seconds=took))
            self.settled += len(settled)
            left = [d.revision for d in piece if d.revision not in settled]
            if left:
                await queue.defer(left)
            log("settled", vectorizer=queue.vectorizer.name, done=len(settled), deferred=len(left), seconds=took)

    async def _settle_piece(self, queue: Queue, piece: Sequence[Embedded]) -> set[Revision]:
        try:
            return await queue.settle(piece)
        except HELD_BY_OTHERS as error:
            log("settle_held_up", vectorizer=queue.vectorizer.name, error=type(error).__name__)
            return set()
        except psycopg.Error as error:
            if queue.is_cut_off or not is_about_row(error):
                raise
            # the table's own triggers and constraints may refuse one row: find it, store its neighbours
            if len(piece) > 1:
                middle = len(piece) // 2
                return await self._settle_piece(queue, piece[:middle]) | await self._settle_piece(queue, piece[middle:])
            await self.fail(queue, [refused(piece[0].revision, piece[0].attempts, error)])
            return {piece[0].revision}

    async def fail(self, queue: Queue, failures: Iterable[Failed]) -> None:
        """Let rows wait for their next attempt; give them up after the last, or at once where no attempt can help."""
        for failed in failures:
            log(
                "failed",
                vectorizer=queue.vectorizer.name,
                attempts=failed.attempts,
                error_class=failed.error_class,
            )
            hopeless = failed.permanent or failed.attempts >= MAX_ATTEMPTS
            if not hopeless or not await queue.give_up(failed):
                wait = delay(
                    failed.attempts,
                    first=timedelta(seconds=0.5),
                    most=timedelta(minutes=5),
                    chance=random.random(),
                )
                await queue.try_later(failed, wait)
