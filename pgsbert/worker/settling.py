"""Settle what the model returned, in pieces that hold row locks for about 50 ms; what cannot be stored now waits."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from pgsbert.backoff import delay
from pgsbert.batching import Pace
from pgsbert.events import log
from pgsbert.work import Embedded, Failed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Revision

MAX_ATTEMPTS = 5
PACE = Pace(size=64, least=1, most=1024, target=timedelta(milliseconds=50))

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


OUT_OF_RESOURCES = (psycopg.errors.InsufficientResources, psycopg.errors.DiskFull, psycopg.errors.OutOfMemory)


class Settler:
    """Stores the vectors of one vectorizer and records its failures."""

    def __init__(self) -> None:
        self.pace = PACE
        self.settled = 0  # rows since the worker began

    async def settle(self, queue: Queue, done: Sequence[Embedded]) -> None:
        """Settle in pieces that hold row locks for about 50 ms."""
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
            # with a context it is not our statement that lacks something, but a trigger of the table; or check_names
            ours = error.diag.context is None or error.diag.schema_name == "pgsbert"
            moved = isinstance(error, CATALOG_MOVED) and ours
            if moved or queue.is_cut_off or isinstance(error, OUT_OF_RESOURCES):
                raise
            # the table's own triggers and constraints may refuse one row: find it, store its neighbours
            if len(piece) > 1:
                middle = len(piece) // 2
                return await self._settle_piece(queue, piece[:middle]) | await self._settle_piece(queue, piece[middle:])
            failed = Failed(
                piece[0].revision,
                MAX_ATTEMPTS,
                type(error).__name__,
                error.diag.message_primary or str(error),
            )
            await self.fail(queue, [failed])
            return {piece[0].revision}

    async def fail(self, queue: Queue, failures: Iterable[Failed]) -> None:
        """Let rows wait for their next attempt, or give them up after the last."""
        for failed in failures:
            log(
                "failed",
                vectorizer=queue.vectorizer.name,
                attempts=failed.attempts,
                error_class=failed.error_class,
            )
            if failed.attempts < MAX_ATTEMPTS or not await queue.give_up(failed):
                wait = delay(
                    failed.attempts,
                    first=timedelta(seconds=0.5),
                    most=timedelta(minutes=5),
                    chance=random.random(),
                )
                await queue.try_later(failed, wait)
