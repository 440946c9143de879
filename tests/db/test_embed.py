"""embed() from SQL: in every kind of transaction and plan, after every kind of loss, never for longer than asked."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.requests import Requests
from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgsbert.types import Model, Vectors
    from tests.support import Database, RunningWorker

    Connection = psycopg.Connection[Any]

EMBED = "select pgsbert.embed(%s, 'fake-384')::real[]"
GATEWAY_SESSIONS = "select pid from pg_stat_activity where usename = 'pgsbert_gateway' and datname = current_database()"


class Stalled(FakeEncoder):
    """An encoder that does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__(384)
        self.go = Event()
        self.seen: list[str] = []

    def encode(self, texts: Sequence[str], /) -> Vectors:
        self.seen += texts
        self.go.wait(30)
        return super().encode(texts)


@pytest.fixture
def stalled(database: Database) -> Iterator[Stalled]:
    """Run a worker whose model does not answer."""
    encoder = Stalled()
    with run_worker(database.dsn, encoder=encoder):
        yield encoder
        encoder.go.set()


def expected(text: str) -> list[float]:
    vector: list[float] = FakeEncoder(384).encode([text])[0].tolist()
    return vector


def asked(connection: Connection, text: str) -> list[float]:
    return [float(np.float32(number)) for number in rows(connection, EMBED, text)[0]]


def error_of(connection: Connection, query: str, *parameters: object) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught:
        rows(connection, query, *parameters)
    return caught.value


# Where it works


def test_the_embedding_is_the_models_to_the_last_bit(connection: Connection, worker: RunningWorker) -> None:
    for text in ("a question", "Ünïcode 🙂 'quoted' \\ back", "x" * 100_000):
        assert asked(connection, text) == expected(text)


@pytest.mark.parametrize(
    "mode", ["read committed", "read committed read only", "repeatable read", "serializable", "serializable read only"]
)
def test_it_answers_in_every_kind_of_transaction(connection: Connection, worker: RunningWorker, mode: str) -> None:
    rows(connection, f"begin isolation level {mode}")
    assert asked(connection, "a") == expected("a")
    assert asked(connection, "b") == expected("b")
    connection.execute("commit")


def test_it_answers_in_plpgsql(connection: Connection, worker: RunningWorker) -> None:
    connection.execute(
        "do $$ declare found vector; begin"
        " found := pgsbert.embed('a', 'fake-384');"
        " begin found := pgsbert.embed('b', 'fake-384'); raise 'no' ; exception when others then null; end;"
        " perform set_config('test.found', found::text, false); end $$"
    )
    assert rows(connection, "select current_setting('test.found')::vector = pgsbert.embed('b', 'fake-384')") == [True]


def test_it_answers_in_a_prepared_statement_with_a_generic_plan(connection: Connection, worker: RunningWorker) -> None:
    connection.execute("set plan_cache_mode = force_generic_plan")
    connection.execute("prepare ask(text) as select pgsbert.embed($1, 'fake-384')::real[]")
    for text in ("a", "b", "a"):
        [found] = rows(connection, f"execute ask('{text}')")
        assert [float(np.float32(number)) for number in found] == expected(text)


def test_many_texts_come_back_in_their_order_with_null_for_null(connection: Connection, worker: RunningWorker) -> None:
    [found] = rows(
        connection,
        "select array(select v::text from unnest(pgsbert.embed(array['a', null, 'b', 'a'], 'fake-384')) as v)",
    )
    alone = [rows(connection, "select pgsbert.embed(%s, 'fake-384')::text", text)[0] for text in ("a", "b")]
    assert found == [alone[0], None, alone[1], alone[0]]


def documents(connection: Connection, count: int, index: str = "none") -> None:
    connection.execute("create table documents (id int primary key, body text)")
    connection.execute(f"insert into documents select i, 'text number ' || i from generate_series(1, {count}) as i")
    connection.execute(
        f"select pgsbert.create_vectorizer('documents', columns => '{{body}}', model => 'fake-384', index => '{index}')"
    )
    connection.execute("call pgsbert.wait_until_synced('documents')")


