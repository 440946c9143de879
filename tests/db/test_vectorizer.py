"""The life of a vectorizer: filled, kept true, paused, refreshed, dropped; whatever key and names its table has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert.models.fake import FakeEncoder
from tests.support import Database, rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import RunningWorker

PgConnection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def shared_worker(shared_database: Database) -> Iterator[RunningWorker]:
    """Run one worker with an 8-dimensional fake for the tests that share a database."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)) as running:
        yield running


@pytest.fixture
def shared(shared_database: Database, shared_worker: RunningWorker) -> Iterator[PgConnection]:
    """Give a connection to a database that has a worker; what the test made is dropped after it."""
    with shared_database.connect() as connection:
        yield connection
        for name in rows(connection, "select name from pgsbert.vectorizer"):
            connection.execute("select pgsbert.drop_vectorizer(%s)", [name])
        connection.execute("drop schema if exists test cascade")


@pytest.fixture
def schema(shared: PgConnection) -> PgConnection:
    """Give `shared` with a schema test that its names are looked up in."""
    shared.execute("create schema test")
    shared.execute("set search_path = test, public")
    return shared


def encoded(text: str) -> list[float]:
    return [float(number) for number in FakeEncoder(8).encode([text])[0]]


def create(connection: PgConnection, table: str = "note", columns: str = "{body}", **options: object) -> str:
    """Call create_vectorizer with fake-8 and return the name."""
    options = {"model": "fake-8", **options}
    arguments = "".join(f", {option} => %({option})s" for option in options)
    query = f"select pgsbert.create_vectorizer(%(source)s::regclass, %(columns)s{arguments})"
    (name,) = rows_with(connection, query, {"source": table, "columns": columns, **options})
    return str(name)


def rows_with(connection: PgConnection, query: str, parameters: dict[str, object]) -> list[Any]:
    return [row[0] for row in connection.execute(query, parameters).fetchall()]


def sync(connection: PgConnection, name: str = "note") -> None:
    connection.execute("call pgsbert.wait_until_synced(%s, '30 s')", [name])


def assert_true(connection: PgConnection, table: str = "note", text: str = "body", target: str = "embedding") -> None:
    """Every row has the vector of its text, and none where there is no text."""
    query = sql.SQL("select {}, {}::public.vector::real[] from {}").format(
        sql.SQL(text), sql.Identifier(target), sql.Identifier(*table.split("."))
    )
    found = connection.execute(query).fetchall()
    assert found
    for body, vector in found:
        assert vector == (pytest.approx(encoded(body), abs=1e-6) if body else None)


def make_notes(connection: PgConnection, *texts: str | None) -> None:
    connection.execute("create table note (id int primary key, body text)")
    for number, text in enumerate(texts, start=1):
        connection.execute("insert into note values (%s, %s)", [number, text])


# Existing rows and keys.


@pytest.mark.parametrize("count", [0, 1, 5000])
def test_existing_rows_are_filled(schema: PgConnection, count: int) -> None:
    schema.execute("create table note (id int primary key, body text)")
    schema.execute("insert into note select i, 'text ' || i %% 50 from generate_series(1, %s) as i", [count])
    create(schema)
    sync(schema)
    assert rows(schema, "select count(embedding) from note") == [count]
    assert rows(schema, "select count(distinct embedding) from note") == [min(count, 50)]
    schema.execute("insert into note values (0, 'one more')")
    sync(schema)
    assert rows(schema, "select count(*) from note where embedding is null") == [0]


@dataclass(frozen=True)
class Key:
    definition: str
    first: str
    second: str
    third: str
    prelude: str = ""
    columns: str = "id"
    index: str = ""


