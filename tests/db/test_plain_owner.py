"""pgsbert installed by the owner of a database who is no superuser, on a server that demands SCRAM over TCP."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from pgsbert import gateway, schema
from pgsbert.errors import SchemaError
from pgsbert.testing import FakeEncoder
from tests.secured import SecuredServer, pgsbert, secured_server
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    Connection = psycopg.Connection[Any]

DATABASE, OWNER = 'Shop "1"', 'Shop "owner"'
PASSWORDS = {
    OWNER: "Owner-gh71-secret",
    "search_worker": "Worker-b52k-secret",
    "alice": "Alice-83hd-secret",
    "bob": "Bob-61ms-secret",
    "carol": "Carol-27qx-secret",
}
GATEWAY_PASSWORD = "Gateway-'92\\xk-sécret"


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredServer]:
    with secured_server() as running:
        yield running


@pytest.fixture(scope="module")
def installed(secured: SecuredServer, tmp_path_factory: pytest.TempPathFactory) -> SecuredServer:
    """Install as the documentation says: the owner, the administrator, the owner, the administrator."""
    with secured.admin() as admin:
        for role, password in PASSWORDS.items():
            verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(role), verifier))
        admin.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER)))
    dsn = dsn_of(secured, OWNER)

    refused = pgsbert("install", "--dsn", dsn)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert 'have an administrator run "CREATE EXTENSION' in refused.stderr
    printed = pgsbert("install", "--print-dba-sql", "--dsn", dsn)
    assert (printed.returncode, printed.stderr) == (0, "")
    secured.psql(printed.stdout, DATABASE)
    again = pgsbert("install", "--print-dba-sql", "--dsn", dsn).stdout
    assert "-- Nothing is missing." in again
    assert not re.search("^[^-]", again, re.MULTILINE)

    done = pgsbert("install", "--dsn", dsn)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("Next: pgsbert gateway set-password\n")
    with connect(secured, OWNER) as connection:
        assert refusal(connection, "select pgsbert.embed('x')") == (
            "08001", "the gateway has no password yet", "Run pgsbert gateway set-password.",
        )  # fmt: skip
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(GATEWAY_PASSWORD + "\n", encoding="utf-8")
    set_ = pgsbert("gateway", "set-password", "--password-file", str(file), "--dsn", dsn)
    assert (set_.returncode, set_.stderr) == (0, "")
    assert "alter role" in set_.stdout
    secured.psql(set_.stdout, DATABASE)

    # what the printed script shows for the worker's login
    secured.psql(
        'grant pgsbert_worker to search_worker; grant search_worker to "Shop ""owner""";'
        " grant create on schema public to alice, bob",
        DATABASE,
    )
    with connect(secured, OWNER) as connection:
        connection.execute(
            "insert into pgsbert.model (name, kind, dimensions, max_tokens, is_default)"
            " values ('fake-8', 'bi-encoder', 8, 256, false), ('fake-reranker', 'cross-encoder', null, 256, true)"
        )
        connection.execute("select pgsbert.grant_usage('alice', 'operator'), pgsbert.grant_usage('bob')")
    return secured


@pytest.fixture
def docs(installed: SecuredServer) -> Iterator[SecuredServer]:
    """Give table docs of alice, who is not the installer, with a vectorizer, and a worker; all gone afterwards."""
    with run_worker(dsn_of(installed, "search_worker"), encoder=FakeEncoder(8)), connect(installed, "alice") as alice:
        alice.execute("create table docs (id int primary key, tenant text default 'a', body text)")
        alice.execute("insert into docs values (1, 'a', 'red apple')")
        alice.execute("select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8')")
        yield installed
        alice.execute("select pgsbert.drop_vectorizer('docs', drop_vectors => true, if_exists => true)")
        alice.execute("drop table docs")


def dsn_of(secured: SecuredServer, user: str) -> str:
    return secured.dsn(DATABASE, user, PASSWORDS[user])


@contextmanager
def connect(secured: SecuredServer, user: str) -> Iterator[Connection]:
    with closing(psycopg.connect(dsn_of(secured, user), autocommit=True)) as connection:
        yield connection