PARALLEL = (
    "set max_parallel_workers_per_gather = 2",
    "set parallel_setup_cost = 0",
    "set parallel_tuple_cost = 0",
    "set min_parallel_table_scan_size = 0",
)
NEAREST = "select id from documents order by embedding <=> (select pgsbert.embed(%s, 'fake-384')) limit 5"


def parallel_search(connection: Connection, text: str) -> None:
    plan = "\n".join(rows(connection, f"explain (analyze, costs off) {NEAREST}", text))
    assert "Gather" in plan
    assert "Workers Launched: 2" in plan
    assert rows(connection, NEAREST, text)[0] == int(text.split()[-1])


def test_it_answers_in_a_parallel_plan_also_after_its_connection_was_lost(
    connection: Connection, worker: RunningWorker
) -> None:
    documents(connection, 500)
    for statement in PARALLEL:
        rows(connection, statement)
    parallel_search(connection, "text number 77")
    assert rows(connection, f"select pg_terminate_backend(pid) from ({GATEWAY_SESSIONS}) as s") == [True]
    wait_until(lambda: not rows(connection, GATEWAY_SESSIONS))
    parallel_search(connection, "text number 78")


def test_the_index_serves_the_search_and_the_model_is_asked_once(connection: Connection, worker: RunningWorker) -> None:
    documents(connection, 3000, "hnsw")
    scans = (
        "select idx_scan from pg_stat_user_indexes join pg_index using (indexrelid)"
        " where relname = 'documents' and indisvalid and not indisunique"
    )
    [before] = wait_until(lambda: rows(connection, scans))
    connection.execute("analyze documents")
    calls = worker.encoder.calls
    assert rows(connection, NEAREST, "text number 77")[0] == 77
    assert worker.encoder.calls == calls + 1
    connection.execute("select pg_stat_force_next_flush()")
    assert wait_until(lambda: rows(connection, scans) != [before])
    assert rows(connection, scans) == [before + 1]


# The memo


def test_a_text_is_asked_once_a_transaction(connection: Connection, worker: RunningWorker, database: Database) -> None:
    def requests() -> int:
        return int(rows(connection, "select last_value from pgsbert.request_id_seq")[0])

    asked(connection, "warm")
    before = requests()
    with connection.transaction():
        for _ in range(3):
            assert asked(connection, "a") == expected("a")
        rows(connection, "select pgsbert.embed('a', 'fake-384') from generate_series(1, 10)")
    assert requests() == before + 1
    asked(connection, "a")
    assert requests() == before + 2
    # the worker remembers what sessions may not
    assert worker.encoder.calls == 2


def test_other_texts_and_other_models_are_not_mixed_up(connection: Connection, worker: RunningWorker) -> None:
    with connection.transaction():
        assert asked(connection, "a") == expected("a")
        assert asked(connection, "b") == expected("b")
        assert error_of_model(connection, "fake-reranker").sqlstate == "PB004"
        assert asked(connection, "a") == expected("a")


