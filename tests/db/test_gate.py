"""Sleeping and waking: with a poll of a minute only wake-ups can save a row, and each is needed to be seen in time."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Semaphore
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pgsbert.types import Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]

AWAKE_LOCK = "1885827938, 1"
A_MINUTE = timedelta(seconds=60)


class Gated(FakeEncoder):
    """An encoder that waits for permission before every call."""

    def __init__(self) -> None:
        super().__init__(8)
        self.permits = Semaphore(0)

    def encode(self, texts: Sequence[str], /) -> Vectors:
        self.permits.acquire()
        return super().encode(texts)


def embedded(connection: Connection) -> int:
    return int(rows(connection, "select count(*) from articles where embedding is not null")[0])


def has_embedded(connection: Connection, count: int) -> bool:
    return embedded(connection) == count


def wait_until_asleep(connection: Connection, workers: int = 1) -> None:
    """Return when so many workers have run the last statement before a sleep."""
    wait_until(
        lambda: (
            rows(
                connection,
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name = 'pgsbert rows' and state = 'idle' and query like '%min(l.claimed_until)%'",
            )
            == [workers]
        )
    )


def test_no_row_waits_for_the_poll_while_many_write(articles: Connection, database: Database) -> None:
    def write(seed: int) -> None:
        chance = random.Random(seed)
        with database.connect() as connection:
            for number in range(25):
                connection.execute("insert into articles (title) values (%s)", [f"{seed} {number}"])
                # letting the worker fall asleep now and then is what makes the gate change hands
                if chance.random() < 0.3:
                    wait_until(lambda: not rows(connection, "select 1 from pgsbert.pending_1"), timeout=20)

    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE), ThreadPoolExecutor(8) as threads:
        started = time.monotonic()
        list(threads.map(write, range(8)))
        wait_until(lambda: embedded(articles) == 200, timeout=20)
        assert time.monotonic() - started < 40


def test_a_commit_that_began_while_a_worker_was_awake_is_seen_before_it_sleeps(
    articles: Connection, database: Database
) -> None:
    encoder = Gated()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE), psycopg.connect(database.dsn) as slow:
        articles.execute("insert into articles (title) values ('first')")
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1"))
        # the worker is awake, so this one does not notify; it commits after the worker began to go to sleep
        slow.execute("insert into articles (title) values ('second')")
        encoder.permits.release(100)
        wait_until(lambda: rows(articles, f"select pg_try_advisory_lock_shared({AWAKE_LOCK})") == [True])
        articles.execute("select pg_advisory_unlock_all()")
        slow.commit()
        wait_until(lambda: embedded(articles) == 2, timeout=10)


def test_a_commit_notifies_only_while_no_worker_is_awake(articles: Connection, database: Database) -> None:
    with database.connect() as listener, database.connect() as first, database.connect() as second:
        listener.execute("listen pgsbert")
        articles.execute(f"select pg_advisory_lock({AWAKE_LOCK})")
        first.execute("insert into articles (title) values ('while awake')")
        articles.execute(f"select pg_advisory_unlock({AWAKE_LOCK})")
        second.execute("insert into articles (title) values ('while asleep')")
        heard = [notification.pid for notification in listener.notifies(timeout=10, stop_after=1)]
        assert heard == [second.info.backend_pid]


def test_rows_are_embedded_while_a_foreign_transaction_stays_open(articles: Connection, database: Database) -> None:
    poll = timedelta(seconds=1)
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=poll), psycopg.connect(database.dsn) as foreign:
        foreign.execute("select pg_current_xact_id()")
        for number in range(1, 6):
            articles.execute("insert into articles (title) values ('a')")
            wait_until(partial(has_embedded, articles, number), timeout=3)


def test_the_poll_finds_rows_that_did_not_notify(articles: Connection, database: Database) -> None:
    poll = timedelta(seconds=0.3)
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=poll), database.connect() as listener:
        listener.execute("listen pgsbert")
        articles.execute("set pgsbert.notify = off")
        articles.execute("insert into articles (title) values ('a')")
        wait_until(lambda: embedded(articles) == 1, timeout=5)
        assert articles.info.backend_pid not in [n.pid for n in listener.notifies(timeout=0)]


def test_a_deferred_row_is_tried_again_long_before_the_poll(articles: Connection, database: Database) -> None:
    encoder = Gated()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE), psycopg.connect(database.dsn) as holder:
        articles.execute("insert into articles (title) values ('a')")
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1"))
        holder.execute("select from articles for update")
        encoder.permits.release(100)
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1 where deferred > 0"))
        holder.rollback()
        wait_until(lambda: embedded(articles) == 1, timeout=5)


def test_a_second_worker_joins_when_a_claim_comes_back_full(articles: Connection, database: Database) -> None:
    busy, helper = Gated(), FakeEncoder(8)
    with run_worker(database.dsn, encoder=busy, poll=A_MINUTE):
        articles.execute("insert into articles (title) values ('first')")
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1"))
        with run_worker(database.dsn, encoder=helper, poll=A_MINUTE):
            wait_until_asleep(articles)
            # the first worker is awake and holds the gate: this wakes nobody
            articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 200) as i")
            assert helper.texts == 0
            busy.permits.release()
            # the first worker has four turns of 32 in hand, all others are the helper's
            wait_until(lambda: embedded(articles) == 1 + 200 - 128, timeout=10)
            busy.permits.release(100)
            wait_until(lambda: embedded(articles) == 201, timeout=10)


def test_a_locked_table_holds_up_no_other_table(articles: Connection, database: Database) -> None:
    articles.execute("create table notes (id int primary key, body text)")
    articles.execute("select pgsbert.create_vectorizer('notes', columns => '{body}', model => 'fake-8')")
    encoder = Gated()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE), psycopg.connect(database.dsn) as holder:
        [worker] = rows(articles, "select id from pgsbert.worker")
        articles.execute("insert into articles (title) values ('in the model')")
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1"))
        articles.execute("insert into articles (title) values ('not claimed yet')")
        articles.execute("insert into notes values (1, 'a')")
        holder.execute("lock table articles in access exclusive mode")
        encoder.permits.release(100)
        wait_until(lambda: rows(articles, "select 1 from notes where embedding is not null"), timeout=5)
        # what was claimed and could not be read is nobody's again
        wait_until(lambda: not rows(articles, "select 1 from pgsbert.lease_1 where worker is not null"), timeout=5)
        holder.commit()
        wait_until(lambda: embedded(articles) == 2, timeout=10)
        # it worked all the time, and did not start anew
        assert rows(articles, "select id from pgsbert.worker") == [worker]


def test_a_table_that_fails_in_an_unexpected_way_stops_no_other(
    articles: Connection, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    articles.execute("create table notes (id int primary key, body text)")
    articles.execute("select pgsbert.create_vectorizer('notes', columns => '{body}', model => 'fake-8')")
    articles.execute("alter table pgsbert.lease_1 add constraint nothing_fits check (attempts is null)")
    articles.execute("insert into articles (title) values ('a')")
    articles.execute("insert into notes values (1, 'a')")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: rows(articles, "select 1 from notes where embedding is not null"), timeout=5)
        articles.execute("alter table pgsbert.lease_1 drop constraint nothing_fits")
        wait_until(lambda: embedded(articles) == 1, timeout=10)
    assert any(record.exc_info and "vectorizer=articles" in record.message for record in caplog.records)


class Sick(FakeEncoder):
    """An encoder that fails on every text until it is healed."""

    healed = False

    def encode(self, texts: Sequence[str], /) -> Vectors:
        vectors = super().encode(texts)
        if not self.healed:
            raise RuntimeError("no memory left on the device")
        return vectors


def test_a_model_that_fails_on_every_text_costs_no_row_its_attempts(articles: Connection, database: Database) -> None:
    encoder = Sick(8)
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 20) as i")
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        wait_until(lambda: encoder.calls > 100)
        assert rows(articles, "select count(*) from pgsbert.lease_1 where failed_at is not null or attempts > 1") == [0]
        encoder.healed = True
        wait_until(lambda: embedded(articles) == 20, timeout=20)


def test_a_trigger_that_lacks_a_table_fails_its_rows_and_stops_no_other_table(
    connection: psycopg.Connection[Any], database: Database
) -> None:
    connection.execute(
        "create function audit() returns trigger language plpgsql as $$"
        " begin insert into audit_log values (1); return new; end; $$"
    )
    for name in ("audited", "plain"):
        connection.execute(f"create table {name} (id int primary key, body text)")
        connection.execute("select pgsbert.create_vectorizer(%s::regclass, '{body}', model => 'fake-8')", [name])
    connection.execute("create trigger audit before update on audited for each row execute function audit()")
    connection.execute("insert into audited values (1, 'a')")
    connection.execute("insert into plain values (1, 'a')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: rows(connection, "select id from plain where embedding is not null"))
        wait_until(lambda: rows(connection, "select key from pgsbert.failures where vectorizer = 'audited'"))
