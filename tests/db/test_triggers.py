"""Which statements queue which rows. No worker runs here: the tests look at pgsbert.pending_N."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]


def pending(connection: PgConnection, vectorizer: str, keys: str = "k1") -> list[Any]:
    """Return the keys that wait, in their order."""
    (number,) = rows(connection, "select id from pgsbert.vectorizer where name = %s", vectorizer)
    return rows(connection, f"select {keys} from pgsbert.pending_{number} order by 1")


def empty_queue(connection: PgConnection, vectorizer: str) -> None:
    (number,) = rows(connection, "select id from pgsbert.vectorizer where name = %s", vectorizer)
    connection.execute(sql.SQL("delete from pgsbert.{}").format(sql.Identifier(f"pending_{number}")))


def revision(connection: PgConnection, vectorizer: str, key: object) -> int:
    (number,) = rows(connection, "select id from pgsbert.vectorizer where name = %s", vectorizer)
    (found,) = rows(connection, f"select revision from pgsbert.pending_{number} where k1 = %s", key)
    return int(found)


def broken_reason(connection: PgConnection, vectorizer: str) -> str | None:
    (reason,) = rows(connection, "select broken_reason from pgsbert.vectorizer where name = %s", vectorizer)
    return None if reason is None else str(reason)


@contextmanager
def rolled_back(connection: PgConnection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        yield


@pytest.fixture(scope="module")
def shared(shared_database: Database) -> Iterator[PgConnection]:
    """Give the table notes with four rows, a vectorizer on title and body, and nothing queued; a test rolls back."""
    with shared_database.connect() as connection:
        connection.execute("create table notes (id int primary key, title text, body text, views int default 0)")
        connection.execute(
            "insert into notes values (1, 'one', 'first'), (2, 'two', null), (3, null, ''), (4, 'four', 'fourth')"
        )
        connection.execute("select pgsbert.create_vectorizer('notes', '{title,body}', model => 'fake-8')")
        yield connection


@pytest.fixture
def notes(shared: PgConnection) -> Iterator[PgConnection]:
    """Give `shared` in a transaction that is rolled back."""
    with rolled_back(shared):
        yield shared


STATEMENTS = {
    "an insert": ("insert into notes values (5, 'five')", [5]),
    "an insert of many rows": ("insert into notes select i, 'n' from generate_series(5, 8) as i", [5, 6, 7, 8]),
    "an insert without text": ("insert into notes values (5, null, null), (6, '', ''), (7, null, 'text')", [7]),
    "do nothing on a known key": ("insert into notes values (1, 'x'), (5, 'five') on conflict do nothing", [5]),
    "do update": (
        "insert into notes values (1, 'x'), (5, 'five') on conflict (id) do update set title = excluded.title",
        [1, 5],
    ),
    "do update of an untracked column": (
        "insert into notes values (1, 'x') on conflict (id) do update set views = 9",
        [],
    ),
    "an update of a tracked column": ("update notes set body = 'x' where id in (1, 2)", [1, 2]),
    "an update of an untracked column": ("update notes set views = views + 1", []),
    "an update to the same text": ("update notes set title = title, body = body || ''", []),
    "an update of no row": ("update notes set title = 'x' where id = 99", []),
    "an update of all rows that changes one": (
        "update notes set title = 'one!' where title = 'one' or true and id = 1",
        [1],
    ),
    "a text that goes": ("update notes set title = null, body = null where id = 1", [1]),
    "a text that comes": ("update notes set title = 'three' where id = 3", [3]),
    "a case-only change": ("update notes set title = upper(title) where id = 1", [1]),
    "text that moves between columns": ("update notes set title = body, body = title where id = 1", [1]),
    "merge": (
        "merge into notes as n using (values (1, 'x'), (5, 'five')) as s(id, title) on n.id = s.id"
        " when matched then update set title = s.title when not matched then insert (id, title) values (s.id, s.title)",
        [1, 5],
    ),
    "a writable CTE": (
        "with changed as (update notes set title = 'x' where id = 1 returning 1),"
        " added as (insert into notes values (5, 'five') returning 1),"
        " gone as (delete from notes where id = 4 returning 1) select from changed, added, gone",
        [1, 5],
    ),
    "two updates of one table in one statement": (
        "with changed as (update notes set title = 'x' where id = 1 returning 1)"
        " update notes set title = 'y' where id = 2",
        [1, 2],
    ),
    "a new key": ("update notes set id = 10 where id = 1", [10]),
    "a new key for a row without text": ("update notes set id = 10 where id = 3", []),
    "an update of a view": (
        "create view all_notes as select id, title from notes; update all_notes set title = 'x' where id = 4",
        [4],
    ),
    "an insert by a function": (
        "do $$ begin insert into notes values (5, 'five'); update notes set body = 'x' where id = 5; end $$",
        [5],
    ),
}


@pytest.mark.parametrize(("statement", "expected"), STATEMENTS.values(), ids=STATEMENTS)
def test_a_statement_queues_exactly_the_rows_whose_text_is_new(
    notes: PgConnection, statement: str, expected: list[int]
) -> None:
    notes.execute(sql.SQL(statement))
    assert pending(notes, "notes") == expected


DEQUEUING = {
    "a delete": ("delete from notes where id = 1", [2, 3, 4]),
    "a delete of all": ("delete from notes", []),
    "truncate": ("truncate notes", []),
    "a new key": ("update notes set id = 10 where id = 1", [2, 3, 4, 10]),
    "merge": (
        "merge into notes as n using (values (1), (2)) as s(id) on n.id = s.id when matched then delete",
        [3, 4],
    ),
    "nothing": ("update notes set views = 1", [1, 2, 3, 4]),
}


@pytest.mark.parametrize(("statement", "expected"), DEQUEUING.values(), ids=DEQUEUING)
def test_rows_and_keys_that_are_gone_leave_the_queue(notes: PgConnection, statement: str, expected: list[int]) -> None:
    notes.execute("update notes set title = 'queued', body = 'queued'")
    assert pending(notes, "notes") == [1, 2, 3, 4]
    notes.execute(sql.SQL(statement))
    assert pending(notes, "notes") == expected


def test_copy_queues_its_rows(notes: PgConnection) -> None:
    with notes.cursor().copy("copy notes (id, title) from stdin") as copy:
        for key in (5, 6, 7):
            copy.write_row((key, "text" if key != 6 else None))
    assert pending(notes, "notes") == [5, 7]


@pytest.mark.parametrize("waiting", [[], [5], [204], [300, 1000]])
def test_a_large_insert_queues_every_row_once_whatever_waits_already(notes: PgConnection, waiting: list[int]) -> None:
    (number,) = rows(notes, "select id from pgsbert.vectorizer where name = 'notes'")
    # keys can wait whose rows were deleted while the triggers were disabled
    notes.execute(
        f"insert into pgsbert.pending_{number} (k1, revision) select k, -k from unnest(%s::int[]) as k", [waiting]
    )
    notes.execute("insert into notes select i, case when i % 2 = 1 then 'n' end from generate_series(5, 1004) as i")
    assert set(pending(notes, "notes")) == set(range(5, 1005, 2)) | set(waiting)
    renewed = rows(notes, f"select k1 from pgsbert.pending_{number} where revision > 0")
    assert sorted(renewed) == list(range(5, 1005, 2))


def test_two_changes_in_one_transaction_are_one_entry_at_the_later_revision(notes: PgConnection) -> None:
    notes.execute("update notes set title = 'a' where id = 1")
    first = revision(notes, "notes", 1)
    notes.execute("update notes set title = 'b' where id = 1")
    assert pending(notes, "notes") == [1]
    assert revision(notes, "notes", 1) > first


def test_a_row_deleted_and_inserted_again_has_a_new_revision(notes: PgConnection) -> None:
    notes.execute("update notes set title = 'a' where id = 1")
    first = revision(notes, "notes", 1)
    notes.execute("delete from notes where id = 1")
    notes.execute("insert into notes values (1, 'a', 'first')")
    assert revision(notes, "notes", 1) > first


def test_a_key_that_takes_the_place_of_another_is_queued_even_with_the_same_text(notes: PgConnection) -> None:
    # row 11 has no vector yet; as row 12 it has the text of the old row 12, which had its vector
    notes.execute("insert into notes values (12, 'same')")
    empty_queue(notes, "notes")
    notes.execute("insert into notes values (11, 'same')")
    assert pending(notes, "notes") == [11]
    notes.execute("update notes set id = id + 1 where id > 10")
    assert pending(notes, "notes") == [12, 13]


def test_a_swap_of_keys_over_a_free_one_queues_both_rows(notes: PgConnection) -> None:
    # an immediate unique key refuses a swap in one statement; this is how it is done
    notes.execute("update notes set id = -1 where id = 1")
    notes.execute("update notes set id = 1 where id = 2")
    notes.execute("update notes set id = 2 where id = -1")
    assert pending(notes, "notes") == [1, 2]


def test_cascades_of_a_foreign_key_queue_and_dequeue(notes: PgConnection) -> None:
    notes.execute("create table author (name text primary key)")
    notes.execute("insert into author values ('ann'), ('bob')")
    notes.execute(
        "create table book (author text references author on update cascade on delete cascade, number int,"
        " title text, primary key (author, number))"
    )
    notes.execute("insert into book values ('ann', 1, 'x'), ('ann', 2, 'y'), ('bob', 1, 'z')")
    notes.execute("select pgsbert.create_vectorizer('book', '{title}', model => 'fake-8')")
    notes.execute("update author set name = 'eve' where name = 'ann'")
    assert pending(notes, "book", "k1, k2") == [("eve", 1), ("eve", 2)]
    notes.execute("delete from author where name = 'eve'")
    assert pending(notes, "book", "k1, k2") == []


def test_a_tracked_foreign_key_that_cascades_is_a_change(notes: PgConnection) -> None:
    notes.execute("create table label (name text primary key)")
    notes.execute("insert into label values ('red')")
    notes.execute(
        "create table thing (id int primary key, label text references label on update cascade on delete set null)"
    )
    notes.execute("insert into thing values (1, 'red')")
    notes.execute("select pgsbert.create_vectorizer('thing', '{label}', model => 'fake-8')")
    notes.execute("update label set name = 'blue'")
    assert pending(notes, "thing") == [1]
    empty_queue(notes, "thing")
    notes.execute("delete from label")
    assert pending(notes, "thing") == [1]


def test_what_is_rolled_back_queues_nothing(notes: PgConnection) -> None:
    notes.execute("savepoint before")
    notes.execute("update notes set title = 'x'")
    notes.execute("rollback to before")
    assert pending(notes, "notes") == []
    notes.execute("update notes set title = 'x' where id = 1")
    assert pending(notes, "notes") == [1]


def test_a_rolled_back_transaction_queues_nothing(shared: PgConnection) -> None:
    with rolled_back(shared):
        shared.execute("update notes set title = 'x'")
    assert pending(shared, "notes") == []


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_writers_of_any_isolation_level_queue_beside_each_other(
    shared: PgConnection, shared_database: Database, level: str
) -> None:
    with shared_database.connect() as other, rolled_back(shared):
        shared.execute(sql.SQL("set transaction isolation level {}").format(sql.SQL(level)))
        shared.execute("select from notes")
        other.execute("update notes set title = 'other' where id = 2")
        shared.execute("update notes set title = 'x' where id = 1")
        assert pending(shared, "notes") == [1]
        assert pending(other, "notes") == [2]
        other.execute("update notes set title = 'two' where id = 2")
        empty_queue(other, "notes")


def test_case_counts_where_the_type_ignores_it(notes: PgConnection) -> None:
    notes.execute("create schema extra")
    notes.execute("create extension citext schema extra")
    notes.execute("create table word (id extra.citext primary key, word extra.citext)")
    notes.execute("insert into word values ('a', 'Word')")
    notes.execute("select pgsbert.create_vectorizer('word', '{word}', model => 'fake-8', on_change => 'clear')")
    notes.execute("update word set embedding = '[1,2,3,4,5,6,7,8]'")
    notes.execute("update word set word = 'WORD'")
    assert pending(notes, "word") == ["a"]
    assert rows(notes, "select embedding from word") == [None]
    notes.execute("update word set word = 'word', id = 'A'")
    assert pending(notes, "word") == ["a"]
    notes.execute("delete from word")
    assert pending(notes, "word") == []


@pytest.mark.parametrize(
    ("type_name", "before", "after", "none"),
    [
        ("json", '{"a": 1}', '{"a": 2}', None),
        ("jsonb", '{"a": 1}', '{"a": 2}', None),
        ("point", "(1,2)", "(1,3)", None),
        ("text[]", "{a,b}", "{a,c}", None),
        ("varchar(9)", "a", "b", ""),
        ("char(9)", "a", "b", ""),
        ("numeric", "1.0", "1.00", None),
        ("int4range", "[1,2]", "[1,3]", None),
    ],
)
def test_columns_of_any_type_are_tracked_by_their_text(
    notes: PgConnection, type_name: str, before: str, after: str, none: str | None
) -> None:
    notes.execute(sql.SQL("create table odd (id int primary key, odd {})").format(sql.SQL(type_name)))
    notes.execute("select pgsbert.create_vectorizer('odd', '{odd}', model => 'fake-8', on_change => 'clear')")
    notes.execute("insert into odd values (1, %s), (2, %s)", [before, none])
    assert pending(notes, "odd") == [1]
    empty_queue(notes, "odd")
    notes.execute("update odd set embedding = '[1,2,3,4,5,6,7,8]'")
    notes.execute("update odd set odd = %s where id = 1", [before])
    assert pending(notes, "odd") == []
    assert rows(notes, "select id from odd where embedding is not null") == [1]
    notes.execute("update odd set odd = %s where id = 1", [after])
    assert pending(notes, "odd") == [1]
    assert rows(notes, "select id from odd where embedding is not null") == []


# Renames and moved columns, always also in a session that has kept plans.


@pytest.fixture
def writer(connection: PgConnection, database: Database) -> Iterator[PgConnection]:
    """Give a second session that has written to table item before: its plans are kept. `connection` does the DDL."""
    connection.execute(
        "create table item (junk text, id int primary key, more int, title text, body text, embedding public.vector(8))"
    )
    connection.execute(
        "select pgsbert.create_vectorizer('item', '{title,body}', model => 'fake-8', on_change => 'clear')"
    )
    with database.connect() as writer:
        for _ in range(6):  # plans are kept after five
            writer.execute("insert into item (id, title) values (1, 'one'), (2, 'two')")
            writer.execute("update item set title = title || '.', junk = 'x'")
            writer.execute("update item set id = id + 10")
            writer.execute("delete from item")
        writer.execute("insert into item (id, title) values (1, 'one'), (2, 'two'), (3, 'three')")
        writer.execute("update item set embedding = '[1,2,3,4,5,6,7,8]'")
        empty_queue(writer, "item")
        yield writer


def assert_everything_is_seen(session: PgConnection, table: str, **now: str) -> None:
    """Insert, change, rekey and delete under today's names; each must be queued, cleared and dequeued."""
    names = {name: sql.Identifier(now.get(name, name)) for name in ("id", "title", "body", "embedding")}
    parts = {**names, "table": sql.Identifier(*table.split("."))}

    def run(statement: str) -> None:
        session.execute(sql.SQL(statement).format(**parts))

    run("insert into {table} ({id}, {body}) values (4, 'four')")
    run("update {table} set {title} = 'ONE' where {id} = 1")
    run("update {table} set {body} = 'TWO' where {id} = 2")
    run("update {table} set {id} = 30 where {id} = 3")
    assert pending(session, "item") == [1, 2, 4, 30]
    held = session.execute(sql.SQL("select {id} from {table} where {embedding} is not null").format(**parts))
    assert held.fetchall() == [(30,)]
    run("update {table} set {title} = null, {body} = '' where {id} = 30")
    assert session.execute(sql.SQL("select from {table} where {embedding} is not null").format(**parts)).rowcount == 0
    run("delete from {table} where {id} = 1")
    assert pending(session, "item") == [2, 4, 30]
    assert broken_reason(session, "item") is None