def error_of_model(connection: Connection, model: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute("select pgsbert.embed('a', %s)", [model])
    return caught.value


def test_the_memo_keeps_64_texts_and_ends_with_the_transaction(connection: Connection, worker: RunningWorker) -> None:
    cursors = "select count(*) from pg_cursors where name like 'pgsbert%'"
    with connection.transaction():
        rows(connection, "select pgsbert.embed('text ' || i, 'fake-384') is null from generate_series(1, 70) as i")
        assert rows(connection, cursors) == [64]
        assert asked(connection, "text 70") == expected("text 70")
    assert rows(connection, cursors) == [0]


def test_a_rollback_to_a_savepoint_costs_only_a_question(connection: Connection, worker: RunningWorker) -> None:
    with connection.transaction():
        assert asked(connection, "a") == expected("a")
        with connection.transaction(force_rollback=True):
            assert asked(connection, "b") == expected("b")
        with pytest.raises(psycopg.errors.DivisionByZero), connection.transaction():
            connection.execute("select pgsbert.embed('c', 'fake-384'), 1 / 0")
        for text in ("a", "b", "c"):
            assert asked(connection, text) == expected(text)


# Losses and limits


def test_a_lost_gateway_connection_is_opened_again(connection: Connection, worker: RunningWorker) -> None:
    for text in ("a", "b", "c"):
        assert asked(connection, text) == expected(text)
        assert rows(connection, f"select pg_terminate_backend(pid) from ({GATEWAY_SESSIONS}) as s") == [True]


def test_one_gateway_connection_serves_a_session(connection: Connection, worker: RunningWorker) -> None:
    for text in ("a", "b", "c"):
        asked(connection, text)
    assert len(rows(connection, GATEWAY_SESSIONS)) == 1


def test_no_connection_is_kept_when_none_is_wanted(connection: Connection, worker: RunningWorker) -> None:
    connection.execute("set pgsbert.keep_connection = off")
    for text in ("a", "b"):
        assert asked(connection, text) == expected(text)
    wait_until(lambda: not rows(connection, GATEWAY_SESSIONS), timeout=5)


def test_no_connection_is_kept_after_a_timeout_either(connection: Connection, stalled: Stalled) -> None:
    connection.execute("set pgsbert.keep_connection = off")
    connection.execute("set pgsbert.timeout = '200ms'")
    assert error_of(connection, EMBED, "a").sqlstate == "PB002"
    wait_until(lambda: not rows(connection, GATEWAY_SESSIONS), timeout=5)


def test_statement_timeout_ends_the_wait(connection: Connection, stalled: Stalled) -> None:
    connection.execute("set statement_timeout = '300ms'")
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        rows(connection, EMBED, "a")
    assert 0.25 < time.monotonic() - started < 0.6
    connection.execute("set statement_timeout = 0")
    stalled.go.set()
    assert asked(connection, "b") == expected("b")


def test_a_cancel_ends_the_wait(connection: Connection, database: Database, stalled: Stalled) -> None:
    def cancel() -> None:
        with database.connect() as other:
            wait_until(lambda: stalled.seen)
            other.execute("select pg_cancel_backend(%s)", [connection.info.backend_pid])

    thread = Thread(target=cancel)
    thread.start()
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        rows(connection, EMBED, "a")
    assert time.monotonic() - started < 5
    thread.join()
    stalled.go.set()
    assert asked(connection, "b") == expected("b")


def test_no_reply_in_time_is_an_error_and_the_late_question_is_skipped(
    connection: Connection, stalled: Stalled
) -> None:
    connection.execute("set pgsbert.timeout = '200ms'")
    started = time.monotonic()
    first, second = (error_of(connection, EMBED, text) for text in ("first", "second"))
    assert time.monotonic() - started < 2
    assert first.sqlstate == second.sqlstate == "PB002"
    assert "within 00:00:00.2" in str(first)
    stalled.go.set()
    connection.execute("set pgsbert.timeout = '10s'")
    assert asked(connection, "third") == expected("third")
    assert stalled.seen == ["first", "third"]


def test_without_a_worker_it_says_so_at_once(connection: Connection) -> None:
    started = time.monotonic()
    error = error_of(connection, EMBED, "a")
    assert (error.sqlstate, error.diag.message_primary) == (
        "PB001",
        "no worker has been seen: start one with pgsbert worker",
    )
    connection.execute(
        "insert into pgsbert.worker (host, pid, version, seen_at) values ('h', 1, '0', now() - interval '2 min')"
    )
    assert "no worker has been seen for 00:02:0" in str(error_of(connection, EMBED, "a"))
    assert time.monotonic() - started < 1


def test_what_the_model_raises_is_said_and_the_next_question_works(
    connection: Connection, worker: RunningWorker
) -> None:
    error = error_of(connection, EMBED, "fake:raise")
    assert error.sqlstate == "PB009"
    assert "RuntimeError: fake:raise was in a text" in str(error)
    assert asked(connection, "a") == expected("a")


def broken(model: Model) -> FakeEncoder:
    raise ZeroDivisionError(model.name)


def test_a_model_that_cannot_be_loaded_is_named(connection: Connection, database: Database) -> None:
    with run_worker(database.dsn) as running:
        connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('odd', 'bi-encoder', 3)")
        running.worker._models._load = broken
        error = error_of(connection, "select pgsbert.embed('a', 'odd')")
        assert error.sqlstate == "PB009"
        assert "odd did not load: ZeroDivisionError" in str(error)


# Many sessions, and strangers


def test_sixteen_sessions_get_each_its_own_vector(database: Database, worker: RunningWorker) -> None:
    def ask(session: int) -> bool:
        with database.connect() as connection:
            return all(asked(connection, f"{session} {i}") == expected(f"{session} {i}") for i in range(5))

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(16)))


