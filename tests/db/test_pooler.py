"""PgBouncer in transaction mode between the applications and the server; the worker goes to the server itself."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.errors import SchemaError
from pgsbert.testing import FakeEncoder
from pgsbert.worker import Options, Worker
from tests.support import Database, rows, run_worker, wait_until

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


def test_applications_behind_a_transaction_pooler_write_search_and_rerank(
    articles: PgConnection, database: Database, pooler: str
) -> None:
    errors: list[Exception] = []
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
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
    with pytest.raises(SchemaError, match=r"is a connection pooler, .* give --dsn the server's own address"):
        await asyncio.wait_for(worker.run(), 30)
