"""Keep embeddings true: give every vectorizer its turns, then sleep until there is work."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert.database import statement
from pgsbert.events import log
from pgsbert.queue import Queue, read_vectorizers
from pgsbert.wakeups import wait_for
from pgsbert.worker.compatibility import check_fit
from pgsbert.worker.settling import CATALOG_MOVED, HELD_BY_OTHERS
from pgsbert.worker.turns import ALONE, IN_COMPANY, Turns
from pgsbert.worker.walks import Walks

if TYPE_CHECKING:
    from datetime import timedelta

    from pgsbert.queue import Vectorizer
    from pgsbert.types import Encoder, VectorizerId
    from pgsbert.wakeups import Gate
    from pgsbert.worker.inference import Inference
    from pgsbert.worker.models import Models

CATALOG_AGE = 5.0  # seconds after which names are read again, for renames that no error has shown
UPKEEP_EVERY = 1.0  # seconds between looks at expired leases and dead workers
LATELY = 60.0  # seconds
DRAIN_POLL = 0.1  # seconds between looks whether all is done


class Rows:
    """The rows of all vectorizers, over one connection; without a gate writers notify, and it looks by itself."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        worker: int,
        gate: Gate | None,
        models: Models,
        inference: Inference,
        changed: asyncio.Event,
        catalog_changed: asyncio.Event,
        stop: asyncio.Event,
        poll: timedelta,
        sweep_every: timedelta,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._models = models
        self._inference = inference
        self._changed = changed
        self._catalog_changed = catalog_changed
        self._stop = stop
        self._poll = poll
        self._sweep_every = sweep_every
        self._gate = gate
        self._turns: dict[VectorizerId, Turns] = {}
        self._last_filling = 0
        self._catalog_read = self._upkeep_done = -1e9
        self._is_refused = False

    @property
    def settled(self) -> dict[VectorizerId, int]:
        """How many rows of each vectorizer were settled since the worker began."""
        return {id_: turns.settler.settled for id_, turns in self._turns.items()}

    @property
    def vectorizers(self) -> list[Vectorizer]:
        """The vectorizers that are claimed from, as last read."""
        return [turns.queue.vectorizer for turns in self._turns.values()]

    async def run(self, *, drain: bool) -> None:
        """Work until stopped; with ``drain`` until nothing is left.

        Raises PgsbertError when a drain can go no further: a model is missing, or fails on every text.
        """
        while not self._stop.is_set():
            if self._gate is not None:
                await self._gate.become_awake()
            while not self._stop.is_set() and await self._round():
                pass
            if self._gate is not None and self._gate.is_held and await self._found_while_draining(self._gate):
                continue
            if drain and await self._is_idle():
                return
            seconds = await self._until_due()
            await wait_for(self._changed, min(seconds, DRAIN_POLL) if drain else seconds)

    async def release(self) -> None:
        """Give back what is leased."""
        # what is in line is called off even if nothing can be released
        for turns in self._turns.values():
            turns.drop()
        for turns in self._turns.values():
            await turns.release()

    async def _found_while_draining(self, gate: Gate) -> bool:
        """Look again until every commit that did not notify is visible; True as soon as there was something to do."""
        sleepy_since = await gate.become_sleepy()
        pause = 0.001
        started = time.monotonic()
        while not self._stop.is_set():
            oldest = await gate.oldest_running()
            # the look comes after the snapshot that oldest was read from
            if await self._round():
                return True
            # a foreign transaction may stay open for hours: from here on it is only delayed by the poll
            if oldest >= sleepy_since or time.monotonic() - started > self._poll.total_seconds():
                return False
            await wait_for(self._changed, pause)
            pause = min(pause * 2, 0.05)
        return False

    async def _until_due(self) -> float:
        """Return how many seconds to sleep without a notification: until the poll, or until something is due."""
        upkeep_in = self._upkeep_done + UPKEEP_EVERY - time.monotonic()
        dues = [await turns.next_due(upkeep_in) for turns in self._turns.values()]
        return max(min([self._poll.total_seconds(), *(due for due in dues if due is not None)]), 0.01)

    async def _is_idle(self) -> bool:
        try:
            await self._read_catalog()
            busy = [
                turns
                for turns in self._turns.values()
                if not turns.queue.vectorizer.filled or not await turns.queue.is_idle()
            ]
        except (*HELD_BY_OTHERS, *CATALOG_MOVED):
            return False
        stuck = [error for turns in busy if (error := turns.stuck)]
        if busy and len(stuck) == len(busy):
            raise stuck[0]
        return not busy

    async def _round(self) -> bool:
        """Give every vectorizer one turn, but of those in their first fill only one; returns whether anything was done.

        So an edit waits for one turn of each other live table and one of a first fill, however many there are.
        """
        try:
            await self._refresh_catalog()
            worked = await self._take_live() | await self._take_filling()
            if self._stop.is_set():
                return False
            # after the turns: a commit that woke this worker does not wait for it
            worked |= await self._upkeep()
        except HELD_BY_OTHERS as error:
            log("held_up", error=type(error).__name__)
            return False
        except CATALOG_MOVED as error:
            # renamed or dropped between reading the catalog and using it
            log("catalog_moved", error=type(error).__name__)
            self._catalog_read = -1e9
            # what was claimed under the old name must not wait for its lease to end
            await self.release()
            await asyncio.sleep(0.05)
            return True
        return worked

    async def _take_live(self) -> bool:
        worked = False
        for turns in [turns for turns in self._turns.values() if turns.queue.vectorizer.filled]:
            worked |= await self._take(turns)
        return worked

    async def _take_filling(self) -> bool:
        """Give one first fill its turn, each time the next that has something to do."""
        filling = [(id_, turns) for id_, turns in self._turns.items() if not turns.queue.vectorizer.filled]
        for id_, turns in sorted(filling, key=lambda one: one[0] <= self._last_filling):
            if await self._take(turns):
                self._last_filling = id_
                return True
        return False

    async def _take(self, turns: Turns) -> bool:
        """Give one vectorizer its turn: shorter beside a live table that was edited lately, and may be again.

        Otherwise longer, since the more rows are claimed together, the better their lengths fit in batches.
        """
        if self._stop.is_set():
            return False
        since = time.monotonic() - LATELY
        busy = [other for other in self._turns.values() if other is not turns and other.worked_at > since]
        in_company = any(other.queue.vectorizer.filled for other in busy)
        return await turns.take(within=IN_COMPANY if in_company else ALONE, is_alone=not busy)

    async def _refresh_catalog(self) -> None:
        # the end of a first fill is in the catalog, and what comes after it waits for that
        filling = any(not vectorizer.filled for vectorizer in self.vectorizers)
        age = time.monotonic() - self._catalog_read
        if self._catalog_changed.is_set() or age > (UPKEEP_EVERY if filling else CATALOG_AGE):
            if self._catalog_changed.is_set():
                for turns in self._turns.values():
                    turns.walks.look_for_sweep()
            self._catalog_changed.clear()
            try:
                await self._read_catalog()
            except psycopg.errors.InsufficientPrivilege as error:
                # the schema was given to another role while its functions ran: the next look is with that one's rights
                if self._is_refused:
                    raise
                self._is_refused = True
                log("catalog_refused", error=type(error).__name__)
                self._catalog_read = time.monotonic() - CATALOG_AGE + UPKEEP_EVERY
            else:
                self._is_refused = False

    async def _read_catalog(self) -> None:
        # an upgrade under a running worker may be one that it does not fit
        await check_fit(self._connection)
        vectorizers = await read_vectorizers(self._connection)
        self._catalog_read = time.monotonic()
        if vectorizers != self.vectorizers:
            named = {vectorizer.id: vectorizer for vectorizer in vectorizers}
            for id_, turns in self._turns.items():
                if turns.is_holding and named.get(id_) != turns.queue.vectorizer:
                    await turns.release()
            self._turns = {vectorizer.id: self._turns_of(vectorizer) for vectorizer in vectorizers}

    def _turns_of(self, vectorizer: Vectorizer) -> Turns:
        queue = Queue(vectorizer, self._connection, self._worker)
        known = self._turns.get(vectorizer.id)
        if known is None:
            return Turns(
                queue,
                encoder=self._encoder,
                inference=self._inference,
                stop=self._stop,
                walks=Walks(sweep_every=self._sweep_every),
            )
        if known.queue.vectorizer != vectorizer:
            known.queue = queue
        return known

    async def _encoder(self, model: str) -> Encoder:
        return await self._models.load(model, self._connection)  # type: ignore[return-value]  # its kind was checked at create_vectorizer

    async def _upkeep(self) -> bool:
        """Take over from the dead and try again what is due; returns whether there was something to try."""
        if time.monotonic() - self._upkeep_done < UPKEEP_EVERY:
            return False
        await self._bury_the_dead()
        for turns in list(self._turns.values()):
            await turns.look()
        due = [turns for turns in self._turns.values() if turns.is_due]
        if due:
            # what is tried again may kill the process: it shall find no row in hand
            for turns in list(self._turns.values()):
                await turns.finish()
        tried = False
        for turns in due:
            tried |= not self._stop.is_set() and await turns.try_again()
        if not tried:
            # while something was due there may be more: look again in the next round
            self._upkeep_done = time.monotonic()
        return tried

    async def _bury_the_dead(self) -> None:
        cursor = await self._connection.execute(statement("dead_workers"), {"worker": self._worker})
        dead = [row[0] for row in await cursor.fetchall()]
        if dead:
            log("workers_died", workers=",".join(map(str, dead)))
            await self._connection.execute(statement("reopen_requests"), {"dead": dead})
            for turns in self._turns.values():
                turns.may_hold_leases_of_the_dead = True