def test_a_question_that_a_worker_died_with_is_answered_by_another(database: Database, connection: Connection) -> None:
    [dead] = rows(connection, "insert into pgsbert.worker (host, pid, version) values ('h', 1, '0') returning id")
    with database.connect() as session, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(asked, session, "a")
        taken = "update pgsbert.request set worker = %s returning 1"
        wait_until(lambda: rows(connection, taken, dead))
        with run_worker(database.dsn):
            assert answer.result(10) == expected("a")


def test_one_poisoned_question_fails_alone(database: Database, connection: Connection, stalled: Stalled) -> None:
    def ask(text: str) -> str | None:
        with database.connect() as session:
            try:
                return None if asked(session, text) == expected(text) else "wrong"
            except psycopg.Error as error:
                return error.sqlstate

    with ThreadPoolExecutor(5) as threads:
        first = threads.submit(ask, "first")
        wait_until(lambda: stalled.seen)
        others = [threads.submit(ask, text) for text in ("a", "fake:raise", "b")]
        wait_until(lambda: rows(connection, "select count(*) from pgsbert.request") == [4])
        stalled.go.set()
        assert [future.result() for future in (first, *others)] == [None, None, "PB009", None]


def test_a_reply_is_read_only_with_its_token(
    connection: Connection, stalled: Stalled, server: Any, database: Database
) -> None:
    as_gateway = database.dsn.replace("postgres@", "pgsbert_gateway@")
    with psycopg.connect(as_gateway, autocommit=True) as gateway:
        [ticket] = rows(gateway, "select pgsbert.put('embed', 'fake-384', null, array['a'], '10s')")
        stalled.go.set()
        wait_until(lambda: rows(connection, "select done from pgsbert.request") == [True])
        assert rows(gateway, "select vectors from pgsbert.await(gen_random_uuid(), '10 ms')") == []
        assert len(rows(gateway, "select vectors from pgsbert.await(%s, '10 ms')", ticket)) == 1
        assert rows(gateway, "select vectors from pgsbert.await(%s, '10 ms')", ticket) == []


def test_the_gateway_role_may_put_and_await_and_nothing_else(connection: Connection) -> None:
    functions = (
        "select p.proname from pg_proc as p where p.pronamespace = 'pgsbert'::regnamespace"
        " and has_function_privilege('pgsbert_gateway', p.oid, 'execute') order by 1"
    )
    assert rows(connection, functions) == ["await", "put"]
    relations = (
        "select c.relname from pg_class as c where c.relnamespace = 'pgsbert'::regnamespace and case c.relkind"
        " when 'S' then has_sequence_privilege('pgsbert_gateway', c.oid, 'usage, select, update')"
        " when 'i' then false"
        " else has_table_privilege('pgsbert_gateway', c.oid, 'select, insert, update, delete, truncate') end"
    )
    assert rows(connection, relations) == []


async def test_abandoned_questions_are_removed(database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True) as connection:
        await connection.execute(
            "insert into pgsbert.request (kind, model, texts, deadline)"
            " select 'embed', 'fake-384', '{a}', now() - age"
            " from unnest('{2 min, 10 s, -10 s}'::interval[]) as age"
        )
        requests = Requests(connection, worker=1, type_schema="public", kinds=["embed"])
        await requests.forget()
        cursor = await connection.execute("select count(*) from pgsbert.request")
        assert await cursor.fetchone() == (2,)
        assert len(await requests.claim()) == 1