def refusal(connection: Connection, query: str) -> tuple[str | None, str | None, str | None]:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(query)
    said = caught.value.diag
    return said.sqlstate, said.message_primary, said.message_hint


def test_everything_belongs_to_the_installer_who_is_no_superuser(installed: SecuredServer) -> None:
    owners = (
        "select distinct pg_get_userbyid(o) from (select proowner from pg_proc where pronamespace = {0}"
        " union all select relowner from pg_class where relnamespace = {0}"
        " union all select nspowner from pg_namespace where oid = {0}"
        " union all select srvowner from pg_foreign_server) as owner (o)"
    ).format("'pgsbert'::regnamespace")
    assert installed.execute(owners, database=DATABASE) == [OWNER]
    assert installed.execute("select rolsuper, rolcreaterole from pg_roles where rolname = %s", OWNER) == [
        (False, False)
    ]


def test_rows_of_another_owner_are_embedded_searched_and_reranked_by_a_reader(docs: SecuredServer) -> None:
    with connect(docs, "alice") as alice, connect(docs, "bob") as bob:
        alice.execute("grant select on docs to bob")
        alice.execute("insert into docs (id, body) values (2, 'blue car'), (3, 'green tree')")
        alice.execute("update docs set body = 'red cherry' where id = 1")
        alice.execute("delete from docs where id = 3")
        alice.execute("call pgsbert.wait_until_synced('docs')")
        stored = rows(alice, "select embedding::real[] from docs order by id")
        assert np.array_equal(np.array(stored, dtype=np.float32), FakeEncoder(8).encode(["red cherry", "blue car"]))
        assert rows(bob, "select (item).id from docs_search('blue car', 1)") == [2]
        assert rows(bob, "select (item).id from docs_search('blue car', 1, rerank => true)") == [2]
        nearest = "select id from docs order by embedding <=> (select pgsbert.embed('red cherry', 'fake-8')) limit 1"
        assert rows(bob, nearest) == [1]
        assert rows(bob, "select neighbor_id from docs_neighbors where id = 1") == [2]
        assert rows(bob, "select document from pgsbert.rerank('blue', '{blue car,red}', top_k => 1)") == ["blue car"]
        assert rows(bob, "select state, pending from pgsbert.status") == [("active", 0)]
        alice.execute("truncate docs")
        assert refusal(bob, "select pgsbert.pause_vectorizer('docs')")[0] == "42501"


def test_the_life_of_a_vectorizer_goes_round_for_an_owner_who_is_not_the_installer(docs: SecuredServer) -> None:
    with connect(docs, "alice") as alice:
        for verb in ("pause_vectorizer", "resume_vectorizer", "refresh", "retry_failures", "discard_failures"):
            alice.execute(f"select pgsbert.{verb}('docs')")
        alice.execute("call pgsbert.wait_until_synced('docs')")
        # what a worker killed while it built an index leaves behind
        alice.execute("create index half on docs using hnsw (embedding vector_cosine_ops)")
        docs.execute("update pg_index set indisvalid = false where indexrelid = 'half'::regclass", database=DATABASE)
        alice.execute("select pgsbert.drop_vectorizer('docs')")
        assert rows(alice, "select to_regclass('half')") == [None]
        held = "select has_any_column_privilege('pgsbert_worker', 'docs', 'select, update')"
        assert rows(alice, held) == [False]
        alice.execute("insert into docs (id, body) values (9, 'nobody embeds this')")


