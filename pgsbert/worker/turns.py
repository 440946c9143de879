"""One vectorizer's turns: fill, claim, encode outside any transaction, settle; a rest where that cannot be done."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import numpy as np

from pgsbert.backoff import delay
from pgsbert.batching import estimate_tokens
from pgsbert.errors import ModelOutputError, ModelTimeoutError, PgsbertError
from pgsbert.events import log, log_traceback
from pgsbert.hand import Hand, Speed
from pgsbert.queue import TEXTS_AT_ONCE
from pgsbert.types import Counted
from pgsbert.work import Change, Embedded, Failed, embed
from pgsbert.worker.inference import LENGTHS, ROWS
from pgsbert.worker.settling import CATALOG_MOVED, HELD_BY_OTHERS, MAX_ATTEMPTS, Settler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pgsbert.queue import Queue, Vectorizer
    from pgsbert.types import Encoder, ImageEncoder
    from pgsbert.work import Content, Encode, Outcome
    from pgsbert.worker.inference import Inference
    from pgsbert.worker.walks import Walks

FORGET_EVERY = 60.0  # seconds between looks at failures and truncated texts whose rows are gone
SETTLE_EVERY = 0.2  # seconds that a vector waits for others, while the model goes on
BATCH_TOKENS = 2048  # padded size of a batch
BATCH_TOKENS_WHILE_ASKED = 512
BATCH_ROWS = 256
IN_LINE = 2  # batches: one in the model, and one for when it is done
LONGEST_COUNTED = 2048  # characters; beyond, texts are truncated and cost no more
IMAGE_COUNTED = 128  # tokens: a model looks at all images in the same number of pixels
VERY_LONG = 250_000  # characters; the tokenizer reads all of them, and takes 150 times their size of memory meanwhile

# eight by eight grey pixels, as a PNG
SOUND_IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000008000000080800000000e164e1570000"
    "00104944415478da636c60800026068a180026080090b5310a910000000049454e44ae426082"
)

ALONE, IN_COMPANY = timedelta(seconds=1), timedelta(seconds=0.25)  # what a turn takes at most, about
SPEED = Speed(32.0, least=16, most=1024)  # rows a second, at first; the bounds are those of a turn, in rows
# so many turns are in hand where no other vectorizer waits for them: the more texts there are to choose from, the
# nearer in length are those of a batch
TURNS_IN_HAND = 4
MOST_HELD = 1024  # rows
WORTH_A_CLAIM = 4  # the hand is filled when a quarter of it is empty

REST_FIRST = timedelta(seconds=0.2)
REST_MOST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Rest:
    """How often in a row a vectorizer could not be worked on, until when it is left alone, and why."""

    times: int
    until: float
    reason: Exception


class Turns:
    """The turns of one vectorizer, whatever it is called at the moment; their paces last as long as the worker.

    What was claimed is in the hand, then in line for the model, then settled. Where it is the only vectorizer with
    something to do, hand and line outlast a turn, so that the model is never idle.
    """

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
        self.is_due = False  # whether the last look found rows to try again
        self._encoder = encoder
        self._inference = inference
        self._stop = stop
        self._speed = SPEED
        self._hand = Hand()
        self._line = _Line()
        self._embedded: list[Embedded] = []  # to be settled
        self._settle_at = 0.0  # monotonic
        self._renew_at = 0.0  # monotonic; while anything is held
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

    @property
    def is_holding(self) -> bool:
        """Whether there are claimed rows that are not settled."""
        return self._held > 0

    @property
    def _held(self) -> int:
        return len(self._hand) + len(self._line) + len(self._embedded)

    async def take(self, *, within: timedelta, is_alone: bool) -> bool:
        """Embed the next rows, as many as take about ``within``; returns whether there were any.

        All of them are settled then, unless ``is_alone``: then more are held, for the turns to come.
        """
        return await self._unless_resting(lambda: self._take(within.total_seconds(), is_alone))

    async def finish(self) -> None:
        """Embed and settle all that is held."""
        await self._unless_resting(self._finish)

    async def look(self) -> None:
        """Tidy the leases up and see whether there are rows to try again."""
        self.is_due = False
        await self._unless_resting(self._look)

    async def try_again(self) -> bool:
        """Embed rows whose earlier attempt came to nothing and is due; returns whether there were any."""
        return await self._unless_resting(self._try_again)

    def drop(self) -> None:
        """Forget what is held: its leases are released, or lost."""
        self._hand = Hand()
        self._line.call_off()
        self._embedded = []

    async def release(self) -> None:
        """Drop what is held and give its leases back."""
        self.drop()
        with suppress(*HELD_BY_OTHERS, *CATALOG_MOVED):
            await self.queue.release()

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
        self.drop()
        with suppress(*HELD_BY_OTHERS):
            await self.queue.release()
        return False

    async def _take(self, seconds: float, is_alone: bool) -> bool:
        encoder = await self._encoder(self.queue.vectorizer.model)
        portion = self._speed.portion(seconds)
        capacity = min(TURNS_IN_HAND * portion, MOST_HELD) if is_alone else portion
        found = await self._fill_hand(capacity, encoder)
        is_holding = self.is_holding
        started = time.monotonic()
        if is_alone:
            done = await self._work(encoder, most=portion, capacity=capacity, until=started + seconds)
        else:
            done = await self._work(encoder, most=portion)
        if done:
            self._speed = self._speed.after(rows=done, seconds=time.monotonic() - started)
        # a range between two looks at the queue, and none while there is anything in it
        idle = not is_holding and not self.queue.claimed and self.queue.vectorizer.filled
        swept = await self.walks.sweep(self.queue) if idle else 0
        return bool(found or is_holding or swept)

    async def _fill_hand(self, capacity: int, encoder: Encoder) -> int:
        """Claim what there is room for, and let the first fill go on where that is not full; returns the rows found."""
        room = capacity - self._held
        size = self._hand.size + sum(len(change.text) for change in self._line)
        if room * WORTH_A_CLAIM < capacity or size > TEXTS_AT_ONCE // 2:
            return 0
        started = time.monotonic()
        changes = await self.queue.claim(room)
        if not self.is_holding:
            self._renew_at = time.monotonic() + self.queue.renew_in
        await self.settler.fail(self.queue, self.queue.unreadable)
        # those whose rows are gone included
        claimed = self.queue.claimed
        if claimed:
            log(
                "claimed",
                vectorizer=self.queue.vectorizer.name,
                rows=claimed,
                vanished=claimed - len(changes),
                seconds=time.monotonic() - started,
            )
        if claimed == room:
            await self.queue.wake_others()
        filled = 0
        if claimed < room and not self.queue.vectorizer.filled:
            filled = await self.walks.fill(self.queue, most=2 * capacity)
        self._hand.add(changes, await self._lengths(changes, encoder))
        return claimed + filled

    async def _lengths(self, changes: Sequence[Change], encoder: Encoder) -> list[int]:
        """Return what the texts count in a batch: in the encoder's tokens, counted beside inference, if it can."""
        texts = [change.text for change in changes if isinstance(change.text, str)]
        prompt = self.queue.vectorizer.document_prompt
        beginnings = [prompt + text[:LONGEST_COUNTED] for text in texts]
        try:
            counted = await self._inference.run(LENGTHS, encoder.lengths, beginnings) if texts else []
        except Exception:  # a text that breaks the tokenizer fails alone, in the model
            counted = []
        known: dict[Content, int] = dict(zip(texts, counted, strict=False))
        return [_length(change.text, known.get(change.text)) for change in changes]

    async def _finish(self) -> bool:
        if not self.is_holding:
            return False
        await self._work(await self._encoder(self.queue.vectorizer.model), most=len(self._hand))
        return True

    async def _look(self) -> bool:
        await self._clean()
        due = await self.queue.next_due()
        self.is_due = due is not None and due <= 0
        return False

    async def _try_again(self) -> bool:
        encoder = await self._encoder(self.queue.vectorizer.model)
        changes = await self.queue.claim_again(self._speed.portion(ALONE.total_seconds()))
        self._renew_at = time.monotonic() + self.queue.renew_in
        await self.settler.fail(self.queue, self.queue.unreadable)
        deadly = [change for change in changes if change.attempts > MAX_ATTEMPTS]
        reason = f"the worker ended {MAX_ATTEMPTS} times while it embedded this row"
        await self.settler.fail(
            self.queue, (Failed(change.revision, change.attempts, "WorkerDied", reason) for change in deadly)
        )
        again = [change for change in changes if change.attempts <= MAX_ATTEMPTS]
        # not measured by the tokenizer, which may be what such a text breaks: in the model it is on its own
        self._hand.add(again, [_length(change.text) for change in again])
        await self._work(encoder, most=len(again))
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

    async def _work(self, encoder: Encoder, *, most: int, capacity: int = 0, until: float = 0.0) -> int:
        """Put ``most`` rows of the hand in line and settle what comes back; returns how many did.

        With a capacity, the hand is kept filled up to it while the model works, and the last batches stay in line for
        the next turn; this one ends at ``until``. Otherwise nothing stays in line.
        """
        encode = _encode_of(self.queue.vectorizer, encoder)
        done = 0
        left = most - self._put_in_line(encode, most)
        while (batch := self._line.first) and (not capacity or (left > 0 and time.monotonic() < until)):
            outcomes = await self._outcomes(batch)
            self._line.pop()
            left -= self._put_in_line(encode, left)
            done += len(outcomes)
            failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
            if len(failed) == len(outcomes) or any(outcome.permanent for outcome in failed):
                await self._check_health(encode, failed[0])
            self._embedded += [outcome for outcome in outcomes if isinstance(outcome, Embedded)]
            await self.settler.fail(self.queue, failed)
            if len(self._embedded) >= self.settler.pace.size or time.monotonic() > self._settle_at:
                await self._settle()
            if self._stop.is_set():
                break
            if capacity and left > 0:
                await self._fill_hand(capacity, encoder)
                left -= self._put_in_line(encode, left)
        await self._settle()
        return done

    async def _settle(self) -> None:
        embedded, self._embedded = self._embedded, []
        await self.settler.settle(self.queue, embedded)
        self._settle_at = time.monotonic() + SETTLE_EVERY

    def _put_in_line(self, encode: Encode, most: int) -> int:
        """Put batches of the hand in line while there is room, of about ``most`` rows; returns of how many they are."""
        put = 0
        while put < most and self._hand and self._line.has_room:
            budget = BATCH_TOKENS_WHILE_ASKED if self._inference.was_asked_lately else BATCH_TOKENS
            changes = self._hand.take(budget=budget, most=BATCH_ROWS)
            call = self._inference.run(ROWS, embed, changes, encode, self.queue.vectorizer.on_truncate)
            self._line.add(_Batch(changes, asyncio.ensure_future(call)))
            put += len(changes)
        return put

    async def _outcomes(self, batch: _Batch) -> list[Outcome]:
        """Wait for one batch; while it lasts, settle what came before and renew the leases of all that is held."""
        while not batch.outcomes.done():
            until = min(self._renew_at, self._settle_at) if self._embedded else self._renew_at
            await asyncio.wait((batch.outcomes,), timeout=max(until - time.monotonic(), 0.0))
            if self._embedded and time.monotonic() > self._settle_at:
                await self._settle()
            if time.monotonic() > self._renew_at:
                with suppress(*HELD_BY_OTHERS):
                    await self.queue.renew([held.revision for held in (*self._embedded, *self._line, *self._hand)])
                self._renew_at = time.monotonic() + self.queue.renew_in
        try:
            return batch.outcomes.result()
        except ModelTimeoutError as error:
            return [Failed(change.revision, change.attempts, "ModelTimeout", str(error)) for change in batch.changes]

    async def _check_health(self, encode: Encode, failed: Failed) -> None:
        """Raise ModelOutputError if the model cannot embed any text or image: then nothing is wrong with the rows."""
        sound = SOUND_IMAGE if self.queue.vectorizer.embeds_images else "a text"
        [outcome] = await self._inference.run(ROWS, embed, [Change(failed.revision, sound, 1)], encode)
        if isinstance(outcome, Failed):
            raise ModelOutputError(f"The model fails on every text: {outcome.error_class}: {outcome.error}")


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that are in the model, or in line for it."""

    changes: list[Change]
    outcomes: asyncio.Future[list[Outcome]]


class _Line:
    """The batches that are in the model and in line for it."""

    def __init__(self) -> None:
        self._batches: deque[_Batch] = deque()

    def __len__(self) -> int:
        return sum(len(batch.changes) for batch in self._batches)

    def __iter__(self) -> Iterator[Change]:
        return (change for batch in self._batches for change in batch.changes)

    @property
    def has_room(self) -> bool:
        """Whether the model may have to wait for another batch."""
        return len(self._batches) < IN_LINE

    @property
    def first(self) -> _Batch | None:
        """The batch whose outcomes come next."""
        return self._batches[0] if self._batches else None

    def add(self, batch: _Batch) -> None:
        """Let a batch stand last."""
        self._batches.append(batch)

    def pop(self) -> None:
        """Take the first batch out."""
        self._batches.popleft()

    def call_off(self) -> None:
        """Take all batches out; those that are not in the model yet never will be."""
        for batch in self._batches:
            # an error that nobody asks for would be logged
            batch.outcomes.add_done_callback(lambda outcomes: outcomes.cancelled() or outcomes.exception())
            batch.outcomes.cancel()
        self._batches.clear()


def _encode_of(vectorizer: Vectorizer, encoder: Encoder) -> Encode:
    """Return the call that embeds what the rows of a vectorizer hold."""
    if vectorizer.embeds_images:
        encode = cast("ImageEncoder", encoder).encode_images  # modalities: see create_vectorizer
        return lambda images: Counted(encode(images), np.zeros(len(images), dtype=np.int64), None)
    prompt = vectorizer.document_prompt
    return lambda texts: encoder.encode_counted([prompt + text for text in texts])


def _length(text: Content, tokens: int | None = None) -> int:
    """Return what a text or image counts in its batch, in tokens, which are estimated where nobody counted them."""
    if isinstance(text, bytes):
        return IMAGE_COUNTED
    if len(text) > VERY_LONG:
        return BATCH_TOKENS  # it goes alone
    return estimate_tokens(text[:LONGEST_COUNTED]) if tokens is None else tokens
