"""Whatever PostgreSQL takes as a key names the rows: walked over, embedded, changed, deleted. No worker runs here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.database import connect_async, register_vector_async
from pgsbert.models.fake import FakeEncoder
from pgsbert.queue import Queue, read_vectorizers
from pgsbert.work import Embedded, embed
from pgsbert.worker.connections import ROWS_OPTIONS
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

ENCODER = FakeEncoder(8)


@pytest.fixture
def schema(shared_database: Database) -> Iterator[PgConnection]:
    """Give a connection with an empty schema, where names are looked up first; everything goes after the test."""
    with shared_database.connect() as connection:
        connection.execute("create schema test")
        connection.execute("set search_path = test, public")
        yield connection
        connection.execute("select pgsbert.drop_vectorizer(name) from pgsbert.vectorizer")
        connection.execute("drop schema test cascade")


def create(connection: PgConnection, storage: str = "column") -> None:
    connection.execute(
        "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', storage => %s, index => 'none')",
        [storage],
    )


def queue_tables(connection: PgConnection) -> tuple[str, str]:
    (number,) = rows(connection, "select id from pgsbert.vectorizer")
    return f"pgsbert.pending_{number}", f"pgsbert.lease_{number}"


def waiting(connection: PgConnection) -> int:
    pending, _ = queue_tables(connection)
    return int(rows(connection, f"select count(*) from {pending}")[0])


async def work_off(database: Database, connection: PgConnection) -> None:
    """Walk over the rows one by one, then claim, encode and settle until nothing waits."""
    async with await connect_async(database.dsn, application_name="test queue", options=ROWS_OPTIONS) as worker:
        await register_vector_async(worker)
        (vectorizer,) = await read_vectorizers(worker)
        queue = Queue(vectorizer, worker, 1)
        if not vectorizer.filled:
            while await queue.fill(1):
                pass
        while changes := await queue.claim(100):
            done = [outcome for outcome in embed(changes, ENCODER.encode_counted) if isinstance(outcome, Embedded)]
            assert await queue.settle(done) == {change.revision for change in changes}
    _, lease = queue_tables(connection)
    assert waiting(connection) == 0
    assert rows(connection, f"select count(*) from {lease}") == [0]


def assert_true(connection: PgConnection, storage: str = "column") -> None:
    """Every row has the vector of its text, no vector belongs to another row."""
    if storage == "column":
        found = rows(connection, "select body, embedding::real[] from note")
    else:
        (match,) = rows(connection, "select pgsbert.side_match(v, 's', 't') from pgsbert.vectorizer as v")
        found = rows(
            connection, f"select s.body, t.embedding::real[] from note as s full join note_embedding as t on {match}"
        )
    assert found
    for body, vector in found:
        expected = pytest.approx(ENCODER.encode([body])[0].tolist(), abs=1e-6) if body else None
        assert vector == expected, body


# Each type with four keys. A test below asks the server which types there are.

TYPES = {
    '"char"': ("'a'", "'b'", "'\\377'", "''"),
    "bigint": ("-9223372036854775808", "0", "1", "9223372036854775807"),
    "bit": ("B'0'", "B'1'"),
    "bit varying": ("B''", "B'0'", "B'00'", "B'01'"),
    "boolean": ("false", "true"),
    "bytea": ("''", "'\\x00'", "'\\x0000'", "'\\xff'"),
    "character": ("''", "'a'", "'ä'", "'%'"),
    "character varying": ("''", "' '", "'a '", "'a'"),
    "cidr": ("'10.0.0.0/8'", "'10.0.0.0/16'", "'::/0'", "'0.0.0.0/0'"),
    "date": ("'-infinity'", "'4713-01-01 BC'", "'2026-02-28'", "'infinity'"),
    "datemultirange": ("'{}'", "'{[2026-01-01,2026-02-01)}'", "'{(,)}'", "'{(,2020-01-01),[2021-01-01,)}'"),
    "daterange": ("'empty'", "'(,)'", "'[2026-01-01,2026-02-01)'", "'[2026-01-01,infinity]'"),
    "double precision": ("'-infinity'", "'-0'", "5e-324", "'NaN'"),
    "inet": ("'10.0.0.1'", "'10.0.0.1/8'", "'::1'", "'::ffff:10.0.0.1'"),
    "int2vector": ("'1 2'", "'2 1'", "'1'", "''"),
    "int4multirange": ("'{}'", "'{[1,2)}'", "'{[1,2),[3,4)}'", "'{(,)}'"),
    "int4range": ("'empty'", "'[1,2)'", "'[1,)'", "'(,)'"),
    "int8multirange": ("'{}'", "'{[1,2)}'", "'{[1,2),[3,4)}'", "'{(,)}'"),
    "int8range": ("'empty'", "'[1,2)'", "'[1,)'", "'(,)'"),
    "integer": ("-2147483648", "0", "1", "2147483647"),
    "interval": ("'-infinity'", "'1 mon'", "'31 days'", "'infinity'"),
    "jsonb": ("'null'", "'{\"a\": 1}'", '\'{"a": "1"}\'', "'[]'"),
    "macaddr": ("'08:00:2b:01:02:03'", "'00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff'", "'08:00:2b:01:02:04'"),
    "macaddr8": (
        "'08:00:2b:01:02:03:04:05'",
        "'00:00:00:00:00:00:00:00'",
        "'ff:ff:ff:ff:ff:ff:ff:ff'",
        "'01:02:03:04:05:06:07:08'",
    ),
    "money": ("'-1.00'", "'0'", "'0.01'", "'92233720368547758.07'"),
    "name": ("''", "'a'", "repeat('n', 63)", "'%s'"),
    "numeric": ("'-infinity'", "0.1", "1e300", "'NaN'"),
    "nummultirange": ("'{}'", "'{[1,2)}'", "'{[1.0,2.5)}'", "'{(,)}'"),
    "numrange": ("'empty'", "'[1,2)'", "'[1,2]'", "'(,)'"),
    "oid": ("0", "1", "2147483648", "4294967295"),
    "oidvector": ("'1 2'", "'2 1'", "'1'", "''"),
    "pg_lsn": ("'0/0'", "'0/1'", "'1/0'", "'FFFFFFFF/FFFFFFFF'"),
    "real": ("'-infinity'", "'-0'", "1e-45", "'NaN'"),
    "regclass": ("'pg_class'", "'pg_proc'", "0", "4294967295"),
    "regcollation": ("'\"C\"'", "'\"POSIX\"'", "0", "1"),
    "regconfig": ("'simple'", "'english'", "0", "1"),
    "regdictionary": ("'simple'", "'english_stem'", "0", "1"),
    "regnamespace": ("'pg_catalog'", "'public'", "0", "1"),
    "regoper": ("'||/'", "0", "1", "2"),
    "regoperator": ("'+(integer,integer)'", "0", "1", "2"),
    "regproc": ("'now'", "'pg_sleep'", "0", "1"),
    "regprocedure": ("'now()'", "'pg_sleep(float8)'", "0", "1"),
    "regrole": ("'postgres'", "'pgsbert_worker'", "0", "1"),
    "regtype": ("'integer'", "'text[]'", "0", "1"),
    "smallint": ("-32768", "0", "1", "32767"),
    "text": ("''", "' '", "E'a\\x01\\n\\t\\\\'", "'it''s {} %s $1 🔑'"),
    "tid": ("'(0,1)'", "'(0,2)'", "'(1,0)'", "'(4294967295,65535)'"),
    "time with time zone": ("'00:00+00'", "'01:00+01'", "'24:00+00'", "'12:00:00.000001-15:59'"),
    "time without time zone": ("'00:00'", "'23:59:59.999999'", "'24:00'", "'12:00'"),
    "timestamp with time zone": ("'-infinity'", "'2026-01-01 0:0:0.000001+00'", "'2026-01-01+14'", "'infinity'"),
    "timestamp without time zone": ("'-infinity'", "'4713-01-01 BC'", "'2026-01-01'", "'infinity'"),
    "tsmultirange": ("'{}'", "'{[2026-01-01,2026-02-01)}'", "'{(,)}'", "'{(,2020-01-01)}'"),
    "tsquery": ("''", "'a'", "'a & !b'", "'a <-> b'"),
    "tsrange": ("'empty'", "'[2026-01-01,infinity]'", "'[2026-01-01,)'", "'(,)'"),
    "tstzmultirange": ("'{}'", "'{[2026-01-01,2026-02-01)}'", "'{(,)}'", "'{(,2020-01-01)}'"),
    "tstzrange": ("'empty'", "'[2026-01-01,infinity]'", "'[2026-01-01,)'", "'(,)'"),
    "tsvector": ("''", "'a'", "'a:1'", "'a:1A b:2'"),
    "uuid": (
        "'00000000-0000-0000-0000-000000000000'",
        "'00000000-0000-0000-0000-000000000001'",
        "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        "'0b53ae2e-5d3f-4c6b-9f6a-1f1f0c0b9f9e'",
    ),
    "xid8": ("'0'", "'1'", "'4294967296'", "'18446744073709551615'"),
}
UNTYPABLE = {"pg_dependencies", "pg_mcv_list", "pg_ndistinct", "pg_node_tree"}  # no value can be typed: no input


def test_no_type_that_can_be_a_key_is_forgotten(schema: PgConnection) -> None:
    possible = set()
    for name in rows(
        schema,
        "select format_type(oid, null) from pg_type where typnamespace = 'pg_catalog'::regnamespace"
        # not true arrays
        " and typtype in ('b', 'r', 'm') and typcategory <> 'A' or typname in ('int2vector', 'oidvector')",
    ):
        try:
            with schema.transaction(force_rollback=True):
                schema.execute(f"create table note (id {name} primary key)")
            possible.add(name)
        except psycopg.errors.UndefinedObject:
            # it has no default operator class
            continue
    assert possible == TYPES.keys() | UNTYPABLE


@dataclass(frozen=True)
class Key:
    """A key of one or more columns, and keys of it."""

    definition: str
    values: tuple[str, ...]
    columns: str = "id"
    prelude: str = ""
    index: str = ""


OTHERS = {
    "an array": Key("id int[] primary key", ("'{}'", "'{1}'", "'{1,NULL}'", "'{{1,2},{3,4}}'")),
    "an array of text": Key("id text[] primary key", ("'{}'", "'{\"\"}'", "'{NULL}'", '\'{"a,b","{"}\'')),
    "an array of a domain": Key(
        "id test.code[] primary key",
        ("'{}'", "'{a}'", "'{a,b}'", "'{NULL}'"),
        prelude="create domain test.code as text check (value <> 'c')",
    ),
    "a domain with a check": Key(
        "id test.even primary key",
        ("-2", "0", "2", "4"),
        prelude="create domain test.even as int check (value % 2 = 0)",
    ),
    "an enum": Key(
        'id test."Mo""od" primary key',
        ("'z'", "'a'", "''", "'it''s'"),
        prelude="create type test.\"Mo\"\"od\" as enum ('z', 'a', '', 'it''s')",
    ),
    "a range of one's own": Key(
        "id test.span primary key",
        ("'empty'", "'(,)'", "'[1.5,2.5)'", "'[1.5,2.5]'"),
        prelude="create type test.span as range (subtype = float8)",
    ),
    "a multirange of one's own": Key(
        "id test.spans primary key",
        ("'{}'", "'{(,)}'", "'{[1.5,2.5)}'", "'{[1,2),[3,4)}'"),
        prelude="create type test.span as range (subtype = float8, multirange_type_name = test.spans)",
    ),
    "a composite type": Key(
        "id test.pair primary key",
        ("row(1, null)", "row(null, 'a')", "row(null, null)", "row(1, '\"(,)')"),
        prelude='create type test.pair as ("a b" int, "%s" text)',
    ),
    "a composite in a composite": Key(
        "id test.outside primary key",
        ("row(row(1), 1)", "row(row(2), 1)", "row(row(null), 1)", "row(null, 1)"),
        prelude="create type test.inside as (a int); create type test.outside as (b test.inside, c int)",
    ),
    "citext": Key(
        "id test.citext primary key", ("'a'", "'B'", "''", "'Straße'"), prelude="create extension citext schema test"
    ),
    "hstore": Key(
        "id test.hstore primary key",
        ("''", "'a=>1'", "'a=>NULL'", "'a=>1,b=>2'"),
        prelude="create extension hstore schema test",
    ),
    "ltree": Key(
        "id test.ltree primary key", ("''", "'a'", "'a.b'", "'b.a'"), prelude="create extension ltree schema test"
    ),
    "a book's number": Key(
        "id test.isbn primary key",
        ("'0-306-40615-2'", "'978-3-16-148410-0'", "'0-19-852663-6'", "'0-14-044913-2'"),
        prelude="create extension isn schema test",
    ),
    "a scale": Key("id numeric(6,2) primary key", ("1", "1.01", "-0.01", "9999.99")),
    "a padded type": Key("id char(4) primary key", ("''", "'a'", "'a b'", "'abcd'")),
    "seconds alone": Key("id timestamptz(0) primary key", ("'infinity'", "'2026-01-01 0:0:0.6'", "'1970-01-01'")),
    "bits": Key("id bit(3) primary key", ("B'000'", "B'001'", "B'111'", "B'100'")),
    "an interval of years": Key("id interval year to month primary key", ("'1 year'", "'1 mon'", "'-1 mon'", "'0'")),
    "the longest key": Key(
        "id text primary key",
        tuple(f"(select string_agg(md5((i * {n})::text), '') from generate_series(1, 83) as i)" for n in (1, 2, 3, 5)),
    ),
    "a collation of its own": Key('id text collate "POSIX" primary key', ("'a'", "'B'", "'ä'", "''")),
    "an index of another collation": Key("id text not null", ("'a'", "'B'", "'ä'", "''"), index='id collate "C"'),
    "an index of another operator class": Key(
        "id text not null", ("'a'", "'B'", "'ä'", "''"), index="id text_pattern_ops"
    ),
    "a descending index": Key("id int not null", ("1", "2", "3", "4"), index="id desc nulls last"),
    "an index that includes columns": Key("id int not null, n int", ("1", "2", "3"), index="id) include (n"),
    "a key that includes columns": Key("id int, n int, primary key (id) include (n)", ("1", "2", "3")),
    "a unique constraint": Key("id int not null, constraint one unique nulls not distinct (id)", ("1", "2", "3", "4")),
    "a column of an extension's type among others": Key(
        "a int, b test.citext, c test.ltree, primary key (a, b, c)",
        ("1, 'B', 'x'", "1, 'a', 'x'", "1, 'a', 'y'", "2, 'a', 'x'", "2, 'B', 'x'"),
        columns="a, b, c",
        prelude="create extension citext schema test; create extension ltree schema test",
    ),
    "two columns, the other way round": Key(
        "a int, b text, primary key (b, a)", ("1, 'x'", "2, 'x'", "1, ''", "-1, 'y'"), columns="a, b"
    ),
    "three columns out of order": Key(
        "a int, b date, c text, primary key (b, c, a)",
        ("1, '2026-01-01', 'x'", "1, '2026-01-01', 'y'", "2, '2026-01-01', 'x'", "1, 'infinity', 'x'"),
        columns="a, b, c",
    ),
    "four columns out of order": Key(
        "a int, b numeric, c text, d boolean, junk int, primary key (d, b, a, c)",
        ("1, 1.5, 'x', true", "1, 1.5, 'x', false", "1, 2.5, 'x', true", "1, 1.5, 'y', true"),
        columns="a, b, c, d",
    ),
    "a stored generated column": Key(
        "n int, id int generated always as (n * 2) stored primary key", ("1", "2", "3", "4"), columns="n"
    ),
}
SCALARS = {name: Key(f"id {name} primary key", values) for name, values in TYPES.items()}
SIDE_TOO = [
    *OTHERS,
    *(
        "bigint",
        "text",
        "character",
        "double precision",
        "numeric",
        "jsonb",
        "tstzrange",
        "regclass",
        "bytea",
        "tsvector",
    ),
]
CASES = [(name, "column") for name in [*SCALARS, *OTHERS]] + [(name, "table") for name in SIDE_TOO]


@pytest.mark.parametrize(("name", "storage"), CASES)
async def test_rows_are_kept_true_by_a_key_that_is(
    shared_database: Database, schema: PgConnection, name: str, storage: str
) -> None:
    key = {**SCALARS, **OTHERS}[name]
    for statement in filter(None, key.prelude.split("; ")):
        schema.execute(statement)
    schema.execute(f"create table note ({key.definition}, body text)")
    if key.index:
        schema.execute(f"create unique index on note ({key.index})")
    *others, last = key.values
    for number, value in enumerate(others):
        schema.execute(f"insert into note ({key.columns}, body) values ({value}, 'text {number}')")
    create(schema, storage)
    await work_off(shared_database, schema)
    assert_true(schema, storage)
    schema.execute(f"insert into note ({key.columns}, body) values ({last}, 'the last')")
    schema.execute("update note set body = 'the first' where body = 'text 0'")
    assert waiting(schema) == 2
    schema.execute("update note set body = 'the very first' where body = 'the first'")
    assert waiting(schema) == 2
    await work_off(shared_database, schema)
    assert_true(schema, storage)
    # the last takes the key of the first, whose vector must not become its own
    schema.execute("update note set body = 'deleted' where body = 'the very first'")
    schema.execute("delete from note where body = 'deleted'")
    assert waiting(schema) == 0
    schema.execute(f"update note set ({key.columns}) = row({key.values[0]}) where body = 'the last'")
    assert waiting(schema) > 0
    await work_off(shared_database, schema)
    assert_true(schema, storage)


# Keys that are equal and yet not the same.

EQUAL = {
    "scale": ("numeric", "1.0", "1.00"),
    "zeros": ("float8", "'-0'", "'0'"),
    "nans": ("float8", "'NaN'", "'-NaN'"),
    "padding": ("char(5)", "'a'", "'a  '"),
    "time zones": ("timestamptz", "'2026-01-01 12:00+00'", "'2026-01-01 13:00+01'"),
    "intervals": ("interval", "'1 mon'", "'30 days'"),
    "case": ("test.citext", "'Key'", "'kEY'"),
    "json numbers": ("jsonb", "'1.0'", "'1.00'"),
    "elements of arrays": ("numeric[]", "'{1.0}'", "'{1.00}'"),
}


@pytest.mark.parametrize(("type_name", "one", "same"), EQUAL.values(), ids=EQUAL)
@pytest.mark.parametrize("storage", ["column", "table"])
async def test_equal_keys_are_one_row_whatever_is_written_for_them(
    shared_database: Database, schema: PgConnection, storage: str, type_name: str, one: str, same: str
) -> None:
    if "citext" in type_name:
        schema.execute("create extension citext schema test")
    schema.execute(f"create table note (id {type_name} primary key, body text)")
    create(schema, storage)
    schema.execute(f"insert into note values ({one}, 'one')")
    schema.execute(f"update note set id = {same}")
    schema.execute(f"insert into note values ({one}, 'two') on conflict (id) do update set body = excluded.body")
    assert waiting(schema) == 1
    await work_off(shared_database, schema)
    assert_true(schema, storage)
    # no new text: nothing is queued, and nothing gone
    schema.execute(f"update note set id = {one}")
    assert waiting(schema) == 0
    assert_true(schema, storage)
    schema.execute(f"update note set id = {same}, body = 'three'")
    await work_off(shared_database, schema)
    assert_true(schema, storage)
    schema.execute(f"delete from note where id = {one}")
    assert waiting(schema) == 0
    if storage == "table":
        assert rows(schema, "select count(*) from note_embedding") == [0]


async def test_a_key_that_the_database_makes_always_is_a_key(shared_database: Database, schema: PgConnection) -> None:
    schema.execute("create table note (id int generated always as identity primary key, body text)")
    create(schema)
    schema.execute("insert into note (body) values ('one'), ('two')")
    schema.execute("insert into note overriding system value values (10, 'ten')")
    schema.execute("update note set id = default where body = 'one'")
    await work_off(shared_database, schema)
    assert_true(schema)
    assert rows(schema, "select id from note order by id") == [2, 3, 10]


async def test_a_stored_generated_column_is_tracked(shared_database: Database, schema: PgConnection) -> None:
    schema.execute("create table note (id int primary key, a text, body text generated always as (upper(a)) stored)")
    create(schema)
    schema.execute("insert into note values (1, 'one'), (2, 'two')")
    await work_off(shared_database, schema)
    schema.execute("update note set a = 'ONE' where id = 1")
    assert waiting(schema) == 0
    schema.execute("update note set a = case id when 1 then 'other' end")
    await work_off(shared_database, schema)
    assert_true(schema)


REFUSED = {
    "unique by overlaps": "id int4range, during daterange, primary key (id, during without overlaps)",
    "of a type whose equality is not sorted by": "id public.vector(2) primary key",
    "of such a type among others": "id int, v public.halfvec(2), primary key (id, v)",
    "equal where its index sees a difference": "id test.pair not null",
}


@pytest.mark.parametrize("definition", REFUSED.values(), ids=REFUSED)
def test_a_key_is_refused_with_the_reason_that_is(schema: PgConnection, definition: str) -> None:
    schema.execute("create type test.pair as (a numeric, b text)")
    schema.execute(f"create table note ({definition}, body text)")
    if "pair" in definition:
        schema.execute("create unique index on note (id record_image_ops)")
    with pytest.raises(psycopg.Error, match="has no key that can name its rows") as raised:
        create(schema)
    assert raised.value.sqlstate == "PB007"
    hint = raised.value.diag.message_hint or ""
    assert "WITHOUT OVERLAPS, of types that can be sorted and hashed: a vector cannot" in hint


def test_another_key_is_taken_where_the_primary_key_cannot_be(schema: PgConnection) -> None:
    schema.execute("create table note (v public.vector(2) primary key, id int not null unique, body text)")
    create(schema)
    assert rows(schema, "select key_names::text[] from pgsbert.vectorizer") == [["id"]]
