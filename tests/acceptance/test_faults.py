"""Faults under real worker processes: hung, stopped and cut off; users' locks, isolation and triggers in the way."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from tests.acceptance.test_worker_process import (
    embedded_rows,
    is_done,
    is_done_or_dead,
    leased,
    load,
    own_server,
    process,
)
from tests.support import rows, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.test_worker_process import Process
    from tests.support import Database

    Connection = psycopg.Connection[Any]

ENCODER = FakeEncoder(8)
LIMIT = ("--model-timeout", "0.5")


def wrong(connection: Connection, query: str = "select title, embedding::text from articles") -> list[str | None]:
    """Return the texts whose vector is missing, or is not theirs."""
    found = rows(connection, query)
    known = {text: ENCODER.encode([text])[0] for text, _ in found if text}
    return [
        text
        for text, vector in found
        if (vector is None) != (not text)
        or (text and not np.allclose(np.fromstring(vector[1:-1], sep=","), known[text]))
    ]


def is_done_or_dead_in_a_hurry(connection: Connection, worker: Process) -> bool:
    """Look, and let what waits for its next attempt wait no longer."""
    connection.execute(
        "update pgsbert.lease_1 set claimed_until = clock_timestamp()"
        " where worker is null and failed_at is null and claimed_until > clock_timestamp()"
    )
    return is_done_or_dead(connection, worker)


def stop(worker: Process) -> None:
    """Stop it as Ctrl-Z does, and return when it stands."""
    worker.send(signal.SIGSTOP)
    status = Path(f"/proc/{worker.pid}/stat")
    wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")


@contextmanager
def stopped(worker: Process) -> Iterator[None]:
    """Have it stand still in the block."""
    stop(worker)
    yield
    worker.send(signal.SIGCONT)


def has_grown(names: list[str], by: int, *, since: int) -> bool:
    return len(names) >= since + by


def has_settled_more(worker: Process, than: int) -> bool:
    return worker.settled() > than


# The model


def test_a_text_that_hangs_ends_as_a_failure_and_its_neighbours_are_stored(
    articles: Connection, database: Database
) -> None:
    load(articles, 40, "fake:hang")
    load(articles, 40)
    codes: list[int] = []
    while not is_done(articles):
        assert len(codes) < 3
        with process(database.dsn, *LIMIT, ready=False) as worker:
            # as a supervisor does, start another when one ends
            wait_until(partial(is_done_or_dead_in_a_hurry, articles, worker))
            if not worker.is_running():
                codes.append(worker.wait(10))
                assert worker.has_logged("3 calls of the model hang")
    assert codes == [1]
    assert rows(articles, "select key, attempts, error_class, error from pgsbert.failures") == [
        (["41"], 5, "ModelTimeout", "The model did not return within 0.5 s.")
    ]
    assert embedded_rows(articles) == 80


def test_a_model_that_hangs_on_every_text_costs_no_row_its_attempts(articles: Connection, database: Database) -> None:
    articles.execute("update pgsbert.model set document_prompt = 'fake:hang ' where name = 'fake-8'")
    load(articles, 3)
    with process(database.dsn, *LIMIT, ready=False) as worker:
        assert worker.wait(30) == 1
    assert rows(articles, "select 1 from pgsbert.lease_1 where attempts > 0 or worker is not null") == []
    articles.execute("update pgsbert.model set document_prompt = '' where name = 'fake-8'")
    with process(database.dsn, *LIMIT):
        wait_until(lambda: is_done(articles))
    assert embedded_rows(articles) == 3


def test_a_question_that_hangs_is_told_so_and_those_beside_and_after_it_are_answered(
    articles: Connection, database: Database
) -> None:
    ask = "select pgsbert.embed(%s, 'fake-8')::text"

    def embed(text: str) -> str:
        with database.connect() as connection:
            connection.execute("set pgsbert.timeout = '30s'")
            return str(rows(connection, ask, text)[0])

    with process(database.dsn, *LIMIT) as worker, ThreadPoolExecutor(3) as threads:
        # the row is in the model when the questions come
        load(articles, 0, "fake:hang")
        wait_until(lambda: leased(articles))
        beside, hanging = threads.submit(embed, "beside"), threads.submit(embed, "fake:hang")
        with pytest.raises(psycopg.Error, match=r"did not return within 0\.5 s") as raised:
            hanging.result(30)
        assert raised.value.sqlstate == "PB009"
        assert beside.result(30)
        worker.close()
    with process(database.dsn):
        assert embed("after")


def test_the_question_in_the_model_is_answered_before_a_worker_ends(articles: Connection, database: Database) -> None:
    ask = "select pgsbert.embed(array(select 'fake:slow ' || i from generate_series(1, 5) as i), 'fake-8')"
    with process(database.dsn) as worker, ThreadPoolExecutor(1) as threads:
        asking = threads.submit(database.execute, ask)
        wait_until(lambda: rows(articles, "select 1 from pgsbert.request where worker is not null"))
        worker.send(signal.SIGTERM)
        assert asking.result(30)
        assert worker.wait(10) == 0


# The process


def test_a_stopped_worker_is_replaced_and_its_late_vectors_change_nothing(
    articles: Connection, database: Database
) -> None:
    load(articles, 0, *(f"fake:slow {i}" for i in range(10)))
    with process(database.dsn) as victim:
        wait_until(lambda: leased(articles))
        stop(victim)
        articles.execute("update articles set title = 'edited ' || id where id % 2 = 0")
        # it holds the awake lock, so nobody is notified
        with process(database.dsn, "--poll", "0.2") as other:
            wait_until(lambda: rows(articles, "select count(*) from articles where embedding is not null")[0] >= 5)
            # as after a minute
            articles.execute(
                "update pgsbert.worker set seen_at = seen_at - interval '1 minute' where pid = %s", [victim.pid]
            )
            wait_until(lambda: is_done(articles), timeout=60)
            assert other.has_logged("workers_died")
            load(articles, 0, *(f"fake:slow {i}" for i in range(30, 33)))
            victim.send(signal.SIGCONT)
            wait_until(lambda: len([line for line in victim.log if " started " in line]) == 2)
            load(articles, 50)
            wait_until(lambda: is_done(articles))
        load(articles, 50)
        wait_until(lambda: is_done(articles))
        assert victim.is_running()
    assert wrong(articles) == []


# The server


def test_users_and_the_same_worker_go_on_after_restarts_under_load() -> None:
    stop, acknowledged = threading.Event(), list[str]()

    def write(number: int) -> None:
        names = (f"{number} {i}" for i in count())
        while not stop.is_set():
            with suppress(psycopg.OperationalError), psycopg.connect(dsn, autocommit=True) as connection:
                for name in names:
                    connection.execute("insert into articles (title) values (%s)", [name])
                    acknowledged.append(name)
                    if stop.wait(0.001):
                        return
            stop.wait(0.05)

    with own_server() as server, process(server.dsn()) as worker, ThreadPoolExecutor(3) as threads:
        dsn = server.dsn()
        writers = [threads.submit(write, number) for number in range(3)]
        try:
            for mode in ("fast", "immediate"):
                wait_until(partial(has_grown, acknowledged, 30, since=len(acknowledged)))
                with psycopg.connect(dsn, autocommit=True) as connection:
                    wait_until(lambda: embedded_rows(connection) > 0)
                restarted = server._pg_ctl("restart", "-m", mode, "-l", str(server.log))
                assert restarted.returncode == 0, restarted.stderr
            wait_until(partial(has_grown, acknowledged, 30, since=len(acknowledged)))
        finally:
            stop.set()
        for writer in writers:
            writer.result(30)
        with psycopg.connect(dsn, autocommit=True) as connection:
            wait_until(lambda: is_done(connection), timeout=60)
            assert set(acknowledged) <= set(rows(connection, "select title from articles"))
            assert wrong(connection) == []
        assert worker.is_running()


def test_an_index_build_that_was_cut_off_is_done_again(articles: Connection, database: Database) -> None:
    load(articles, 50)
    building = (
        "select pid from pg_stat_activity where datname = current_database()"
        " and application_name = 'pgsbert index' and wait_event_type = 'Lock' and query like 'create index%'"
    )
    with process(database.dsn) as worker, database.connect() as holder, holder.transaction(force_rollback=True):
        # what a user who writes holds: the build waits for it, settles do not
        holder.execute("lock table articles in row exclusive mode")
        wait_until(lambda: rows(articles, building))
        articles.execute(f"select pg_terminate_backend(pid) from ({building}) as b")
        wait_until(lambda: worker.has_logged("index_put_off"))
        holder.execute("rollback")
        valid = (
            "select i.indisvalid from pg_index as i join pg_class as c on c.oid = i.indexrelid"
            " join pg_am as am on am.oid = c.relam where am.amname = 'hnsw'"
        )
        wait_until(lambda: rows(articles, valid) == [True])
        assert worker.is_running()


# Users


def test_a_full_batch_of_rows_that_are_gone_is_passed_by(articles: Connection, database: Database) -> None:
    load(articles, 500)
    articles.execute("alter table articles disable trigger user")
    articles.execute("delete from articles")
    articles.execute("alter table articles enable trigger user")
    load(articles, 5, *(f"fake:slow {i}" for i in range(12)))
    with process(database.dsn):
        wait_until(lambda: embedded_rows(articles) >= 5)
        # these are in the model, or wait for it
        articles.execute("delete from articles where embedding is null")
        wait_until(lambda: is_done(articles))
        load(articles, 5)
        wait_until(lambda: is_done(articles))
        wait_until(lambda: rows(articles, "select count(*) from pgsbert.lease_1") == [0])
    assert wrong(articles) == []


def test_rows_that_a_long_transaction_holds_keep_no_other_waiting(articles: Connection, database: Database) -> None:
    load(articles, 300)
    with process(database.dsn), psycopg.connect(database.dsn) as holder:
        holder.execute("select from articles where id <= 20 for update")
        holder.execute("update articles set title = 'edited' where id between 21 and 40")
        load(articles, 50)
        wait_until(lambda: embedded_rows(articles) >= 310)
        assert rows(articles, "select count(*) from articles where id <= 40 and embedding is not null") == [0]
        holder.commit()
        wait_until(lambda: is_done(articles))
    assert wrong(articles) == []


def test_locks_on_the_whole_table_under_load_fail_no_user_and_no_worker(
    articles: Connection, database: Database
) -> None:
    stop = threading.Event()

    def write(number: int) -> int:
        with database.connect() as connection:
            for i in count():
                connection.execute(
                    "insert into articles (title) select %s || ' ' || i from generate_series(1, 50) as i",
                    [f"{number} {i}"],
                )
                connection.execute("update articles set title = title || '!' where id %% 20 = %s", [number])
                if stop.wait(0.005):
                    return i
        raise AssertionError

    def lock(number: int) -> Iterator[str]:
        yield f"alter table articles add column more_{number} int"
        yield "lock table articles in access exclusive mode; update articles set body = 'locked' where id % 50 = 0"
        yield "lock table articles in share mode; insert into articles (title) values ('shared')"
        yield "truncate articles"

    with process(database.dsn) as worker, ThreadPoolExecutor(3) as threads:
        writers = [threads.submit(write, number) for number in range(2)]
        try:
            for number in range(5):
                for statement in lock(number):
                    wait_until(partial(has_settled_more, worker, worker.settled()))
                    with articles.transaction():
                        articles.execute(statement)
        finally:
            stop.set()
        assert all(writer.result(30) > 0 for writer in writers)
        wait_until(lambda: is_done(articles), timeout=60)
        assert not worker.has_logged("Traceback|turn_failed|connection_lost")
    assert wrong(articles, "select concat_ws(E'\\n', title, body), embedding::text from articles") == []
    assert rows(articles, "select 1 from pgsbert.failures") == []


LEVELS = [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE]


def edit_around_a_settle(connection: Connection, database: Database, worker: Process, strict: Connection) -> None:
    """Edit a row, let it be settled after the snapshot of a strict transaction, and edit it there."""
    with stopped(worker):
        connection.execute("update articles set title = title || '!' where id = 1")
        strict.execute("select count(*) from articles")
    wait_until(lambda: is_done(connection))
    strict.execute("update articles set title = title || '?' where id = 1")
    strict.commit()


@pytest.mark.parametrize("level", LEVELS, ids=["repeatable read", "serializable"])
def test_with_a_side_table_a_strict_transaction_never_meets_the_worker(
    connection: Connection, database: Database, level: psycopg.IsolationLevel
) -> None:
    connection.execute("create table articles (id bigint generated always as identity primary key, title text)")
    connection.execute("select pgsbert.create_vectorizer('articles', '{title}', model => 'fake-8', storage => 'table')")
    load(connection, 20)
    with process(database.dsn) as worker, psycopg.connect(database.dsn) as strict:
        strict.isolation_level = level
        wait_until(lambda: is_done(connection))
        for _ in range(3):
            edit_around_a_settle(connection, database, worker, strict)
        wait_until(lambda: is_done(connection))
    both = "select s.title, v.embedding::text from articles as s left join articles_embedding as v using (id)"
    assert wrong(connection, both) == []


@pytest.mark.parametrize("level", LEVELS, ids=["repeatable read", "serializable"])
def test_with_column_storage_a_strict_writer_of_the_settled_row_must_repeat_and_no_other(
    articles: Connection, database: Database, level: psycopg.IsolationLevel
) -> None:
    load(articles, 20)
    with process(database.dsn) as worker, psycopg.connect(database.dsn) as strict:
        strict.isolation_level = level
        wait_until(lambda: is_done(articles))
        with pytest.raises(psycopg.errors.SerializationFailure):
            edit_around_a_settle(articles, database, worker, strict)
        strict.rollback()
        strict.execute("update articles set title = title || '?' where id = 1")
        strict.commit()
        wait_until(lambda: is_done(articles))
        # a settle of other rows is nothing to it
        with stopped(worker):
            articles.execute("update articles set title = title || '!' where id > 1")
            strict.execute("select count(*) from articles")
        wait_until(lambda: is_done(articles))
        strict.execute("update articles set title = title || '.' where id = 1")
        strict.commit()
        wait_until(lambda: is_done(articles))
    assert wrong(articles) == []


def test_the_tables_own_update_triggers_run_and_what_they_refuse_fails_alone(
    articles: Connection, database: Database
) -> None:
    articles.execute("alter table articles add column updated_at timestamptz")
    articles.execute(
        "create function stamp() returns trigger language plpgsql as $$ begin"
        " if new.title like 'refused%' then raise exception 'read only'; end if;"
        " new.updated_at := clock_timestamp(); return new; end $$"
    )
    articles.execute("create trigger stamp before update on articles for each row execute function stamp()")
    load(articles, 30, "refused 1", "refused 2")
    load(articles, 30)
    with process(database.dsn):
        wait_until(lambda: is_done(articles))
    assert rows(articles, "select title from articles where embedding is null order by id") == [
        "refused 1",
        "refused 2",
    ]
    assert rows(articles, "select count(*) from articles where updated_at is not null") == [60]
    assert rows(articles, "select key, error_class, error from pgsbert.failures order by key") == [
        (["31"], "RaiseException", "read only"),
        (["32"], "RaiseException", "read only"),
    ]
