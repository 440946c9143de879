"""What a user may get wrong: each call fails with its SQLSTATE and a message that helps, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.models.fake import FakeEncoder
from tests.support import Database, rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

PgConnection = psycopg.Connection[Any]

TABLES = """
create table note (id int primary key, title text, body text, short public.vector(3), embedded text,
    made public.vector(8) generated always as (null::public.vector(8)) stored,
    upper text generated always as (upper(body)) stored, virtual text generated always as (lower(body)) virtual);
create table taken (id int primary key, body text);
create table plain (id int, body text);
create table nullable_key (id int unique, body text);
create table partial_key (id int not null, body text);
create unique index on partial_key (id) where id > 0;
create table late_key (id int primary key deferrable initially immediate, body text);
create table lower_key (id text not null, body text);
create unique index on lower_key (lower(id));
create table empty ();
create table half (id int primary key, body text, embedding public.halfvec(8));
create table any_size (id int primary key, body text, embedding public.vector);
create view view_of_note as select id, body from note;
create materialized view kept as select id, body from note;
create sequence counter;
create table parted (id int primary key, body text) partition by list (id);
create table part partition of parted for values in (1);
create table parted_without_key (id int not null, body text) partition by list (id);
create table parent (id int primary key, body text);
create table child (primary key (id)) inherits (parent);
create temp table passing (id int primary key, body text);
create foreign data wrapper nowhere;
create server far foreign data wrapper nowhere;
create foreign table far_note (id int not null, body text) server far;
create table other_note (id int primary key, body text);
"""


@dataclass(frozen=True)
class Case:
    call: str
    state: str
    message: str
    hint: str = ""
    role: str | None = None


def create(arguments: str, state: str, message: str, hint: str = "", role: str | None = None) -> Case:
    if "model =>" not in arguments:
        arguments += ", model => 'fake-8'"
    return Case(f"select pgsbert.create_vectorizer({arguments})", state, message, hint, role)


BAD = "PB007"
NOTE = "'note', '{body}'"
ON_NOTE = {
    "no model of that name": create(f"{NOTE}, model => 'nothing'", "PB003", '"nothing"', "pgsbert model add nothing"),
    "a cross-encoder": create(f"{NOTE}, model => 'fake-reranker'", "PB004", '"fake-reranker" is a cross-encoder'),
    "an existing column of another size": create(
        f"{NOTE}, target => 'short'",
        BAD,
        'column "short" of public.note is public.vector(3), and "fake-8" makes vector(8)',
    ),
    "an existing column of another type": create(f"{NOTE}, target => 'title'", BAD, '"title" of public.note is text'),
    "a system column as target": create(f"{NOTE}, target => 'ctid'", BAD, "is tid"),
    "a generated target": create(f"{NOTE}, target => 'made'", BAD, '"made" of public.note is generated'),
    "a target too long": create(f"{NOTE}, target => repeat('t', 64)", BAD, "at most 63 bytes"),
    "a target too long in bytes": create(f"{NOTE}, target => repeat('é', 32)", BAD, "at most 63 bytes"),
    "an empty target": create(f"{NOTE}, target => ''", BAD, "must name a column"),
    "no target": create(f"{NOTE}, target => null", BAD, "must name a column"),
    "a target that is tracked": create("'any_size', '{embedding}'", BAD, "cannot be tracked and hold the vector"),
    "a target of another vectorizer": create("'taken', '{body}', name => 'second'", BAD, "already belongs to another"),
    "a taken name": create(f"{NOTE}, name => 'taken'", BAD, 'already called "taken"', "Pass name =>"),
    "a taken default name": create("'taken', '{body}', target => 'x'", BAD, 'already called "taken"', "Pass name =>"),
    "an empty name": create(f"{NOTE}, name => ''", BAD, "1 to 63 bytes"),
    "a name too long": create(f"{NOTE}, name => repeat('n', 64)", BAD, "1 to 63 bytes"),
    "if not exists for another table": create(
        f"{NOTE}, name => 'taken', if_not_exists => true", BAD, "for another table: public.taken"
    ),
    "unknown storage": create(f"{NOTE}, storage => 'disk'", BAD, "storage => 'disk'", "column, table"),
    "no storage": create(f"{NOTE}, storage => null", BAD, "storage => NULL"),
    "unknown distance": create(
        f"{NOTE}, distance => 'Cosine'", BAD, "distance => 'Cosine'", "cosine, l2, inner_product"
    ),
    "no distance": create(f"{NOTE}, distance => null", BAD, "distance => NULL"),
    "unknown index": create(f"{NOTE}, index => 'ivfflat'", BAD, "index => 'ivfflat'", "hnsw, none"),
    "no index": create(f"{NOTE}, index => null", BAD, "index => NULL"),
    "unknown on_change": create(f"{NOTE}, on_change => 'drop'", BAD, "on_change => 'drop'", "keep, clear"),
    "clear with a generated column": create("'note', '{upper}', on_change => 'clear'", BAD, "generated columns"),
    "too many dimensions for the index": create(
        f"{NOTE}, model => 'fake-2001'", BAD, "at most 2000", "index => 'none'"
    ),
    "null columns": create("'note', null", BAD, "no columns", "{title,body}"),
    "empty columns": create("'note', '{}'", BAD, "no columns"),
    "an unknown column": create("'note', '{body,nope}'", BAD, 'public.note has no column "nope"', "It has: id, title"),
    "a column in other letters": create("'note', '{Body}'", BAD, 'no column "Body"', "body"),
    "a column without name": create("'note', array['']", BAD, 'no column ""'),
    "a null among the columns": create("'note', array['body', null]", BAD, 'no column "NULL"'),
    "a column twice": create("'note', '{body,title,body}'", BAD, 'column "body" was given twice'),
    "a system column": create("'note', '{ctid}'", BAD, 'no column "ctid"'),
    "a virtual generated column": create("'note', '{virtual}'", BAD, "virtual generated column", "STORED"),
    "no source": create("null, '{body}'", BAD, "source must be a table"),
    "an unknown table": create("'nowhere', '{body}'", "42P01", "nowhere"),
    "an unknown oid": create("4000000000::oid::regclass, '{body}'", BAD, "no table has the oid 4000000000"),
    "a view": create("'view_of_note', '{body}'", BAD, "view_of_note is not a table"),
    "a materialized view": create("'kept', '{body}'", BAD, "kept is not a table"),
    "a sequence": create("'counter', '{last_value}'", BAD, "counter is not a table"),
    "an index": create("'note_pkey', '{id}'", BAD, "note_pkey is not a table"),
    "a foreign table": create("'far_note', '{body}'", BAD, "far_note is not a table"),
    "statement triggers on a partitioned table": create(
        "'parted', '{body}', triggers => 'statement'", BAD, "statement triggers do not see", "'row'"
    ),
    "unknown triggers": create("'note', '{body}', triggers => 'each'", BAD, "triggers => 'each'", "statement, row"),
    "a partitioned table without key": create("'parted_without_key', '{body}'", BAD, "no key that can name its rows"),
    "a partition": create("'part', '{body}'", BAD, "part is a partition", "create_vectorizer('public.parted', ...)"),
    "a parent": create("'parent', '{body}'", BAD, "inheritance"),
    "a child": create("'child', '{body}'", BAD, "inheritance"),
    "a temporary table": create("'passing', '{body}'", BAD, "temporary"),
    "a table without columns": create("'empty', '{body}'", BAD, 'no column "body"', "It has none"),
    "a table without key": create("'plain', '{body}'", BAD, "no key that can name its rows", "Add a primary key"),
    "a nullable key": create("'nullable_key', '{body}'", BAD, "no key"),
    "a partial key": create("'partial_key', '{body}'", BAD, "no key"),
    "a deferrable key": create("'late_key', '{body}'", BAD, "no key"),
    "a key of an expression": create("'lower_key', '{body}'", BAD, "no key"),
    "a half-precision column": create("'half', '{body}'", BAD, "is public.halfvec(8)"),
    "not the owner": create(NOTE, "42501", "must be owner of table public.note", "postgres", role="stranger"),
    "no right at all": create(NOTE, "42501", "permission denied for schema pgsbert", role="nobody"),
}


def on_name(function: str, more: str = "") -> dict[str, Case]:
    verb = "call" if function == "wait_until_synced" else "select"
    function_name = function + more
    cases = {
        f"{function_name} of an unknown name": Case(
            f"{verb} pgsbert.{function}('nope'{more})", "PB006", 'no vectorizer is called "nope"', "There are: taken."
        ),
        f"{function_name} of no name": Case(
            f"{verb} pgsbert.{function}(null{more})", "PB006", "no vectorizer is called"
        ),
        f"{function_name} without rights": Case(
            f"{verb} pgsbert.{function}('taken'{more})", "42501", "permission", "", "nobody"
        ),
    }
    if function != "wait_until_synced":
        cases[f"{function_name} by a stranger"] = Case(
            f"{verb} pgsbert.{function}('taken'{more})", "42501", "must be owner of table public.taken", "", "stranger"
        )
    return cases


ON_NAMES = {
    **on_name("drop_vectorizer"),
    **on_name("drop_vectorizer", ", drop_vectors => true"),
    **on_name("pause_vectorizer"),
    **on_name("resume_vectorizer"),
    **on_name("refresh"),
    **on_name("wait_until_synced"),
    "waiting for no time": Case("call pgsbert.wait_until_synced('taken', null)", BAD, "timeout =>"),
    "waiting too short": Case("call pgsbert.wait_until_synced('taken', '0 s')", "PB002", "not in sync after", "status"),
    "waiting inside a transaction": Case(
        "do $$ begin begin call pgsbert.wait_until_synced('taken'); exception when division_by_zero then end; end $$",
        "2D000",
        "invalid transaction termination",
    ),
}

ON_TEXTS = {
    "an empty text": Case("select pgsbert.embed('')", BAD, "an empty text has no embedding", "NULL gives NULL"),
    "an empty text among others": Case("select pgsbert.embed(array['a', ''])", BAD, "an empty text"),
    "an unknown model": Case("select pgsbert.embed('a', 'nothing')", "PB003", 'no model is registered as "nothing"'),
    "an unknown model for many": Case("select pgsbert.embed(array['a'], 'nothing')", "PB003", '"nothing"'),
    "a cross-encoder for a text": Case("select pgsbert.embed('a', 'fake-reranker')", "PB004", "cross-encoder"),
    "no worker": Case(
        "select pgsbert.embed('a', 'fake-8')", "PB001", "no worker has been seen: start one with pgsbert worker"
    ),
    "no worker for many": Case("select pgsbert.embed(array['a'], 'fake-8')", "PB001", "no worker has been seen"),
    "embedding without rights": Case("select pgsbert.embed('a')", "42501", "permission denied", "", "nobody"),
    "a time-out that is none": Case(
        "select set_config('pgsbert.timeout', 'soon', false), pgsbert.embed('a', 'fake-8')", "22007", "soon"
    ),
}

SNAPSHOT = {
    "relations": "select oid::regclass::text, relacl::text from pg_class"
    " where relnamespace <> 'pg_toast'::regnamespace",
    "functions": "select oid::regprocedure::text, proacl::text from pg_proc",
    "triggers": "select tgrelid::regclass::text, tgname::text from pg_trigger",
    "columns": "select attrelid::regclass::text, attname::text, attacl::text from pg_attribute where attnum > 0",
    "comments": "select classoid::regclass::text, objoid, description from pg_description",
    "vectorizers": "select v::text from pgsbert.vectorizer as v",
    "queue": "select revision from pgsbert.pending_1 union all select revision from pgsbert.lease_1",
    "requests": "select id from pgsbert.request",
}


def snapshot(connection: PgConnection) -> dict[str, list[Any]]:
    return {kind: sorted(map(str, rows(connection, query))) for kind, query in SNAPSHOT.items()}


@pytest.fixture(scope="module")
def prepared(shared_database: Database) -> Iterator[PgConnection]:
    """Give a session with all kinds of tables, one vectorizer called taken, and the roles stranger and nobody."""
    with shared_database.connect() as connection:
        connection.execute(
            "insert into pgsbert.model (name, kind, dimensions) values ('fake-2001', 'bi-encoder', 2001)"
        )
        connection.execute("insert into pgsbert.model (name, kind) values ('other-reranker', 'cross-encoder')")
        connection.execute(TABLES)
        connection.execute("select pgsbert.create_vectorizer('taken', '{body}', model => 'fake-8')")
        connection.execute("insert into taken values (1, 'waits')")
        connection.execute("create role stranger; create role nobody")
        connection.execute("grant usage on schema pgsbert to stranger")
        connection.execute("grant execute on all routines in schema pgsbert to stranger")
        connection.execute("grant all on all tables in schema public to stranger")
        yield connection
        connection.execute("drop owned by stranger, nobody; drop role stranger, nobody")


CASES = {**ON_NOTE, **ON_NAMES, **ON_TEXTS}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bad_call_says_what_is_wrong_and_changes_nothing(prepared: PgConnection, case: Case) -> None:
    before = snapshot(prepared)
    if case.role:
        prepared.execute(f"set role {case.role}")
    try:
        with pytest.raises(psycopg.Error) as raised:
            prepared.execute(case.call)
    finally:
        prepared.execute("reset role; reset pgsbert.timeout")
    said = raised.value.diag
    assert (said.sqlstate, case.message in (said.message_primary or "")) == (case.state, True), said.message_primary
    assert case.hint in (said.message_hint or "")
    assert snapshot(prepared) == before


def test_a_failure_half_way_leaves_nothing(prepared: PgConnection) -> None:
    before = snapshot(prepared)
    prepared.execute(
        "create function refuse() returns event_trigger language plpgsql as"
        " $$ begin if tg_tag = 'CREATE TRIGGER' then raise 'no triggers here'; end if; end $$"
    )
    prepared.execute("create event trigger refuse on ddl_command_end execute function refuse()")
    try:
        with pytest.raises(psycopg.Error, match="no triggers here"):
            prepared.execute("select pgsbert.create_vectorizer('other_note', '{body}', model => 'fake-8')")
    finally:
        prepared.execute("drop event trigger refuse; drop function refuse()")
    assert snapshot(prepared) == before


# Texts that are unusual and right.


@pytest.fixture(scope="module")
def answered(prepared: PgConnection, shared_database: Database) -> Iterator[PgConnection]:
    """Give a session whose questions are answered by the 8-dimensional fake."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        yield connection