KEYS = {
    "bigint": Key("id bigint primary key", "-9223372036854775808", "0", "9223372036854775807"),
    "smallint": Key("id smallint primary key", "-1", "0", "1"),
    "text with a collation": Key('id text collate "C" primary key', "'a'", "'B'", "'ä''\"\\'"),
    "a uuid": Key(
        "id uuid primary key",
        "'00000000-0000-0000-0000-000000000001'",
        "'00000000-0000-0000-0000-000000000002'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
    ),
    "text and a number": Key(
        "id text, number int, primary key (id, number)", "'a', 2", "'a', 1", "'b', 1", columns="id, number"
    ),
    "columns out of order": Key(
        "b int, a text, id date, primary key (id, a, b)",
        "1, 'x', '2020-01-01'",
        "2, 'x', '2020-01-01'",
        "1, 'y', 'infinity'",
        columns="b, a, id",
    ),
    "dates": Key(
        "id date, until timestamp, primary key (until, id)",
        "'2020-01-01', '2020-01-02'",
        "'-infinity', 'infinity'",
        "'2020-01-01', '2020-01-03'",
        columns="id, until",
    ),
    "a domain": Key(
        "id test.code primary key",
        "'aa'",
        "'bb'",
        "'cc'",
        prelude="create domain test.code as text collate \"C\" check (value ~ '^[a-z]+$')",
    ),
    "a domain over a domain": Key(
        "id test.outer_code primary key",
        "1.50",
        "2.25",
        "3.00",
        prelude="create domain test.inner_code as numeric(6,2);"
        " create domain test.outer_code as test.inner_code not null",
    ),
    "an enum": Key(
        'id test."Mood" primary key',
        "'z first'",
        "'a second'",
        "'Third'",
        prelude="create type test.\"Mood\" as enum ('z first', 'a second', 'Third')",
    ),
    "a numeric": Key("id numeric(10,2) primary key", "-1.00", "1.1", "99999999.99"),
    "a numeric without scale": Key("id numeric primary key", "1.0", "'NaN'", "1e300"),
    "a float": Key("id float8 primary key", "0.1", "'-infinity'", "'NaN'"),
    "a time": Key("id timestamptz(3) primary key", "'2020-01-01 0:0:0.123456'", "'infinity'", "'2020-01-02'"),
    "bytes": Key("id bytea primary key", "'\\x00'", "''", "'\\xff00'"),
    "an array": Key("id text[] primary key", "'{a}'", "'{}'", "'{a,NULL}'"),
    "a range": Key("id tstzrange primary key", "'empty'", "'(,)'", "'[2020-01-01,2020-01-02)'"),
    "a composite type": Key(
        "id test.pair primary key",
        "(1, 'a')",
        "(1, 'b')",
        "(2, null)",
        prelude="create type test.pair as (a int, b text)",
    ),
    "citext of another schema": Key(
        "id test.citext primary key", "'A'", "'b'", "'C'", prelude="create extension citext schema test"
    ),
    "varchar": Key("id varchar(3) primary key", "'a'", "'a b'", "''"),
    "char": Key("id char(3) primary key", "'a'", "'b  '", "''"),
    "a unique constraint": Key("id text not null unique", "'a'", "'b'", "'c'"),
    "a unique index": Key("id int not null", "1", "2", "3", index="id"),
    "a unique index of another collation": Key("id text not null", "'a'", "'b'", "'c'", index='id collate "C"'),
    "a generated identity": Key("id int generated by default as identity primary key", "1", "2", "3"),
    "an address": Key("id inet primary key", "'10.0.0.1'", "'10.0.0.1/8'", "'::1'"),
    "a boolean": Key("id boolean, n int, primary key (id, n)", "true, 1", "false, 1", "false, 2", columns="id, n"),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_a_key_may_be(schema: PgConnection, key: Key) -> None:
    def run(statement: str) -> None:
        schema.execute(statement)

    if key.prelude:
        run(key.prelude)
    run(f"create table note ({key.definition}, body text)")
    if key.index:
        run(f"create unique index on note ({key.index})")
    run(f"insert into note ({key.columns}, body) values ({key.first}, 'first'), ({key.second}, 'second')")
    create(schema)
    sync(schema)
    assert_true(schema)
    run(f"insert into note ({key.columns}, body) values ({key.third}, 'third')")
    run("update note set body = 'second again' where body = 'second'")
    sync(schema)
    assert_true(schema)
    assert rows(schema, "select count(embedding) from note") == [3]
    run("delete from note where body = 'first'")
    run(f"update note set ({key.columns}) = row({key.first}) where body = 'third'")
    sync(schema)
    assert_true(schema)


def test_the_walk_over_existing_rows_ends_with_equal_first_key_columns(schema: PgConnection) -> None:
    schema.execute("create table note (a text, b int, body text, primary key (a, b))")
    schema.execute("insert into note select 'same', i, 'text ' || i % 7 from generate_series(1, 700) as i")
    create(schema)
    sync(schema)
    assert rows(schema, "select count(*) from note where embedding is null") == [0]


# Names.

NAMES = {
    "mixed case": ("Test Schema", "My Notes", "The Key", "The Body", "The Vector"),
    "quotes": ('s"s', "n'o\"t\\e", "i'd\"", "b\"o'd\\y", "e'\"m\\"),
    "keywords": ("select", "table", "user", "order", "group"),
    "the queue's own names": ("test_k", "pending_1", "k1", "revision", "k2"),
    "names of the statements": ("test_s", "s", "p", "d", "h"),
    "braces and dollars": ("{x}", "$1", "$$", "{}", "{0}"),
    "emoji": ("schöne", "📓", "🔑", "текст", "向量"),
    "63 bytes": ("s" * 63, "t" * 63, "k" * 63, "b" * 63, "v" * 63),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_names_are_nothing_with(shared: PgConnection, names: tuple[str, str, str, str, str]) -> None:
    in_schema, table, key, body, target = names
    parts: dict[str, sql.Composable] = {
        "schema": sql.Identifier(in_schema),
        "table": sql.Identifier(in_schema, table),
        "key": sql.Identifier(key),
        "body": sql.Identifier(body),
        "target": sql.Identifier(target),
    }

    def run(statement: str) -> list[Any]:
        cursor = shared.execute(sql.SQL(statement).format(**parts))
        return cursor.fetchall() if cursor.description else []

    run("create schema {schema}")
    try:
        run("create table {table} ({key} int primary key, {body} text)")
        run("insert into {table} values (1, 'one'), (2, null)")
        source = sql.Identifier(in_schema, table).as_string(shared)
        name = table[:40]  # search function and view add to it
        create(shared, source, columns=[body], target=target, on_change="clear", name=name)  # type: ignore[arg-type]
        sync(shared, name)
        run("update {table} set {body} = 'two' where {key} = 2")
        run("insert into {table} values (3, 'three')")
        sync(shared, name)
        found = run("select {body}, {target}::real[] from {table} order by {key}")
        assert found == [(text, pytest.approx(encoded(text), abs=1e-6)) for text in ("one", "two", "three")]
        wait_until(lambda: index_count(shared, source) == 1)
        shared.execute("select pgsbert.drop_vectorizer(%s, drop_vectors => true)", [name])
    finally:
        run("drop schema {schema} cascade")


def test_names_may_hold_a_percent_sign(connection: PgConnection, database: Database) -> None:
    connection.execute('create table "100%" ("%s" int primary key, "%(limit)s" text)')
    connection.execute("insert into \"100%\" values (1, '5%')")
    create(connection, '"100%"', "{%(limit)s}", target="50 %")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('100%', '5 s')")
        assert_true(connection, "100%", '"%(limit)s"', "50 %")


def index_count(connection: PgConnection, table: str) -> int:
    (number,) = rows(
        connection,
        "select count(*) from pg_index join pg_class as c on c.oid = indexrelid join pg_am as a on a.oid = c.relam"
        " where indrelid = %s::regclass and amname = 'hnsw' and indisvalid",
        table,
    )
    return int(number)


# Texts.


def test_rows_without_text_have_no_vector_and_do_not_wait(schema: PgConnection) -> None:
    make_notes(schema, "one", None, "", "four")
    create(schema)
    sync(schema)
    assert_true(schema)
    schema.execute("update note set body = '' where id = 2")
    schema.execute("update note set body = null where id = 4")
    schema.execute("insert into note values (5, null), (6, '')")
    sync(schema)
    assert_true(schema)
    assert rows(schema, "select count(embedding) from note") == [1]


def test_columns_are_joined_by_a_line_break_without_the_empty_ones(schema: PgConnection) -> None:
    schema.execute("create table note (id int primary key, a text, b varchar(20), c int)")
    schema.execute("insert into note values (1, 'a', 'b', 3), (2, '', 'b', null), (3, null, null, null)")
    create(schema, columns="{b,a,c}")
    sync(schema)
    found = rows(schema, "select embedding::real[] from note order by id")
    assert found == [pytest.approx(encoded("b\na\n3"), abs=1e-6), pytest.approx(encoded("b"), abs=1e-6), None]


@pytest.mark.parametrize("on_change", ["keep", "clear"])
def test_a_text_that_goes_takes_its_vector_with_it_before_any_worker_ran(
    connection: PgConnection, on_change: str
) -> None:
    connection.execute("create table note (id int primary key, body text, more text)")
    create(connection, columns="{body,more}", on_change=on_change)
    vector = "'[1,2,3,4,5,6,7,8]'"
    connection.execute(
        f"insert into note values (1, 'x', 'y', {vector}), (2, 'x', null, {vector}), (3, '', null, null)"
    )
    connection.execute("update note set more = null, body = case when id = 2 then '' else 'x' end")
    assert rows(connection, "select id from note where embedding is not null") == ([1] if on_change == "keep" else [])
    connection.execute(f"update note set body = null, embedding = {vector}")
    assert rows(connection, "select id from note where embedding is not null") == []


def test_a_vector_that_comes_with_a_row_without_text_is_taken(schema: PgConnection) -> None:
    schema.execute("create table note (id int primary key, body text)")
    create(schema, columns="{body}")
    (vector,) = rows(schema, "select array_fill(1.0::real, '{8}')::vector::text")
    schema.execute("insert into note values (1, '', %s), (2, null, null)", [vector])
    sync(schema)
    assert rows(schema, "select count(embedding) from note") == [0]


def test_keep_keeps_and_clear_clears_in_the_writers_own_transaction(connection: PgConnection) -> None:
    for name, on_change in (("keeper", "keep"), ("clearer", "clear")):
        connection.execute(
            sql.SQL("create table {} (id int primary key, body text, views int)").format(sql.Identifier(name))
        )
        create(connection, name, on_change=on_change)
        connection.execute(
            sql.SQL("insert into {} values (1, 'x', 0, '[1,2,3,4,5,6,7,8]')").format(sql.Identifier(name))
        )
        connection.execute(sql.SQL("update {} set views = 1, body = body").format(sql.Identifier(name)))
        assert rows(connection, f"select embedding is null from {name}") == [False]
        connection.execute(sql.SQL("update {} set body = 'y'").format(sql.Identifier(name)))
    assert rows(connection, "select embedding is null from keeper") == [False]
    assert rows(connection, "select embedding is null from clearer") == [True]


# Options.


def test_an_existing_vector_column_is_adopted_and_its_values_are_made_anew(schema: PgConnection) -> None:
    schema.execute("create table note (id int primary key, embedding public.vector(8), body text)")
    schema.execute(
        "insert into note values (1, '[1,2,3,4,5,6,7,8]', 'one'), (2, '[1,2,3,4,5,6,7,8]', null), (3, null, 'x')"
    )
    create(schema)
    sync(schema)
    assert_true(schema)


@pytest.mark.parametrize(
    ("distance", "operator_class"),
    [("cosine", "vector_cosine_ops"), ("l2", "vector_l2_ops"), ("inner_product", "vector_ip_ops")],
)
def test_one_index_of_the_right_kind_follows_the_first_fill(
    schema: PgConnection, distance: str, operator_class: str
) -> None:
    make_notes(schema, "one", "two")
    create(schema, distance=distance)
    sync(schema)
    wait_until(lambda: index_count(schema, "note"))
    assert rows(
        schema,
        "select opcname from pg_index join pg_opclass as o on o.oid = indclass[0]"
        " where indrelid = 'note'::regclass and not indisprimary",
    ) == [operator_class]
    schema.execute("select pgsbert.refresh('note')")
    sync(schema)
    schema.execute("select pgsbert.pause_vectorizer('note')")
    schema.execute("select pgsbert.resume_vectorizer('note')")
    sync(schema)
    assert index_count(schema, "note") == 1


def test_no_index_is_made_where_none_is_wanted(schema: PgConnection) -> None:
    make_notes(schema, "one")
    create(schema, index="none")
    make_other = "create table other (id int primary key, body text)"
    schema.execute(make_other)
    create(schema, "other")
    sync(schema)
    sync(schema, "other")
    wait_until(lambda: index_count(schema, "other"))  # the builder has been round
    assert index_count(schema, "note") == 0


def test_two_vectorizers_of_one_table_keep_their_own_columns(schema: PgConnection) -> None:
    schema.execute("create table note (id int primary key, title text, body text)")
    schema.execute("insert into note values (1, 'title', 'body')")
    create(schema)
    assert create(schema, columns="{title}", name="titles", target="title_embedding") == "titles"
    sync(schema)
    sync(schema, "titles")
    schema.execute("update note set title = 'other'")
    sync(schema)
    sync(schema, "titles")
    assert_true(schema)
    assert_true(schema, text="title", target="title_embedding")
    schema.execute("select pgsbert.drop_vectorizer('note')")
    schema.execute("update note set title = 'third', body = 'not seen any more'")
    sync(schema, "titles")
    assert_true(schema, text="title", target="title_embedding")
    assert_true(schema, text="'body'")


def test_if_not_exists_leaves_the_one_that_is_there(schema: PgConnection) -> None:
    make_notes(schema, "one")
    create(schema)
    before = rows(schema, "select v from pgsbert.vectorizer as v")
    assert create(schema, if_not_exists=True, distance="l2") == "note"
    schema.execute("create table other (id int primary key, body text)")
    with pytest.raises(psycopg.Error, match="for another table"):
        create(schema, "other", name="note", if_not_exists=True)
    assert [str(row)[:20] for row in rows(schema, "select v from pgsbert.vectorizer as v")] == [
        str(row)[:20] for row in before
    ]


def notices(connection: PgConnection) -> list[str]:
    heard: list[str] = []
    connection.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary or ""))
    return heard


