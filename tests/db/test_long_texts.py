"""A claim reads texts up to a number of bytes: the rest is put back, none is lost, none waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgsbert import queue as queues
from pgsbert.testing import FakeEncoder
from pgsbert.work import Change, Embedded, embed
from pgsbert.worker import inference
from pgsbert.worker.turns import VERY_LONG
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import psycopg

    from pgsbert.queue import Queue
    from pgsbert.types import Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]


@pytest.fixture
def read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a claim read two texts of 60 bytes."""
    monkeypatch.setattr(queues, "TEXTS_AT_ONCE", 100)


def insert(connection: Connection, *lengths: int) -> None:
    for number, length in enumerate(lengths):
        connection.execute(
            "insert into articles (title, body) values (chr(97 + %s), repeat('x', %s))", [number, length - 2]
        )


async def settle(queue: Queue, changes: Sequence[Change]) -> None:
    outcomes = embed(changes, FakeEncoder(8).encode_counted)
    assert len(await queue.settle([o for o in outcomes if isinstance(o, Embedded)])) == len(changes)


def leased(connection: Connection) -> list[int]:
    return rows(connection, "select k1 from pgsbert.lease_1 order by k1")


@pytest.mark.usefixtures("read_at_once")
async def test_a_claim_reads_as_many_texts_as_are_not_too_long_together_and_puts_the_rest_back(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, 60, 60, 60, 60, 60)
    changes = await queue.claim(10)
    assert [len(change.text) for change in changes] == [60, 60]
    assert leased(articles) == [1, 2]
    # there is more: other workers are told, and the first fill waits
    assert queue.claimed == 10


@pytest.mark.usefixtures("read_at_once")
async def test_a_text_longer_than_that_is_read_alone(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, 5000, 60, 5000, 60)
    seen = []
    while changes := await queue.claim(10):
        seen.append([len(change.text) for change in changes])
        await settle(queue, changes)
    assert seen == [[5000], [60, 5000], [60]]


@pytest.mark.usefixtures("read_at_once")
async def test_a_long_row_that_is_edited_again_and_again_keeps_no_other_waiting(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, *[500] * 6)
    for number in range(8):
        await settle(queue, await queue.claim(10))
        # it comes first by key, and no second text is read beside it
        articles.execute("update articles set title = %s where id = 1", [str(number)])
    assert rows(articles, "select id from articles where id > 1 and embedding is null") == []


@pytest.mark.usefixtures("read_at_once")
async def test_what_is_put_back_on_a_later_attempt_keeps_its_attempts(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, 500, 500)
    first = await queue.claim(10)
    second = await queue.claim(10)
    articles.execute("update pgsbert.lease_1 set worker = null, claimed_until = clock_timestamp()")
    [again] = await queue.claim_again()
    assert again.attempts == 2
    assert rows(articles, "select attempts, worker from pgsbert.lease_1 where revision <> %s", again.revision) == [
        (1, None)
    ]
    [other] = await queue.claim_again()
    assert {again.revision, other.revision} == {first[0].revision, second[0].revision}
    assert other.attempts == 2


class Recording(FakeEncoder):
    """An encoder that remembers how many texts came with each very long one."""

    def __init__(self) -> None:
        super().__init__(8)
        self.beside: list[int] = []

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if any(len(text) > VERY_LONG for text in texts):
            self.beside.append(len(texts) - 1)
        return super().encode(texts)


def test_a_very_long_text_goes_through_the_model_alone(
    articles: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # while questions come batches are small anyhow, and loading the model counts as one
    monkeypatch.setattr(inference, "LATELY", 0.0)
    insert(articles, *[VERY_LONG + 1] * 5, *[100] * 20)
    encoder = Recording()
    with run_worker(database.dsn, encoder=encoder):
        wait_until(lambda: rows(articles, "select pgsbert.is_synced('articles')") == [True])
    assert encoder.beside == [0] * 5
    assert rows(articles, "select count(embedding) from articles") == [25]