def test_a_side_table_needs_the_installer_to_be_a_member_of_the_owner(docs: SecuredServer) -> None:
    create = (
        "select pgsbert.create_vectorizer('docs', '{body}', name => 'aside', model => 'fake-8', storage => 'table')"
    )
    with connect(docs, "alice") as alice:
        assert refusal(alice, create) == (
            "PB007",
            'storage => \'table\' needs "Shop ""owner""", which owns pgsbert, to be a member of alice,'
            " which owns public.docs",
            'Have an administrator run: grant alice to "Shop ""owner"""; or use storage => \'column\'.',
        )
        docs.execute(f'grant alice to "{OWNER.replace(chr(34), chr(34) * 2)}"')
        alice.execute(create)
        for statement in (
            "insert into docs (id, body) values (5, 'five'), (6, 'six'), (7, 'seven')",
            "update docs set body = '' where id = 5",
            "delete from docs where id = 6",
            "call pgsbert.wait_until_synced('aside')",
        ):
            alice.execute(statement)
        assert rows(alice, "select id from docs_embedding order by id") == [1, 7]
        assert rows(alice, "select (item).id from aside_search('seven', 1)") == [7]
        assert rows(alice, "select has_schema_privilege('pgsbert', 'create')") == [False]
        alice.execute("truncate docs")
        assert rows(alice, "select count(*) from docs_embedding") == [0]
        alice.execute("select pgsbert.drop_vectorizer('aside', drop_vectors => true)")
        docs.execute(f'revoke alice from "{OWNER.replace(chr(34), chr(34) * 2)}"')


def test_an_index_build_is_ended_only_by_who_may(docs: SecuredServer) -> None:
    (number,) = docs.execute("select id from pgsbert.vectorizer where name = 'docs'", database=DATABASE)
    again = "select pgsbert.create_vectorizer('docs', '{tenant}', name => 'other', target => 'o', model => 'fake-8')"
    lock = "select pg_advisory_lock(1885827940, %s)"
    with connect(docs, "alice") as alice:
        alice.execute("call pgsbert.wait_until_synced('docs')")
        with closing(
            psycopg.connect(dsn_of(docs, "bob"), autocommit=True, application_name="pgsbert index")
        ) as builder:
            builder.execute(lock, [number])
            code, message, hint = refusal(alice, again)
            assert (code, message) == (
                "55006",
                'a worker builds an index on public.docs, and "Shop ""owner""" may not end what the role bob does',
            )
            assert hint is not None
            assert 'grant bob to "Shop ""owner"""' in hint
        # the worker's login was granted to the installer: its statement is cancelled
        dsn = dsn_of(docs, "search_worker")
        with closing(psycopg.connect(dsn, autocommit=True, application_name="pgsbert index")) as builder:
            builder.execute(lock, [number])
            builder.execute("set statement_timeout = '60 s'")
            builder.pgconn.send_query(b"select pg_sleep(60)")
            with closing(psycopg.connect(dsn_of(docs, "alice"))) as creating:
                creating.pgconn.send_query(again.encode())
                result = builder.pgconn.get_result()
                assert result is not None
                assert b"canceling statement due to user request" in (result.error_message or b"")
                builder.close()
                made = creating.pgconn.get_result()
                assert made is not None
                assert made.get_value(0, 0) == b"other"
        alice.execute("select pgsbert.drop_vectorizer('other', drop_vectors => true)")


def test_rows_hidden_from_worker_and_installer_are_not_taken_for_deleted(docs: SecuredServer) -> None:
    state = "select state, pending, reason from pgsbert.status"
    with connect(docs, "alice") as alice, connect(docs, "bob") as bob:
        alice.execute("grant select on docs to bob")
        alice.execute("call pgsbert.wait_until_synced('docs')")
        alice.execute("alter table docs enable row level security")
        alice.execute("insert into docs (id, body) values (2, 'hidden')")
        reason = "row security hides rows of public.docs from the worker's role: alter role search_worker bypassrls"
        wait_until(lambda: rows(alice, state) == [("broken", 1, reason)])
        alice.execute("update docs set body = 'red pear' where id = 1")
        assert rows(alice, "select count(embedding) from docs") == [1]
        assert rows(alice, state) == [("broken", 2, reason)]
        assert rows(bob, "select count(*) from docs_search('red', 5)") == [0]
        assert rows(bob, "select count(*) from docs_neighbors") == [0]
        alice.execute("alter table docs disable row level security")
        wait_until(lambda: rows(alice, state) == [("active", 0, None)])
        stored = rows(alice, "select embedding::real[] from docs order by id")
        assert np.array_equal(np.array(stored, dtype=np.float32), FakeEncoder(8).encode(["red pear", "hidden"]))


