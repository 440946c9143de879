"""The sweep finds what no trigger saw: rows written past the triggers, partitions that came and went."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.models.fake import FakeEncoder
from pgsbert.queue import Swept
from pgsbert.work import Embedded, Failed, embed
from tests.support import Database, rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pgsbert.queue import Queue

    PgConnection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

ENCODER = FakeEncoder(8)
AT_ONCE = timedelta(0)
LATER = timedelta(hours=1)


@pytest.fixture(params=["column", "table"])
def note(request: pytest.FixtureRequest, connection: PgConnection) -> PgConnection:
    """Give a table note (id, body) with three embedded rows, for each storage."""
    connection.execute("create table note (id int primary key, body text)")
    connection.execute(
        "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', index => 'none', storage => %s)",
        [request.param],
    )
    connection.execute("insert into note values (10, 'ten'), (20, 'twenty'), (30, null), (40, 'forty')")
    return connection


async def work_off(queue: Queue) -> None:
    """Claim and settle until nothing is left to claim."""
    while True:
        changes = await queue.claim(100)
        if not queue.claimed:
            return
        await queue.settle([o for o in embed(changes, ENCODER.encode_counted) if isinstance(o, Embedded)])


async def filled(open_queue: OpenQueue, name: str = "note", *, worker: int = 1) -> Queue:
    """Open a queue and bring everything up to date."""
    queue: Queue = await open_queue(name, worker=worker)
    while await queue.fill(100):
        pass
    await work_off(queue)
    return queue


async def sweep(queue: Queue, limit: int = 100) -> list[Swept]:
    """Sweep from the beginning to the end."""
    ranges = []
    while (swept := await queue.sweep(limit, every=AT_ONCE)) is not None:
        ranges.append(swept)
        if swept.passed < limit:
            return ranges
    raise AssertionError("no sweep was due")


@contextmanager
def past_triggers(connection: PgConnection) -> Iterator[PgConnection]:
    connection.execute("set session_replication_role = replica")
    yield connection
    connection.execute("reset session_replication_role")


def pending(connection: PgConnection) -> list[Any]:
    return rows(connection, "select k1 from pgsbert.pending_1 order by 1")


def embedded(connection: PgConnection, table: str = "note") -> dict[int, bool]:
    """Tell of each row that has a vector whether it is that of its text; of a vector without a row, False."""
    (side,) = rows(connection, "select side::text from pgsbert.vectorizer")
    source = f"{side} as v left join {table} as s using (id)" if side else f"{table} as s"
    vector = "v.embedding" if side else "s.embedding"
    found = connection.execute(f"select id, s.body, {vector}::real[] from {source} where {vector} is not null")
    return {
        id_: bool(body) and vector == pytest.approx([float(x) for x in ENCODER.encode([body])[0]], abs=1e-6)
        for id_, body, vector in found.fetchall()
    }


async def test_a_sweep_queues_what_was_written_past_the_triggers_and_nothing_else(
    note: PgConnection, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    with past_triggers(note):
        note.execute("insert into note values (5, 'five'), (15, ''), (50, 'fifty')")
        note.execute("update note set body = null where id = 40")
    assert pending(note) == []
    assert await sweep(queue) == [Swept(passed=7, queued=3)]
    assert pending(note) == [5, 40, 50]
    await work_off(queue)
    assert embedded(note) == dict.fromkeys([5, 10, 20, 50], True)
    assert await sweep(queue) == [Swept(passed=7, queued=0)]


async def test_a_sweep_takes_the_vectors_of_rows_that_were_deleted_past_the_triggers(
    note: PgConnection, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    with past_triggers(note):
        note.execute("delete from note where id in (10, 40)")
    await sweep(queue, limit=1)
    await work_off(queue)
    assert embedded(note) == {20: True}
    assert pending(note) == []


async def test_rows_that_failed_are_left_alone(note: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    note.execute("insert into note values (50, 'fifty')")
    for change in await queue.claim(10):
        await queue.give_up(Failed(change.revision, 1, "ValueError", "no"))
    assert await sweep(queue) == [Swept(passed=5, queued=0)]


async def test_rows_that_wait_keep_their_revision(note: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    note.execute("insert into note values (50, 'fifty')")
    before = rows(note, "select revision from pgsbert.pending_1")
    await sweep(queue)
    assert rows(note, "select revision from pgsbert.pending_1") == before


async def test_a_sweep_goes_on_where_another_worker_left_it(note: PgConnection, open_queue: OpenQueue) -> None:
    first = await filled(open_queue)
    second = await open_queue("note", worker=2)
    with past_triggers(note):
        note.execute("insert into note values (5, 'five'), (25, 'more'), (50, 'fifty')")
    assert await first.sweep(3, every=AT_ONCE) == Swept(3, 1)
    assert await second.sweep(3, every=AT_ONCE) == Swept(3, 1)
    assert await first.sweep(3, every=AT_ONCE) == Swept(1, 1)
    assert pending(note) == [5, 25, 50]


async def test_a_sweep_is_due_after_its_time_or_when_it_is_asked_for(note: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    assert await queue.sweep(2, every=LATER) is None  # the first fill has just ended
    note.execute("select pgsbert.sweep('note')")
    assert await queue.sweep(2, every=LATER) == Swept(2, 0)
    note.execute("select pgsbert.sweep('note')")  # again from the first row
    assert await queue.sweep(4, every=LATER) == Swept(4, 0)
    assert await queue.sweep(4, every=LATER) == Swept(0, 0)
    assert await queue.sweep(4, every=LATER) is None
    note.execute("update pgsbert.vectorizer set swept_at = swept_at - interval '61 min'")
    assert await queue.sweep(9, every=LATER) == Swept(4, 0)


async def test_only_one_worker_sweeps_a_range(note: PgConnection, database: Database, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    with database.connect() as other, other.transaction():
        other.execute("select from pgsbert.vectorizer for no key update")
        assert await queue.sweep(9, every=AT_ONCE) is None
    assert await queue.sweep(9, every=AT_ONCE) is not None


async def test_a_refresh_ends_a_sweep_and_begins_at_the_first_row(note: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    assert await queue.sweep(2, every=AT_ONCE) == Swept(2, 0)
    note.execute("select pgsbert.refresh('note')")
    assert await queue.sweep(2, every=AT_ONCE) is None
    assert await queue.fill(100) == 4
    assert pending(note) == [10, 20, 40]
    # and the sweep after it begins at the first row too
    await work_off(queue)
    assert await queue.sweep(9, every=AT_ONCE) == Swept(4, 0)


async def test_a_text_that_was_edited_past_the_triggers_needs_a_refresh(
    note: PgConnection, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    with past_triggers(note):
        note.execute("update note set body = 'other' where id = 10")
    assert await sweep(queue) == [Swept(passed=4, queued=0)]
    note.execute("select pgsbert.refresh('note')")
    await filled(open_queue)
    assert embedded(note) == dict.fromkeys([10, 20, 40], True)


async def test_a_user_who_edits_a_row_is_not_held_up_by_a_sweep(
    note: PgConnection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    with past_triggers(note):
        note.execute("insert into note values (5, 'five'), (50, 'fifty')")
    with database.connect() as user, user.transaction():
        user.execute("update note set body = 'edited' where id = 5")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await queue.sweep(9, every=AT_ONCE)
        user.execute("update note set body = 'edited' where id in (10, 50)")
    await sweep(queue)
    await work_off(queue)
    assert embedded(note) == dict.fromkeys([5, 10, 20, 40, 50], True)


def test_a_worker_sweeps_by_itself_and_when_it_is_asked(note: PgConnection, database: Database) -> None:
    note.execute("insert into note select i, 'text ' || i from generate_series(100, 1500) as i")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        note.execute("call pgsbert.wait_until_synced('note')")
        with past_triggers(note):
            note.execute("insert into note values (1, 'one'), (9999, 'last')")
        note.execute("select pgsbert.sweep('note')")
        wait_until(lambda: {1, 9999} <= embedded(note).keys())
    with run_worker(database.dsn, encoder=FakeEncoder(8), sweep_every=timedelta(seconds=0.2)):
        with past_triggers(note):
            note.execute("delete from note where id > 1000; insert into note values (2, 'two')")
        expected = {1, 2, 10, 20, 40, *range(100, 1001)}
        wait_until(lambda: embedded(note) == dict.fromkeys(expected, True))


# Partitions


@pytest.fixture(params=["column", "table"])
def parted(request: pytest.FixtureRequest, connection: PgConnection) -> PgConnection:
    """Give a partitioned table note (id, body) with two partitions and two rows in each, for each storage."""
    connection.execute(
        "create table note (id int primary key, body text) partition by range (id);"
        "create table first partition of note for values from (0) to (100);"
        "create table second partition of note for values from (100) to (200);"
        "insert into note values (1, 'one'), (2, 'two'), (101, 'more'), (102, 'most')"
    )
    connection.execute(
        "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', index => 'none', storage => %s)",
        [request.param],
    )
    return connection


ATTACH = "alter table note attach partition third for values from (200) to (300)"


async def test_rows_of_an_attached_partition_are_embedded_whatever_vector_they_bring(
    parted: PgConnection, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    parted.execute("create table third (like note including all)")
    parted.execute("insert into third (id, body) values (201, 'x'), (202, 'y'), (203, null)")
    if "embedding" in rows(parted, "select attname from pg_attribute where attrelid = 'third'::regclass"):
        parted.execute("update third set embedding = '[1,1,1,1,1,1,1,1]'")
    assert await queue.sweep(9, every=LATER) is None
    parted.execute(ATTACH)
    assert await queue.sweep(3, every=LATER) == Swept(3, 0)
    assert (await queue.sweep(3, every=LATER)).queued >= 1  # type: ignore[union-attr]  # it is under way
    await queue.sweep(3, every=LATER)
    await work_off(queue)
    assert embedded(parted) == dict.fromkeys([1, 2, 101, 102, 201, 202], True)
    # and only once
    assert await queue.sweep(9, every=LATER) is None
    # from now on like the others
    parted.execute("insert into third (id, body) values (250, 'new')")
    assert pending(parted) == [250]


async def test_a_partition_that_comes_during_a_sweep_is_for_the_next(
    parted: PgConnection, open_queue: OpenQueue
) -> None:
    queue = await filled(open_queue)
    assert await queue.sweep(3, every=AT_ONCE) == Swept(3, 0)
    parted.execute("create table below (like note including all); insert into below (id, body) values (-1, 'minus')")
    parted.execute("alter table note attach partition below for values from (-100) to (0)")
    if parted.execute("select side from pgsbert.vectorizer").fetchone() == (None,):
        parted.execute("update below set embedding = '[1,1,1,1,1,1,1,1]'")
    else:
        parted.execute("insert into note_embedding values (-1, '[1,1,1,1,1,1,1,1]')")
    await sweep(queue)
    assert (await sweep(queue))[0].queued == 1
    await work_off(queue)
    assert embedded(parted) == dict.fromkeys([-1, 1, 2, 101, 102], True)


async def test_what_a_detached_partition_leaves_behind_goes(parted: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    parted.execute("update second set body = body || '!'; alter table note detach partition second")
    parted.execute("update second set body = body || '?'; insert into second (id, body) values (150, 'x')")
    assert pending(parted) == [101, 102]
    assert (await queue.sweep(9, every=LATER)) is not None
    await work_off(queue)
    assert pending(parted) == []
    assert embedded(parted) == dict.fromkeys([1, 2], True)
    assert rows(parted, "select tgname from pg_trigger where tgrelid = 'second'::regclass") == []


async def test_a_partition_that_returns_is_embedded_anew(parted: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    parted.execute("alter table note detach partition second; update second set body = 'edited'")
    await sweep(queue)
    parted.execute("alter table note attach partition second for values from (100) to (200)")
    await sweep(queue)
    await work_off(queue)
    assert embedded(parted) == dict.fromkeys([1, 2, 101, 102], True)


async def test_a_truncated_partition_leaves_no_vector(parted: PgConnection, open_queue: OpenQueue) -> None:
    queue = await filled(open_queue)
    parted.execute("update note set body = body || '!'; truncate second")
    await sweep(queue)
    await work_off(queue)
    assert pending(parted) == []
    assert embedded(parted) == dict.fromkeys([1, 2], True)


@pytest.mark.parametrize("parted", ["table"], indirect=True)
def test_a_worker_finds_an_attached_partition_by_itself(parted: PgConnection, database: Database) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=timedelta(seconds=0.2)):
        parted.execute("call pgsbert.wait_until_synced('note')")
        parted.execute("create table third (like note including all); insert into third (id, body) values (201, 'x')")
        parted.execute(ATTACH)
        wait_until(lambda: 201 in embedded(parted))
