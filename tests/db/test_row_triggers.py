"""Row triggers: which writes queue which rows, on a plain table and where partitions number columns otherwise."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.db.test_triggers import STATEMENTS, broken_reason, pending, revision
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

PLAIN = "create table notes (id int primary key, title text, body text, views int default 0)"

# the first partition has its columns in another order, the second has lost one, the third is partitioned itself
PARTITIONED = """
create table notes (id int primary key, title text, body text, views int default 0) partition by range (id);
create table low (views int default 0, body text, id int not null, title text);
alter table notes attach partition low for values from (minvalue) to (3);
create table middle (gone int, id int not null, title text, body text, views int default 0);
alter table middle drop column gone;
alter table notes attach partition middle for values from (3) to (8);
create table high partition of notes for values from (8) to (maxvalue) partition by hash (id);
create table high_even partition of high for values with (modulus 2, remainder 0);
create table high_odd partition of high for values with (modulus 2, remainder 1);
"""

FOUR_NOTES = (
    "insert into notes (id, title, body) values"
    " (1, 'one', 'first'), (2, 'two', null), (3, null, ''), (4, 'four', 'fourth')"
)


@contextmanager
def rolled_back(connection: PgConnection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        yield


@pytest.fixture(scope="module", params=["plain", "partitioned"])
def shared(request: pytest.FixtureRequest, shared_database: Database) -> Iterator[PgConnection]:
    """Give the table notes with four rows, a vectorizer with row triggers, and nothing queued; a test rolls back."""
    with shared_database.connect() as connection:
        connection.execute(PLAIN if request.param == "plain" else PARTITIONED)
        connection.execute(FOUR_NOTES)
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{title,body}', model => 'fake-8', triggers => 'row')"
        )
        yield connection
        connection.execute("select pgsbert.drop_vectorizer('notes')")
        connection.execute("drop table notes")


@pytest.fixture
def notes(shared: PgConnection) -> Iterator[PgConnection]:
    """Give `shared` in a transaction that is rolled back."""
    with rolled_back(shared):
        yield shared


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_queues_exactly_the_rows_whose_text_is_new(
    notes: PgConnection, statement: str, expected: list[int]
) -> None:
    notes.execute(statement)
    assert pending(notes, "notes") == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("delete from notes where id in (1, 3)", [2, 4]),
        ("update notes set id = 10 where id = 4", [1, 2, 10]),
        ("update notes set id = 10 - id where id = 1", [2, 4, 9]),
        ("truncate notes", []),
        ("delete from notes where id = 1; insert into notes values (1, 'again')", [1, 2, 4]),
    ],
)
def test_rows_and_keys_that_are_gone_leave_the_queue(notes: PgConnection, statement: str, expected: list[int]) -> None:
    notes.execute("update notes set title = title || '!'")
    assert pending(notes, "notes") == [1, 2, 4]
    notes.execute(statement)
    assert pending(notes, "notes") == expected


def test_copy_queues_its_rows(notes: PgConnection) -> None:
    with notes.cursor().copy("copy notes (id, title) from stdin") as copy:
        for row in [(5, "five"), (6, ""), (7, None), (10, "ten")]:
            copy.write_row(row)
    assert pending(notes, "notes") == [5, 10]


def test_keys_that_move_up_by_one_are_all_queued(notes: PgConnection) -> None:
    notes.execute("update notes set body = 'text'")
    for moved in (4, 3, 2, 1):
        notes.execute("update notes set id = id + 1 where id = %s", [moved])
    assert pending(notes, "notes") == [2, 3, 4, 5]


def test_each_change_has_a_new_revision(notes: PgConnection) -> None:
    notes.execute("update notes set title = 'x' where id = 1")
    first = revision(notes, "notes", 1)
    notes.execute("update notes set title = 'y' where id = 1")
    assert revision(notes, "notes", 1) > first


def test_cascades_of_a_foreign_key_queue_and_dequeue(notes: PgConnection) -> None:
    notes.execute("create table author (id int primary key); insert into author values (1), (2)")
    notes.execute("create temp table kept as select * from notes; truncate notes")
    notes.execute(
        "alter table notes add author int references author on delete cascade;"
        " insert into notes (id, title, author) values (1, 'of one', 1), (9, 'of two', 2)"
    )
    notes.execute("delete from author where id = 1")
    assert pending(notes, "notes") == [9]


@pytest.mark.parametrize(
    "ddl",
    [
        "alter table notes rename title to heading",
        "alter table notes rename id to number",
        'alter table notes rename id to "Odd ""key"',
        "alter table notes drop views",
        "alter table notes add tag text",
        "alter table notes rename to papers",
        "create schema elsewhere; alter table notes set schema elsewhere",
    ],
)
@pytest.mark.parametrize("session", ["old", "new"])
def test_ddl_changes_nothing(notes: PgConnection, ddl: str, session: str) -> None:
    if session == "old":  # with plans for the names there were
        notes.execute("insert into notes values (5, 'five'); update notes set id = 6 where id = 5")
        notes.execute("delete from notes where id = 6")
    notes.execute(ddl)
    table, key, title = notes.execute(
        "select v.source::text, k.attname, t.attname from pgsbert.vectorizer as v"
        " join pg_attribute as k on k.attrelid = v.source and k.attnum = 1"
        " join pg_attribute as t on t.attrelid = v.source and t.attnum = 2"
    ).fetchone()  # type: ignore[misc]  # there is one
    notes.execute(f"""update {table} set {title} = 'x' where "{key.replace('"', '""')}" = 1""")
    notes.execute(f"""update {table} set "{key.replace('"', '""')}" = 12 where {title} = 'four'""")
    notes.execute(f"""delete from {table} where "{key.replace('"', '""')}" = 2""")
    notes.execute(f"""insert into {table} ("{key.replace('"', '""')}", {title}) values (7, 'seven')""")
    assert pending(notes, "notes") == [1, 7, 12]
    assert broken_reason(notes, "notes") is None


