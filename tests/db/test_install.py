"""An installation: whole or not there, the same by every way, nothing for PUBLIC, and no name taken for granted."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert import schema
from pgsbert.errors import SchemaError
from pgsbert.models.fake import FakeEncoder
from tests.support import Database, rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.embedded import EmbeddedServer

PgConnection = psycopg.Connection[Any]


def dump(server: EmbeddedServer, database: Database, *options: str) -> dict[str, str]:
    """Return what pg_dump writes of schema pgsbert: the statements under 'type name'."""
    program = [
        str(server.programs / "pg_dump"),
        "--schema-only",
        "--schema=pgsbert",
        "--no-owner",
        *options,
        database.dsn,
    ]
    text = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    entries = re.split(r"^--\n-- Name: (.+?); Type: (.+?); Schema: .*\n--\n", text, flags=re.MULTILINE)[1:]
    found: dict[str, str] = {}
    for name, kind, body in zip(entries[::3], entries[1::3], entries[2::3], strict=True):
        statements = "\n".join(line for line in body.splitlines() if line and not line.startswith(("--", "\\")))
        found[f"{kind} {name}"] = found.get(f"{kind} {name}", "") + statements
    return found


def is_of_a_table(entry: str) -> bool:
    return (
        re.match(
            r"(TABLE|SEQUENCE|INDEX|CONSTRAINT|FK CONSTRAINT|DEFAULT|COMMENT (TABLE|COLUMN|SEQUENCE|INDEX)) ?", entry
        )
        is not None
    )


def test_install_gives_the_newest_schema_and_a_default_model(empty_database: Database) -> None:
    assert schema.install(empty_database.dsn) == schema.head()
    with empty_database.connect() as connection:
        assert schema.installed_version(connection) == schema.head()
        assert rows(connection, "select name from pgsbert.model where is_default") == ["all-MiniLM-L6-v2"]


def test_a_second_install_or_upgrade_changes_nothing(server: EmbeddedServer, database: Database) -> None:
    database.execute("update pgsbert.model set is_default = (name = 'fake-8') where kind = 'bi-encoder'")
    models = database.execute("select m from pgsbert.model as m order by name")
    before = dump(server, database)
    assert schema.install(database.dsn) == schema.upgrade(database.dsn) == schema.head()
    assert dump(server, database) == before
    assert database.execute("select m from pgsbert.model as m order by name") == models


def test_upgrade_where_nothing_is_installed_says_what_to_run(empty_database: Database) -> None:
    with pytest.raises(SchemaError, match=r'run "pgsbert install" first'):
        schema.upgrade(empty_database.dsn)
    assert empty_database.execute("select to_regnamespace('pgsbert')") == [None]


def test_migrations_lead_to_the_snapshot(server: EmbeddedServer, database: Database, empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("create extension vector")
        connection.execute("create extension dblink")
        schema.load_file(connection, "schema.sql")
    migrated, snapshot = (
        {entry: body for entry, body in dump(server, each, "--no-privileges").items() if is_of_a_table(entry)}
        for each in (database, empty_database)
    )
    alembic = {"TABLE migration", "CONSTRAINT migration migration_pkc"}
    assert {entry: body for entry, body in migrated.items() if entry not in alembic} == snapshot
    assert {"TABLE vectorizer", "INDEX request_unclaimed", "COMMENT SEQUENCE revision"} <= snapshot.keys()


@pytest.fixture
def with_vectorizers(connection: PgConnection) -> PgConnection:
    """Give a database with all that a vectorizer makes."""
    connection.execute("create table note (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', on_change => 'clear')")
    return connection


def test_every_object_has_a_comment(with_vectorizers: PgConnection) -> None:
    assert (
        rows(
            with_vectorizers,
            "select 'function ' || p.oid::regprocedure from pg_proc as p"
            " where pronamespace = 'pgsbert'::regnamespace and obj_description(p.oid, 'pg_proc') is null"
            " union all"
            " select case relkind when 'v' then 'view ' else 'table ' end || c.oid::regclass from pg_class as c"
            " where relnamespace = 'pgsbert'::regnamespace and obj_description(c.oid, 'pg_class') is null"
            " and relname <> 'migration' and (relkind in ('r', 'v', 'm')"
            " or relkind = 'S' and not exists (select from pg_depend where objid = c.oid and deptype = 'i'))"
            " union all"
            " select 'type ' || t.oid::regtype from pg_type as t"
            " where typnamespace = 'pgsbert'::regnamespace and typtype in ('d', 'e')"
            " and obj_description(t.oid, 'pg_type') is null",
        )
        == []
    )


def test_public_may_nothing(with_vectorizers: PgConnection) -> None:
    grants = rows(
        with_vectorizers,
        "select kind || object || ': ' || privilege_type from ("
        " select 'function ', p.oid::regprocedure::text, coalesce(proacl, acldefault('f', proowner))"
        " from pg_proc as p where pronamespace = 'pgsbert'::regnamespace"
        " union all select 'relation ', c.oid::regclass::text, coalesce(relacl, acldefault('r', relowner))"
        " from pg_class as c where relnamespace = 'pgsbert'::regnamespace"
        " union all select 'column ', attrelid::regclass || '.' || attname, attacl"
        " from pg_attribute join pg_class as c on c.oid = attrelid where relnamespace = 'pgsbert'::regnamespace"
        " union all select 'schema ', nspname, coalesce(nspacl, acldefault('n', nspowner))"
        " from pg_namespace where nspname = 'pgsbert'"
        ") as o (kind, object, acl), aclexplode(acl) where grantee = 0",
    )
    assert grants == []


def test_the_gateway_may_ask_and_fetch_and_nothing_else(with_vectorizers: PgConnection) -> None:
    assert rows(
        with_vectorizers,
        "select proname from pg_proc where pronamespace = 'pgsbert'::regnamespace"
        " and has_function_privilege('pgsbert_gateway', oid, 'execute') order by 1",
    ) == ["await", "put"]
    assert (
        rows(
            with_vectorizers,
            "select relname from pg_class where relnamespace = 'pgsbert'::regnamespace and relkind <> 'i'"
            " and case relkind when 'S' then has_sequence_privilege('pgsbert_gateway', oid, 'usage, select, update')"
            " else has_any_column_privilege('pgsbert_gateway', oid, 'select, insert, update')"
            " or has_table_privilege('pgsbert_gateway', oid, 'delete, truncate') end",
        )
        == []
    )


def test_every_security_definer_function_has_a_fixed_search_path(with_vectorizers: PgConnection) -> None:
    assert (
        rows(
            with_vectorizers,
            "select oid::regprocedure::text from pg_proc where pronamespace = 'pgsbert'::regnamespace and prosecdef"
            " and not coalesce(proconfig, '{}') @> '{\"search_path=pg_catalog, pg_temp\"}'",
        )
        == []
    )


@pytest.mark.parametrize("name", ["Ext x", 'Ext "x', "ext'x", "{x}", "select", "Ünï"])
def test_extensions_may_live_in_a_schema_of_any_name(empty_database: Database, name: str) -> None:
    with empty_database.connect() as connection:
        connection.execute(sql.SQL("create schema {}").format(sql.Identifier(name)))
        for extension in ("vector", "dblink"):
            connection.execute(
                sql.SQL("create extension {} schema {}").format(sql.Identifier(extension), sql.Identifier(name))
            )
        schema.install(empty_database.dsn)
        connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8)")
        connection.execute("create table note (id int primary key, body text)")
        connection.execute("insert into note values (1, 'cats'), (2, 'dogs')")
        with run_worker(empty_database.dsn, encoder=FakeEncoder(8)):
            connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8')")
            connection.execute("insert into note values (3, 'birds')")
            connection.execute("call pgsbert.wait_until_synced('note')")
            nearest = sql.SQL(
                "select body from note order by embedding operator({}.<=>) pgsbert.embed('birds', 'fake-8')"
            )
            assert connection.execute(nearest.format(sql.Identifier(name))).fetchone() == ("birds",)
        connection.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")


def test_extensions_that_moved_are_found_again_after_an_upgrade(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("create schema elsewhere")
        connection.execute("alter extension vector set schema elsewhere")
        schema.upgrade(database.dsn)
        connection.execute("create table note (id int primary key, body text)")
        connection.execute("insert into note values (1, 'cats')")
        connection.execute("select pgsbert.create_vectorizer('note', '{body}', model => 'fake-384')")
        with run_worker(database.dsn):
            connection.execute("call pgsbert.wait_until_synced('note')")
            assert rows(connection, "select elsewhere.vector_dims(pgsbert.embed('cats', 'fake-384'))") == [384]


@pytest.fixture
def plain_role(server: EmbeddedServer) -> Iterator[str]:
    """Give a login role that may nothing."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("create role plain_installer login")
        yield "plain_installer"
        admin.execute("drop role plain_installer")


