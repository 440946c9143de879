"""What operators look at: status, failures, workers, models; and what they do about failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.errors import ModelNotFoundError
from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from tests.support import Database

PgConnection = psycopg.Connection[Any]


def states(connection: PgConnection) -> list[Any]:
    return rows(connection, "select state, pending, failed, workers from pgsbert.status")


def test_status_follows_the_life_of_a_vectorizer(database: Database, connection: PgConnection) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute("insert into notes select i, 'word' || i from generate_series(1, 20) as i")
    connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', index => 'none')")
    assert states(connection) == [("filling", 0, 0, 0)]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: states(connection) == [("active", 0, 0, 1)])
        connection.execute("select pgsbert.pause_vectorizer('notes')")
        connection.execute("update notes set body = body || '!' where id <= 3")
        assert states(connection) == [("paused", 3, 0, 1)]
        (oldest,) = rows(connection, "select oldest_pending from pgsbert.status")
        assert timedelta(0) <= datetime.now(UTC) - oldest < timedelta(seconds=30)
        connection.execute("select pgsbert.resume_vectorizer('notes')")
        wait_until(lambda: states(connection) == [("active", 0, 0, 1)])
        assert rows(connection, "select oldest_pending from pgsbert.status") == [None]
        wait_until(lambda: rows(connection, "select rate > 0 from pgsbert.status") == [True])
        wait_until(lambda: rows(connection, "select rate from pgsbert.status") == [0])
        connection.execute("analyze notes")
        assert rows(connection, "select name, source::text, model, rows, reason from pgsbert.status") == [
            ("notes", "notes", "fake-8", 20, None)
        ]
        connection.execute("alter table notes drop body cascade")
        wait_until(lambda: states(connection) == [("broken", 0, 0, 1)])
        assert rows(connection, "select reason from pgsbert.status") == ['column "body" of public.notes was dropped']
    assert states(connection) == [("broken", 0, 0, 0)]


def test_a_vectorizer_whose_key_comes_back_is_no_longer_broken(database: Database, connection: PgConnection) -> None:
    connection.execute("create table notes (id int not null, body text, constraint one_id unique (id))")
    connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', index => 'none')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("insert into notes values (1, 'one')")
        connection.execute("call pgsbert.wait_until_synced('notes')")
        connection.execute("alter table notes drop constraint one_id")
        wait_until(lambda: rows(connection, "select state from pgsbert.status") == ["broken"])
        connection.execute("update notes set body = 'changed meanwhile'; insert into notes values (2, 'new')")
        connection.execute("alter table notes add constraint one_id unique (id)")
        wait_until(lambda: states(connection) == [("active", 0, 0, 1)])
        vectors = [str(vector.tolist()) for vector in FakeEncoder(8).encode(["changed meanwhile", "new"])]
        assert rows(connection, "select embedding = any (%s::vector[]) from notes", vectors) == [True, True]


def fail_two_rows(database: Database, connection: PgConnection) -> None:
    """Leave rows (1, 'a') and (3, 'c') of pairs failed, and (2, 'b') embedded."""
    connection.execute("create table pairs (id int, part text, body text, primary key (id, part))")
    connection.execute("select pgsbert.create_vectorizer('pairs', '{body}', model => 'fake-8', index => 'none')")
    connection.execute("insert into pairs values (1, 'a', 'fake:raise'), (2, 'b', 'fine'), (3, 'c', 'fake:raise too')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        (number,) = rows(connection, "select id from pgsbert.vectorizer")

        def both_failed() -> bool:
            # the waits between attempts are not what is tested here
            connection.execute(
                f"update pgsbert.lease_{number} set claimed_until = now() where failed_at is null and worker is null"
            )
            return rows(connection, "select failed from pgsbert.status") == [2]

        wait_until(both_failed)


def test_failures_name_key_class_attempts_and_time(database: Database, connection: PgConnection) -> None:
    fail_two_rows(database, connection)
    found = rows(
        connection,
        "select vectorizer, key, attempts, error_class, error, now() - failed_at < '1 min'"
        " from pgsbert.failures order by key",
    )
    assert found == [
        ("pairs", ["1", "a"], 5, "RuntimeError", "fake:raise was in a text", True),
        ("pairs", ["3", "c"], 5, "RuntimeError", "fake:raise was in a text", True),
    ]
    assert rows(connection, "select id from pairs where embedding is not null") == [2]
    assert states(connection) == [("active", 0, 2, 0)]


def test_failures_are_retried_discarded_or_mended_by_an_edit(database: Database, connection: PgConnection) -> None:
    fail_two_rows(database, connection)
    assert rows(connection, "select pgsbert.retry_failures('pairs')") == [2]
    assert states(connection) == [("active", 2, 0, 0)]
    assert rows(connection, "select pgsbert.retry_failures('pairs'), pgsbert.discard_failures('pairs')") == [(0, 0)]
    connection.execute("update pairs set body = 'mended'")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('pairs')")
    assert rows(connection, "select count(embedding) from pairs") == [3]
    assert rows(connection, "select count(*) from pgsbert.failures") == [0]


def test_discarded_failures_are_forgotten_and_stay_without_a_vector(
    database: Database, connection: PgConnection
) -> None:
    fail_two_rows(database, connection)
    assert rows(connection, "select pgsbert.discard_failures('pairs')") == [2]
    assert states(connection) == [("active", 0, 0, 0)]
    assert rows(connection, "select count(embedding) from pairs") == [1]


def test_a_worker_is_seen_with_its_heartbeat_until_it_stops(database: Database, connection: PgConnection) -> None:
    with run_worker(database.dsn):
        ((first, alive, host, pid),) = rows(
            connection, "select seen_at, alive, host <> '', pid > 0 from pgsbert.workers"
        )
        assert (alive, host, pid) == (True, True, True)
        wait_until(lambda: rows(connection, "select seen_at > %s from pgsbert.workers", first) == [True])
        connection.execute(
            "insert into pgsbert.worker (host, pid, version, seen_at) values ('gone', 1, '0', now() - interval '1 min')"
        )
        assert rows(connection, "select alive from pgsbert.workers where host = 'gone'") in ([False], [])
    wait_until(lambda: rows(connection, "select count(*) from pgsbert.workers where alive") == [0])


def test_models_say_where_they_are_present_and_why_not(database: Database, connection: PgConnection) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)) as running:

        def missing(model: Any) -> Any:
            raise ModelNotFoundError(f"{model.name} is nowhere.")

        connection.execute("select pgsbert.embed('text', 'fake-8')")
        running.load = missing  # type: ignore[method-assign]
        running.worker._models._load = missing
        with pytest.raises(psycopg.Error, match=r"fake-384 is nowhere\.") as raised:
            connection.execute("select pgsbert.embed('text', 'fake-384')")
        assert raised.value.sqlstate == "PB009"
        (worker,) = rows(connection, "select id from pgsbert.worker")
        wait_until(
            lambda: (
                rows(connection, "select workers from pgsbert.models where name = 'fake-384'")
                == [{str(worker): "fake-384 is nowhere."}]
            )
        )
        assert rows(
            connection, "select workers, kind, is_default, dimensions from pgsbert.models where name = 'fake-8'"
        ) == [({str(worker): "present (fake)"}, "bi-encoder", False, 8)]
        assert rows(connection, "select workers from pgsbert.models where name = 'fake-reranker'") == [{}]