def test_update_triggers_of_the_table_are_named_in_a_notice(connection: PgConnection) -> None:
    heard = notices(connection)
    connection.execute("create table note (id int primary key, body text, title text)")
    connection.execute("create function touch() returns trigger language plpgsql as 'begin return new; end'")
    connection.execute('create trigger "Touch" before update on note for each row execute function touch()')
    connection.execute("create trigger quiet before insert on note for each row execute function touch()")
    create(connection)
    assert [text for text in heard if "trigger" in text] == [
        'storing a vector is an UPDATE of public.note, so its update triggers will run for it: "Touch"'
    ]
    heard.clear()
    create(connection, columns="{title}", name="second", target="second")
    assert [text for text in heard if "zzzz" in text] == []


# The life cycle.


def test_a_paused_vectorizer_queues_and_claims_nothing_until_it_is_resumed(schema: PgConnection) -> None:
    make_notes(schema, "one")
    create(schema)
    sync(schema)
    schema.execute("select pgsbert.pause_vectorizer('note')")
    schema.execute("update note set body = 'changed while paused'")
    schema.execute("insert into note values (2, 'added while paused')")
    # another vectorizer that gets through shows that the worker has been round
    schema.execute("create table other (id int primary key, body text)")
    schema.execute("insert into other values (1, 'x')")
    create(schema, "other")
    sync(schema, "other")
    (number,) = rows(schema, "select id from pgsbert.vectorizer where name = 'note'")
    assert rows(schema, f"select k1 from pgsbert.pending_{number} order by 1") == [1, 2]
    assert rows(schema, f"select count(*) from pgsbert.lease_{number}") == [0]
    schema.execute("select pgsbert.resume_vectorizer('note')")
    sync(schema)
    assert_true(schema)


