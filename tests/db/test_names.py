"""Names are nothing: whatever things are called, and whatever they are renamed to while a worker holds their rows."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from pgsbert import schema as installation
from pgsbert.models.fake import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgsbert.types import Vectors
    from tests.support import Database

PgConnection = psycopg.Connection[Any]

STORAGES = ["column", "table"]


class HeldEncoder(FakeEncoder):
    """A fake whose calls wait while `let_go` is cleared, so that a test can act between claim and settle."""

    def __init__(self) -> None:
        super().__init__(8)
        self.holds = Event()
        self.let_go = Event()
        self.let_go.set()

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Wait, then encode."""
        self.holds.set()
        assert self.let_go.wait(30)
        return super().encode(texts)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Let the next call wait until the block ends."""
        self.holds.clear()
        self.let_go.clear()
        try:
            yield
        finally:
            self.let_go.set()


@pytest.fixture(scope="module")
def encoder() -> HeldEncoder:
    """Give the encoder of the worker that the tests share."""
    return HeldEncoder()


@pytest.fixture(scope="module")
def with_worker(shared_database: Database, encoder: HeldEncoder) -> Iterator[Database]:
    """Give a database that has a worker."""
    with run_worker(shared_database.dsn, encoder=encoder):
        yield shared_database


@pytest.fixture
def shared(with_worker: Database) -> Iterator[PgConnection]:
    """Give a connection to that database; what the test made is dropped after it."""
    with with_worker.connect() as connection:
        yield connection
        connection.execute("reset role; reset search_path")
        connection.execute("select pgsbert.drop_vectorizer(name) from pgsbert.vectorizer")
        connection.execute("drop schema if exists test, away cascade")


def encoded(text: str) -> list[float]:
    return [float(number) for number in FakeEncoder(8).encode([text])[0]]


def same(vector: list[float] | None, text: str | None) -> bool:
    return vector == (pytest.approx(encoded(text), abs=1e-6) if text else None)


# What things are called from the beginning: two key columns, the tracked one, the vector. Schema, table, vectorizer and
# owner have the same names.

HOSTILE = {
    "quotes": ("it's", "''", "'; --", "a'b'"),
    "double quotes": ('a"b', '"', '""x', 'c"'),
    "backslashes": ("a\\b", "\\", "\\\\'", "e\\n"),
    "percent signs": ("%", "%s", "%(limit)s", "%%1$s"),
    "braces": ("{", "{}", "{0}", "{target}"),
    "dollar quotes": ("$$", "$body$", "$make$", "$1"),
    "white space": (" ", " a", "b\nc", "\td\r\n"),
    "other scripts": ("ß", "中文", "e\u0301", "\u202egnihton"),
    "emoji": ("🔑", "📓", "👩‍👩‍👧", "❤️"),
    "63 bytes": ("k" * 63, "é" * 31 + "x", "m" * 63, "n" * 63),
    "key words": ("select", "user", "order", "group"),
    "mixed case": ("MiXed", "ID", "id", "Id"),
    "transition tables": ("new_rows", "old_rows", "n", "o"),
    "columns of the queue": ("k1", "c1", "revision", "pending"),
    "variables of the triggers": ("statement", "queued", "gone", "cleared"),
    "variables of the search": ("query", "k", "item", "candidates"),
    "aliases of the statements": ("d", "f", "h", "l"),
    "more aliases": ("p", "s", "t", "q"),
    "old and new": ("old", "new", "tg_relid", "tg_op"),
    "the queue's tables": ("pending_1", "lease_1", "fill_1", "embedding"),
    "what we add": ("distance", "neighbor_distance", "score", "document"),
}


@pytest.mark.parametrize("names", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("storage", STORAGES)
def test_all_goes_on_with(shared: PgConnection, names: tuple[str, str, str, str], storage: str) -> None:
    a, b, body, target = names
    in_schema, table, name, owner = a, b.encode()[:30].decode(errors="ignore"), body[:50], target
    suffix = target.encode()[:30].decode(errors="ignore")
    parts: dict[str, sql.Composable] = {
        "schema": sql.Identifier(in_schema),
        "table": sql.Identifier(in_schema, table),
        "vectors": sql.Identifier(in_schema, table if storage == "column" else f"{table}_{suffix}"),
        "search": sql.Identifier(in_schema, name + "_search"),
        "neighbors": sql.Identifier(in_schema, name + "_neighbors"),
        "a": sql.Identifier(a),
        "b": sql.Identifier(b),
        "body": sql.Identifier(body),
        "vector": sql.Identifier(
            target if storage == "column" else "embedding_2" if "embedding" in (a, b) else "embedding"
        ),
        "owner": sql.Identifier("role " + owner[:50]),
    }

    def run(statement: str, *values: object) -> list[Any]:
        # no parameters in the statement itself: names hold percent signs
        composed = sql.SQL(statement).format(*map(sql.Literal, values), **parts)
        cursor = shared.execute(composed.as_string(shared).encode())
        return cursor.fetchall() if cursor.description else []

    def vectors() -> dict[str, bool]:
        found = run("select {b}, {vector}::public.vector::real[] from {vectors} order by {b}")
        texts = dict(run("select {b}, {body} from {table}"))
        return {key: vector is not None and same(vector, texts[key]) for key, vector in found}

    def sync() -> None:
        shared.execute("call pgsbert.wait_until_synced(%s, '30 s')", [name])

    run("create role {owner}")
    try:
        run("create schema {schema} authorization {owner}")
        shared.execute("select pgsbert.grant_usage(%s, 'operator')", ["role " + owner[:50]])
        run("set role {owner}")
        # not in the order of the key; an untracked column is there to be dropped
        run("create table {table} (junk int, {body} text, {b} text, {a} int, primary key ({a}, {b}))")
        run("insert into {table} values (0, 'red apple', 'x', 1), (0, null, 'y', 1)")
        shared.execute(
            "select pgsbert.create_vectorizer(%s::regclass, %s, name => %s, model => 'fake-8', target => %s,"
            " storage => %s, on_change => 'clear', index => 'none')",
            [parts["table"].as_string(shared), [body], name, suffix if storage == "table" else target, storage],
        )
        run("insert into {table} ({a}, {b}, {body}) values (1, 'z', 'blue sea'), (2, 'z', 'deep blue')")
        run("update {table} set {body} = 'green apple' where {b} = 'y'")
        run("delete from {table} where {a} = 2")
        sync()
        assert vectors() == {"x": True, "y": True, "z": True}
        assert run("select ((hit.item).{body}) from {search}('green apple', 1) as hit") == [("green apple",)]
        assert {row[:4] for row in run("select * from {neighbors}") if row[1] == "x"} == {
            (1, "x", 1, "y"),
            (1, "x", 1, "z"),
        }
        (hit,) = shared.execute("select item from pgsbert.similar_to(%s, '{1,y}', 1)", [name]).fetchall()
        assert hit[0][body] == "red apple"
        run("alter table {table} drop junk")
        run("update {table} set {body} = '' where {b} = 'x'")
        assert vectors() in ({"x": False, "y": True, "z": True}, {"y": True, "z": True})
        run("update {table} set {b} = 'zz', {body} = 'blue sky' where {b} = 'z'")
        run("delete from {table} where {b} = 'y'")
        sync()
        assert vectors() in ({"x": False, "zz": True}, {"zz": True})
        shared.execute("select pgsbert.drop_vectorizer(%s, drop_vectors => true)", [name])
        left = "select count(*) from pg_class where relnamespace = {}::regnamespace and relkind in ('r', 'v')"
        assert run(left, parts["schema"].as_string(shared)) == [(1,)]
        run("insert into {table} ({a}, {b}) values (9, 'free again')")
    finally:
        shared.execute("reset role")
        run("drop schema if exists {schema} cascade")
        run("drop owned by {owner}")
        run("drop role {owner}")


@pytest.mark.parametrize("role", ['a "worker"', "%s {0} $1", "wörker 🔑", "user"])
def test_the_workers_login_may_be_called(connection: PgConnection, database: Database, role: str) -> None:
    login = sql.Identifier(role)
    connection.execute(sql.SQL("create role {} login in role pgsbert_worker").format(login).as_string().encode())
    try:
        connection.execute("create table note (id int primary key, body text)")
        connection.execute("insert into note values (1, 'one')")
        connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8')")
        with run_worker(database.dsn.replace("postgres@", quote(role) + "@"), encoder=FakeEncoder(8)):
            connection.execute("call pgsbert.wait_until_synced('note')")
            assert same(*connection.execute("select embedding::real[], body from note").fetchone())  # type: ignore[misc]
            connection.execute("alter table note enable row level security")
            (reason,) = wait_until(
                lambda: rows(connection, "select broken_reason from pgsbert.vectorizer where broken_reason is not null")
            )
        # what it says to run can be run
        connection.execute(reason.split(": ", 1)[1].encode())
        assert rows(connection, "select rolbypassrls from pg_roles where rolname = %s", role) == [True]
    finally:
        connection.execute(sql.SQL("drop owned by {0}; drop role {0}").format(login).as_string().encode())


# Renames, while the worker holds a row between claim and settle; then further changes under the new names.

NOTE = {
    "table": "test.note",
    "id": "id",
    "body": "body",
    "vectors": "{table}",
    "key": "id",
    "vector": "embedding",
    "search": "test.note_search",
}
RENAMES: dict[str, tuple[str, dict[str, str]]] = {
    "the table": ("alter table test.note rename to other", {"table": "test.other"}),
    "the schema": ("alter schema test rename to away", {"table": "away.note", "search": "away.note_search"}),
    "the schema of the table": (
        "create schema away; alter table test.note set schema away",
        {"table": "away.note"},
    ),
    "the tracked column": ("alter table test.note rename body to text", {"body": "text"}),
    "the key": ("alter table test.note rename id to number", {"id": "number"}),
    "the tracked column and another, for each other": (
        "alter table test.note rename body to tmp; alter table test.note rename other to body;"
        " alter table test.note rename tmp to other",
        {"body": "other"},
    ),
    "the tracked columns' table and another table, for each other": (
        "create table test.fake (id int primary key, body text, other text, embedding public.vector(8));"
        " alter table test.note rename to tmp; alter table test.fake rename to note;"
        " alter table test.tmp rename to fake",
        {"table": "test.fake"},
    ),
    "the constraint of the key": ("alter table test.note rename constraint note_pkey to the_key", {}),
    "the index of the key": ("alter index test.note_pkey rename to the_key", {}),
    "the search function": ("alter function test.note_search rename to find", {"search": "test.find"}),
    "the view of neighbors": ("alter view test.note_neighbors rename to near", {}),
    "the triggers": (
        "do $$ declare t name; begin for t in select tgname from pg_trigger where tgrelid = 'test.note'::regclass loop"
        " execute format('alter trigger %I on test.note rename to %I', t, t || '_too'); end loop; end $$",
        {},
    ),
}
COLUMN_RENAMES = {
    "the vector": ("alter table test.note rename embedding to vec", {"vector": "vec"}),
    "the vector and another, for each other": (
        "alter table test.note add spare public.vector(8); alter table test.note rename embedding to tmp;"
        " alter table test.note rename spare to embedding; alter table test.note rename tmp to spare",
        {"vector": "spare"},
    ),
}
TABLE_RENAMES = {
    "the side table": ("alter table test.note_embedding rename to vecs", {"vectors": "test.vecs"}),
    "its schema": (
        "create schema away; alter table test.note_embedding set schema away",
        {"vectors": "away.note_embedding"},
    ),
    "its key": ("alter table test.note_embedding rename id to note_id", {"key": "note_id"}),
    "its vector": ("alter table test.note_embedding rename embedding to vec", {"vector": "vec"}),
    "its constraint": ("alter table test.note_embedding rename constraint note_embedding_pkey to the_side_key", {}),
}
CASES = [
    *(("column", name) for name in RENAMES | COLUMN_RENAMES),
    *(("table", name) for name in RENAMES | TABLE_RENAMES),
]


@pytest.mark.parametrize(("storage", "renamed"), CASES)
def test_nothing_is_lost_or_left_when_between_claim_and_settle_is_renamed(
    shared: PgConnection, encoder: HeldEncoder, storage: str, renamed: str
) -> None:
    ddl, now = {**RENAMES, **COLUMN_RENAMES, **TABLE_RENAMES}[renamed]
    shared.execute("create schema test")
    shared.execute("create table test.note (id int primary key, body text, other text default 'not tracked')")
    shared.execute(
        "select pgsbert.create_vectorizer('test.note', '{body}', model => 'fake-8', storage => %s, index => 'none')",
        [storage],
    )
    shared.execute("insert into test.note values (1, 'one'), (2, 'two')")
    shared.execute("call pgsbert.wait_until_synced('note')")
    names = NOTE | ({"vectors": "test.note_embedding"} if storage == "table" else {}) | now
    if storage == "table":
        if renamed == "the schema":
            names["vectors"] = "away.note_embedding"
    else:
        names |= {"vectors": names["table"], "key": names["id"]}

    def run(statement: str) -> list[Any]:
        cursor = shared.execute(statement.format(**names).encode())
        return cursor.fetchall() if cursor.description else []

    def assert_embedded(**texts: str) -> None:
        shared.execute("call pgsbert.wait_until_synced('note', '30 s')")
        found = run("select {key}, {vector}::public.vector::real[] from {vectors} where {vector} is not null")
        assert {f"_{key}": True for key in (text[1:] for text in texts)} == {
            f"_{key}": same(vector, texts[f"_{key}"]) for key, vector in found
        }

    with encoder.holding():
        shared.execute("update test.note set body = 'changed' where id = 1")
        assert encoder.holds.wait(30)
        for statement in ddl.split("; ") if "$$" not in ddl else [ddl]:
            shared.execute(statement.encode())
    assert_embedded(_1="changed", _2="two")
    run("update {table} set {body} = 'changed again' where {id} = 1")
    run("insert into {table} ({id}, {body}) values (3, 'three')")
    run("delete from {table} where {id} = 2")
    assert_embedded(_1="changed again", _3="three")
    run("update {table} set {id} = 4 where {id} = 3")
    run("update {table} set {body} = null where {id} = 1")
    assert_embedded(_4="three")
    assert run("select count(*) from {search}('three')") == [(1,)]
    assert rows(shared, "select broken_reason from pgsbert.vectorizer") == [None]
    shared.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    left = "select from pg_class where relkind in ('r', 'v') and relnamespace::regnamespace::text in ('test', 'away')"
    assert len(rows(shared, left)) == (2 if "another table" in renamed else 1)


@pytest.mark.parametrize("storage", STORAGES)
def test_names_that_columns_of_a_key_exchange_are_followed(shared: PgConnection, storage: str) -> None:
    shared.execute("create schema test")
    shared.execute("create table test.note (a int, b int, body text, primary key (a, b))")
    shared.execute(
        "select pgsbert.create_vectorizer('test.note', '{body}', model => 'fake-8', storage => %s, index => 'none')",
        [storage],
    )
    shared.execute("insert into test.note values (1, 2, 'one two'), (2, 1, 'two one')")
    shared.execute("call pgsbert.wait_until_synced('note')")
    for change in ("a to tmp", "b to a", "tmp to b"):
        shared.execute(f"alter table test.note rename {change}")
    # (b, a) in the order of the table now
    shared.execute("update test.note set body = 'changed' where b = 1 and a = 2")
    shared.execute("delete from test.note where b = 2")
    shared.execute("insert into test.note (a, b, body) values (3, 1, 'three')")
    shared.execute("call pgsbert.wait_until_synced('note')")
    vectors = "test.note" if storage == "column" else "test.note_embedding"
    first = "b" if storage == "column" else "a"
    found = shared.execute(f"select {first}, embedding::public.vector::real[] from {vectors} order by 2 desc".encode())
    assert sorted((key, [text for text in ("changed", "three") if same(vector, text)]) for key, vector in found) == [
        (1, ["changed"]),
        (1, ["three"]),
    ]


def test_the_owner_may_be_renamed(shared: PgConnection, encoder: HeldEncoder) -> None:
    shared.execute("create role names_owner")
    try:
        shared.execute("create schema test authorization names_owner")
        shared.execute("select pgsbert.grant_usage('names_owner', 'operator')")
        shared.execute("set role names_owner; create table test.note (id int primary key, body text)")
        shared.execute("select pgsbert.create_vectorizer('test.note', '{body}', model => 'fake-8', storage => 'table')")
        shared.execute("reset role")
        with encoder.holding():
            shared.execute("insert into test.note values (1, 'one'), (2, 'two')")
            assert encoder.holds.wait(30)
            shared.execute('alter role names_owner rename to "The ""new"" owner"')
        shared.execute("update test.note set body = null where id = 2")
        shared.execute("call pgsbert.wait_until_synced('note')")
        assert rows(shared, "select id from test.note_embedding") == [1]
        shared.execute('set role "The ""new"" owner"')
        shared.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
        shared.execute("reset role")
    finally:
        for role in ("names_owner", '"The ""new"" owner"'):
            if rows(shared, "select to_regrole(%s) is not null", role) == [True]:
                shared.execute(f"drop owned by {role} cascade; drop role {role}".encode())


# The extension moves.


def test_nobody_fails_while_the_extension_is_moved_and_pgsbert_not_yet_upgraded(
    connection: PgConnection, database: Database
) -> None:
    connection.execute("create schema one; create table one.note (id int primary key, body text)")
    connection.execute("create schema two; create table two.note (id int primary key, body text)")
    for storage, home in (("column", "one"), ("table", "two")):
        connection.execute(
            f"select pgsbert.create_vectorizer('{home}.note', '{{body}}', name => '{home}', model => 'fake-8',"
            f" storage => '{storage}', on_change => 'clear', index => 'none')".encode()
        )
        connection.execute(f"insert into {home}.note values (1, 'one'), (2, 'two'), (3, 'three')".encode())
    encoder = HeldEncoder()
    with run_worker(database.dsn, encoder=encoder), database.connect() as writer:
        for home in ("one", "two"):
            connection.execute(f"call pgsbert.wait_until_synced('{home}')".encode())
            # plans are kept from before the move
            writer.execute(f"update {home}.note set body = 'one' where id = 1".encode())
        with encoder.holding():
            writer.execute("update one.note set body = 'one' || n from generate_series(1, 1) as n where id = 1")
            assert encoder.holds.wait(30)
            connection.execute('create schema "Ext ""x"; alter extension vector set schema "Ext ""x"')
        connection.execute("call pgsbert.wait_until_synced('one')")
        assert rows(connection, "select key from pgsbert.failures") == []
        writer.execute("update one.note set body = 'one' where id = 1")
        for home in ("one", "two"):
            for session in (writer, connection):
                session.execute(f"update {home}.note set body = body || '!' where id = 1".encode())
                session.execute(f"update {home}.note set body = null where id = 2".encode())
                session.execute(f"delete from {home}.note where id = 3".encode())
                session.execute(f"insert into {home}.note values (3, 'new')".encode())
                session.execute(
                    f"update {home}.note set id = 4 where id = 3; delete from {home}.note where id = 4".encode()
                )
    installation.upgrade(database.dsn)
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        for home, vectors in (("one", "one.note"), ("two", "two.note_embedding")):
            connection.execute(f"call pgsbert.wait_until_synced('{home}')".encode())
            found = connection.execute(
                f'select id, embedding::"Ext ""x".vector::real[] from {vectors} where embedding is not null'.encode()
            )
            assert [(key, same(vector, "one!!")) for key, vector in found] == [(1, True)]
            assert rows(connection, f"select count(*) from {home}.{home}_search('one')") == [1]


# What was dropped.

BREAKS = {
    "the tracked column": ("alter table note drop body cascade", 'column "body" of public.note was dropped'),
    "the key column": ("alter table note drop id cascade", 'column "id" of public.note was dropped'),
    "the key": (
        "alter table note drop constraint note_pkey cascade",
        "public.note has no unique key over NOT NULL columns (id) any more",
    ),
    "the vectors": ("{drop vectors}", "was dropped"),
}
WRITES = [
    "insert into note (other) values ('x')",
    "update note set other = 'y'",
    "delete from note where other = 'y'",
    "truncate note",
]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("ddl", "reason"), BREAKS.values(), ids=BREAKS)
def test_what_was_dropped_harms_no_writer_says_so_and_can_be_made_anew(
    shared: PgConnection, storage: str, ddl: str, reason: str
) -> None:
    shared.execute("create schema test; set search_path = test, public")
    reason = reason.replace("public.", "test.")
    shared.execute(
        "create sequence numbers;"
        " create table note (id int default nextval('numbers') primary key, body text, other text)"
    )

    def create() -> None:
        shared.execute(
            "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', storage => %s, index => 'none')",
            [storage],
        )

    create()
    shared.execute("insert into note (body) values ('one'), ('two')")
    shared.execute("call pgsbert.wait_until_synced('note')")
    drop_vectors = (
        "alter table note drop embedding cascade" if storage == "column" else "drop table note_embedding cascade"
    )
    shared.execute(ddl.replace("{drop vectors}", drop_vectors).encode())
    for write in WRITES:
        shared.execute(write.encode())
    shared.execute("notify pgsbert_catalog; notify pgsbert")
    state = wait_until(lambda: shared.execute("select reason from pgsbert.status where state = 'broken'").fetchone())
    assert reason in state[0]
    with pytest.raises(psycopg.Error, match='"note" is broken') as raised:
        shared.execute("call pgsbert.wait_until_synced('note')")
    assert raised.value.sqlstate == "PB008"
    shared.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    shared.execute("alter table note drop if exists id, drop if exists body")
    shared.execute("alter table note add id int generated always as identity primary key, add body text")
    shared.execute("insert into note (body) values ('one'), ('two')")
    create()
    shared.execute("call pgsbert.wait_until_synced('note')")
    vectors = "note" if storage == "column" else "note_embedding"
    assert rows(shared, f"select count(embedding) from {vectors}") == [2]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_table_made_again_under_the_same_name_is_another(shared: PgConnection, storage: str) -> None:
    shared.execute("create schema test; set search_path = test, public")
    for _ in range(2):
        shared.execute("create table note (id int primary key, body text)")
        shared.execute("insert into note values (1, 'one')")
        shared.execute(
            "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', storage => %s, index => 'none')",
            [storage],
        )
        shared.execute("call pgsbert.wait_until_synced('note')")
        shared.execute("drop table note cascade")
        shared.execute("create table note (id int primary key, body text)")
        shared.execute("insert into note values (2, 'two'); update note set body = 'three'; truncate note")
        shared.execute("notify pgsbert_catalog; notify pgsbert")
        reason = wait_until(lambda: rows(shared, "select reason from pgsbert.status where state = 'broken'"))
        assert reason == ['the table of "note" was dropped']
        with pytest.raises(psycopg.Error, match='a vectorizer is already called "note"') as raised:
            shared.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8')")
        assert raised.value.diag.message_hint == (
            "Its table was dropped. First: select pgsbert.drop_vectorizer('note')."
        )
        shared.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
        shared.execute("drop table note")
