"""Trigger functions are made for the table of that day; a worker's look makes them anew, and nobody waits for it."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.models.fake import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

STORAGES = ["column", "table"]
LOOK = "select pgsbert.judge_vectorizers()"


@pytest.fixture(params=STORAGES)
def item(request: pytest.FixtureRequest, connection: PgConnection) -> PgConnection:
    """Give item (junk, id, more, title) with two rows and a vectorizer; no worker runs."""
    connection.execute("create table item (junk text, id int primary key, more int, title text)")
    connection.execute(
        "select pgsbert.create_vectorizer('item', '{title}', model => 'fake-8', storage => %s, index => 'none')",
        [request.param],
    )
    connection.execute("insert into item (id, title) values (1, 'one'), (2, 'two')")
    return connection


def fit(connection: PgConnection) -> bool | None:
    (answer,) = rows(connection, "select pgsbert.triggers_fit(v) from pgsbert.vectorizer as v")
    return answer  # type: ignore[no-any-return]


def pending(connection: PgConnection) -> list[Any]:
    (number,) = rows(connection, "select id from pgsbert.vectorizer")
    return rows(connection, f"select k1 from pgsbert.pending_{number} order by 1")


@contextmanager
def without_the_slow_path(connection: PgConnection) -> Iterator[None]:
    """Let every writer fail that has a statement made anew, instead of its own."""
    (definition,) = rows(connection, "select pg_get_functiondef('pgsbert.enqueue_anew'::regproc)")
    connection.execute(
        "create or replace function pgsbert.enqueue_anew(vectorizer_id integer, operation text) returns text"
        " language plpgsql as $$ begin raise 'the slow path, for %', operation; end $$"
    )
    yield
    connection.execute(definition)


MOVES = {
    "an untracked column before the others was dropped": "alter table item drop junk",
    "an untracked column between the others was dropped": "alter table item drop more",
    "the index of the key was made anew": "reindex index concurrently item_pkey",
    "the key has another index": "create unique index other on item (id);"
    " alter table item drop constraint item_pkey cascade, add primary key using index other",
}
SIDE_MOVES = {
    "the side table was renamed": "alter table item_embedding rename to vectors",
    "the side table moved": "create schema away; alter table item_embedding set schema away",
    "a column of the side table was renamed": "alter table item_embedding rename id to item_id",
}


def move(connection: PgConnection, ddl: str) -> None:
    for statement in ddl.split("; "):
        connection.execute(statement)


@pytest.mark.parametrize("ddl", MOVES.values(), ids=MOVES)
def test_writers_are_as_quick_as_before_a_workers_look_after(item: PgConnection, ddl: str) -> None:
    with without_the_slow_path(item):
        item.execute("insert into item (id, title) values (3, 'three')")
    if "item_pkey cascade" in ddl:
        # the policy of a side table is made of the key
        item.execute("alter table item alter id set not null")
    move(item, ddl)
    with without_the_slow_path(item), pytest.raises(psycopg.errors.RaiseException, match="the slow path"):
        item.execute("insert into item (id, title) values (4, 'four')")
    assert fit(item) is False
    item.execute(LOOK)
    assert fit(item) is True
    with without_the_slow_path(item):
        item.execute("insert into item (id, title) values (4, 'four')")
        item.execute("delete from item where id = 1")
    item.execute("update item set title = 'TWO' where id = 2")
    assert pending(item) == [2, 3, 4]
    assert rows(item, "select broken_reason from pgsbert.vectorizer") == [None]


@pytest.mark.parametrize("item", ["table"], indirect=True)
@pytest.mark.parametrize("ddl", SIDE_MOVES.values(), ids=SIDE_MOVES)
def test_writers_are_as_quick_as_before_also_when(item: PgConnection, ddl: str) -> None:
    move(item, ddl)
    assert fit(item) is False
    item.execute(LOOK)
    with without_the_slow_path(item):
        item.execute("insert into item (id, title) values (4, 'four')")
        item.execute("delete from item where id = 1")
        item.execute("truncate item")
    assert pending(item) == []


def test_a_truncate_leaves_functions_that_fit(item: PgConnection) -> None:
    item.execute("truncate item")
    assert fit(item) is True
    with without_the_slow_path(item):
        item.execute("insert into item (id, title) values (9, 'nine')")


def test_a_table_written_anew_is_followed_and_fits_after_a_look(item: PgConnection) -> None:
    item.execute("vacuum full item")
    item.execute("insert into item (id, title) values (3, 'three')")
    assert pending(item) == [1, 2, 3]
    item.execute(LOOK)
    assert fit(item) is True


def test_a_look_makes_nothing_anew_while_the_functions_fit(item: PgConnection) -> None:
    made = "select oid, xmin from pg_proc where proname like 'enqueue%' order by oid"
    before = rows(item, made)
    move(item, "alter table item rename title to text; alter table item rename to thing; alter table thing add x text")
    item.execute(LOOK)
    assert rows(item, made) == before


def test_a_running_worker_looks_by_itself(item: PgConnection, database: Database) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        item.execute("call pgsbert.wait_until_synced('item')")
        item.execute("alter table item drop junk")
        item.execute("notify pgsbert_catalog; notify pgsbert")
        wait_until(lambda: fit(item))
        with without_the_slow_path(item):
            item.execute("insert into item (id, title) values (3, 'three')")
        item.execute("call pgsbert.wait_until_synced('item')")


def test_a_look_waits_for_nobody_who_holds_the_table(item: PgConnection, database: Database) -> None:
    item.execute("alter table item drop junk")
    with database.connect(options="-c lock_timeout=100ms") as worker, item.transaction():
        item.execute("lock table item")
        worker.execute(LOOK)
        assert fit(worker) is True


def test_two_workers_that_look_at_once_do_not_disturb_each_other(item: PgConnection, database: Database) -> None:
    item.execute("alter table item drop junk")
    with database.connect(options="-c lock_timeout=100ms") as other:
        with item.transaction():
            item.execute(LOOK)
            other.execute(LOOK)
            assert fit(other) is False
        assert fit(other) is True


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_a_look_that_meets_someone_else_at_the_functions_comes_again(
    item: PgConnection, database: Database, end: str
) -> None:
    item.execute("alter table item drop junk")
    with database.connect(options="-c lock_timeout=100ms") as worker, psycopg.connect(database.dsn) as other:
        other.execute("alter function pgsbert.enqueue_1_update() cost 7")
        worker.execute(LOOK)
        assert fit(worker) is False
        assert rows(worker, "select broken_reason from pgsbert.vectorizer") == [None]
        other.execute(end)
        worker.execute(LOOK)
        assert fit(worker) is True


def test_a_vectorizer_that_is_being_mended_can_be_dropped(item: PgConnection, database: Database) -> None:
    item.execute("alter table item drop junk")
    with psycopg.connect(database.dsn) as worker, database.connect() as owner:
        worker.execute(LOOK)
        drop = Thread(target=lambda: owner.execute("select pgsbert.drop_vectorizer('item', drop_vectors => true)"))
        drop.start()
        waiting = "select from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        wait_until(lambda: rows(item, waiting, owner.info.backend_pid))
        worker.execute("commit")
        drop.join(20)
        assert not drop.is_alive()
    assert rows(item, "select from pgsbert.vectorizer") == []
    assert rows(item, "select from pg_proc where proname like 'enqueue_1%'") == []


def test_a_look_that_meets_a_drop_leaves_it_alone(item: PgConnection, database: Database) -> None:
    item.execute("alter table item drop junk")
    with psycopg.connect(database.dsn) as owner, database.connect(options="-c lock_timeout=100ms") as worker:
        owner.execute("select pgsbert.drop_vectorizer('item')")
        worker.execute(LOOK)
        owner.commit()
        worker.execute(LOOK)
    assert rows(item, "select from pg_proc where proname like 'enqueue_1%'") == []


def test_a_transaction_that_wrote_before_the_look_goes_on_after_it(item: PgConnection, database: Database) -> None:
    item.execute("alter table item drop junk")
    with database.connect() as worker, item.transaction():
        item.execute("insert into item (id, title) values (3, 'three')")
        worker.execute(LOOK)
        item.execute("insert into item (id, title) values (4, 'four')")
        item.execute("update item set title = 'ONE' where id = 1")
        item.execute("delete from item where id = 2")
    assert pending(item) == [1, 3, 4]


# Another owner: with a side table the trigger functions run with its owner's rights.


@pytest.fixture
def owners(connection: PgConnection) -> Iterator[PgConnection]:
    """Give roles mended_old and mended_new, and the schema owned, where both may make tables."""
    connection.execute("create role mended_old; create role mended_new")
    connection.execute("create schema owned; grant all on schema owned to mended_old, mended_new")
    connection.execute("select pgsbert.grant_usage('mended_old', 'operator')")
    yield connection
    connection.execute("drop owned by mended_old, mended_new cascade; drop role mended_old, mended_new")


def make_owned(connection: PgConnection, database: Database, storage: str) -> None:
    """Make owned.item of mended_old with four embedded rows."""
    with connection.transaction():
        connection.execute("set local role mended_old")
        connection.execute("create table owned.item (id int primary key, title text)")
        connection.execute(
            "select pgsbert.create_vectorizer('owned.item', '{title}', model => 'fake-8', storage => %s,"
            " index => 'none')",
            [storage],
        )
    connection.execute("insert into owned.item select i, 'title ' || i from generate_series(1, 4) as i")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('item')")


WRITES = [
    "insert into owned.item values (5, 'five')",
    "update owned.item set title = null where id = 1",
    "update owned.item set title = 'TWO' where id = 2",
    "update owned.item set id = 30 where id = 3",
    "delete from owned.item where id = 4",
]
BOTH = ["item", "item_embedding"]
GIVEN = {
    "the table": (["item"], "before", "read committed"),
    "the table and its vectors": (BOTH, "before", "read committed"),
    "the table and its vectors, to a strict writer": (BOTH, "before", "repeatable read"),
    "the table and its vectors, and a worker has looked": (BOTH, "after", "repeatable read"),
    "the vectors": (["item_embedding"], "before", "read committed"),
    "the vectors, and a worker has looked": (["item_embedding"], "after", "read committed"),
}


@pytest.mark.parametrize(("given", "when", "level"), GIVEN.values(), ids=GIVEN)
def test_no_writer_fails_and_no_vector_is_left_when_another_is_given(
    owners: PgConnection, database: Database, given: list[str], when: str, level: str
) -> None:
    make_owned(owners, database, "table")
    for table in given:
        owners.execute(f"alter table owned.{table} owner to mended_new")
    if when == "after":
        owners.execute(LOOK)
        assert fit(owners) is True
    with owners.transaction():
        owners.execute(f"set transaction isolation level {level}")
        for write in WRITES:
            owners.execute(write)
        if when == "after":
            # in the user's own transaction
            assert rows(owners, "select id from owned.item_embedding") == [2]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        owners.execute("call pgsbert.wait_until_synced('item')")
        assert rows(owners, "select id from owned.item_embedding order by id") == [2, 5, 30]


def test_a_truncate_before_a_worker_has_looked_leaves_no_vector(owners: PgConnection, database: Database) -> None:
    make_owned(owners, database, "table")
    owners.execute("alter table owned.item_embedding owner to mended_new")
    owners.execute("truncate owned.item")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        owners.execute("call pgsbert.wait_until_synced('item')")
        assert rows(owners, "select from owned.item_embedding") == []


@pytest.mark.parametrize("storage", STORAGES)
def test_everything_of_a_role_can_be_given_to_another_and_the_role_dropped(
    owners: PgConnection, database: Database, storage: str
) -> None:
    make_owned(owners, database, storage)
    owners.execute("reassign owned by mended_old to mended_new; drop owned by mended_old; drop role mended_old")
    owners.execute(LOOK)
    for write in WRITES:
        owners.execute(write)
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        owners.execute("call pgsbert.wait_until_synced('item')")
        vectors = "item where embedding is not null" if storage == "column" else "item_embedding"
        assert rows(owners, f"select id from owned.{vectors} order by 1") == [2, 5, 30]
    owners.execute("create role mended_old")


def test_a_look_that_meets_a_change_of_owner_is_repeated(articles: PgConnection, database: Database) -> None:
    """REASSIGN OWNED takes a function's rights away while it runs; only then is a look at the catalog refused."""
    articles.execute("create sequence looks")
    articles.execute("alter function pgsbert.judge_vectorizers() rename to really_judge_vectorizers")
    articles.execute(
        "create function pgsbert.judge_vectorizers() returns table (name text, broken_reason text) language plpgsql"
        " as $$ begin if nextval('public.looks') = 2 then raise insufficient_privilege; end if;"
        " return query select * from pgsbert.really_judge_vectorizers(); end $$"
    )
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("select pgsbert.announce()")
        wait_until(lambda: rows(articles, "select last_value > 2 from looks") == [True])
        articles.execute("insert into articles (title) values ('cats')")
        articles.execute("call pgsbert.wait_until_synced('articles')")
        assert rows(articles, "select id from pgsbert.worker") == [1], "the worker never started anew"