def test_refresh_makes_every_vector_anew(schema: PgConnection) -> None:
    make_notes(schema, "one", "two", None)
    create(schema)
    sync(schema)
    schema.execute("alter table note disable trigger user")
    schema.execute("update note set embedding = '[1,2,3,4,5,6,7,8]'")
    schema.execute("alter table note enable trigger user")
    sync(schema)
    assert rows(schema, "select count(distinct embedding) from note") == [1]
    schema.execute("select pgsbert.refresh('note')")
    sync(schema)
    assert_true(schema)


def test_waiting_without_a_worker_ends_with_the_time_given(connection: PgConnection) -> None:
    make_notes(connection, "one")
    create(connection)
    with pytest.raises(psycopg.Error, match=r'"note" was not in sync after 00:00:00\.2') as raised:
        connection.execute("call pgsbert.wait_until_synced('note', '200 ms')")
    assert raised.value.sqlstate == "PB002"


def test_a_worker_stops_at_a_table_that_has_lost_its_key(connection: PgConnection, database: Database) -> None:
    connection.execute("create table note (a int, b int, id int primary key, body text, unique (a, b))")
    connection.execute("alter table note drop constraint note_pkey, alter a set not null, alter b set not null")
    create(connection)
    connection.execute("insert into note values (1, 1, 1, 'x'), (1, 2, 2, 'y')")
    connection.execute("alter table note drop constraint note_a_b_key")
    connection.execute("create unique index on note (id)")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        reason = wait_until(
            lambda: rows(connection, "select broken_reason from pgsbert.vectorizer where broken_reason is not null"),
            timeout=5,
        )
    assert "no unique key" in reason[0]
    assert rows(connection, "select from note where embedding is not null") == []


