"""One vectorizer's turns: fill, claim, encode outside any transaction, settle; a rest where that cannot be done."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from pgsbert.backoff import delay
from pgsbert.batching import Pace, plan_batches
from pgsbert.errors import ModelOutputError, ModelTimeoutError, PgsbertError
from pgsbert.events import log, log_traceback
from pgsbert.types import Counted
from pgsbert.work import Change, Embedded, Failed, embed
from pgsbert.worker.inference import ROWS
from pgsbert.worker.settling import CATALOG_MOVED, HELD_BY_OTHERS, MAX_ATTEMPTS, Settler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from pgsbert.queue import Queue, Vectorizer
    from pgsbert.types import Encoder, ImageEncoder, OnTruncate
    from pgsbert.work import Content, Encode, Outcome
    from pgsbert.worker.inference import Inference
    from pgsbert.worker.walks import Walks

FORGET_EVERY = 60.0  # seconds between looks at failures and truncated texts whose rows are gone
SETTLE_EVERY = 0.1  # seconds that a vector waits for others, while the model goes on
BATCH_CHARACTERS = 8192  # padded size of a batch, about two thousand tokens
BATCH_CHARACTERS_WHILE_ASKED = 2048
BATCH_ROWS = 256
LONGEST_COUNTED = 2048  # characters; beyond, texts are truncated and cost no more
IMAGE_COUNTED = 512  # characters: a model looks at all images in the same number of pixels
VERY_LONG = 250_000  # characters; the tokenizer reads all of them, and takes 150 times their size of memory meanwhile

# eight by eight grey pixels, as a PNG
SOUND_IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000008000000080800000000e164e1570000"
    "00104944415478da636c60800026068a180026080090b5310a910000000049454e44ae426082"
)

ALONE, IN_COMPANY = timedelta(seconds=2), timedelta(seconds=0.25)  # what a turn takes at most, about
CLAIM = Pace(size=64, least=16, most=1024, target=ALONE)

REST_FIRST = timedelta(seconds=0.2)
REST_MOST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Rest:
    """How often in a row a vectorizer could not be worked on, until when it is left alone, and why."""

    times: int
    until: float
    reason: Exception


class Turns:
    """The turns of one vectorizer, whatever it is called at the moment; their paces last as long as the worker."""

    def __init__(
        self,
        queue: Queue,
        *,
        encoder: Callable[[str], Awaitable[Encoder]],
        inference: Inference,
        stop: asyncio.Event,
        walks: Walks,
    ) -> None:
        self.queue = queue
        self.walks = walks
        self.settler = Settler()
        self.may_hold_leases_of_the_dead = True
        self.worked_at = -1e9  # when there was something to do at last
        self._encoder = encoder
        self._inference = inference
        self._stop = stop
        self._pace = CLAIM
        self._forgotten = -1e9
        self._is_forgetting = False
        self._rest: Rest | None = None
        self._moved = False

    @property
    def is_resting(self) -> bool:
        """Whether the vectorizer is left alone for now."""
        return self._rest is not None and self._rest.until > time.monotonic()

    @property
    def stuck(self) -> PgsbertError | None:
        """Why nothing can be done until somebody mends it: its model is missing, or fails on every text."""
        return self._rest.reason if self._rest is not None and isinstance(self._rest.reason, PgsbertError) else None

    async def take(self, *, within: timedelta) -> bool:
        """Embed the next rows, as many as take about ``within``; returns whether there were any."""
        self._pace = self._pace.within(within)
        return await self._unless_resting(self._take)

    async def try_again(self) -> bool:
        """Embed rows whose earlier attempt came to nothing and is due; returns whether there were any."""
        return await self._unless_resting(self._try_again)

    async def next_due(self, upkeep_in: float) -> float | None:
        """Return in how many seconds there is something to do, None if only a change can bring it."""
        now = time.monotonic()
        if self._rest is not None and self._rest.until > now:
            return self._rest.until - now
        dues = []
        with suppress(*HELD_BY_OTHERS, *CATALOG_MOVED):
            due = await self.queue.next_due()
            if due is not None:
                # upkeep tries it
                dues.append(max(due, upkeep_in))
        fill_in = self.walks.fill_in
        if not self.queue.vectorizer.filled and fill_in > 0:
            dues.append(fill_in)
        return min(dues, default=None)

    async def _unless_resting(self, work: Callable[[], Awaitable[bool]]) -> bool:
        """Do ``work``; if it cannot be done, release the rows and rest, so that the other vectorizers go on."""
        if self.is_resting:
            return False
        name = self.queue.vectorizer.name
        try:
            worked = await work()
        except HELD_BY_OTHERS as error:
            log("held_up", vectorizer=name, error=type(error).__name__)
            reason: Exception = error
        except PgsbertError as error:
            log("stuck", vectorizer=name, reason=error)
            reason = error
        except Exception as error:  # what one table does must not stop the others
            # the catalog is read again once; the same error after that is the table's, say of a trigger in C
            moved_before, self._moved = self._moved, isinstance(error, CATALOG_MOVED)
            if self.queue.is_cut_off or (self._moved and not moved_before):
                raise
            log_traceback("turn_failed", error, vectorizer=name)
            reason = error
        else:
            self._moved = False
            if worked:
                self._rest = None
                self.worked_at = time.monotonic()
            return worked
        times = self._rest.times + 1 if self._rest else 0
        wait = delay(times, first=REST_FIRST, most=REST_MOST, chance=random.random())
        self._rest = Rest(times, time.monotonic() + wait.total_seconds(), reason)
        with suppress(*HELD_BY_OTHERS):
            await self.queue.release()
        return False

    async def _take(self) -> bool:
        encoder = await self._encoder(self.queue.vectorizer.model)
        started = time.monotonic()
        changes = await self.queue.claim(self._pace.size)
        await self.settler.fail(self.queue, self.queue.unreadable)
        # those whose rows are gone included
        claimed = self.queue.claimed
        if claimed:
            took = time.monotonic() - started
            log(
                "claimed",
                vectorizer=self.queue.vectorizer.name,
                rows=claimed,
                vanished=claimed - len(changes),
                seconds=took,
            )
        if claimed == self._pace.size:
            await self.queue.wake_others()
        filled = 0
        if claimed < self._pace.size and not self.queue.vectorizer.filled:
            filled = await self.walks.fill(self.queue, most=2 * self._pace.size)
        if changes:
            await self._embed_and_settle(changes, encoder)
            self._pace = self._pace.after(rows=len(changes), took=timedelta(seconds=time.monotonic() - started))
        # a range between two looks at the queue, and none while there is anything in it
        swept = 0 if claimed or not self.queue.vectorizer.filled else await self.walks.sweep(self.queue)
        return bool(claimed or filled or swept)

    async def _try_again(self) -> bool:
        await self._clean()
        encoder = await self._encoder(self.queue.vectorizer.model)
        changes = await self.queue.claim_again(self._pace.size)
        await self.settler.fail(self.queue, self.queue.unreadable)
        deadly = [change for change in changes if change.attempts > MAX_ATTEMPTS]
        reason = f"the worker ended {MAX_ATTEMPTS} times while it embedded this row"
        await self.settler.fail(
            self.queue, (Failed(change.revision, change.attempts, "WorkerDied", reason) for change in deadly)
        )
        await self._embed_and_settle([change for change in changes if change.attempts <= MAX_ATTEMPTS], encoder)
        return bool(changes)

    async def _clean(self) -> None:
        if self.may_hold_leases_of_the_dead:
            await self.queue.expire()
            self.may_hold_leases_of_the_dead = False
        await self.queue.forget()
        if self._is_forgetting or time.monotonic() - self._forgotten > FORGET_EVERY:
            self._is_forgetting = await self.queue.forget_truncated()
        if time.monotonic() - self._forgotten > FORGET_EVERY:
            await self.queue.forget_failures()
            self._forgotten = time.monotonic()

    async def _embed_and_settle(self, changes: Sequence[Change], encoder: Encoder) -> None:
        """Embed batch by batch; while one is in the model the one before it is settled, and the next stands in line."""
        encode = _encode_of(self.queue.vectorizer, encoder)
        batches = iter(self._batches(changes))
        waiting: list[Embedded] = []
        settled_at = time.monotonic()
        with _Line(self._inference, encode, self.queue.vectorizer.on_truncate) as line:
            line.add(next(batches, None))
            while batch := line.first:
                line.add(next(batches, None))
                outcomes = await self._outcomes(batch, changes)
                line.pop()
                failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
                if len(failed) == len(outcomes) or any(outcome.permanent for outcome in failed):
                    await self._check_health(encode, failed[0])
                waiting += [outcome for outcome in outcomes if isinstance(outcome, Embedded)]
                await self.settler.fail(self.queue, failed)
                if len(waiting) >= self.settler.pace.size or time.monotonic() - settled_at > SETTLE_EVERY:
                    await self.settler.settle(self.queue, waiting)
                    waiting = []
                    settled_at = time.monotonic()
                if self._stop.is_set():
                    break
        await self.settler.settle(self.queue, waiting)

    async def _outcomes(self, batch: _Batch, held: Sequence[Change]) -> list[Outcome]:
        """Wait for one batch; while it lasts, the leases of all that is ``held`` are renewed."""
        try:
            while not (await asyncio.wait((batch.outcomes,), timeout=self.queue.renew_in))[0]:
                with suppress(*HELD_BY_OTHERS):
                    await self.queue.renew(change.revision for change in held)
            return batch.outcomes.result()
        except ModelTimeoutError as error:
            return [Failed(change.revision, change.attempts, "ModelTimeout", str(error)) for change in batch.changes]

    async def _check_health(self, encode: Encode, failed: Failed) -> None:
        """Raise ModelOutputError if the model cannot embed any text or image: then nothing is wrong with the rows."""
        sound = SOUND_IMAGE if self.queue.vectorizer.embeds_images else "a text"
        [outcome] = await self._inference.run(ROWS, embed, [Change(failed.revision, sound, 1)], encode)
        if isinstance(outcome, Failed):
            raise ModelOutputError(f"The model fails on every text: {outcome.error_class}: {outcome.error}")

    def _batches(self, changes: Sequence[Change]) -> Iterable[list[Change]]:
        same: dict[Content, list[Change]] = {}
        for change in changes:
            same.setdefault(change.text, []).append(change)
        lengths = [_length(text) for text in same]
        budget = BATCH_CHARACTERS_WHILE_ASKED if self._inference.was_asked_lately else BATCH_CHARACTERS
        groups = list(same.values())
        batches = plan_batches(lengths, budget=budget, most=BATCH_ROWS)
        return ([change for i in batch for change in groups[i]] for batch in batches)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that are in the model, or in line for it."""

    changes: list[Change]
    outcomes: asyncio.Future[list[Outcome]]