def test_a_plain_role_is_told_who_must_do_what(empty_database: Database, plain_role: str) -> None:
    dsn = empty_database.dsn.replace("postgres@", f"{plain_role}@")
    with pytest.raises(SchemaError, match='run "CREATE EXTENSION '):
        schema.install(dsn)
    empty_database.execute("create extension vector")
    with pytest.raises(
        SchemaError, match='"CREATE EXTENSION dblink" in this database, then run "pgsbert install" again'
    ):
        schema.install(dsn)
    empty_database.execute("create extension dblink")
    with pytest.raises(SchemaError, match=r'only an administrator can give \(.*"pgsbert install --print-dba-sql"'):
        schema.install(dsn)
    assert empty_database.execute("select to_regnamespace('pgsbert')") == [None]


def test_an_extension_that_is_gone_is_named(database: Database) -> None:
    database.execute("drop extension dblink cascade")
    with pytest.raises(SchemaError, match='extension dblink is not in this database: run "CREATE EXTENSION dblink"'):
        schema.upgrade(database.dsn)


@pytest.mark.parametrize("version", ["0.7.4", "0.5.1"])
def test_an_old_pgvector_is_refused_with_the_next_step(empty_database: Database, version: str) -> None:
    empty_database.execute("create extension vector")
    empty_database.execute("update pg_extension set extversion = %s where extname = 'vector'", version)
    with pytest.raises(SchemaError, match=rf'pgvector is {version}, and 0.8 or newer is needed: run "ALTER EXTENSION'):
        schema.install(empty_database.dsn)
    assert empty_database.execute("select to_regnamespace('pgsbert')") == [None]