DDL: dict[str, tuple[str, str, dict[str, str]]] = {
    "the table is renamed": ('alter table item rename to "New ""Item"""', 'New "Item"', {}),
    "its schema is renamed": (
        "create schema old; alter table item set schema old; alter schema old rename to new",
        "new.item",
        {},
    ),
    "a tracked column is renamed": ("alter table item rename title to heading", "item", {"title": "heading"}),
    "tracked columns swap names": (
        "alter table item rename title to t; alter table item rename body to title; alter table item rename t to body",
        "item",
        {},
    ),
    "a key column is renamed": ('alter table item rename id to "The Key"', "item", {"id": "The Key"}),
    "the vector column is renamed": ("alter table item rename embedding to e", "item", {"embedding": "e"}),
    "a column is added": ("alter table item add extra text default 'x'", "item", {}),
    "an untracked column before tracked ones is dropped": ("alter table item drop junk", "item", {}),
    "two untracked columns are dropped": ("alter table item drop junk, drop more", "item", {}),
    "a column is dropped and its name given to another": (
        "alter table item drop junk; alter table item add junk int; alter table item drop more",
        "item",
        {},
    ),
    "an untracked column changes its type": ("alter table item alter more type text using more::text", "item", {}),
    "the index of the key is made anew": ("reindex index concurrently item_pkey", "item", {}),
    "the table is rewritten": ("vacuum full item", "item", {}),
}


