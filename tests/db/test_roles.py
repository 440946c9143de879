"""Least privilege: what a reader, an operator, a tenant and a worker may do, and nothing beyond."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

STORAGES = ("column", "table")
_numbers = count(1)


@pytest.fixture
def make_role(database: Database) -> Iterator[Callable[..., str]]:
    """Give a function that makes a login role, dropped after the test with all it owns in this database."""
    made: list[str] = []

    def make(options: str = "") -> str:
        name = f'pgsbert test "{next(_numbers)}"'
        database.execute(f"create role {quoted(name)} login {options}")
        made.append(name)
        return name

    yield make
    for name in made:
        database.execute(f"drop owned by {quoted(name)} cascade; drop role {quoted(name)}")


def quoted(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def state(connection: PgConnection, query: str) -> str | None:
    """Return the SQLSTATE that a statement ends with, None if it succeeds."""
    try:
        connection.execute(query)
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.fixture(params=STORAGES)
def docs(request: pytest.FixtureRequest, database: Database) -> Iterator[PgConnection]:
    """Give docs (id, tenant, body) with 40 embedded rows, of two tenants, and a running worker."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)), database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        connection.execute("create table docs (id int primary key, tenant text, body text)")
        connection.execute("insert into docs select i, 'tenant' || i % 2, 'word' || i from generate_series(1, 40) as i")
        connection.execute("grant create on schema public to public")
        connection.execute(
            "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [request.param]
        )
        connection.execute("call pgsbert.wait_until_synced('docs')")
        yield connection


def grant_select(connection: PgConnection, role: str) -> None:
    connection.execute(f"grant select on docs to {quoted(role)}")
    if rows(connection, "select storage from pgsbert.vectorizer") == ["table"]:
        connection.execute(f"grant select on docs_embedding to {quoted(role)}")


READS = (
    "select * from docs_search('word7', 3)",
    "select * from docs_search('word7', 3, rerank => true)",
    "select * from pgsbert.search('docs', 'word7', 3)",
    "select * from pgsbert.similar_to('docs', '{7}', 3)",
    "select * from docs_neighbors where id = 7",
)
ASKS = (
    "select pgsbert.embed('word', 'fake-8')",
    "select pgsbert.embed(array['word'], 'fake-8')",
    "select pgsbert.embed_for('docs', 'word')",
    "select pgsbert.similarity('a', 'b', 'fake-8')",
    "select * from pgsbert.rerank('word', '{word,other}')",
    "select * from pgsbert.status",
    "select * from pgsbert.failures",
    "select * from pgsbert.workers",
    "select * from pgsbert.models",
    "select pgsbert.is_synced('docs')",
    "call pgsbert.wait_until_synced('docs')",
)
STEERS = (
    "select pgsbert.pause_vectorizer('docs')",
    "select pgsbert.resume_vectorizer('docs')",
    "select pgsbert.refresh('docs')",
    "select pgsbert.retry_failures('docs')",
    "select pgsbert.discard_failures('docs')",
    "select pgsbert.drop_vectorizer('docs')",
    "select pgsbert.create_vectorizer('docs', '{body}', name => 'again', target => 'other')",
)


def test_a_role_without_a_grant_may_do_nothing(
    docs: PgConnection, database: Database, make_role: Callable[..., str]
) -> None:
    role = make_role()
    grant_select(docs, role)
    with database.connect(user=role) as connection:
        # neighbors is a plain view of the table and asks nobody
        assert {state(connection, query) for query in (*READS[:-1], *ASKS, *STEERS)} == {"42501"}


def test_a_reader_may_search_ask_and_look_and_no_more(
    docs: PgConnection, database: Database, make_role: Callable[..., str]
) -> None:
    role = make_role()
    docs.execute("select pgsbert.grant_usage(%s)", [role])
    with database.connect(user=role) as connection:
        assert {state(connection, query) for query in READS} == {"42501"}  # no SELECT on docs
        grant_select(docs, role)
        assert {query: state(connection, query) for query in (*READS, *ASKS)} == dict.fromkeys((*READS, *ASKS))
        assert rows(connection, "select count(*) from docs_search('word7', 3)") == [3]
        assert {state(connection, query) for query in STEERS} == {"42501"}
        for relation in rows(
            docs,
            "select oid::regclass::text from pg_class where relnamespace = 'pgsbert'::regnamespace and relkind = 'r'",
        ):
            assert state(connection, f"select * from {relation}") == "42501", relation
            assert state(connection, f"delete from {relation}") == "42501", relation
        for query in ("pgsbert.put('embed', 'fake-8', null, '{x}', '1s')", "pgsbert.await(gen_random_uuid(), '1 ms')",
                      "pgsbert.grant_usage('x')", "pgsbert.announce()", "pgsbert.judge_vectorizers()"):  # fmt: skip
            assert state(connection, f"select {query}") == "42501", query