def test_waiting_for_a_broken_vectorizer_says_why_at_once(connection: PgConnection, database: Database) -> None:
    make_notes(connection, "one")
    create(connection)
    connection.execute("alter table note drop body cascade")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: rows(connection, "select broken_reason from pgsbert.vectorizer") != [None])
    with pytest.raises(psycopg.Error, match=r'column "body" of (public\.)?note was dropped') as raised:
        connection.execute("call pgsbert.wait_until_synced('note')")
    assert raised.value.sqlstate == "PB008"


CATALOG = {
    "tables": "select oid::regclass::text, relacl::text from pg_class where relkind <> 'i'"
    " and relnamespace <> 'pg_toast'::regnamespace",
    "functions": "select oid::regprocedure::text, proacl::text from pg_proc",
    "triggers": "select tgrelid::regclass::text, tgname::text from pg_trigger",
    "columns": "select attrelid::regclass::text, attname::text, attacl::text from pg_attribute"
    " join pg_class as c on c.oid = attrelid"
    " where relkind <> 'i' and relnamespace <> 'pg_toast'::regnamespace and not attisdropped",
    "types": "select oid::regtype::text, '' from pg_type where typnamespace <> 'pg_toast'::regnamespace",
    # without their grants: that the worker may enter a schema is also other tables' need
    "schemas": "select nspname::text, '' from pg_namespace where nspname !~ '^pg_temp|^pg_toast'",
    "comments": "select classoid::regclass::text, description from pg_description",
    "vectorizers": "select name, source::text from pgsbert.vectorizer",
}