@pytest.mark.parametrize("version", ["0.8.0", "0.10.0", "1.0.0"])
def test_newer_pgvectors_are_taken(empty_database: Database, version: str) -> None:
    empty_database.execute("create extension vector")
    empty_database.execute("update pg_extension set extversion = %s where extname = 'vector'", version)
    assert schema.install(empty_database.dsn) == schema.head()


def test_a_schema_from_a_later_package_is_left_alone(database: Database) -> None:
    database.execute("update pgsbert.migration set version_num = '9999'")
    with pytest.raises(SchemaError, match=r"at 9999, this pgsbert knows .*: upgrade the package"):
        schema.upgrade(database.dsn)


def test_an_installation_that_fails_leaves_nothing(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: object) -> None:
        raise SchemaError("the last step failed")

    monkeypatch.setattr(schema, "_register_default_model", fail)
    with pytest.raises(SchemaError, match="the last step"):
        schema.install(empty_database.dsn)
    assert empty_database.execute("select to_regnamespace('pgsbert')") == [None]


FIRST_RELEASE = """
create table pgsbert.migration (version_num varchar(32) not null, constraint migration_pkc primary key (version_num));
insert into pgsbert.migration values ('0001');
insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8);
create table note (id int primary key, body text, embedding vector(8));
insert into note values (1, 'cats');
insert into pgsbert.vectorizer (name, source, column_names, column_numbers, key_names, key_numbers, model, storage,
    target, target_number, distance, index_method, on_change, stamp)
values ('note', 'note', '{body}', '{2}', '{id}', '{1}', 'fake-8', 'column', 'embedding', 3,
    'cosine', 'none', 'keep', '');
create table pgsbert.pending_1 (
    k1 integer not null, revision bigint not null, queued_at timestamptz not null default now(), primary key (k1));
create table pgsbert.lease_1 (
    k1 integer not null primary key, revision bigint not null unique, worker integer,
    attempts integer not null default 1, deferred integer not null default 0, claimed_until timestamptz not null,
    error_class text, error text, failed_at timestamptz);
create table pgsbert.fill_1 (k1 integer not null);
insert into pgsbert.fill_1 values (0);
create function pgsbert.create_vectorizer(source regclass, columns text[] default null, name text default null,
    model text default null, storage text default 'column', target text default 'embedding',
    distance text default 'cosine', index text default 'hnsw', on_change text default 'keep',
    if_not_exists boolean default false) returns text language sql return 'old';
create function pgsbert.drop_vectorizer(name text, drop_vectors boolean default false, if_exists boolean default false)
    returns void language sql as 'select';
create function pgsbert.queue_counts() returns table (id integer) language sql return 1;
create role first_operator;
grant execute on function pgsbert.drop_vectorizer(text, boolean, boolean) to first_operator;
"""


def test_a_vectorizer_of_the_first_release_is_at_work_after_the_upgrade(empty_database: Database) -> None:
    with empty_database.connect() as connection:
        connection.execute("create extension vector; create extension dblink")
        schema.load_file(connection, "roles.sql")
        first = files("pgsbert.migrations").joinpath("versions/0001_initial.sql").read_text(encoding="utf-8")
        connection.execute("create schema if not exists pgsbert")
        connection.execute(first.replace(':"vector_schema"', "public"))
        connection.execute(FIRST_RELEASE)
        try:
            assert schema.upgrade(empty_database.dsn) == schema.head()
            # calls by name would be ambiguous with both
            assert rows(connection, "select count(*) from pg_proc where proname = 'create_vectorizer'") == [1]
            may = "select has_function_privilege('first_operator', oid, 'execute') from pg_proc where proname = %s"
            assert rows(connection, may, "create_vectorizer") == [True]
        finally:
            connection.execute("drop owned by first_operator; drop role first_operator")
        with run_worker(empty_database.dsn, encoder=FakeEncoder(8)):
            connection.execute("call pgsbert.wait_until_synced('note')")
        assert rows(connection, "select embedding is not null from note") == [True]
        assert rows(connection, "select state, progress from pgsbert.status") == [("active", 1)]
