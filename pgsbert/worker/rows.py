"""Keep embeddings true: fill, claim, encode outside any transaction, settle; then sleep until there is work."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert.backoff import delay
from pgsbert.batching import Pace, plan_batches
from pgsbert.database import statement
from pgsbert.errors import ModelOutputError, PgsbertError
from pgsbert.events import log
from pgsbert.queue import Queue, Vectorizer, read_vectorizers
from pgsbert.wakeups import Gate, wait_for
from pgsbert.work import Change, Embedded, Failed, embed
from pgsbert.worker.inference import ROWS, Inference
from pgsbert.worker.settling import CATALOG_MOVED, HELD_BY_OTHERS, MAX_ATTEMPTS, Settler

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from pgsbert.types import Encoder, VectorizerId, Vectors
    from pgsbert.work import Encode
    from pgsbert.worker.models import Models

LOGGER = logging.getLogger("pgsbert")

CATALOG_AGE = 5.0  # seconds after which names are read again, for renames that no error has shown
UPKEEP_EVERY = 1.0  # seconds between looks at expired leases and dead workers
FORGET_EVERY = 60.0  # seconds between looks at failures whose rows are gone
SETTLE_EVERY = 0.1  # seconds that a vector waits for others, while the model goes on
BATCH_CHARACTERS = 8192  # padded size of a batch, about two thousand tokens
BATCH_CHARACTERS_WHILE_ASKED = 2048
BATCH_ROWS = 256
LONGEST_COUNTED = 2048  # characters; beyond, texts are truncated and cost no more

CLAIM = Pace(size=64, least=16, most=1024, target=timedelta(seconds=2))

REST_FIRST = timedelta(seconds=0.2)
REST_MOST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Rest:
    """A queue that could not be worked on: how often in a row, until when it is left alone, and why."""

    times: int
    until: float
    reason: Exception


class Rows:
    """The rows of all vectorizers, over one connection."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        worker: int,
        models: Models,
        inference: Inference,
        changed: asyncio.Event,
        catalog_changed: asyncio.Event,
        stop: asyncio.Event,
        poll: timedelta,
    ) -> None:
        self._connection = connection
        self._worker = worker
        self._models = models
        self._inference = inference
        self._changed = changed
        self._catalog_changed = catalog_changed
        self._stop = stop
        self._poll = poll
        self._gate = Gate(connection)
        self._queues: list[Queue] = []
        self._catalog_read = self._upkeep_done = -1e9
        self._unexpired: set[VectorizerId] = set()
        self._forgotten: dict[VectorizerId, float] = {}
        self._claim_paces: dict[VectorizerId, Pace] = {}
        self._fill_limits: dict[VectorizerId, int] = {}
        self._fill_after: dict[VectorizerId, float] = {}
        self._rests: dict[VectorizerId, Rest] = {}
        self._settler = Settler()
        self.asked_at = -1e9

    @property
    def settled(self) -> Counter[VectorizerId]:
        """How many rows of each vectorizer were settled."""
        return self._settler.settled

    @property
    def vectorizers(self) -> list[Vectorizer]:
        """The vectorizers that are claimed from, as last read."""
        return [queue.vectorizer for queue in self._queues]

    async def run(self, *, drain: bool) -> None:
        """Work until stopped; with ``drain`` until nothing is left.

        Raises PgsbertError when a drain can go no further: a model is missing, or fails on every text.
        """
        while not self._stop.is_set():
            await self._gate.become_awake()
            while not self._stop.is_set() and await self._round():
                pass
            if self._gate.is_held and await self._found_while_draining():
                continue
            if drain and await self._is_idle():
                return
            await wait_for(self._changed, min(await self._until_due(), timedelta(seconds=0.1 if drain else 1e6)))

    async def release(self) -> None:
        """Give back what is leased."""
        for queue in self._queues:
            with suppress(*HELD_BY_OTHERS, *CATALOG_MOVED):
                await queue.release()

    async def _found_while_draining(self) -> bool:
        """Look again until every commit that did not notify is visible; True as soon as there was something to do."""
        sleepy_since = await self._gate.become_sleepy()
        pause = 0.001
        started = time.monotonic()
        while not self._stop.is_set():
            oldest = await self._gate.oldest_running()
            # the look comes after the snapshot that oldest was read from
            if await self._round():
                return True
            # a foreign transaction may stay open for hours: from here on it is only delayed by the poll
            if oldest >= sleepy_since or time.monotonic() - started > self._poll.total_seconds():
                return False
            await wait_for(self._changed, timedelta(seconds=pause))
            pause = min(pause * 2, 0.05)
        return False

    async def _until_due(self) -> timedelta:
        """Return how long to sleep without a notification: until the poll, or until a row may be tried again."""
        wait = self._poll.total_seconds()
        now = time.monotonic()
        for queue in self._queues:
            v = queue.vectorizer
            rest = self._rests.get(v.id)
            if rest is not None and rest.until > now:
                wait = min(wait, rest.until - now)
            elif self._models.is_loaded(v.model):
                with suppress(*HELD_BY_OTHERS, *CATALOG_MOVED):
                    due = await queue.next_due()
                    # no earlier than the next upkeep, which tries it
                    wait = wait if due is None else min(wait, max(due, self._upkeep_done + UPKEEP_EVERY - now))
            if not v.filled and self._fill_after.get(v.id, 0) > now:
                wait = min(wait, self._fill_after[v.id] - now)
        return timedelta(seconds=max(wait, 0.01))

    async def _is_idle(self) -> bool:
        try:
            await self._read_catalog()
            busy = [queue for queue in self._queues if not queue.vectorizer.filled or not await queue.is_idle()]
        except (*HELD_BY_OTHERS, *CATALOG_MOVED):
            return False
        stuck = [error for queue in busy if (error := self._why_stuck(queue))]
        if busy and len(stuck) == len(busy):
            raise stuck[0]
        return not busy

    def _why_stuck(self, queue: Queue) -> PgsbertError | None:
        rest = self._rests.get(queue.vectorizer.id)
        if rest is not None and isinstance(rest.reason, PgsbertError):
            return rest.reason
        return self._models.failure(queue.vectorizer.model)

    async def _round(self) -> bool:
        """Give every queue one turn; returns whether anything was done."""
        try:
            await self._refresh_catalog()
            worked = False
            for queue in list(self._queues):
                if self._stop.is_set():
                    return False
                worked |= await self._unless_resting(queue, self._turn)
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

    async def _unless_resting(self, queue: Queue, work: Callable[[Queue], Awaitable[bool]]) -> bool:
        """Give one queue its turn; if it cannot be worked on, its rows are released and it rests, the others go on."""
        v = queue.vectorizer
        rest = self._rests.get(v.id)
        if rest is not None and rest.until > time.monotonic():
            return False
        try:
            worked = await work(queue)
        except HELD_BY_OTHERS as error:
            log("held_up", vectorizer=v.name, error=type(error).__name__)
            reason: Exception = error
        except (psycopg.OperationalError, psycopg.InterfaceError, *CATALOG_MOVED):
            raise
        except PgsbertError as error:
            log("stuck", vectorizer=v.name, reason=error)
            reason = error
        except Exception as error:  # what one table does must not stop the others
            LOGGER.exception("turn_failed vectorizer=%s", v.name)
            reason = error
        else:
            if worked:
                self._rests.pop(v.id, None)
            return worked
        times = rest.times + 1 if rest else 0
        wait = delay(times, first=REST_FIRST, most=REST_MOST, chance=random.random())
        self._rests[v.id] = Rest(times, time.monotonic() + wait.total_seconds(), reason)
        with suppress(*HELD_BY_OTHERS):
            await queue.release()
        return False

    async def _refresh_catalog(self) -> None:
        if self._catalog_changed.is_set() or time.monotonic() - self._catalog_read > CATALOG_AGE:
            self._catalog_changed.clear()
            await self._read_catalog()

    async def _read_catalog(self) -> None:
        vectorizers = await read_vectorizers(self._connection)
        self._catalog_read = time.monotonic()
        if vectorizers != self.vectorizers:
            self._queues = [Queue(v, self._connection, self._worker) for v in vectorizers]
            # somebody may have died while a queue was paused
            self._unexpired = {v.id for v in vectorizers}

    async def _upkeep(self) -> bool:
        """Take over from the dead and try again what is due; returns whether there was something to try."""
        if time.monotonic() - self._upkeep_done < UPKEEP_EVERY:
            return False
        await self._bury_the_dead()
        tried = False
        for queue in list(self._queues):
            tried |= await self._unless_resting(queue, self._try_again)
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
            self._unexpired = {v.id for v in self.vectorizers}

    async def _try_again(self, queue: Queue) -> bool:
        await self._clean(queue)
        encoder = await self._encoder(queue)
        if encoder is None:
            return False
        changes = await queue.claim_again(self._claim_paces.get(queue.vectorizer.id, CLAIM).size)
        deadly = [change for change in changes if change.attempts > MAX_ATTEMPTS]
        reason = f"the worker ended {MAX_ATTEMPTS} times while it embedded this row"
        await self._settler.fail(queue, (Failed(c.revision, c.attempts, "WorkerDied", reason) for c in deadly))
        await self._embed_and_settle(queue, [c for c in changes if c.attempts <= MAX_ATTEMPTS], encoder)
        return bool(changes)

    async def _clean(self, queue: Queue) -> None:
        v = queue.vectorizer
        if v.id in self._unexpired:
            await queue.expire()
            self._unexpired.discard(v.id)
        await queue.forget()
        if time.monotonic() - self._forgotten.get(v.id, -1e9) > FORGET_EVERY:
            await queue.forget_failures()
            self._forgotten[v.id] = time.monotonic()

    async def _turn(self, queue: Queue) -> bool:
        encoder = await self._encoder(queue)
        if encoder is None:
            return False
        v = queue.vectorizer
        pace = self._claim_paces.get(v.id, CLAIM)
        started = time.monotonic()
        changes = await queue.claim(pace.size)
        if len(changes) == pace.size:
            await self._connection.execute(statement("wake_others"))
        filled = 0
        if len(changes) < pace.size and not v.filled:
            filled = await self._fill(queue, most=2 * pace.size)
        if changes:
            await self._embed_and_settle(queue, changes, encoder)
            took = timedelta(seconds=time.monotonic() - started)
            self._claim_paces[v.id] = pace.after(rows=len(changes), took=took)
        return bool(changes or filled)

    async def _fill(self, queue: Queue, *, most: int) -> int:
        v = queue.vectorizer
        limit = min(self._fill_limits.get(v.id, most), most)
        if self._fill_after.get(v.id, 0) > time.monotonic():
            return 0
        try:
            passed = await queue.fill(limit)
        except HELD_BY_OTHERS:
            # somebody edits a row of this range in an open transaction: come up to that row, then look now and then
            self._fill_limits[v.id] = max(limit // 2, 1)
            self._fill_after[v.id] = time.monotonic() + (UPKEEP_EVERY if limit == 1 else 0)
            return int(limit > 1)
        self._fill_limits[v.id] = limit * 2
        if passed is not None and passed < limit:
            log("filled", vectorizer=queue.vectorizer.name)
            self._catalog_read = -1e9
        return passed or 0

    async def _encoder(self, queue: Queue) -> Encoder | None:
        try:
            return await self._models.load(queue.vectorizer.model, self._connection)  # type: ignore[return-value]  # its kind was checked at create_vectorizer
        except PgsbertError:
            return None

    async def _embed_and_settle(self, queue: Queue, changes: Sequence[Change], encoder: Encoder) -> None:
        prompt = queue.vectorizer.document_prompt

        def encode(texts: Sequence[str]) -> Vectors:
            return encoder.encode([prompt + text for text in texts])

        waiting: list[Embedded] = []
        settled_at = time.monotonic()
        for batch in self._batches(changes):
            outcomes = await self._inference.run(ROWS, embed, batch, encode)
            failed = [o for o in outcomes if isinstance(o, Failed)]
            if len(failed) == len(outcomes):
                await self._check_health(encode, failed[0])
            waiting += [o for o in outcomes if isinstance(o, Embedded)]
            await self._settler.fail(queue, failed)
            full = len(waiting) >= self._settler.piece(queue)
            if full or time.monotonic() - settled_at > SETTLE_EVERY:
                await self._settler.settle(queue, waiting)
                waiting = []
                settled_at = time.monotonic()
            if self._stop.is_set():
                break
        await self._settler.settle(queue, waiting)

    async def _check_health(self, encode: Encode, failed: Failed) -> None:
        """Raise ModelOutputError if the model cannot embed any text: then nothing is wrong with the rows."""
        [outcome] = await self._inference.run(ROWS, embed, [Change(failed.revision, "a text", 1)], encode)
        if isinstance(outcome, Failed):
            raise ModelOutputError(f"The model fails on every text: {outcome.error_class}: {outcome.error}")

    def _batches(self, changes: Sequence[Change]) -> Iterable[list[Change]]:
        asked = time.monotonic() - self.asked_at < 5.0
        lengths = [min(len(change.text), LONGEST_COUNTED) for change in changes]
        budget = BATCH_CHARACTERS_WHILE_ASKED if asked else BATCH_CHARACTERS
        return ([changes[i] for i in batch] for batch in plan_batches(lengths, budget=budget, most=BATCH_ROWS))