def catalog(connection: PgConnection) -> dict[str, set[tuple[Any, ...]]]:
    """Return what the database holds: relations, functions, triggers, columns, grants, registrations."""
    return {kind: set(connection.execute(query).fetchall()) for kind, query in CATALOG.items()}


@pytest.mark.parametrize("on_change", ["keep", "clear"])
def test_dropping_with_the_vectors_leaves_nothing_behind(shared: PgConnection, on_change: str) -> None:
    shared.execute("create schema test")
    shared.execute("create table test.note (id int primary key, body text, title text)")
    shared.execute("insert into test.note values (1, 'one')")
    before = catalog(shared)
    create(shared, "test.note", on_change=on_change)
    sync(shared)
    wait_until(lambda: index_count(shared, "test.note"))
    shared.execute("alter table test.note rename body to text")
    shared.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    shared.execute("alter table test.note rename text to body")
    after = catalog(shared)
    for kind in before:
        assert after[kind] - before[kind] == set(), kind
        assert before[kind] - after[kind] == set(), kind


def test_dropping_keeps_the_vectors_and_their_index(schema: PgConnection) -> None:
    make_notes(schema, "one", "two")
    create(schema)
    sync(schema)
    wait_until(lambda: index_count(schema, "note"))
    schema.execute("select pgsbert.drop_vectorizer('note')")
    assert_true(schema)
    assert index_count(schema, "note") == 1
    assert rows(schema, "select from pg_trigger where tgrelid = 'note'::regclass") == []
    schema.execute("update note set body = 'nobody looks'")
    assert rows(schema, "select count(embedding) from note") == [2]