@pytest.mark.parametrize(("statements", "table", "now"), DDL.values(), ids=DDL)
@pytest.mark.parametrize("session", ["a session with kept plans", "the session that did it", "a new session"])
def test_ddl_changes_nothing_when(
    connection: PgConnection,
    database: Database,
    writer: PgConnection,
    session: str,
    statements: str,
    table: str,
    now: dict[str, str],
) -> None:
    for statement in statements.split("; "):
        connection.execute(sql.SQL(statement))
    if session == "a new session":
        with database.connect() as new:
            assert_everything_is_seen(new, table, **now)
    else:
        assert_everything_is_seen(writer if "kept" in session else connection, table, **now)


def test_a_dropped_tracked_column_stops_the_vectorizer_and_no_writer(
    connection: PgConnection, writer: PgConnection
) -> None:
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        connection.execute("alter table item drop body")  # the clearing trigger looks at it
    connection.execute("alter table item drop body cascade")
    for session in (writer, connection):
        session.execute("insert into item (id, title) values (%s, 'x')", [session.info.backend_pid])
        session.execute("update item set title = 'y'")
        session.execute("delete from item where title = 'x'")
    reason = broken_reason(connection, "item")
    assert reason is not None
    assert reason.startswith('column "body" of ')
    assert reason.endswith("item was dropped")