class _Line:
    """The batches that are in the model and in line for it; what is left of them at the end is called off."""

    def __init__(self, inference: Inference, encode: Encode, on_truncate: OnTruncate) -> None:
        self._inference = inference
        self._encode = encode
        self._on_truncate = on_truncate
        self._batches: deque[_Batch] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for batch in self._batches:
            batch.outcomes.cancel()

    @property
    def first(self) -> _Batch | None:
        """The batch whose outcomes come next."""
        return self._batches[0] if self._batches else None

    def add(self, changes: list[Change] | None) -> None:
        """Put rows in line, if there are any."""
        if changes is not None:
            call = self._inference.run(ROWS, embed, changes, self._encode, self._on_truncate)
            self._batches.append(_Batch(changes, asyncio.ensure_future(call)))

    def pop(self) -> None:
        """Take the first batch out."""
        self._batches.popleft()


def _encode_of(vectorizer: Vectorizer, encoder: Encoder) -> Encode:
    """Return the call that embeds what the rows of a vectorizer hold."""
    if vectorizer.embeds_images:
        encode = cast("ImageEncoder", encoder).encode_images  # modalities: see create_vectorizer
        return lambda images: Counted(encode(images), np.zeros(len(images), dtype=np.int64), None)
    prompt = vectorizer.document_prompt
    return lambda texts: encoder.encode_counted([prompt + text for text in texts])


def _length(text: Content) -> int:
    """Return what a text or image counts in its batch, in characters."""
    if isinstance(text, bytes):
        return IMAGE_COUNTED
    # a very long text goes alone
    return BATCH_CHARACTERS if len(text) > VERY_LONG else min(len(text), LONGEST_COUNTED)