def test_a_drop_does_not_wait_for_the_index_that_a_worker_builds(connection: PgConnection, database: Database) -> None:
    make_notes(connection, "one")
    with database.connect() as old, run_worker(database.dsn, encoder=FakeEncoder(8)), old.transaction():
        old.execute("set transaction isolation level repeatable read")
        old.execute("select")  # CREATE INDEX CONCURRENTLY waits for this snapshot
        create(connection)
        building = "select from pg_stat_progress_create_index where phase like 'waiting for%%'"
        wait_until(lambda: rows(connection, building))
        connection.execute("set statement_timeout = '10 s'")
        create(connection, name="second", target="second")
        connection.execute("select pgsbert.drop_vectorizer('second', drop_vectors => true)")
        wait_until(lambda: rows(connection, building))
        connection.execute("select pgsbert.drop_vectorizer('note')")
    assert rows(connection, "select from pg_index where indrelid = 'note'::regclass and not indisprimary") == []


def test_what_two_vectorizers_need_stays_granted_until_both_are_dropped(connection: PgConnection) -> None:
    connection.execute("create table note (id int primary key, body text, title text)")
    create(connection)
    create(connection, columns="{body,title}", name="both", target="both")

    def readable() -> list[str]:
        return rows(
            connection,
            "select attname from pg_attribute where attrelid = 'note'::regclass and attnum > 0 and not attisdropped"
            " and has_column_privilege('pgsbert_worker', attrelid, attnum, 'select') order by attnum",
        )

    assert readable() == ["id", "body", "title", "embedding", "both"]
    connection.execute("select pgsbert.drop_vectorizer('both')")
    assert readable() == ["id", "body", "embedding"]
    connection.execute("select pgsbert.drop_vectorizer('note')")
    assert readable() == []


def test_a_vectorizer_whose_table_is_gone_can_be_dropped(connection: PgConnection) -> None:
    make_notes(connection, "one")
    before = catalog(connection)
    create(connection)
    connection.execute("drop table note cascade")
    connection.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    make_notes(connection, "one")
    assert catalog(connection) == before
    assert create(connection) == "note"


def test_a_vectorizer_whose_columns_are_gone_can_be_dropped_and_made_again(connection: PgConnection) -> None:
    make_notes(connection, "one")
    create(connection)
    connection.execute("alter table note drop embedding cascade, drop body cascade, drop id cascade")
    connection.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    connection.execute("truncate note")
    connection.execute("alter table note add id int primary key, add body text")
    assert create(connection) == "note"