def test_failures_are_shown_to_those_who_may_read_the_table(
    docs: PgConnection, database: Database, make_role: Callable[..., str]
) -> None:
    role = make_role()
    docs.execute("select pgsbert.grant_usage(%s)", [role])
    (number,) = rows(docs, "select id from pgsbert.vectorizer")
    docs.execute(
        f"insert into pgsbert.lease_{number} (k1, revision, claimed_until, failed_at) values (1, 0, now(), now())"
    )
    with database.connect(user=role) as connection:
        assert rows(connection, "select count(*) from pgsbert.failures") == [0]
        docs.execute(f"grant select on docs to {quoted(role)}")
        assert rows(connection, "select key from pgsbert.failures") == [["1"]]


def test_an_operator_makes_and_steers_vectorizers_of_its_own_tables(
    docs: PgConnection, database: Database, make_role: Callable[..., str]
) -> None:
    role = make_role()
    docs.execute("select pgsbert.grant_usage(%s, 'operator')", [role])
    with database.connect(user=role) as connection:
        assert {state(connection, query) for query in STEERS} == {"42501"}  # somebody else's
        for storage in STORAGES:
            connection.execute("create table mine (id int primary key, body text)")
            connection.execute("insert into mine values (1, 'word1'), (2, 'word2')")
            connection.execute(
                "select pgsbert.create_vectorizer('mine', '{body}', model => 'fake-8', storage => %s)", [storage]
            )
            connection.execute("call pgsbert.wait_until_synced('mine')")
            assert rows(connection, "select (item).id from mine_search('word2', 1)") == [2]
            connection.execute("update mine set body = 'word3 word4' where id = 1")
            connection.execute("call pgsbert.wait_until_synced('mine')")
            assert rows(connection, "select (item).id from mine_search('word3 word4', 1)") == [1]
            for verb in ("pause_vectorizer", "resume_vectorizer", "refresh", "retry_failures", "discard_failures"):
                connection.execute(f"select pgsbert.{verb}('mine')")
            connection.execute("select pgsbert.drop_vectorizer('mine', drop_vectors => true)")
            assert rows(connection, "select to_regclass('mine_embedding'), to_regclass('mine_neighbors')") == [
                (None, None)
            ]
            connection.execute("drop table mine")


@pytest.mark.parametrize("level", ["reader", "operator"])
def test_revoke_takes_all_back(
    docs: PgConnection, database: Database, make_role: Callable[..., str], level: str
) -> None:
    role = make_role()
    grant_select(docs, role)
    docs.execute("select pgsbert.grant_usage(%s, %s)", [role, level])
    docs.execute("select pgsbert.revoke_usage(%s)", [role])
    held = "select count(*) from pg_proc as o, aclexplode(o.proacl) as a where a.grantee = %s::regrole"
    assert rows(docs, held, quoted(role)) == [0]
    with database.connect(user=role) as connection:
        assert {state(connection, query) for query in (*READS[:-1], *ASKS, *STEERS)} == {"42501"}


def test_an_upgrade_gives_readers_and_operators_what_is_new(
    docs: PgConnection, database: Database, make_role: Callable[..., str]
) -> None:
    reader, operator, stranger = make_role(), make_role(), make_role()
    docs.execute("select pgsbert.grant_usage(%s)", [reader])
    docs.execute("select pgsbert.grant_usage(%s, 'operator')", [operator])
    # as if both functions had come with this version
    docs.execute(
        "revoke all on function pgsbert.similar_to(text, text[], int), pgsbert.refresh(text)"
        f" from {quoted(reader)}, {quoted(operator)}"
    )
    from pgsbert import schema

    schema.upgrade(database.dsn)
    may = (
        "select has_function_privilege(%s, 'pgsbert.similar_to(text, text[], int)', 'execute'),"
        " has_function_privilege(%s, 'pgsbert.refresh(text)', 'execute')"
    )
    assert [rows(docs, may, role, role) for role in (reader, operator, stranger)] == [
        [(True, False)],
        [(True, True)],
        [(False, False)],
    ]


