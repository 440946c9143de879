"""The narrow windows, each forced open: one session is stopped inside a statement while another commits."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert.testing import FakeEncoder
from pgsbert.wakeups import Gate
from pgsbert.worker import rows as rows_module
from pgsbert.worker.inference import Inference
from pgsbert.worker.models import Models
from tests.db.test_queue import insert, outcomes, pending, right, user, work_off
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from pgsbert.queue import Queue
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

# What a claim of row 1 waits for in the middle of its statement: another lease of it, not committed yet.
LEASE_OF_ROW_1 = "insert into pgsbert.lease_1 (k1, revision, claimed_until) values (1, 0, now())"


async def patient(queue: Queue) -> Queue:
    """Let a worker wait for locks, so that it can be stopped inside a statement."""
    await queue._connection.execute("set lock_timeout = '30s'")
    return queue


async def until_waiting(connection: Connection) -> None:
    """Return when a session of this database waits for a lock."""
    deadline = time.monotonic() + 30
    waiting = (
        "select 1 from pg_locks as l join pg_stat_activity as a using (pid)"
        " where not l.granted and a.datname = current_database()"
    )
    while not rows(connection, waiting):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_an_edit_in_the_middle_of_a_claim_pairs_no_new_revision_with_an_old_text(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await patient(await open_queue())
    insert(articles, "first", "old")
    with user(database, LEASE_OF_ROW_1) as other:
        claiming = asyncio.ensure_future(queue.claim(10))
        await until_waiting(articles)
        # after the snapshot of the claim, before it locks this queue entry
        articles.execute("update articles set title = 'new' where id = 2")
        other.rollback()
        changes = await claiming
    await queue.settle(outcomes(changes))
    await work_off(queue, articles)
    assert right(articles) == {1: True, 2: True}


async def test_two_claims_under_way_at_once_take_no_row_twice(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    slow, quick = await patient(await open_queue(worker=1)), await open_queue(worker=2)
    insert(articles, "a", "b")
    with user(database, LEASE_OF_ROW_1) as other:
        claiming = asyncio.ensure_future(slow.claim(10))
        await until_waiting(articles)
        # its lease is not in the snapshot of the slow claim
        assert [change.text for change in await quick.claim(10)] == ["b"]
        other.rollback()
        assert [change.text for change in await claiming] == ["a"]


async def test_a_second_worker_claims_what_the_first_has_left(articles: Connection, open_queue: OpenQueue) -> None:
    first, second = await open_queue(worker=1), await open_queue(worker=2)
    insert(articles, *"abcd")
    assert [change.text for change in await first.claim(2)] == ["a", "b"]
    assert [change.text for change in await second.claim(2)] == ["c", "d"]


async def test_a_settle_that_waits_for_the_table_holds_nothing_that_a_truncate_needs(
    articles: Connection, database: Database, open_queue: OpenQueue
) -> None:
    queue = await patient(await open_queue())
    insert(articles, "a")
    changes = await queue.claim(10)
    with user(database, "set lock_timeout = '500ms'", "lock table articles in access exclusive mode") as truncating:
        settling = asyncio.ensure_future(queue.settle(outcomes(changes)))
        await until_waiting(articles)
        # its trigger deletes the queue entry
        truncating.execute("truncate articles")
        truncating.commit()
        assert await settling == set()
    assert pending(articles) == 0


async def test_a_side_table_gets_no_vector_of_a_text_that_was_edited_meanwhile(
    connection: Connection, open_queue: OpenQueue
) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', storage => 'table')")
    connection.execute("insert into notes values (1, 'before')")
    queue = await open_queue("notes")
    changes = await queue.claim(10)
    connection.execute("update notes set body = 'after'")
    assert await queue.settle(outcomes(changes)) == set()
    assert rows(connection, "select id from notes_embedding") == []
    assert len(await queue.settle(outcomes(await queue.claim(10)))) == 1
    assert rows(connection, "select id from notes_embedding") == [1]


async def test_no_worker_sleeps_before_it_has_seen_a_commit_that_told_nobody(
    articles: Connection, database: Database, open_queue: OpenQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, inference = asyncio.Event(), Inference()
    become_sleepy = Gate.become_sleepy
    with psycopg.connect(database.dsn) as writer:

        async def write_then_become_sleepy(gate: Gate) -> int:
            # a worker is awake, so this notifies nobody; nothing with a later transaction id has ended
            if not rows(articles, "select id from articles"):
                writer.execute("insert into articles (id, title) values (1, 'a')")
            return await become_sleepy(gate)

        async def commit_then_wait(event: asyncio.Event, seconds: float) -> None:
            # the worker has looked since it let writers notify again
            writer.commit()
            if seconds > 1:
                stop.set()  # it would sleep now, until the poll

        monkeypatch.setattr(Gate, "become_sleepy", write_then_become_sleepy)
        monkeypatch.setattr(rows_module, "wait_for", commit_then_wait)
        connection = (await open_queue())._connection
        worker = rows_module.Rows(
            connection,
            worker=1,
            gate=Gate(connection),
            models=Models(lambda model: FakeEncoder(8), inference),
            inference=inference,
            changed=asyncio.Event(),
            catalog_changed=asyncio.Event(),
            stop=stop,
            poll=timedelta(minutes=1),
            sweep_every=timedelta(minutes=10),
        )
        await worker.run(drain=False)
    assert right(articles) == {1: True}