def test_a_dropped_vector_column_stops_the_vectorizer_and_no_writer(
    connection: PgConnection, writer: PgConnection
) -> None:
    connection.execute("alter table item drop embedding cascade")
    writer.execute("update item set title = 'y'")
    writer.execute("insert into item (id, title) values (9, 'nine')")
    writer.execute("update item set id = id + 100")
    assert "embedding" in (broken_reason(connection, "item") or "nothing")


KEYS_THAT_GO = {
    "the key is dropped": (
        "alter table item drop constraint item_pkey",
        "insert into item (id, title) values (1, 'x'), (7, 'x'), (7, 'x')",
        "no unique key over NOT NULL columns (id) any more",
    ),
    "the key column is dropped": ("alter table item drop id", "insert into item (title) values ('x')", '"id"'),
    "the key's type is wider": (
        "alter table item alter id type bigint",
        "insert into item (id, title) values (5000000000, 'x')",
        "is bigint now and was integer",
    ),
    "the key's type is another": (
        "alter table item alter id type text using id::text",
        "insert into item (id, title) values ('seven', 'x')",
        "is text now and was integer",
    ),
}


@pytest.mark.parametrize(("ddl", "insert", "reason"), KEYS_THAT_GO.values(), ids=KEYS_THAT_GO)
@pytest.mark.parametrize("first", ["insert", "update", "delete"])
def test_the_vectorizer_breaks_and_no_writer_fails_when(
    connection: PgConnection, writer: PgConnection, first: str, ddl: str, insert: str, reason: str
) -> None:
    connection.execute("drop view item_neighbors")  # it refuses any change of the key
    connection.execute(sql.SQL(ddl))
    statements = {
        "insert": insert,
        "update": "update item set title = title || 'y'",
        "delete": "delete from item where title like 'one%'",
    }
    writer.execute(sql.SQL(statements.pop(first)))
    assert reason in (broken_reason(connection, "item") or "nothing")
    for statement in statements.values():
        writer.execute(sql.SQL(statement))


