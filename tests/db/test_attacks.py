"""What a hostile role of the same database, or of the same session, can bring to bear, and where it ends."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from pgsbert import schema
from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

    Connection = psycopg.Connection[Any]

EMBED = "select pgsbert.embed('word', 'fake-8')::real[]"
WORD = [float(number) for number in FakeEncoder(8).encode(["word"])[0]]

PRISTINE = """
    alter role pgsbert_gateway reset all;
    alter role pgsbert_gateway password null;
    alter role pgsbert_gateway set track_activities = off
"""


@pytest.fixture(scope="module")
def attacked(shared_database: Database) -> Iterator[Database]:
    """Give a database with a worker, a table of secrets, and the vectorizer docs."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        connection.execute("create table canary (secret text)")
        connection.execute("insert into canary values ('unread')")
        connection.execute("create table docs (id int primary key, body text)")
        connection.execute("insert into docs values (1, 'word'), (2, 'other')")
        connection.execute("select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', index => 'none')")
        connection.execute("call pgsbert.wait_until_synced('docs')")
        yield shared_database


@pytest.fixture
def mallory(attacked: Database) -> Iterator[str]:
    """Give an operator who may make objects in schema public, gone afterwards with all it made."""
    with attacked.connect() as connection:
        connection.execute("create role mallory; grant create on schema public to mallory")
        connection.execute("select pgsbert.grant_usage('mallory', 'operator')")
        yield "mallory"
        connection.execute("drop owned by mallory cascade; drop role mallory")


@pytest.fixture
def session(attacked: Database, mallory: str) -> Iterator[Connection]:
    """Give a session that several roles share, with a loopback connection that another role has opened."""
    with attacked.connect() as connection:
        assert rows(connection, EMBED) == [pytest.approx(WORD)]
        yield connection
    # the role is the cluster's: nothing of an attack may reach the next test
    attacked.execute(PRISTINE)


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    try:
        yield
    finally:
        connection.execute("reset role")


def over_loopback(connection: Connection, query: str) -> str | None:
    """Run a query over the shared loopback connection; return the SQLSTATE it ends with, None if it succeeds."""
    try:
        connection.execute("select * from dblink('pgsbert', %s) as r (value text)", [query])
    except psycopg.Error as error:
        return error.sqlstate
    return None


FORBIDDEN = (
    "create table public.x ()",
    "create function public.f() returns int language sql return 1",
    "create role x",
    "alter role mallory superuser",
    "alter role pgsbert_gateway bypassrls",
    "set role postgres",
    "set session authorization postgres",
    "copy (select 1) to program 'id'",
    "select pg_read_file('/etc/passwd')",
    "select pgsbert.embed('x')",
    "select * from pgsbert.judge_vectorizers()",
)


def test_over_anothers_loopback_connection_nothing_can_be_read(session: Connection, mallory: str) -> None:
    relations = rows(
        session,
        "select c.oid::regclass::text from pg_class as c join pg_namespace as n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'v', 'S') and n.nspname in ('public', 'pgsbert')",
    )
    assert {"canary", "docs", "pgsbert.request", "pgsbert.vectorizer", "pgsbert.status"} <= set(relations)
    with acting_as(session, mallory):
        who = "select * from dblink('pgsbert', 'select current_user || ''/'' || session_user') as r (value text)"
        assert rows(session, who) == ["pgsbert_gateway/pgsbert_gateway"]
        for relation in relations:
            assert over_loopback(session, f"select '' from {relation}") == "42501", relation
            assert over_loopback(session, f"with gone as (delete from {relation} returning 1) select ''") in (
                "42501", "42809", "55000",
            ), relation  # fmt: skip
        for query in FORBIDDEN:
            assert over_loopback(session, query) == "42501", query
    assert rows(session, "select secret from canary") == ["unread"]


def test_questions_and_replies_of_others_cannot_be_fetched_or_seen(
    attacked: Database, session: Connection, mallory: str
) -> None:
    with attacked.connect() as other, attacked.connect() as admin:
        other.execute(EMBED)
        tokens = "insert into pgsbert.request (kind, model, texts, deadline, done, worker) values"
        (token,) = rows(
            admin,
            f"{tokens} ('embed', 'fake-8', '{{a secret question}}', now() + '1 min', true, 1) returning token::text",
        )
        with acting_as(session, mallory):
            seen = rows(
                session,
                "select * from dblink('pgsbert', $$select coalesce(string_agg(nullif(query, ''), ' '), '')"
                " from pg_stat_activity where usename = 'pgsbert_gateway'$$) as r (queries text)",
            )
            assert seen == [""]
            assert rows(session, "select count(*) from pg_stat_activity where query like '%pgsbert.put%word%'") == [0]
            for guess in ("gen_random_uuid()", "'00000000-0000-0000-0000-000000000000'", "null"):
                fetched = f"select count(*)::text from pgsbert.await({guess}, '1 ms')"
                assert rows(session, "select * from dblink('pgsbert', %s) as r (n text)", fetched) == ["0"]
        assert rows(admin, "select count(*) from pgsbert.request where token = %s", token) == [1]
        admin.execute("delete from pgsbert.request")


