"""The queue, one verb at a time: whatever users and other workers do between two verbs, the right vector is stored."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.database import statement
from pgsbert.queue import LEASE_TIME, read_vectorizers
from pgsbert.testing import FakeEncoder
from pgsbert.work import Change, Embedded, Failed, embed
from pgsbert.worker import CUT_OFF
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Revision, Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

ENCODER = FakeEncoder(8)
NOW = timedelta(0)
HELD = (psycopg.errors.LockNotAvailable,)


def outcomes(changes: Sequence[Change]) -> list[Embedded]:
    made = embed(changes, ENCODER.encode_counted)
    return [outcome for outcome in made if isinstance(outcome, Embedded)]


def insert(connection: Connection, *titles: str) -> list[int]:
    return [rows(connection, "insert into articles (title) values (%s) returning id", title)[0] for title in titles]


def pending(connection: Connection) -> int:
    return int(rows(connection, "select count(*) from pgsbert.pending_1")[0])


def leases(connection: Connection) -> list[Any]:
    return rows(connection, "select k1, worker, attempts from pgsbert.lease_1 where failed_at is null order by k1")


def right(connection: Connection) -> dict[int, bool | None]:
    """Tell of each row whether its vector is that of its text; None for no vector."""
    found = {}
    query = "select id, concat_ws(E'\\n', title, body), embedding::text from articles"
    for key, text, vector in rows(connection, query):
        expected = ENCODER.encode([text])[0] if text else np.zeros(8)
        found[key] = None if vector is None else np.allclose(np.fromstring(vector[1:-1], sep=","), expected)
    return found


@contextmanager
def user(database: Database, *statements: str, isolation: psycopg.IsolationLevel | None = None) -> Iterator[Connection]:
    """Hold a user's transaction open after these statements; it ends as the block says, or by rollback."""
    with psycopg.connect(database.dsn) as connection:
        connection.isolation_level = isolation
        for statement in statements:
            connection.execute(statement)
        yield connection
        connection.rollback()


async def work_off(queue: Queue, connection: Connection) -> None:
    """Claim and settle until nothing is pending."""
    deadline = time.monotonic() + 15
    while pending(connection):
        assert time.monotonic() < deadline
        changes = await queue.claim(100) or await queue.claim_again()
        settled = await queue.settle(outcomes(changes)) if changes else set()
        await queue.defer(change.revision for change in changes if change.revision not in settled)


# One worker and one user