def test_dropping_what_is_not_there_is_an_error_unless_it_may_be(connection: PgConnection) -> None:
    heard = notices(connection)
    with pytest.raises(psycopg.Error, match='no vectorizer is called "nothing"'):
        connection.execute("select pgsbert.drop_vectorizer('nothing')")
    connection.execute("select pgsbert.drop_vectorizer('nothing', if_exists => true)")
    assert heard == ['vectorizer "nothing" does not exist, skipping']


# The worker as a role of its own.


def test_a_worker_that_is_only_a_member_of_its_role_embeds_through_its_grants(
    connection: PgConnection, database: Database
) -> None:
    connection.execute("create role plain_worker login in role pgsbert_worker")
    try:
        connection.execute("create schema hidden")
        connection.execute("create table hidden.note (id int primary key, body text, secret text)")
        connection.execute("insert into hidden.note values (1, 'one', 'x')")
        create(connection, "hidden.note", on_change="clear")
        with run_worker(database.dsn.replace("postgres@", "plain_worker@"), encoder=FakeEncoder(8)):
            sync(connection)
            connection.execute("insert into hidden.note values (2, 'two')")
            connection.execute("update hidden.note set body = 'one again' where id = 1")
            sync(connection)
            assert_true(connection, "hidden.note")
            assert rows(connection, "select public.vector_dims(pgsbert.embed('x', 'fake-8'))") == [8]
            (error,) = wait_until(
                lambda: rows(connection, "select index_error from pgsbert.vectorizer where index_error is not null")
            )
        assert index_count(connection, "hidden.note") == 0
        assert error.startswith("the table's owner must run: create index concurrently on")
        connection.execute(error.split(": ", 1)[1])
        assert index_count(connection, "hidden.note") == 1
        assert rows(connection, "select reason from pgsbert.status") == [None]
        with database.connect(user="plain_worker") as plain, pytest.raises(psycopg.errors.InsufficientPrivilege):
            plain.execute("select secret from hidden.note")
    finally:
        connection.execute("drop owned by plain_worker")
        connection.execute("drop role plain_worker")


@pytest.mark.parametrize("caller", ["the owner", "a member of the owner"])
def test_a_plain_owner_makes_and_drops_a_vectorizer(connection: PgConnection, database: Database, caller: str) -> None:
    connection.execute("create role plain_owner; create role plain_member in role plain_owner")
    role = "plain_owner" if caller == "the owner" else "plain_member"
    try:
        connection.execute("create schema owned authorization plain_owner")
        connection.execute("select pgsbert.grant_usage(%s, 'operator')", [role])
        with database.connect() as session, run_worker(database.dsn, encoder=FakeEncoder(8)):
            session.execute("set role plain_owner; create table owned.note (id int primary key, body text)")
            session.execute("insert into owned.note values (1, 'one')")
            before = catalog(connection)
            session.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            create(session, "owned.note", on_change="clear")
            session.execute("insert into owned.note (id, body) values (2, 'two')")
            sync(connection)
            assert_true(connection, "owned.note")
            session.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
            assert catalog(connection) == before
    finally:
        connection.execute("drop owned by plain_owner, plain_member cascade; drop role plain_member, plain_owner")


def test_an_index_left_for_another_distance_does_not_count(connection: PgConnection, database: Database) -> None:
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("insert into note values (1, 'one')")
    built = (
        "select array_agg(o.opcname order by o.opcname)"
        " from pg_index as i join pg_opclass as o on o.oid = i.indclass[0]"
        " where i.indrelid = 'note'::regclass and i.indisvalid and o.opcname like 'vector%'"
    )
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8')")
        wait_until(lambda: rows(connection, built) == [["vector_cosine_ops"]])
        connection.execute("select pgsbert.drop_vectorizer('note')")
        connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', distance => 'l2')")
        wait_until(lambda: rows(connection, built) == [["vector_cosine_ops", "vector_l2_ops"]])