DAMAGE = (
    "set statement_timeout = 1",
    "set default_transaction_read_only = on",
    "set default_transaction_isolation = serializable",
    "set client_encoding = latin1",
    "set extra_float_digits = -15",
    "set search_path = pg_temp",
    "create temporary table request (token uuid, done boolean)",
    "listen pgsbert_request",
    "prepare p as select 1",
    "deallocate all",
    "discard all",
)


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_another_role_sets_on_the_loopback_connection_is_undone(
    session: Connection, mallory: str, damage: str
) -> None:
    with acting_as(session, mallory):
        session.execute("select dblink_exec('pgsbert', %s, false)", [damage])
    assert rows(session, EMBED) == [pytest.approx(WORD)]
    assert rows(session, "select pgsbert.similarity('naïve 🍎', 'naïve 🍎', 'fake-8')") == [pytest.approx(1)]


def test_a_transaction_left_open_costs_one_question(session: Connection, mallory: str) -> None:
    for begin in ("begin", "begin isolation level serializable read only"):
        with acting_as(session, mallory):
            session.execute("select dblink_exec('pgsbert', %s)", [begin])
        with pytest.raises(
            psycopg.Error, match="in a transaction that another role of this session had begun"
        ) as caught:
            session.execute(EMBED)
        assert caught.value.sqlstate == "08000"
        assert rows(session, EMBED) == [pytest.approx(WORD)]


def test_no_setting_of_the_gateways_role_stops_questions(attacked: Database, session: Connection, mallory: str) -> None:
    """Every setting a user may change, at its extreme, as ALTER ROLE leaves it for each session of the role."""
    found = rows(
        session,
        """
        select name, case vartype
            when 'bool' then case setting when 'on' then 'off' else 'on' end
            when 'enum' then (select v from unnest(enumvals) as v where v <> setting limit 1)
            when 'string' then case name
                when 'search_path' then 'pg_temp' when 'client_encoding' then 'latin1'
                when 'local_preload_libraries' then 'nothing' when 'role' then 'pgsbert_worker' else setting end
            else case when name ~ 'timeout' then '1' else min_val end
        end
        from pg_settings
        where context = 'user' and name not in (
            -- of a transaction, or of the connection
            'transaction_isolation', 'transaction_read_only', 'transaction_deferrable', 'session_authorization')
        """,
    )
    assert len(found) > 100
    refused: list[tuple[str, str | None]] = []
    for first in range(0, len(found), 20):
        attacked.execute(PRISTINE)
        for name, value in found[first : first + 20]:
            alter = sql.SQL("alter role pgsbert_gateway set {} = {}").format(sql.Identifier(*name.split(".")), value)
            with acting_as(session, mallory):
                done = rows(session, "select dblink_exec('pgsbert', %s, false)", alter.as_string(session))
            if done != ["ALTER ROLE"]:
                refused.append((name, value))
        with attacked.connect() as fresh:
            assert rows(fresh, EMBED) == [pytest.approx(WORD)], found[first : first + 20]
    assert len(refused) < 10, refused


def test_without_a_kept_connection_there_is_none_to_misuse(attacked: Database, mallory: str) -> None:
    with attacked.connect() as session:
        session.execute("set pgsbert.keep_connection = off")
        # as if another role had planted it: the next question would go over it
        session.execute("select dblink_connect('pgsbert', %s)", [attacked.dsn])
        session.execute("select dblink_exec('pgsbert', 'set application_name = ''planted''')")
        (planted,) = rows(session, "select pid from pg_stat_activity where application_name = 'planted'")
        assert rows(session, EMBED) == [pytest.approx(WORD)]
        wait_until(lambda: rows(session, "select count(*) from pg_stat_activity where pid = %s", planted) == [0])
        for question, code in (
            ("select pgsbert.embed('word', 'unknown')", "PB003"),
            ("select pgsbert.embed('word', 'fake-reranker')", "PB004"),
        ):
            with pytest.raises(psycopg.Error) as caught:
                session.execute(question)
            assert caught.value.sqlstate == code
            assert rows(session, "select dblink_get_connections()") == [None]
        session.execute("set statement_timeout = 1")
        with pytest.raises(psycopg.Error):
            session.execute("select pgsbert.embed(array(select 'w' || i from generate_series(1, 500) as i), 'fake-8')")
        session.execute("set statement_timeout = 0")
        assert rows(session, "select dblink_get_connections()") == [None]


