"""A text that goes takes its vector with it: in the user's own transaction, whatever the statement, for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.models.fake import FakeEncoder
from pgsbert.work import Embedded, embed
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pgsbert.queue import Queue
    from tests.support import Database

    OpenQueue = Callable[..., Awaitable[Queue]]

PgConnection = psycopg.Connection[Any]

ENCODER = FakeEncoder(8)
VECTOR = "'[1,2,3,4,5,6,7,8]'"
STORAGES = ["column", "table"]


def make(connection: PgConnection, storage: str, on_change: str) -> None:
    """Make note (id, title, body, n) with four rows that have vectors, and nothing pending; no worker runs."""
    connection.execute("create table label (name text primary key)")
    connection.execute("insert into label values ('red'), ('blue')")
    connection.execute(
        "create table note (id int primary key, body text,"
        " title text references label on update cascade on delete set null, n int default 0)"
    )
    connection.execute(
        "select pgsbert.create_vectorizer('note', '{title,body}', model => 'fake-8', storage => %s, on_change => %s,"
        " index => 'none')",
        [storage, on_change],
    )
    connection.execute(
        "insert into note values (1, 'one', null), (2, 'two', 'red'), (3, null, 'red'), (4, '', 'blue'), (5, ' ', null)"
    )
    if storage == "column":
        connection.execute(f"update note set embedding = {VECTOR}")
    else:
        connection.execute(f"insert into note_embedding select id, {VECTOR} from note")
    connection.execute("delete from pgsbert.pending_1")
    connection.execute("create view notes as select id, body, n from note")


def with_vector(connection: PgConnection, storage: str) -> list[Any]:
    return rows(
        connection,
        "select id from note where embedding is not null order by id"
        if storage == "column"
        else "select id from note_embedding order by id",
    )


def pending(connection: PgConnection) -> list[Any]:
    return rows(connection, "select k1 from pgsbert.pending_1 order by k1")


@pytest.fixture(scope="module", params=[(s, c) for s in STORAGES for c in ("keep", "clear")], ids=" ".join)
def made(request: pytest.FixtureRequest, shared_database: Database) -> Iterator[tuple[PgConnection, str, str]]:
    """Give the rows of `make` for each storage and on_change; a test rolls back."""
    with shared_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("alter sequence pgsbert.vectorizer_id_seq restart")
        make(connection, *request.param)
        yield connection, *request.param


@pytest.fixture
def note(made: tuple[PgConnection, str, str]) -> Iterator[tuple[PgConnection, str, str]]:
    """Give `made` as it was at first."""
    with made[0].transaction(force_rollback=True):
        yield made


# statement, rows whose text is gone after it, rows whose text is another
STATEMENTS: dict[str, tuple[str, set[int], set[int]]] = {
    "NULL": ("update note set body = null where id = 1", {1}, set()),
    "an empty text": ("update note set body = '' where id = 1", {1}, set()),
    "white space, which is text": ("update note set body = E' \\n\\t' where id = 1", set(), {1}),
    "white space that goes": ("update note set body = '' where id = 5", {5}, set()),
    "one of two columns": ("update note set body = null where id = 2", set(), {2}),
    "the other of two columns": ("update note set title = null where id = 2", set(), {2}),
    "both columns": ("update note set title = null, body = '' where id = 2", {2}, set()),
    "the only filled column": ("update note set title = null where id in (3, 4)", {3, 4}, set()),
    "another text": ("update note set body = 'other' where id <= 2", set(), {1, 2}),
    "each row its own": (
        "update note set body = nullif(body, 'one'), title = case when id > 2 then title end",
        {1},
        {2},
    ),
    "other letters": ("update note set body = upper(body) where id = 1", set(), {1}),
    "an untracked column": ("update note set n = n + 1", set(), set()),
    "the same text": ("update note set body = body || '', title = title", set(), set()),
    "NULL for an empty text": ("update note set body = nullif(body, '')", set(), set()),
    "an empty text for NULL": ("update note set body = coalesce(body, '')", set(), set()),
    "a text that moves to the other column": ("update note set title = 'blue', body = 'red' where id = 2", set(), {2}),
    "an upsert": (
        "insert into note values (1, '', null), (2, 'new', 'red') on conflict (id) do update set body = excluded.body",
        {1},
        {2},
    ),
    "an upsert of the same": (
        "insert into note values (1, 'one') on conflict (id) do update set body = excluded.body, n = 7",
        set(),
        set(),
    ),
    "an upsert that does nothing": ("insert into note values (1, '') on conflict do nothing", set(), set()),
    "merge": (
        "merge into note using (values (1, null), (2, 'new')) as s (id, body) on note.id = s.id"
        " when matched then update set body = s.body",
        {1},
        {2},
    ),
    "a join": ("update note set body = s.b from (values (1, ''), (2, 'new')) as s (i, b) where id = s.i", {1}, {2}),
    "a view": ("update notes set body = case id when 2 then 'new' end where id <= 2", {1}, {2}),
    "a common table expression": (
        "with gone as (update note set body = null where id = 1 returning 1) update note set body = 'new' where id = 2",
        {1},
        {2},
    ),
    "a foreign key that cascades": ("update label set name = 'green' where name = 'red'", set(), {2, 3}),
    "a foreign key that is set to NULL": ("delete from label where name = 'red'", {3}, {2}),
    "two statements": (
        "update note set body = 'new' where id = 1; update note set body = null where id = 1",
        {1},
        set(),
    ),
    "a function": ("do $$ begin update note set body = null where id = 1; end $$", {1}, set()),
}


@pytest.mark.parametrize(("statement", "emptied", "changed"), STATEMENTS.values(), ids=STATEMENTS)
def test_the_vector_goes_in_the_users_own_transaction_with(
    note: tuple[PgConnection, str, str], statement: str, emptied: set[int], changed: set[int]
) -> None:
    connection, storage, on_change = note
    connection.execute(statement.encode())
    gone = emptied | (changed if on_change == "clear" else set())
    assert with_vector(connection, storage) == sorted({1, 2, 3, 4, 5} - gone)
    assert pending(connection) == sorted(emptied | changed)


def test_a_rolled_back_savepoint_brings_the_vector_back(note: tuple[PgConnection, str, str]) -> None:
    connection, storage, on_change = note
    connection.execute("savepoint before; update note set body = null where id = 1")
    assert with_vector(connection, storage) == [2, 3, 4, 5]
    connection.execute("rollback to before")
    assert with_vector(connection, storage) == [1, 2, 3, 4, 5]
    assert pending(connection) == []
    connection.execute("update note set body = 'other' where id = 1")
    assert (1 in with_vector(connection, storage)) is (on_change == "keep")


def test_a_text_that_comes_back_in_the_same_transaction_is_embedded_again(note: tuple[PgConnection, str, str]) -> None:
    connection, storage, _ = note
    connection.execute("update note set body = null where id = 1")
    connection.execute("update note set body = 'one' where id = 1")
    assert with_vector(connection, storage) == [2, 3, 4, 5]
    assert pending(connection) == [1]


def test_a_vector_that_a_user_writes_stays_until_the_text_changes(note: tuple[PgConnection, str, str]) -> None:
    connection, storage, on_change = note
    theirs = "'[8,7,6,5,4,3,2,1]'"
    (table, key) = ("note", "id") if storage == "column" else ("note_embedding", "id")
    connection.execute(f"update {table} set embedding = {theirs} where {key} = 1".encode())
    assert pending(connection) == []
    found = f"select embedding = {theirs} from {table} where {key} = 1"
    assert rows(connection, found) == [True]
    connection.execute("update note set n = 1 where id = 1")
    assert rows(connection, found) == [True]
    connection.execute("update note set body = 'other' where id = 1")
    assert pending(connection) == [1]
    assert (1 in with_vector(connection, storage)) is (on_change == "keep")


def test_a_vector_written_together_with_an_empty_text_is_not_stored(note: tuple[PgConnection, str, str]) -> None:
    connection, storage, _ = note
    if storage == "column":
        connection.execute(f"update note set body = '', embedding = {VECTOR} where id = 1".encode())
        connection.execute(f"update note set embedding = {VECTOR} where id = 1".encode())
        assert with_vector(connection, storage) == [2, 3, 4, 5]


# With a worker's hand in it.


@pytest.mark.parametrize("storage", STORAGES)
def test_a_trigger_that_sorts_after_ours_is_put_right_by_the_queue(
    connection: PgConnection, database: Database, storage: str
) -> None:
    make(connection, storage, "clear")
    connection.execute(
        "create function shorten() returns trigger language plpgsql as $$ begin new.body := nullif(new.body, 'x');"
        " return new; end $$; create trigger zzzzz before update on note for each row execute function shorten()"
    )
    # for our BEFORE trigger it is a change; what is stored has no text
    connection.execute("update note set body = 'x', n = 1 where id = 1")
    connection.execute("update note set n = 1 where id = 2")
    assert rows(connection, "select body from note where id = 1") == [None]
    assert pending(connection) == [1]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('note')")
    assert with_vector(connection, storage) == [2, 3, 4, 5]


def test_a_trigger_that_sorts_after_ours_and_empties_an_unchanged_text_is_put_right_by_the_queue(
    connection: PgConnection, database: Database
) -> None:
    make(connection, "column", "clear")
    connection.execute(
        "create function empty_it() returns trigger language plpgsql as $$ begin new.body := null;"
        " return new; end $$; create trigger zzzzz before update on note for each row when (new.id = 1)"
        " execute function empty_it()"
    )
    connection.execute("update note set n = 1 where id = 1")
    # the worded exception: our trigger saw the text
    assert with_vector(connection, "column") == [1, 2, 3, 4, 5]
    assert pending(connection) == [1]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('note')")
    assert with_vector(connection, "column") == [2, 3, 4, 5]


async def claim_and_encode(queue: Queue) -> list[Embedded]:
    changes = await queue.claim(10)
    return [outcome for outcome in embed(changes, ENCODER.encode_counted) if isinstance(outcome, Embedded)]


GOES = {
    "emptied": "update note set body = '' where id = 1",
    "set to NULL": "update note set body = null where id = 1",
    "changed": "update note set body = 'other' where id = 1",
    "deleted": "delete from note where id = 1",
    "deleted and inserted without text": "delete from note where id = 1; insert into note (id) values (1)",
}


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("when", ["before the settle", "while the settle passes by", "around the settle"])
@pytest.mark.parametrize("statement", GOES.values(), ids=GOES)
async def test_a_settle_on_its_way_never_brings_the_vector_back(
    database: Database, connection: PgConnection, open_queue: OpenQueue, storage: str, when: str, statement: str
) -> None:
    make(connection, storage, "clear")
    queue = await open_queue("note")
    await queue.fill(100)
    connection.execute("delete from pgsbert.pending_1")
    connection.execute("update note set body = 'claimed' where id = 1")
    done = await claim_and_encode(queue)
    assert len(done) == 1
    with psycopg.connect(database.dsn) as user:
        user.execute(statement.encode())
        if when == "before the settle":
            user.commit()
        settled = await queue.settle(done)
        # it waits for nobody: what the user holds is left
        assert settled == set()
        if when == "around the settle":
            user.execute("update note set n = 2")
        user.commit()
    assert with_vector(connection, storage) == [2, 3, 4, 5]
    await queue.defer(outcome.revision for outcome in done)
    assert await queue.settle(done) == set()
    assert with_vector(connection, storage) == [2, 3, 4, 5]
    again = await claim_and_encode(queue)
    await queue.settle(again)
    assert with_vector(connection, storage) == ([1, 2, 3, 4, 5] if statement == GOES["changed"] else [2, 3, 4, 5])
    assert pending(connection) == []


@pytest.mark.parametrize("storage", STORAGES)
async def test_a_text_emptied_and_rolled_back_keeps_its_place(
    database: Database, connection: PgConnection, open_queue: OpenQueue, storage: str
) -> None:
    make(connection, storage, "clear")
    queue = await open_queue("note")
    await queue.fill(100)
    connection.execute("delete from pgsbert.pending_1")
    connection.execute("update note set body = 'claimed' where id = 1")
    done = await claim_and_encode(queue)
    with psycopg.connect(database.dsn) as user:
        user.execute("update note set body = null where id = 1")
        assert await queue.settle(done) == set()
        user.rollback()
    assert await queue.settle(done) == {outcome.revision for outcome in done}
    assert with_vector(connection, storage) == [1, 2, 3, 4, 5]
