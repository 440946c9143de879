"""storage => 'table': the source row is never touched, and its vector goes in the user's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support import Database

PgConnection = psycopg.Connection[Any]


@pytest.fixture
def docs(connection: PgConnection) -> PgConnection:
    """Give docs (id, lang, body, changed) with a side table and no worker."""
    connection.execute(
        "create table docs (id int, lang varchar(2), body text, changed timestamptz, primary key (lang, id))"
    )
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => 'table', index => 'none')"
    )
    return connection


@pytest.fixture
def embedded(docs: PgConnection, database: Database) -> PgConnection:
    """Give `docs` with three embedded rows; the worker has ended, so that only triggers act."""
    docs.execute("insert into docs values (1, 'en', 'one'), (2, 'en', 'two'), (1, 'de', 'eins')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        docs.execute("call pgsbert.wait_until_synced('docs')")
    return docs


def side(connection: PgConnection) -> list[Any]:
    return rows(connection, "select lang || id from docs_embedding order by 1")


def test_the_side_table_has_the_key_and_the_vector(embedded: PgConnection) -> None:
    assert rows(
        embedded,
        "select attname::text, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = 'docs_embedding'::regclass and attnum > 0 order by attnum",
    ) == [("lang", "character varying(2)"), ("id", "integer"), ("embedding", "vector(8)")]
    assert side(embedded) == ["de1", "en1", "en2"]
    assert rows(
        embedded, "select attname::text from pg_attribute where attrelid = 'docs'::regclass and attnum > 0"
    ) == [
        "id",
        "lang",
        "body",
        "changed",
    ]


def test_a_settle_never_updates_the_source_row(docs: PgConnection, database: Database) -> None:
    docs.execute("create table fired (n int)")
    docs.execute(
        "create function touch() returns trigger language plpgsql as"
        " $$ begin insert into fired values (1); new.changed := clock_timestamp(); return new; end $$"
    )
    docs.execute("create trigger touch before update on docs for each row execute function touch()")
    docs.execute("insert into docs values (1, 'en', 'one')")
    before = rows(docs, "select xmin::text, ctid::text, changed from docs")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        docs.execute("call pgsbert.wait_until_synced('docs')")
    assert side(docs) == ["en1"]
    assert rows(docs, "select xmin::text, ctid::text, changed from docs") == before
    assert rows(docs, "select count(*) from fired") == [0]


@pytest.mark.parametrize(
    ("statement", "left"),
    [
        ("delete from docs where lang = 'en' and id = 1", ["de1", "en2"]),
        ("delete from docs", []),
        ("truncate docs", []),
        ("update docs set id = 9 where lang = 'en' and id = 1", ["de1", "en2"]),
        ("update docs set lang = 'fr' where id = 1 and lang = 'en'", ["de1", "en2"]),
        ("update docs set body = null where id = 1", ["en2"]),
        ("update docs set body = '' where id = 2", ["de1", "en1"]),
        ("update docs set body = 'new'", ["de1", "en1", "en2"]),
        ("update docs set changed = now()", ["de1", "en1", "en2"]),
        (
            "insert into docs values (2, 'en', '') on conflict (lang, id) do update set body = excluded.body",
            ["de1", "en1"],
        ),
        ("merge into docs as d using (values (1)) as s (id) on d.id = s.id when matched then delete", ["en2"]),
    ],
)
@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_the_vector_goes_in_the_users_own_transaction(
    embedded: PgConnection, level: str, statement: str, left: list[str]
) -> None:
    with embedded.transaction(force_rollback=True):
        embedded.execute("set transaction isolation level " + level)
        embedded.execute(statement)
        assert side(embedded) == left
    assert side(embedded) == ["de1", "en1", "en2"]


def test_on_change_clear_removes_the_vector_with_every_change(database: Database, connection: PgConnection) -> None:
    connection.execute("create table docs (id int primary key, body text, n int)")
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}',"
        " model => 'fake-8', storage => 'table', on_change => 'clear')"
    )
    connection.execute("insert into docs values (1, 'one'), (2, 'two')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('docs')")
    connection.execute("update docs set n = 1")
    assert rows(connection, "select id from docs_embedding order by id") == [1, 2]
    connection.execute("update docs set body = body || '!' where id = 1")
    assert rows(connection, "select id from docs_embedding") == [2]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('docs')")
    assert rows(connection, "select id from docs_embedding order by id") == [1, 2]


WRITES = {
    "an edit": "update docs set body = 'mine' where id = 1",
    "no text": "update docs set body = null where id = 1",
    "another key": "update docs set id = 5 where id = 1",
    "a deletion": "delete from docs where id = 1",
}


async def _settle(queue: Any) -> None:
    """Claim, encode and settle what is pending, as a worker does."""
    from pgsbert.work import embed

    changes = await queue.claim(10)
    done = embed(changes, FakeEncoder(8).encode_counted)
    assert await queue.settle(done) == {change.revision for change in changes}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("first", ["never embedded", "embedded before"])
async def test_a_settle_does_not_disturb_a_repeatable_read_writer_of_the_row(
    database: Database, connection: PgConnection, open_queue: Callable[..., Any], write: str, first: str
) -> None:
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => 'table')")
    connection.execute("insert into docs values (1, 'one')")
    queue = await open_queue("docs")
    if first == "embedded before":
        await _settle(queue)
        connection.execute("update docs set body = 'two'")
    with database.connect() as user, user.transaction():
        user.execute("set transaction isolation level repeatable read")
        user.execute("select count(*) from docs, docs_embedding")  # the snapshot
        await _settle(queue)
        user.execute(WRITES[write])
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("select pgsbert.resume_vectorizer('docs')")
        connection.execute("call pgsbert.wait_until_synced('docs')")
        key = 5 if write == "another key" else 1
        expected = [key] if write in ("an edit", "another key") else []
        wait_until(lambda: rows(connection, "select id from docs_embedding") == expected)
    if write == "an edit":
        (same,) = rows(
            connection,
            "select embedding = %s::vector from docs_embedding",
            str(FakeEncoder(8).encode(["mine"])[0].tolist()),
        )
        assert same


async def test_with_column_storage_a_repeatable_read_writer_of_the_row_must_retry(
    database: Database, connection: PgConnection, open_queue: Callable[..., Any]
) -> None:
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8')")
    connection.execute("insert into docs values (1, 'one')")
    queue = await open_queue("docs")
    with database.connect() as user, user.transaction(force_rollback=True):
        user.execute("set transaction isolation level repeatable read")
        user.execute("select count(*) from docs")
        await _settle(queue)
        with pytest.raises(psycopg.errors.SerializationFailure):
            user.execute("update docs set body = 'mine'")


async def test_a_row_deleted_where_no_trigger_saw_it_leaves_no_vector(
    connection: PgConnection, database: Database, embedded: PgConnection
) -> None:
    embedded.execute("update docs set body = 'changed' where id = 1")
    with embedded.transaction():
        embedded.execute("set local session_replication_role = replica")
        embedded.execute("delete from docs where id = 1")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        embedded.execute("call pgsbert.wait_until_synced('docs')")
    assert side(embedded) == ["en2"]


@pytest.mark.parametrize(("drop_vectors", "left"), [(False, "docs_embedding"), (True, None)])
def test_dropping_keeps_the_side_table_unless_asked(
    embedded: PgConnection, drop_vectors: bool, left: str | None
) -> None:
    embedded.execute("select pgsbert.drop_vectorizer('docs', drop_vectors => %s)", [drop_vectors])
    assert rows(embedded, "select to_regclass('docs_embedding')::text") == [left]
    assert rows(embedded, "select to_regclass('docs_neighbors')::text, to_regproc('docs_search')::text") == [
        (None, None)
    ]
    assert rows(embedded, "select count(*) from pg_trigger where tgrelid = 'docs'::regclass") == [0]
    embedded.execute("insert into docs values (7, 'en', 'seven'); delete from docs")


def test_dropping_after_the_source_takes_the_side_table_too(embedded: PgConnection) -> None:
    embedded.execute("drop table docs cascade")
    embedded.execute("select pgsbert.drop_vectorizer('docs', drop_vectors => true)")
    assert rows(embedded, "select to_regclass('docs_embedding')::text") == [None]


@pytest.mark.parametrize("existing", ["table docs_vec ()", "view docs_vec as select 1 as one", "sequence docs_vec"])
def test_an_existing_relation_of_the_side_tables_name_is_refused(connection: PgConnection, existing: str) -> None:
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute("create " + existing)
    with pytest.raises(psycopg.Error, match=r"relation public.docs_vec exists") as raised:
        connection.execute(
            "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => 'table', target => 'vec')"
        )
    assert raised.value.sqlstate == "PB007"
    assert rows(connection, "select count(*) from pgsbert.vectorizer") == [0]