@pytest.mark.parametrize("secured", ["before", "after"])
@pytest.mark.parametrize("storage", STORAGES)
def test_row_security_holds_in_every_search(
    database: Database, connection: PgConnection, make_role: Callable[..., str], storage: str, secured: str
) -> None:
    connection.execute("update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'")
    connection.execute("create table docs (id int primary key, tenant text, body text)")
    security = "alter table docs enable row level security; create policy own on docs using (tenant = current_user)"
    tenants = [make_role(), make_role()]
    for tenant in tenants:
        connection.execute(f"grant select on docs to {quoted(tenant)}")
        connection.execute("select pgsbert.grant_usage(%s)", [tenant])
    connection.execute(
        "insert into docs select i, (%s::text[])[1 + (i %% 20 = 0)::int], 'word' || i"
        " from generate_series(1, 600) as i",
        [tenants],
    )
    if secured == "before":
        connection.execute(security)
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute(
            "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [storage]
        )
        connection.execute("call pgsbert.wait_until_synced('docs')")
        if secured == "after":
            connection.execute(security)
        connection.execute("analyze")
        for tenant, own in zip(tenants, (7, 40), strict=True):
            with database.connect(user=tenant) as user:
                user.execute("set enable_seqscan = off")
                for query in (
                    "select (item).tenant from docs_search('word7', 25)",
                    "select (item).tenant from docs_search('word7', 25, rerank => true)",
                    "select item ->> 'tenant' from pgsbert.search('docs', 'word7', 25)",
                    f"select item ->> 'tenant' from pgsbert.similar_to('docs', '{{{own}}}', 25)",
                ):
                    assert rows(user, query) == [tenant] * 25, query
                neighbors = rows(user, f"select neighbor_id from docs_neighbors where id = {own}")
                assert set(neighbors) <= set(rows(user, "select id from docs"))
                other = 40 if own == 7 else 7
                assert rows(user, f"select * from pgsbert.similar_to('docs', '{{{other}}}')") == []
                assert rows(user, f"select * from docs_neighbors where id = {other}") == []
                if storage == "table":
                    assert rows(user, "select count(*) from docs_embedding where id = %s", other) == [0]
                    assert rows(user, "select (select count(*) from docs_embedding) = (select count(*) from docs)") == [
                        True
                    ]


@pytest.mark.parametrize("storage", STORAGES)
def test_what_row_security_hides_from_the_worker_is_not_taken_for_deleted(
    database: Database, connection: PgConnection, make_role: Callable[..., str], storage: str
) -> None:
    role = make_role("in role pgsbert_worker")
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [storage]
    )
    connection.execute("alter table docs enable row level security")
    vectors = "docs" if storage == "column" else "docs_embedding"
    with run_worker(psycopg.conninfo.make_conninfo(database.dsn, user=role), encoder=FakeEncoder(8)):
        connection.execute("insert into docs values (1, 'one')")
        reason = f"row security hides rows of public.docs from the worker's role: alter role {quoted(role)} bypassrls"
        wait_until(lambda: rows(connection, "select state, reason from pgsbert.status") == [("broken", reason)])
        assert rows(connection, "select pending from pgsbert.status") == [1]
        connection.execute(f"alter role {quoted(role)} bypassrls")
        wait_until(lambda: rows(connection, f"select count(embedding) from {vectors}") == [1])
        wait_until(
            lambda: rows(connection, "select state, reason, pending from pgsbert.status") == [("active", None, 0)]
        )


@pytest.mark.parametrize("storage", STORAGES)
async def test_row_security_that_came_after_the_claim_loses_no_row(
    connection: PgConnection, database: Database, make_role: Callable[..., str], storage: str
) -> None:
    from pgsbert.database import connect_async, register_vector_async
    from pgsbert.queue import Queue, read_vectorizers
    from pgsbert.worker.connections import ROWS_OPTIONS

    role = make_role("in role pgsbert_worker")
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [storage]
    )
    connection.execute("insert into docs values (1, 'one')")
    dsn = psycopg.conninfo.make_conninfo(database.dsn, user=role)
    async with await connect_async(dsn, application_name="test", options=ROWS_OPTIONS) as worker:
        await register_vector_async(worker)
        (vectorizer,) = await read_vectorizers(worker)
        queue = Queue(vectorizer, worker, 1)
        connection.execute("alter table docs enable row level security")
        assert await queue.claim(10) == []
        assert await queue.fill(10) is None
        assert rows(connection, "select pending from pgsbert.status") == [1]
        connection.execute("alter table docs disable row level security")
        changes: list[Any] = []
        while not changes:
            changes = await queue.claim_again()
        assert [(change.text, change.attempts) for change in changes] == [("one", 1)]