@pytest.mark.parametrize("column", ["id", "title", "embedding"])
def test_a_dropped_column_stops_the_vectorizer_and_no_writer(notes: PgConnection, column: str) -> None:
    if column == "id" and rows(notes, "select relkind = 'p' from pg_class where oid = 'notes'::regclass") == [True]:
        notes.execute("drop table notes cascade")  # a partition key cannot be dropped
    else:
        notes.execute(f"alter table notes drop {column} cascade")
        notes.execute(
            "insert into notes (body, views) values ('five', 9)"
            if column == "id"
            else "insert into notes (id, body) values (5, 'five')"
        )
        notes.execute("update notes set body = body || '!'")
        notes.execute("delete from notes where body = 'five!'")
    notes.execute("select pgsbert.judge_vectorizers()")
    assert broken_reason(notes, "notes") is not None


def test_what_is_rolled_back_queues_nothing(notes: PgConnection) -> None:
    with rolled_back(notes):
        notes.execute("update notes set title = 'x'")
    assert pending(notes, "notes") == []


def test_a_replica_session_queues_as_well(notes: PgConnection) -> None:
    notes.execute("set local session_replication_role = replica")
    notes.execute("update notes set title = 'x' where id = 1; insert into notes values (5, 'five')")
    assert pending(notes, "notes") == [1, 5]


def test_a_text_that_goes_takes_its_vector_along(notes: PgConnection) -> None:
    notes.execute("update notes set embedding = '[1,1,1,1,1,1,1,1]'")
    assert pending(notes, "notes") == []
    notes.execute("update notes set title = '' where id = 2; update notes set title = 'x' where id = 1")
    notes.execute("update notes set title = null, body = '' where id = 4")
    assert rows(notes, "select id from notes where embedding is null order by 1") == [2, 3, 4]
    assert rows(notes, "select distinct views from notes") == [0]


def test_writers_wake_a_sleeping_worker_and_the_next_transaction_again(database: Database) -> None:
    with database.connect() as listener, database.connect() as connection:
        connection.execute(PARTITIONED)
        connection.execute("select pgsbert.create_vectorizer('notes', '{title}', model => 'fake-8')")
        listener.execute("listen pgsbert")
        for title in ("a", "b"):
            with connection.transaction():
                connection.execute(
                    "insert into notes select i, %s from generate_series(1, 5) as i"
                    " on conflict (id) do update set title = excluded.title",
                    [title],
                )
            assert [n.channel for n in listener.notifies(timeout=10, stop_after=1)] == ["pgsbert"]
