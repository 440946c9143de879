"""PgBouncer in transaction mode before the server: applications, and workers that can or cannot reach the server."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.doctor import examine
from pgsbert.errors import SchemaError
from pgsbert.testing import FakeEncoder
from pgsbert.worker import Options, Worker
from pgsbert.worker.connections import ROWS_SETTINGS
from pgsbert.worker.pooled import connect_pooled
from tests.support import Database, rows, run_worker, wait_until, worker_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.embedded import EmbeddedServer

PgConnection = psycopg.Connection[Any]

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
CLIENTS = 6  # over two connections to the server

pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed: apt-get install pgbouncer")

SETTINGS = """
[databases]
{name} = host={host} port={port} dbname={name} user=postgres
pool_of_workers = host={host} port={port} dbname={name} user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = {folder}
auth_type = any
pool_mode = transaction
default_pool_size = 2
server_check_query = select 1
ignore_startup_parameters = extra_float_digits{ignored}
"""


@pytest.fixture(params=[""], ids=["plain"])
def pooler(request: pytest.FixtureRequest, server: EmbeddedServer, database: Database) -> Iterator[str]:
    """Run PgBouncer before the test's database and give its connection string; it ignores what a parameter adds."""
    # not pytest's tmp_path: as root PgBouncer runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-pooler-", dir="/var/tmp"))
    folder.chmod(0o777)
    behind = psycopg.conninfo.conninfo_to_dict(database.dsn)
    settings = SETTINGS.format(**behind, name=database.name, folder=folder, ignored=request.param)
    (folder / "pgbouncer.ini").write_text(settings)
    dsn = psycopg.conninfo.make_conninfo(host=str(folder), port=6432, dbname=database.name, user="postgres")
    # it refuses to be root
    user = ["-u", server.account.pw_name] if server.account else []
    command = [str(PGBOUNCER), *user, str(folder / "pgbouncer.ini")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        log: list[str] = []
        reader = threading.Thread(target=lambda: log.extend(process.stdout or ()), daemon=True)
        reader.start()
        try:
            wait_until(lambda: process.poll() is not None or answers(dsn))
            assert process.poll() is None, "".join(log)
            yield dsn
        finally:
            process.terminate()
            process.wait(20)
            reader.join(5)
            shutil.rmtree(folder, ignore_errors=True)


def for_workers(pooler: str) -> str:
    """Return the way through the pool that sessions which wait for an answer do not fill."""
    return psycopg.conninfo.make_conninfo(pooler, dbname="pool_of_workers")


def answers(dsn: str) -> bool:
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def work(dsn: str, client: int, errors: list[Exception]) -> None:
    """Do what an application does; transactions of others come between any two of ours on the same connection."""
    try:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            for turn in range(5):
                text = f"client {client} turn {turn}"
                connection.execute("insert into articles (title) values (%s)", [text])
                connection.execute("update articles set body = 'more' where title = %s", [text])
                with connection.transaction():
                    [first] = rows(connection, "select pgsbert.embed(%s, 'fake-8')::text", text)
                    [again] = rows(connection, "select pgsbert.embed(%s, 'fake-8')::text", text)
                vector = FakeEncoder(8).encode([text])[0]
                assert first == again
                assert rows(connection, "select %s::vector <-> %s::vector < 1e-5", first, str(vector.tolist())) == [
                    True
                ]
                ranked = "select document from pgsbert.rerank(%s, %s, 'fake-reranker')"
                assert rows(connection, ranked, text, ["none of it", text]) == [text, "none of it"]
            connection.execute("select * from articles_search(%s, k => 3)", [text])
    except Exception as error:  # whatever a client meets is the test's to know
        errors.append(error)


@pytest.mark.parametrize("poll_only", [False, True], ids=["direct worker", "worker that only polls"])
def test_applications_behind_a_transaction_pooler_write_search_and_rerank(
    articles: PgConnection, database: Database, pooler: str, poll_only: bool
) -> None:
    errors: list[Exception] = []
    dsn = for_workers(pooler) if poll_only else database.dsn
    with run_worker(dsn, encoder=FakeEncoder(8), poll=timedelta(seconds=0.05), poll_only=poll_only):
        threads = [threading.Thread(target=work, args=[pooler, client, errors]) for client in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        articles.execute("call pgsbert.wait_until_synced('articles')")
        assert rows(articles, "select count(*), count(embedding) from articles") == [(30, 30)]
        # one loopback connection for each connection of the pool, whatever the number of clients
        gateways = (
            "select count(*) from pg_stat_activity where datname = current_database() and usename = 'pgsbert_gateway'"
        )
        assert 1 <= rows(articles, gateways)[0] <= 2


@pytest.mark.parametrize("pooler", ["", ", options"], ids=["refuses settings", "drops settings"], indirect=True)
async def test_a_worker_that_is_given_a_pooler_says_what_it_needs(database: Database, pooler: str) -> None:
    worker = Worker(Options(dsn=pooler), lambda model: FakeEncoder(8))
    with pytest.raises(SchemaError, match=r"is a connection pooler, .* --dsn, .* --listen-dsn; .* --poll-only"):
        await asyncio.wait_for(worker.run(), 30)


async def test_a_pooled_statement_brings_its_settings_and_leaves_none(
    articles: PgConnection, database: Database, pooler: str
) -> None:
    articles.execute(f"alter database {database.name} set default_transaction_isolation = 'serializable'")
    dsn = for_workers(pooler)
    query = "select current_setting('transaction_isolation'), current_setting('lock_timeout'), current_setting('jit')"
    async with await connect_pooled(dsn, application_name="test", settings=ROWS_SETTINGS) as pooled:
        brought = ("read committed", "100ms", "off")
        for _ in range(10):  # as often as would make psycopg prepare it
            assert await (await pooled.execute(query)).fetchone() == brought
        assert await (await pooled.execute("select name from pg_prepared_statements")).fetchall() == []
        async with pooled.transaction():
            assert await (await pooled.execute(query)).fetchone() == brought
        with psycopg.connect(database.dsn) as holder:
            holder.execute("lock table articles")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                await pooled.execute("select from articles")
        # after an error it goes on, and every statement is its own transaction
        await pooled.execute("insert into articles (title) values ('stays')")
    with psycopg.connect(dsn) as application:
        assert rows(application, "select current_setting('lock_timeout')") == ["0"]
        assert rows(application, "select title from articles") == ["stays"]


async def test_tasks_that_share_a_pooled_connection_do_not_mix_their_statements(
    database: Database, pooler: str
) -> None:
    async with await connect_pooled(pooler, application_name="test", settings=ROWS_SETTINGS) as pooled:

        async def ask(number: int) -> object:
            within = pooled.transaction() if number % 3 == 0 else nullcontext()
            query = "select 1 / %s, %s::int, pg_current_xact_id()::text"
            async with within:
                row = await (await pooled.execute(query, [number % 5, number])).fetchone()
            assert row is not None
            return row[1:]

        answers = await asyncio.gather(*map(ask, range(60)), return_exceptions=True)
    failed = [number for number, answer in enumerate(answers) if isinstance(answer, psycopg.errors.DivisionByZero)]
    assert failed == list(range(0, 60, 5))
    told = [answer for answer in answers if isinstance(answer, tuple)]
    assert [number for number, _ in told] == [number for number in range(60) if number % 5]
    assert len({transaction for _, transaction in told}) == len(told)


def embedded(connection: PgConnection, titles: str) -> int:
    [count] = rows(connection, "select count(*) from articles where embedding is not null and title like %s", titles)
    return int(count)


def test_a_worker_that_only_polls_needs_nothing_but_the_pooler(
    articles: PgConnection, database: Database, pooler: str
) -> None:
    with worker_process(for_workers(pooler), "--poll-only", "--allow-fake"):
        for number in range(3):
            articles.execute("insert into articles (title) values (%s)", [f"a {number}"])
            wait_until(lambda: embedded(articles, "a %") == rows(articles, "select count(*) from articles")[0])
        vector = FakeEncoder(8).encode(["a question"])[0].tolist()
        asked = "select pgsbert.embed('a question', 'fake-8') <-> %s::vector < 1e-5"
        assert rows(articles, asked, str(vector)) == [True]
        # nobody holds a lock, so the doctor must not take it for one that lost its listener
        articles.execute("update pgsbert.worker set started_at = started_at - interval '1 min'")
        assert rows(articles, "select alive, listening, poll_only from pgsbert.workers") == [(True, False, True)]
        program = Path(sys.executable).with_name("pgsbert")
        health = [str(program), "health", "--dsn", database.dsn]
        assert subprocess.run(health, capture_output=True, text=True, check=False).stdout == "healthy\n"
        locks = (
            "select from pg_locks as l join pg_database as d on d.oid = l.database"
            " where l.locktype = 'advisory' and d.datname = current_database()"
        )
        assert rows(articles, locks) == []
        # it cannot build the index, and says who can
        [reason] = wait_until(lambda: rows(articles, "select reason from pgsbert.status where reason is not null"))
        assert "workers that only poll build no index, the table's owner must run: create index" in reason
        assert [finding.about for finding in examine(articles)] == ["vectorizer articles"]
        articles.execute(reason.partition("must run: ")[2])
    assert rows(articles, "select from pgsbert.worker") == []


def test_workers_that_only_poll_share_the_work_and_take_over_from_a_killed_one(
    articles: PgConnection, pooler: str
) -> None:
    options = (for_workers(pooler), "--poll-only", "--poll", "0.1", "--allow-fake")
    articles.execute("insert into articles (title) values ('fake:hang')")
    holder = "select l.worker from pgsbert.lease_1 as l where l.worker is not null"
    with worker_process(*options) as first:
        [killed] = wait_until(lambda: rows(articles, holder))
        with worker_process(*options) as second:
            articles.execute("insert into articles (title) select 'b ' || i from generate_series(1, 50) as i")
            wait_until(lambda: embedded(articles, "b %") == 50)
            [other] = wait_until(lambda: rows(articles, "select id from pgsbert.worker where id <> %s", killed))
            # time for it to look for the dead, twice: one that beats is none of them
            beat = "select seen_at - started_at > interval '3 s' from pgsbert.worker where id = %s"
            wait_until(lambda: rows(articles, beat, other) == [True])
            assert rows(articles, "select id from pgsbert.worker order by id") == [killed, other]
            assert rows(articles, holder) == [killed]
            first.kill()
            first.wait(20)
            # a minute without a heartbeat
            articles.execute("update pgsbert.worker set seen_at = seen_at - interval '1 min' where id = %s", [killed])
            wait_until(lambda: rows(articles, holder) == [other])
            assert rows(articles, "select id from pgsbert.worker") == [other]
            second.kill()  # it hangs in the model now


def test_with_a_way_to_listen_rows_come_at_once_and_locks_are_on_the_server_itself(
    articles: PgConnection, database: Database, pooler: str
) -> None:
    listen = ("--listen-dsn", database.dsn, "--poll", "600")
    with worker_process(for_workers(pooler), *listen, "--allow-fake"):
        for number in range(5):
            articles.execute("insert into articles (title) values (%s)", [f"a {number}"])
            wait_until(lambda: embedded(articles, "a %") == rows(articles, "select count(*) from articles")[0])
        assert len(rows(articles, "select pgsbert.embed('a question', 'fake-8')")) == 1
        holders = (
            "select distinct a.application_name from pg_locks as l join pg_stat_activity as a on a.pid = l.pid"
            " where l.locktype = 'advisory' and l.classid = 1885827939 and a.datname = current_database()"
        )
        assert rows(articles, holders) == ["pgsbert locks"]
        index = "select from pg_index where indrelid = 'articles'::regclass and indisvalid and not indisunique"
        wait_until(lambda: rows(articles, index))
        wait_until(lambda: rows(articles, "select listening, poll_only from pgsbert.workers") == [(True, False)])


def test_a_pool_that_waiting_sessions_fill_keeps_a_worker_from_answering_until_they_end(
    database: Database, pooler: str
) -> None:
    asked = "select pgsbert.embed('a question', 'fake-8')"
    with (
        run_worker(pooler, encoder=FakeEncoder(8), poll=timedelta(seconds=0.05), poll_only=True),
        psycopg.connect(pooler, prepare_threshold=None) as one,
        psycopg.connect(pooler, prepare_threshold=None) as other,
    ):
        other.execute("select 1")  # within a transaction, as all below
        one.execute("set local pgsbert.timeout = '1s'")
        with pytest.raises(psycopg.Error) as raised:
            one.execute(asked)
        assert raised.value.sqlstate == "PB002"
        one.rollback()
        other.rollback()
        assert len(rows(one, asked)) == 1


async def test_two_ways_that_lead_to_different_databases_are_refused(
    database: Database, shared_database: Database, pooler: str
) -> None:
    worker = Worker(Options(dsn=pooler, listen_dsn=shared_database.dsn), lambda model: FakeEncoder(8))
    with pytest.raises(SchemaError, match="--dsn and --listen-dsn lead to different databases"):
        await asyncio.wait_for(worker.run(), 30)
    assert shared_database.execute("select from pgsbert.worker") == []


def test_polling_and_listening_exclude_each_other(database: Database) -> None:
    program = str(Path(sys.executable).with_name("pgsbert"))
    command = [program, "worker", "--dsn", database.dsn, "--poll-only", "--listen-dsn", database.dsn]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "--poll-only does not listen" in ended.stderr