def expected(text: str) -> Any:
    return pytest.approx([float(number) for number in FakeEncoder(8).encode([text])[0]], abs=1e-6)


TEXTS = {
    "one letter": "a",
    "a megabyte": "many words " * 95_000,
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 🚀",
    "many scripts": "Ελληνικά русский 中文 日本語 한국어 עברית العربية हिन्दी ไทย",
    "quotes": "it's \"quoted\" ''twice'' $$ $1 %s %(x)s {0}",
    "backslashes": "\\ \\\\ \\n \\' E'\\x41'",
    "line breaks": "one\ntwo\r\nthree\ttab\x0b\x0c",
    "control characters": "\x01\x02\x1f\x7f\u200b\ufeff",
    "blanks only": "  \n ",
    "braces and commas": '{a,"b",NULL,}',
    "the word NULL": "NULL",
    "SQL": "'); drop table note; --",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_may_be(answered: PgConnection, text: str) -> None:
    assert rows(answered, "select pgsbert.embed(%s, 'fake-8')::real[]", text) == [expected(text)]
    (several,) = rows(answered, "select pgsbert.embed(array[%s, 'b', %s], 'fake-8')::text[]", text, text)
    assert len(several) == 3
    assert several[0] == several[2]
    assert rows(answered, "select %s::public.vector::real[]", several[0]) == [expected(text)]


def test_null_gives_null_and_asks_nobody(prepared: PgConnection) -> None:
    # no worker runs, or a worker does: it makes no difference
    assert prepared.execute(
        "select pgsbert.embed(null::text), pgsbert.embed(null::text[]), pgsbert.embed('{}'::text[]),"
        " pgsbert.embed(array[null, null])::text[]"
    ).fetchall() == [(None, None, "{}", [None, None])]


def test_an_array_keeps_its_order_with_its_nulls(answered: PgConnection) -> None:
    texts = [None, "b", "a", None, "b", "c", None]
    found = rows(
        answered,
        "select v::real[] from unnest(pgsbert.embed(%s::text[], 'fake-8')) with ordinality as u(v, i) order by i",
        texts,
    )
    assert found == [None if text is None else expected(text) for text in texts]