# Exact matches for what is polymorphic, variadic or needs a conversion in pg_catalog: they win wherever they are in
# search_path. The others win where they come first.
FUNCTIONS = {
    "unnest(smallint[])": "setof smallint",
    "unnest(bigint[])": "setof bigint",
    "unnest(text[])": "setof text",
    "unnest(name[])": "setof name",
    "cardinality(smallint[])": "integer",
    "cardinality(text[])": "integer",
    "concat_ws(text, text)": "text",
    "format(text, text)": "text",
    "format(text, integer)": "text",
    "format(text, name, name)": "text",
    "to_jsonb(docs)": "jsonb",
    "array_to_string(name[], text)": "text",
    "current_setting(text)": "text",
    "current_setting(text, boolean)": "text",
    "clock_timestamp()": "timestamptz",
    "pg_has_role(oid, oid, text)": "boolean",
    "pg_try_advisory_lock(integer, smallint)": "boolean",
}
OPERATORS = {
    "+": ("double precision", "integer", "double precision"),
    "-": ("integer", "double precision", "double precision"),
    "^": ("integer", "integer", "double precision"),
    "||": ("text", "integer", "text"),
    "=": ("text", "text", "boolean"),
}
TABLES = ("vectorizer", "pg_class", "pg_roles")


def make_decoys(connection: Connection) -> None:
    """Fill schema decoys with functions, operators and tables that fail when they are run."""
    fails = "language plpgsql as $$begin raise exception 'a decoy ran as %', current_user; end$$"
    for signature, returns in FUNCTIONS.items():
        connection.execute(f"create function decoys.{signature} returns {returns} {fails}")
    for number, (operator, (left, right, returns)) in enumerate(OPERATORS.items()):
        connection.execute(f"create function decoys.o{number}({left}, {right}) returns {returns} {fails}")
        connection.execute(
            f"create operator decoys.{operator} (function = decoys.o{number}, leftarg = {left}, rightarg = {right})"
        )
    for table in TABLES:
        connection.execute(f"create table decoys.{table} ()")
    connection.execute("grant usage on schema decoys to public")


LIFE = (
    "select pgsbert.create_vectorizer('public.notes', '{body}', model => 'fake-8', index => 'none')",
    "select pgsbert.create_vectorizer('notes', '{body}', name => 'aside', model => 'fake-8', storage => 'table')",
    "insert into public.notes values (1, 'word'), (2, 'other'), (3, '')",
    "update public.notes set body = 'new' where id = 2",
    "update public.notes set id = 4 where id = 3",
    "update public.notes set body = '' where id = 2",
    "delete from public.notes where id = 4",
    "select pgsbert.pause_vectorizer('notes'), pgsbert.resume_vectorizer('notes'), pgsbert.refresh('notes')",
    "select pgsbert.retry_failures('notes'), pgsbert.discard_failures('notes'), pgsbert.is_synced('docs')",
    "select pgsbert.embed('word', 'fake-8'), pgsbert.embed('{word}'::text[], 'fake-8')",
    "select pgsbert.similarity('a', 'b', 'fake-8')",
    "select * from pgsbert.rerank('word', '{word,other}')",
    "select * from pgsbert.search('docs', 'word', 2)",
    "select * from pgsbert.search('docs', 'word', 2, true)",
    "select * from pgsbert.similar_to('docs', '{1}')",
    "select * from pgsbert.status, pgsbert.failures, pgsbert.workers, pgsbert.models",
    "select * from public.docs_neighbors",
    "truncate public.notes",
    "select pgsbert.drop_vectorizer('aside', drop_vectors => true)",
    "select pgsbert.drop_vectorizer('notes', drop_vectors => true)",
)
# without a search_path of their own: one commits, the others are planned in their caller
OPEN = (
    "call pgsbert.wait_until_synced('docs')",
    "select pgsbert.embed_for('docs', 'word')",
    "select * from public.docs_search('word', 2)",
    "select * from public.docs_search('word', 2, true)",
)