def test_a_primary_key_made_later_does_not_take_the_place_of_the_key(connection: PgConnection) -> None:
    connection.execute("create table item (code text not null unique, id int, title text)")
    connection.execute("select pgsbert.create_vectorizer('item', '{title}', model => 'fake-8')")
    connection.execute("insert into item values ('a', 1, 'x'), ('b', 2, 'x')")
    connection.execute("alter table item add primary key (id)")
    connection.execute("insert into item values ('c', 3, 'x')")
    connection.execute("delete from item where code = 'a'")
    connection.execute("update item set code = 'B' where code = 'b'")
    assert pending(connection, "item") == ["B", "c"]


def test_a_key_column_that_may_be_null_again_fails_no_writer(connection: PgConnection) -> None:
    connection.execute("create table item (code text not null unique, title text)")
    connection.execute("select pgsbert.create_vectorizer('item', '{title}', model => 'fake-8')")
    connection.execute("alter table item alter code drop not null")
    connection.execute("insert into item values (null, 'x'), ('a', 'x')")
    connection.execute("update item set title = 'y'")
    assert pending(connection, "item") == ["a"]
    connection.execute("update item set code = null")
    assert "no unique key" in (broken_reason(connection, "item") or "nothing")


# Plans, rights and wake-ups.


def test_a_big_update_after_small_ones_is_not_quadratic(connection: PgConnection) -> None:
    connection.execute("create table item (id int primary key, title text, views int)")
    connection.execute("insert into item select i, 'title ' || i, 0 from generate_series(1, 20000) as i")
    connection.execute("select pgsbert.create_vectorizer('item', '{title}', model => 'fake-8')")
    for key in range(1, 9):
        connection.execute("update item set title = title || '.' where id = %s", [key])
        connection.execute("delete from item where id = %s", [key])
    started = time.monotonic()
    connection.execute("update item set title = title || '!'")
    connection.execute("update item set views = 1")
    connection.execute("update item set id = id + 100000")
    connection.execute("delete from item where id % 2 = 0")
    assert len(pending(connection, "item")) == 9996
    assert time.monotonic() - started < 20  # a nested loop over 20,000 x 20,000 rows takes minutes