async def test_a_claimed_row_is_settled(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    changes = await queue.claim(10)
    assert sorted(change.text for change in changes) == ["a", "b"]
    assert len(leases(articles)) == 2
    assert await queue.settle(outcomes(changes)) == {change.revision for change in changes}
    assert (right(articles), pending(articles), leases(articles)) == ({1: True, 2: True}, 0, [])


async def test_a_row_edited_while_claimed_stays_pending(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "before", "neighbour")
    changes = await queue.claim(10)
    articles.execute("update articles set title = 'after' where id = 1")
    assert len(await queue.settle(outcomes(changes))) == 1
    assert (right(articles), pending(articles)) == ({1: None, 2: True}, 1)
    assert [change.text for change in await queue.claim(10)] == ["after"]


async def test_a_row_edited_back_to_the_same_text_is_embedded_again(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a")
    changes = await queue.claim(10)
    articles.execute("update articles set title = 'b'")
    articles.execute("update articles set title = 'a'")
    assert await queue.settle(outcomes(changes)) == set()
    await work_off(queue, articles)
    assert right(articles) == {1: True}


async def test_a_row_deleted_while_claimed_is_gone(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    changes = await queue.claim(10)
    articles.execute("delete from articles")
    assert await queue.settle(outcomes(changes)) == set()
    await queue.defer(change.revision for change in changes)
    wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1 where claimed_until < clock_timestamp()"))
    await queue.forget()
    assert (pending(articles), leases(articles)) == (0, [])


async def test_a_row_deleted_and_inserted_again_while_claimed_keeps_no_vector_of_its_predecessor(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "old")
    changes = await queue.claim(10)
    articles.execute("delete from articles")
    articles.execute("insert into articles (id, title) values (1, 'new')")
    assert await queue.settle(outcomes(changes)) == set()
    assert (right(articles), pending(articles)) == ({1: None}, 1)
    await work_off(queue, articles)
    assert right(articles) == {1: True}


async def test_a_row_that_lost_its_text_loses_its_vector(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    await work_off(queue, articles)
    changes = []
    articles.execute("update articles set title = 'b'")
    changes = await queue.claim(10)
    articles.execute("update articles set title = null")
    assert await queue.settle(outcomes(changes)) == set()
    await work_off(queue, articles)
    assert right(articles) == {1: None}


async def test_a_new_revision_is_never_paired_with_an_old_text(
    articles: Connection, database: Database, open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await open_queue()
    insert(articles, "old")
    execute = queue._execute

    async def edit_before_texts_are_read(name: str, **parameters: object) -> Any:
        if name == "texts":
            articles.execute("update articles set title = 'new'")
        return await execute(name, **parameters)

    with monkeypatch.context() as between:
        between.setattr(queue, "_execute", edit_before_texts_are_read)
        changes = await queue.claim(10)
    # the text is newer than the revision: that only fails the compare-and-set
    assert [change.text for change in changes] == ["new"]
    assert await queue.settle(outcomes(changes)) == set()
    await work_off(queue, articles)
    assert right(articles) == {1: True}


async def test_an_edit_that_commits_while_the_claim_waits_for_a_lease_is_not_lost(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "old")
    with user(database, "update articles set title = 'new'") as editor:
        assert await queue.claim(10) == []
        editor.commit()
    changes = await queue.claim(10)
    assert [change.text for change in changes] == ["new"]
    assert len(await queue.settle(outcomes(changes))) == 1


@pytest.mark.parametrize(
    "hold",
    ["select from articles where id = 1 for update", "update articles set title = 'edited' where id = 1"],
    ids=["row", "row and queue entry"],
)
async def test_settle_passes_by_what_a_user_holds(
    articles: Connection, database: Database, open_queue: OpenQueue, hold: str
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    changes = await queue.claim(10)
    with user(database, hold) as holder:
        # waiting would end in an error
        settled = await queue.settle(outcomes(changes))
        assert (right(articles), pending(articles)) == ({1: None, 2: True}, 1)
        await queue.defer(change.revision for change in changes if change.revision not in settled)
        holder.commit()
    await work_off(queue, articles)
    assert right(articles) == {1: True, 2: True}


async def test_a_deferred_row_counts_no_attempt_and_waits_longer_each_time(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a")
    [change] = await queue.claim(10)
    waits = []
    for _ in range(3):
        await queue.defer([change.revision])
        waits += rows(
            articles, "select extract(epoch from claimed_until - clock_timestamp())::float from pgsbert.lease_1"
        )
        articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
        [change] = await queue.claim_again()
        assert change.attempts == 1
    assert waits[0] < 0.11 < waits[1] < 0.21 < waits[2] < 0.41


# Two workers


async def test_two_workers_claim_disjoint_rows(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, *"abcdef")
    one, two, three = await first.claim(2), await second.claim(2), await first.claim(10)
    texts = [change.text for change in (*one, *two, *three)]
    assert sorted(texts) == list("abcdef")


async def test_a_claim_does_not_wait_for_another_that_is_under_way(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    # what a claim holds until it commits: its queue entries
    with user(database, "select from pgsbert.pending_1 where k1 = 1 for update"):
        assert [change.text for change in await queue.claim(10)] == ["b"]


async def test_a_row_edited_again_and_again_keeps_no_other_waiting(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    busy, *others = insert(articles, *(f"title {i}" for i in range(12)))
    for round_ in range(8):
        await queue.settle(outcomes(await queue.claim(2)))
        articles.execute("update articles set title = %s where id = %s", [f"edit {round_}", busy])
    # the busy row comes first by key, and is always queued
    assert not rows(articles, "select id from articles where id = any(%s) and embedding is null", others)


async def test_what_is_queued_during_a_pass_is_claimed_after_it(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a", "b", "c")
    first = await queue.claim(2)
    insert(articles, "d")
    rest = [await queue.claim(2), await queue.claim(2)]
    assert [len(first), *map(len, rest)] == [2, 1, 1]
    assert await queue.claim(2) == []


async def test_vectors_whose_lease_was_given_back_are_not_stored_and_nothing_is_lost(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a")
    changes = await queue.claim(10)
    await queue.release()
    assert await queue.settle(outcomes(changes)) == set()
    await work_off(queue, articles)
    assert list(right(articles).values()) == [True]


async def test_a_lease_that_ran_out_is_claimed_by_another_and_the_late_settle_is_harmless(
    articles: Connection, open_queue: OpenQueue
) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, "a")
    late = await first.claim(10)
    assert await second.claim_again() == []
    articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
    again = await second.claim_again()
    assert [(change.text, change.attempts) for change in again] == [("a", 2)]
    # same revision, same text: the first to come stores it, the second finds nothing to do
    assert len(await first.settle(outcomes(late))) == 1
    assert await second.settle(outcomes(again)) == set()
    assert (right(articles), pending(articles), leases(articles)) == ({1: True}, 0, [])


async def test_a_late_settle_of_an_edited_row_stores_nothing(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, "old")
    late = await first.claim(10)
    articles.execute("update articles set title = 'new'")
    fresh = await second.claim(10)
    assert await first.settle(outcomes(late)) == set()
    assert len(leases(articles)) == 1
    assert len(await second.settle(outcomes(fresh))) == 1
    assert right(articles) == {1: True}


async def test_release_gives_everything_back(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, "a", "b")
    await first.claim(10)
    articles.execute("update pgsbert.lease_1 set attempts = 3, claimed_until = clock_timestamp() where k1 = 1")
    [again] = await first.claim_again()
    assert again.attempts == 4
    await first.release()
    assert [change.text for change in await second.claim(10)] == ["b"]
    assert [(change.text, change.attempts) for change in await second.claim_again()] == [("a", 4)]


async def test_release_leaves_what_others_hold(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, "a")
    await first.claim(10)
    await second.release()
    assert leases(articles) == [(1, 1, 1)]


async def test_what_is_worked_on_for_long_stays_leased(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, "a", "b")
    changes = await first.claim(10)
    assert 0 < first.renew_in < LEASE_TIME.total_seconds() / 2
    articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
    # what another has taken meanwhile stays his
    articles.execute("update pgsbert.lease_1 set worker = 3 where k1 = 2")
    await first.renew(change.revision for change in changes)
    assert [change.text for change in await second.claim_again()] == ["b"]


class Waiting(FakeEncoder):
    """An encoder that returns when it is let go."""

    def __init__(self) -> None:
        super().__init__(8)
        self.go = Event()

    def encode(self, texts: Sequence[str], /) -> Vectors:
        self.go.wait(30)
        return super().encode(texts)


def test_a_worker_renews_its_leases_while_the_model_works(
    articles: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsbert.queue.RENEW_AFTER", timedelta(seconds=0.2))
    encoder = Waiting()
    with run_worker(database.dsn, encoder=encoder):
        insert(articles, "a", "b")
        wait_until(lambda: leases(articles))
        articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
        renewed = "select 1 from pgsbert.lease_1 where claimed_until > clock_timestamp() + interval '1 minute'"
        wait_until(lambda: rows(articles, renewed))
        encoder.go.set()
        wait_until(lambda: not pending(articles))


async def test_a_worker_that_beats_no_more_is_taken_for_dead(articles: Connection, open_queue: OpenQueue) -> None:
    register = "insert into pgsbert.worker (host, pid, version, seen_at) values ('h', 1, '0', {})"
    locked = f"{register} returning id, pg_advisory_lock(1885827939, id)"
    fresh, stopped = [
        rows(articles, locked.format(f"clock_timestamp() - interval '{age}'"))[0][0] for age in ("5 s", "61 s")
    ]
    queue = await open_queue(worker=0)
    cursor = await queue._connection.execute(statement("dead_workers"), {"worker": 0})
    assert await cursor.fetchall() == [(stopped,)]
    assert rows(articles, "select id from pgsbert.worker") == [fresh]


async def test_leases_of_workers_that_died_end(articles: Connection, open_queue: OpenQueue) -> None:
    alive = rows(articles, "insert into pgsbert.worker (host, pid, version) values ('h', 1, '0') returning id")[0]
    living, dead = await open_queue(worker=alive), await open_queue(worker=alive + 1)
    insert(articles, "a", "b")
    await living.claim(1)
    await dead.claim(1)
    await living.expire()
    assert [(change.text, change.attempts) for change in await living.claim_again()] == [("b", 2)]


# Failures


async def fail(queue: Queue, connection: Connection, times: int) -> Change:
    """Let every row fail so often, and return the last that was claimed."""
    claimed = await queue.claim(100)
    for _ in range(times):
        for change in claimed:
            await queue.try_later(Failed(change.revision, change.attempts, "ValueError", "no\0"), NOW)
        claimed = await queue.claim_again()
    return claimed[0]


async def test_rows_that_failed_once_come_together_and_those_that_failed_twice_alone(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, *"abc")
    for change in await queue.claim(10):
        await queue.try_later(Failed(change.revision, 1, "ValueError", "no"), NOW)
    together = await queue.claim_again()
    assert [change.attempts for change in together] == [2, 2, 2]
    for change in together:
        await queue.try_later(Failed(change.revision, 2, "ValueError", "no"), NOW)
    assert [change.attempts for change in await queue.claim_again()] == [3]


async def test_those_that_wait_longest_are_tried_first(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, *"abcd")
    await queue.claim(10)
    # as after a text took its worker with it for the third time: its neighbours have waited since the second
    for text, attempts, since in (("a", 3, "1 s"), ("b", 2, "3 s"), ("c", 1, "2 s"), ("d", 1, "0 s")):
        articles.execute(
            "update pgsbert.lease_1 as l set attempts = %s, claimed_until = clock_timestamp() - %s::interval"
            " from articles as a where a.id = l.k1 and a.title = %s",
            [attempts, since, text],
        )
    taken = [[change.text for change in await queue.claim_again()] for _ in range(3)]
    assert [sorted(texts) for texts in taken] == [["b"], ["c", "d"], ["a"]]


async def test_many_deferred_rows_come_together(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, *map(str, range(40)))
    await queue.defer(change.revision for change in await queue.claim(100))
    articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
    assert len(await queue.claim_again(limit=64)) == 40


async def test_a_failed_row_waits_its_delay(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    [change] = await queue.claim(10)
    await queue.try_later(Failed(change.revision, 1, "ValueError", "no"), timedelta(minutes=1))
    assert await queue.claim_again() == await queue.claim(10) == []
    due = await queue.next_due()
    assert due is not None
    assert 55 < due <= 60


async def test_a_row_given_up_leaves_the_queue_with_its_reason(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    change = await fail(queue, articles, 2)
    assert await queue.give_up(Failed(change.revision, 3, "ValueError", "no\0"))
    assert pending(articles) == 0
    assert rows(articles, "select k1, attempts, error_class, error, failed_at is not null from pgsbert.lease_1") == [
        (1, 3, "ValueError", "no", True)
    ]
    assert await queue.claim(10) == await queue.claim_again() == []


async def test_an_edited_row_is_not_given_up(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    [change] = await queue.claim(10)
    articles.execute("update articles set title = 'b'")
    assert not await queue.give_up(Failed(change.revision, 5, "ValueError", "no"))
    assert pending(articles) == 1


async def test_an_edit_of_a_failed_row_is_claimed_afresh(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a")
    change = await fail(queue, articles, 3)
    await queue.give_up(Failed(change.revision, 4, "ValueError", "no"))
    articles.execute("update articles set title = 'b'")
    [change] = await queue.claim(10)
    assert (change.text, change.attempts) == ("b", 1)
    assert len(await queue.settle(outcomes([change]))) == 1
    assert rows(articles, "select count(*) from pgsbert.lease_1") == [0]


async def test_a_failure_is_forgotten_with_its_row(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    for change in await queue.claim(10):
        await queue.give_up(Failed(change.revision, 1, "ValueError", "no"))
    articles.execute("delete from articles where id = 1")
    await queue.forget_failures()
    assert rows(articles, "select k1 from pgsbert.lease_1") == [2]


async def test_a_row_deleted_where_no_trigger_saw_it_is_dequeued(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    articles.execute("alter table articles disable trigger user")
    articles.execute("delete from articles where id = 1")
    assert [change.text for change in await queue.claim(10)] == ["b"]
    assert pending(articles) == 1
    assert [k1 for k1, *_ in leases(articles)] == [2]


# The walk over the existing rows


async def filled(queue: Queue, limit: int) -> list[int | None]:
    """Walk to the end; return how many rows each range passed."""
    passed = [await queue.fill(limit)]
    while passed[-1] == limit:
        passed.append(await queue.fill(limit))
    return passed


def refill(connection: Connection, titles: int) -> None:
    """Give rows that are not queued and a walk that has not begun."""
    connection.execute(f"insert into articles (title) select 't' || i from generate_series(1, {titles}) as i")
    connection.execute("delete from pgsbert.pending_1")
    connection.execute("select pgsbert.refresh('articles')")


async def test_the_walk_goes_on_where_it_was_left_by_another_worker(
    articles: Connection, open_queue: OpenQueue
) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    refill(articles, 25)
    assert (await first.fill(10), pending(articles)) == (10, 10)
    assert (await filled(second, 10), pending(articles)) == ([10, 5], 25)
    assert rows(articles, "select filled_at is not null from pgsbert.vectorizer") == [True]
    await work_off(first, articles)
    assert set(right(articles).values()) == {True}


async def test_two_workers_do_not_walk_the_same_range(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    refill(articles, 5)
    # what the walk of another worker holds until it commits
    with user(database, "select from pgsbert.vectorizer for no key update"):
        assert await queue.fill(10) is None
    assert await queue.fill(10) == 5


async def test_the_walk_waits_for_an_edit_no_longer_than_its_lock_timeout(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    refill(articles, 8)
    with user(database, "update articles set title = 'edited' where id = 6") as editor:
        started = time.monotonic()
        with pytest.raises(HELD):
            await queue.fill(10)
        assert time.monotonic() - started < 0.5
        assert await queue.fill(5) == 5
        # and the editor is not held up by the walk
        editor.execute("update articles set title = 'edited' where id in (2, 7)")
        editor.commit()
    await filled(queue, 10)
    await work_off(queue, articles)
    assert right(articles) == dict.fromkeys(range(1, 9), True)


async def test_a_walk_whose_worker_stands_still_in_a_range_does_not_keep_an_edit_waiting(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    refill(articles, 2)
    await queue._connection.execute("begin")
    await queue._execute("fill_reached")
    articles.execute("insert into articles (title) values ('c')")
    await queue._connection.execute("insert into pgsbert.pending_1 (k1, revision) values (1, 100)")
    # it has to wait for that entry; the server ends the walk's transaction after some seconds
    articles.execute("update articles set title = 'edited' where id = 1")
    with pytest.raises(CUT_OFF):
        await queue._connection.execute("commit")
    assert queue.is_cut_off


async def test_a_refresh_during_a_range_of_the_walk_begins_at_the_first_row(
    articles: Connection, open_queue: OpenQueue, database: Database
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b", "c")
    articles.execute("update pgsbert.vectorizer set filled_at = null")
    with user(database, "select from pgsbert.vectorizer for no key update") as worker:
        # a range under way: it has not committed its last key
        worker.execute("insert into pgsbert.fill_1 select max(id) from articles")
        refreshing = Thread(target=database.execute, args=("select pgsbert.refresh('articles')",))
        refreshing.start()
        wait_until(lambda: rows(articles, "select pid from pg_locks where not granted"))
        worker.commit()
    refreshing.join(10)
    assert rows(articles, "select count(*) from pgsbert.fill_1") == [0]
    assert await queue.fill(10) == 3


async def test_a_claim_of_vanished_rows_only_counts_as_work(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    articles.execute("insert into pgsbert.pending_1 (k1, revision) select i, -i from generate_series(1, 5) as i")
    assert await queue.claim(3) == []
    assert queue.claimed == 3
    assert pending(articles) == 2


async def test_rows_changed_during_the_walk_end_right(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    refill(articles, 20)
    await queue.fill(10)
    articles.execute("update articles set title = 'edited' where id in (3, 13)")
    articles.execute("delete from articles where id in (4, 14)")
    articles.execute("insert into articles (id, title) values (0, 'before'), (100, 'after')")
    await queue.claim(5)
    await queue.release()
    await filled(queue, 10)
    await work_off(queue, articles)
    assert right(articles) == dict.fromkeys([0, *range(1, 4), *range(5, 14), *range(15, 21), 100], True)


async def test_the_walk_queues_a_row_without_text_only_to_take_its_vector(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) values (''), ('a')")
    articles.execute("alter table articles disable trigger user")
    articles.execute("insert into articles (title, embedding) values (null, array_fill(1, array[8])::vector)")
    articles.execute("alter table articles enable trigger user")
    refill(articles, 0)
    await filled(queue, 10)
    assert pending(articles) == 2
    await work_off(queue, articles)
    assert right(articles) == {1: None, 2: True, 3: None}


# Locks on the whole table


@pytest.mark.parametrize(
    "statement",
    [
        "truncate articles",
        "alter table articles add column more int",
        "lock table articles in access exclusive mode",
        "lock table articles in share mode",
    ],
)
async def test_settle_gives_up_quickly_on_a_locked_table_and_nothing_deadlocks(
    articles: Connection, database: Database, open_queue: OpenQueue, statement: str
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    changes = await queue.claim(10)
    with user(database, statement) as holder:
        started = time.monotonic()
        with pytest.raises(HELD):
            await queue.settle(outcomes(changes))
        assert time.monotonic() - started < 0.5
        # the holder can touch everything a settle touches
        holder.execute("insert into articles (title) values ('c')")
        holder.commit()
    await queue.settle(outcomes(changes))
    await work_off(queue, articles)
    assert set(right(articles).values()) == {True}


async def test_a_truncate_that_meets_a_settle_under_way_waits_for_it_and_wins(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, *map(str, range(200)))
    changes = outcomes(await queue.claim(1000))
    truncate = Thread(target=lambda: database.execute("truncate articles"))
    truncate.start()
    for start in range(0, 200, 10):
        try:
            await queue.settle(changes[start : start + 10])
        except HELD:
            continue
    truncate.join(10)
    assert not truncate.is_alive()
    assert pending(articles) == 0


@pytest.mark.parametrize(
    "level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE], ids=["rr", "serializable"]
)
async def test_a_strict_transaction_on_another_row_is_not_disturbed(
    articles: Connection, database: Database, open_queue: OpenQueue, level: psycopg.IsolationLevel
) -> None:
    queue = await open_queue()
    insert(articles, "a", "b")
    with user(database, "select count(*) from articles", isolation=level) as strict:
        [change] = await queue.claim(1)
        assert len(await queue.settle(outcomes([change]))) == 1
        strict.execute("update articles set title = 'c' where id = 2")
        strict.commit()
    await work_off(queue, articles)
    assert right(articles) == {1: True, 2: True}


async def test_a_claim_alone_never_fails_a_strict_writer_of_the_same_row(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    insert(articles, "a")
    level = psycopg.IsolationLevel.REPEATABLE_READ
    with user(database, "select count(*) from articles", isolation=level) as strict:
        changes = await queue.claim(10)
        await queue.defer(change.revision for change in changes)
        strict.execute("update articles set title = 'b'")
        strict.commit()
    await work_off(queue, articles)
    assert right(articles) == {1: True}


# Plans


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("claim_fresh", {"limit": 64, "up_to": 2**62}),
        ("claim_again", {"limit": 64}),
        ("texts", {"revisions": list(range(20_001, 20_065)), "bytes": 2**20}),
        (
            "settle_column",
            {"revisions": list(range(20_001, 20_065)), "vectors": [None] * 64, "tokens": [None] * 64},
        ),
        ("settle_vanished", {"revisions": list(range(20_001, 20_065))}),
        ("renew", {"revisions": list(range(20_001, 20_065))}),
        ("next_due", {}),
    ],
)
async def test_the_plan_probes_indexes_however_long_the_queue_is(
    articles: Connection, open_queue: OpenQueue, name: str, parameters: dict[str, Any]
) -> None:
    queue = await open_queue()
    # planned when the tables were empty, as after an installation, and kept
    articles.execute("insert into articles (title) select 't' || i from generate_series(1, 20000) as i")
    articles.execute(
        "insert into pgsbert.lease_1 (k1, revision, claimed_until) select k1, revision, now() from pgsbert.pending_1"
    )
    everything = {"worker": 1, "lease_time": NOW, **parameters}
    cursor = await queue._connection.execute(
        psycopg.sql.SQL("explain {}").format(queue._names.statement(name)), everything
    )
    plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Seq Scan" not in plan
    assert "Index" in plan


async def test_revisions_are_unique_across_queues(articles: Connection, open_queue: OpenQueue) -> None:
    articles.execute("create table notes (id int primary key, body text)")
    articles.execute("select pgsbert.create_vectorizer('notes', columns => '{body}', model => 'fake-8')")
    insert(articles, "a")
    articles.execute("insert into notes values (1, 'a')")
    first: Revision = (await (await open_queue()).claim(1))[0].revision
    second: Revision = (await (await open_queue("notes")).claim(1))[0].revision
    assert first != second


async def test_what_is_dropped_while_the_catalog_is_read_is_left_out(
    articles: Connection, open_queue: Callable[..., Awaitable[Queue]]
) -> None:
    queue = await open_queue()
    # a drop that commits between two looks of one statement: the row is there, the queue is not
    articles.execute("drop table pgsbert.pending_1")
    assert await read_vectorizers(queue._connection) == []