@pytest.mark.parametrize("path", ["public, decoys", "decoys, public, pg_catalog"])
def test_decoys_in_the_search_path_are_not_run(attacked: Database, mallory: str, path: str) -> None:
    with attacked.connect() as victim:
        victim.execute("create schema decoys authorization mallory; create table notes (id int primary key, body text)")
        try:
            with acting_as(victim, mallory):
                make_decoys(victim)
            victim.execute(f"set search_path = {path}")
            for statement in (*LIFE, *(OPEN if path.startswith("public") else ())):
                victim.execute(statement)
        finally:
            victim.execute("reset search_path")
            victim.execute("select pgsbert.drop_vectorizer(n, true, true) from unnest('{notes,aside}'::text[]) as n")
            victim.execute("drop schema decoys cascade; drop table notes cascade")


def test_decoys_in_the_workers_search_path_are_not_run(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create table docs (id int primary key, body text); create schema decoys")
        make_decoys(connection)
        connection.execute(f'alter database "{database.name}" set search_path = public, decoys')
        with run_worker(database.dsn, encoder=FakeEncoder(8)):
            for storage in ("column", "table"):
                connection.execute(
                    "select pgsbert.create_vectorizer('docs', '{body}', name => %s, model => 'fake-8', storage => %s)",
                    [storage, storage],
                )
                connection.execute("insert into docs values (1, 'one'), (2, 'two') on conflict (id) do nothing")
                connection.execute("update docs set body = body || '!'")
                connection.execute(f"call pgsbert.wait_until_synced('{storage}')")
            assert rows(connection, "select count(embedding) from docs") == [2]
            assert rows(connection, "select count(*) from docs_embedding") == [2]
            wait_until(lambda: rows(connection, "select count(*) from pg_indexes where indexdef like '%hnsw%'") == [2])


def test_decoys_that_wait_for_the_installation_are_bound_by_nothing(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("create table docs (id int primary key, body text); create schema decoys")
        make_decoys(connection)
        connection.execute(f'alter database "{empty_database.name}" set search_path = public, decoys')
        schema.install(empty_database.dsn)
        bound = (
            "select distinct pg_describe_object(classid, objid, objsubid) from pg_depend"
            " where refclassid in ('pg_proc'::regclass, 'pg_operator'::regclass)"
            " and pg_describe_object(refclassid, refobjid, refobjsubid) like '%decoys.%'"
            " and pg_describe_object(classid, objid, objsubid) not like '%decoys.%'"
        )
        assert rows(connection, bound) == []


CLASSICS = (
    "'; drop table canary; --", '"; drop table canary; --', "$$; drop table canary; $$", "1); drop table canary; --",
    "$body$; drop table canary; --", "$make$; drop table canary; --", "\\'; drop table canary; --", "E'\\''",
    "' || (select secret from canary) || '", "%s %I %L %1$s %%", "canary", "public.canary", "pgsbert.model", "public",
    "pg_catalog.pg_class", "mallory superuser", "{a,b}", "{{}", "null", "", " ", "x" * 64, "é" * 32, "x' port='1",
    "\x01\n\t", "select", "none",
)  # fmt: skip
BY_AN_OPERATOR = (
    "select pgsbert.create_vectorizer('mine', array[{}], model => 'fake-8')",
    *(f"select pgsbert.create_vectorizer('mine', '{{{{body}}}}', model => 'fake-8', {name} => {{}})"
      for name in ("name", "storage", "target", "distance", "index", "on_change")),
    "select pgsbert.create_vectorizer('mine', '{{body}}', storage => 'table', model => 'fake-8', target => {})",
    "select pgsbert.create_vectorizer('mine', '{{body}}', model => {})",
    "select pgsbert.create_vectorizer({}::regclass, '{{body}}', model => 'fake-8')",
    "select pgsbert.drop_vectorizer({})", "select pgsbert.drop_vectorizer({}, if_exists => true)",
    "select pgsbert.pause_vectorizer({})", "select pgsbert.resume_vectorizer({})", "select pgsbert.refresh({})",
    "select pgsbert.retry_failures({})", "select pgsbert.discard_failures({})", "select pgsbert.is_synced({})",
    "select pgsbert.embed({}::text, 'fake-8')", "select pgsbert.embed('x', {})",
    "select pgsbert.embed(array[{}], 'fake-8')", "select pgsbert.embed_for({}, 'x')",
    "select pgsbert.embed_for('docs', {})", "select pgsbert.similarity({}, 'x', 'fake-8')",
    "select pgsbert.similarity('x', 'x', {})", "select * from pgsbert.rerank({}, '{{a}}')",
    "select * from pgsbert.rerank('q', array[{}])", "select * from pgsbert.rerank('q', '{{a}}', {})",
    "select * from pgsbert.search({}, 'x')", "select * from pgsbert.search('docs', {})",
    "select * from pgsbert.similar_to({}, '{{1}}')", "select * from pgsbert.similar_to('docs', array[{}])",
    "select * from docs_search({}, 2, true)",
    "select set_config('pgsbert.timeout', {}, true), pgsbert.embed('x', 'fake-8')",
    "select set_config('pgsbert.notify', {}, true), set_config('pgsbert.keep_connection', {}, true),"
    " pgsbert.embed('x', 'fake-8')",
)  # fmt: skip
BY_AN_ADMINISTRATOR = (
    "select pgsbert.grant_usage({})",
    "select pgsbert.grant_usage('mallory', {})",
    "select pgsbert.revoke_usage({})",
    # what the loopback connection sends
    "select pgsbert.put({}, 'fake-8', null, '{{x}}', '1s')",
    "select pgsbert.put('embed', {}, null, '{{x}}', '1s')",
    "select pgsbert.put('rerank', null, {}, '{{x}}', '1s')",
)
RIGHTS = """
    select (select array_agg(secret) from public.canary), (select count(*) from pg_roles),
           (select count(*) from pg_roles where rolsuper or rolcreaterole or rolcreatedb or rolbypassrls),
           (select count(*) from pg_auth_members), pg_has_role('mallory', 'pgsbert_worker', 'member'),
           has_table_privilege('mallory', 'public.canary', 'select, insert, update, delete'),
           (select array_agg(relname order by relname) from pg_class where relnamespace = 'pgsbert'::regnamespace),
           (select count(*) from pg_proc)
"""


def attack(session: Connection, statement: str, text: str) -> None:
    """Run a statement with a text in its place, and what uses that text again; it may fail by its caller's fault."""
    query = sql.SQL(statement).format(*[sql.Literal(text)] * statement.count("{}"))
    # put() refuses to be part of a transaction
    scope = nullcontext() if "pgsbert.put" in statement else session.transaction(force_rollback=True)
    try:
        with scope:
            made = session.execute(query).fetchone()
            if made is not None and "create_vectorizer" in statement:
                session.execute("insert into mine (id, body) values (1, 'word'), (2, 'other')")
                session.execute("update mine set id = 3, body = '' where id = 1")
                session.execute("delete from mine where id = 2")
                session.execute("select * from pgsbert.search(%s, 'x')", made)
                session.execute("select * from pgsbert.similar_to(%s, '{3}')", made)
                session.execute(
                    "select pgsbert.retry_failures(%(n)s), pgsbert.drop_vectorizer(%(n)s, true)", {"n": made[0]}
                )
    except psycopg.Error as error:
        if (error.sqlstate or "none")[:2] not in ("PB", "42", "22"):
            raise


@pytest.fixture(scope="module")
def operator(attacked: Database) -> Iterator[Connection]:
    """Give the session of an operator that owns the table mine."""
    with attacked.connect() as admin:
        admin.execute(
            "create role mallory login; grant create on schema public to mallory; grant select on docs to mallory"
        )
        admin.execute("select pgsbert.grant_usage('mallory', 'operator')")
        with attacked.connect(user="mallory") as connection:
            connection.execute("create table mine (id int primary key, body text)")
            yield connection
        admin.execute("drop owned by mallory cascade; drop role mallory")


@pytest.mark.parametrize("statement", [*BY_AN_OPERATOR, *BY_AN_ADMINISTRATOR])
def test_no_text_argument_is_ever_run(attacked: Database, operator: Connection, statement: str) -> None:
    with attacked.connect() as admin:
        before = rows(admin, RIGHTS)
        session = operator if statement in BY_AN_OPERATOR else admin

        # making a vectorizer costs a hundred times as much as asking for one
        makes = "create_vectorizer" in statement

        @settings(max_examples=2 if makes else 10, deadline=None, database=None)
        @given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=70))
        def attack_with(text: str) -> None:
            attack(session, statement, text)

        for text in CLASSICS[:12] if makes else CLASSICS:
            attack(session, statement, text)
        attack_with()
        assert rows(admin, RIGHTS) == before