def test_a_writer_needs_no_right_but_on_the_table(connection: PgConnection, database: Database) -> None:
    connection.execute("create table item (id int primary key, title text)")
    connection.execute("select pgsbert.create_vectorizer('item', '{title}', model => 'fake-8')")
    connection.execute("drop role if exists plain_writer")
    connection.execute("create role plain_writer")
    connection.execute("grant insert, update, delete, truncate on item to plain_writer")
    connection.execute("grant select (id) on item to plain_writer")
    try:
        with database.connect() as writer:
            writer.execute("set role plain_writer")
            writer.execute("insert into item values (1, 'x'), (2, ''), (3, 'y')")
            writer.execute("update item set title = 'y' where id = 1")
            writer.execute("update item set title = '', embedding = '[1,2,3,4,5,6,7,8]' where id = 2")
            writer.execute("delete from item where id = 3")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute("select from pgsbert.pending_1")
        assert pending(connection, "item") == [1]
        assert rows(connection, "select id from item where embedding is not null") == []
    finally:
        connection.execute("drop owned by plain_writer")
        connection.execute("drop role plain_writer")


def notified(listener: PgConnection) -> list[str]:
    """Return the channels notified until now: a notification of our own marks the end."""
    listener.execute("notify test_end")
    channels: list[str] = []
    for notification in listener.notifies(timeout=10):
        if notification.channel == "test_end":
            return channels
        channels.append(notification.channel)
    pytest.fail("the notification of the test's own was lost")


def test_writers_notify_only_while_no_worker_is_awake(articles: PgConnection, database: Database) -> None:
    with database.connect() as worker:
        worker.execute("listen pgsbert")
        worker.execute("listen test_end")
        articles.execute("insert into articles (title) values ('asleep'), ('asleep too')")
        assert notified(worker) == ["pgsbert"]
        worker.execute("select pg_advisory_lock(1885827938, 1)")
        articles.execute("insert into articles (title) values ('awake')")
        assert notified(worker) == []
        worker.execute("select pg_advisory_unlock(1885827938, 1)")
        articles.execute("update articles set views = 1")
        articles.execute("insert into articles (title) values (null)")
        articles.execute("update articles set title = 'x' where id = 99")
        assert notified(worker) == []
        articles.execute("update articles set title = 'x' where id = 1")
        assert notified(worker) == ["pgsbert"]


def test_notify_can_be_turned_off(articles: PgConnection, database: Database) -> None:
    with database.connect() as worker:
        worker.execute("listen pgsbert")
        worker.execute("listen test_end")
        articles.execute("set pgsbert.notify = off")
        articles.execute("insert into articles (title) values ('quiet')")
        assert notified(worker) == []
        assert pending(articles, "articles") == [1]


def test_the_gate_leaves_no_lock_behind(articles: PgConnection) -> None:
    with articles.transaction():
        articles.execute("insert into articles (title) values ('x')")
        assert rows(articles, "select from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()") == []