def test_an_upgrade_leaves_everything_to_the_installer(installed: SecuredServer) -> None:
    before = installed.execute(OBJECTS, database=DATABASE)
    assert schema.upgrade(dsn_of(installed, OWNER)) == schema.head()
    # a superuser adds what is missing as the installer too, or it would run with a superuser's rights
    installed.execute("drop function pgsbert.embed_for(text, text)", database=DATABASE)
    assert schema.upgrade(installed.server.dsn(DATABASE)) == schema.head()
    assert installed.execute(OBJECTS, database=DATABASE) == before
    with pytest.raises(
        SchemaError, match=r'^Schema pgsbert belongs to the role "Shop "owner"": connect as that role\.$'
    ):
        schema.upgrade(dsn_of(installed, "alice"))


OBJECTS = """
    select p.oid::regprocedure::text, p.proowner::regrole::text from pg_proc as p
    where p.pronamespace = 'pgsbert'::regnamespace order by 1
"""


def test_a_gateway_that_cannot_log_in_says_why_and_what_to_do(installed: SecuredServer) -> None:
    """Each reason as embed() says it, in a session that had a working connection before."""
    (verifier,) = installed.execute("select rolpassword from pg_authid where rolname = 'pgsbert_gateway'")
    keep = f"password '{verifier}'"
    with connect(installed, OWNER) as owner:
        for change, back, reason, hint in (
            ("password 'another'", keep, "password authentication failed", "gateway set-password"),
            ("nologin", "login", "not permitted to log in", "alter role pgsbert_gateway login"),
            ("connection limit 0", "connection limit -1", "too many connections", "connection limit"),
            (None, None, "has no password yet", "gateway set-password"),
        ):  # fmt: skip
            with connect(installed, "bob") as bob, closing(installed.admin(DATABASE)) as admin:
                owner.execute("select pgsbert.connect_gateway()")
                if change is None:
                    owner.execute("drop server pgsbert_loopback cascade")
                else:
                    admin.execute(f"alter role pgsbert_gateway {change}")
                code, message, said = refusal(bob, "select pgsbert.embed('x', 'fake-8')")
                assert code == "08001"
                assert reason in (message or "")
                assert hint in (said or "")
                assert "sécret" not in f"{message}{said}"
                if back is not None:
                    admin.execute(f"alter role pgsbert_gateway {back}")
    with pytest.raises(SchemaError, match=r"loopback connection could not log in.*Connection refused.*--port PORT"):
        gateway.set_password(installed.server.dsn(DATABASE), GATEWAY_PASSWORD, gateway.Address(port=1))
    # a superuser does both halves, for the owner of the functions
    done = pgsbert("gateway", "set-password", "--dsn", installed.server.dsn(DATABASE),
                   PGSBERT_GATEWAY_PASSWORD=GATEWAY_PASSWORD)  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "The gateway logs in with this password.\n", "")
    with connect(installed, OWNER) as owner:
        owner.execute("select pgsbert.connect_gateway()")
        assert rows(owner, "select umuser::regrole::text from pg_user_mappings") == ['"Shop ""owner"""']


def test_a_password_is_asked_for_by_no_argument(installed: SecuredServer, tmp_path: Path) -> None:
    dsn = dsn_of(installed, OWNER)
    (tmp_path / "empty").write_text("\n")
    for arguments, said in (
        ((), "There is no terminal to ask for the password: set PGSBERT_GATEWAY_PASSWORD, or give --password-file."),
        (("--password-file", str(tmp_path / "empty")), "first line is empty."),
        (("--password-file", str(tmp_path / "none")), "Cannot read the password from "),
    ):
        done = pgsbert("gateway", "set-password", *arguments, "--dsn", dsn)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
    made_up = pgsbert("gateway", "set-password", "--random", "--dsn", installed.server.dsn(DATABASE))
    assert (made_up.returncode, made_up.stderr) == (0, "")
    gateway.set_password(installed.server.dsn(DATABASE), GATEWAY_PASSWORD, gateway.Address())


def test_a_copied_database_does_not_ask_the_workers_of_the_original(installed: SecuredServer) -> None:
    installed.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", DATABASE)
    installed.execute(f"create database copy template {sql.Identifier(DATABASE).as_string(None)}")
    try:
        with installed.admin("copy") as admin:
            assert refusal(admin, "select pgsbert.embed('x')") == (
                "08001",
                'the gateway of this database leads to database "Shop "1""',
                "The database was copied or renamed: run pgsbert gateway set-password.",
            )
    finally:
        installed.execute("drop database copy with (force)")


def test_no_password_is_in_a_log_an_error_a_view_or_a_statement(docs: SecuredServer) -> None:
    secrets = [
        *PASSWORDS.values(),
        GATEWAY_PASSWORD,
        GATEWAY_PASSWORD.replace("'", "''").replace("\\", "\\\\"),
        "92\\xk",
    ]
    with connect(docs, "alice") as alice, connect(docs, "bob") as bob:
        alice.execute("call pgsbert.wait_until_synced('docs')")
        rows(bob, "select pgsbert.embed('red', 'fake-8')")
        seen = [
            docs.log,
            str(docs.execute("select * from pg_stat_activity", database=DATABASE)),
            str(rows(bob, "select umoptions from pg_user_mappings")),
            str(rows(bob, "select * from pgsbert.workers")),
        ]
    assert "create temporary table pgsbert_gateway_wanted" in docs.log  # it does hold statements
    wrong = docs.dsn(DATABASE, OWNER, "Wrong-k24f-secret")
    for command in (("install",), ("status",), ("gateway", "set-password", "--random")):
        done = pgsbert(*command, "--dsn", wrong)
        assert done.returncode == 1
        seen += [done.stdout, done.stderr]
    unreadable = pgsbert("status", "--dsn", f"postgresql://bob:{PASSWORDS['bob']}@127.0.0.1:{docs.port}x/shop")
    assert unreadable.returncode == 1
    seen.append(unreadable.stderr)
    program = str(Path(sys.executable).with_name("pgsbert"))
    worker = subprocess.run(
        [program, "worker", "--drain", "--allow-fake", "--dsn", dsn_of(docs, "search_worker")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert "started" in worker.stderr
    seen.append(worker.stderr)
    for place in seen:
        assert not [secret for secret in (*secrets, "Wrong-k24f-secret") if secret in place], place[-500:]


def test_the_installation_can_be_given_to_another_role(docs: SecuredServer) -> None:
    owner = sql.Identifier(OWNER).as_string(None)
    docs.execute(f"reassign owned by {owner} to carol", database=DATABASE)
    docs.execute("grant usage on foreign data wrapper dblink_fdw to carol", database=DATABASE)
    try:
        with connect(docs, "alice") as alice:
            alice.execute("insert into docs (id, body) values (2, 'two')")
            alice.execute("call pgsbert.wait_until_synced('docs')")
            assert refusal(alice, "select pgsbert.embed('x', 'fake-8')") == (
                "08001",
                'the gateway has no password for role "carol", which owns pgsbert now',
                "Run pgsbert gateway set-password.",
            )
            gateway.set_password(docs.server.dsn(DATABASE), GATEWAY_PASSWORD, gateway.Address())
            assert rows(alice, "select (item).id from docs_search('two', 1)") == [2]
    finally:
        docs.execute(f"reassign owned by carol to {owner}", database=DATABASE)
        gateway.set_password(docs.server.dsn(DATABASE), GATEWAY_PASSWORD, gateway.Address())


def test_the_schema_can_be_dropped_by_its_owner_and_installed_again(installed: SecuredServer) -> None:
    dsn = dsn_of(installed, OWNER)
    with connect(installed, OWNER) as owner:
        owner.execute("drop schema pgsbert cascade")
    assert schema.install(dsn) == schema.head()
    with connect(installed, OWNER) as owner:
        # server and mapping are outside of the schema
        owner.execute("select pgsbert.connect_gateway()")
