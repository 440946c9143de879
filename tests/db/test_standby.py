"""A physical standby: it embeds and searches through the primary, and its own sessions write nothing."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert import embedded
from pgsbert.embedded.folders import make_folder
from pgsbert.testing import FakeEncoder
from tests.support import Database, rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PgConnection = psycopg.Connection[Any]


@pytest.fixture
def standby(server: embedded.EmbeddedServer, database: Database) -> Iterator[PgConnection]:
    """Give a session on a standby of the test's server, in the test's database."""
    folder: Path = server.folder.with_name("standby")
    make_folder(folder, server.account)
    primary = psycopg.conninfo.conninfo_to_dict(server.dsn())
    made = server._run(
        "pg_basebackup", "-D", str(folder), "-R", "-c", "fast", "-X", "stream",
        "-h", str(primary["host"]), "-p", str(primary["port"]), "-U", "postgres",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    try:
        with embedded.start(folder) as running, psycopg.connect(running.dsn(database.name), autocommit=True) as session:
            yield session
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lead_to_the_primary(connection: PgConnection, *servers: PgConnection) -> None:
    """Let the loopback go to whichever of the servers takes writes, for every server of the cluster."""
    hosts = ",".join(each.info.host for each in servers)
    ports = ",".join(str(each.info.port) for each in servers)
    connection.execute(
        sql.SQL(
            "create server pgsbert_loopback foreign data wrapper dblink_fdw"
            " options (host {}, port {}, dbname {}, target_session_attrs 'read-write')"
        ).format(hosts, ports, connection.info.dbname)
    )
    connection.execute("create user mapping for current_user server pgsbert_loopback options (user 'pgsbert_gateway')")


def replayed(connection: PgConnection, standby: PgConnection) -> None:
    """Wait until the standby shows all that is committed."""
    [position] = rows(connection, "select pg_current_wal_insert_lsn()::text")
    wait_until(lambda: rows(standby, "select pg_last_wal_replay_lsn() >= %s::pg_lsn", position) == [True])


def test_a_standby_embeds_and_searches_through_the_primary(
    articles: PgConnection, database: Database, standby: PgConnection
) -> None:
    lead_to_the_primary(articles, standby, articles)
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("insert into articles (title) values ('cats purr'), ('dogs bark'), ('birds sing')")
        articles.execute("call pgsbert.wait_until_synced('articles')")
        replayed(articles, standby)
        assert rows(standby, "select pg_is_in_recovery()") == [True]
        nearest = (
            "select title from articles order by embedding <=> (select pgsbert.embed('dogs bark', 'fake-8')) limit 1"
        )
        assert rows(standby, nearest) == ["dogs bark"]
        standby.execute("begin isolation level repeatable read, read only")
        assert rows(standby, "select (hit.item).title from articles_search('birds sing', k => 1) as hit") == [
            "birds sing"
        ]
        assert rows(standby, "select item ->> 'title' from pgsbert.search('articles', 'cats purr', k => 1)") == [
            "cats purr"
        ]
        ranked = (
            "select document from pgsbert.rerank('dogs bark', '{cats purr,dogs bark}', 'fake-reranker', top_k => 1)"
        )
        assert rows(standby, ranked) == ["dogs bark"]
        standby.execute("commit")
        assert len(rows(standby, "select neighbor_id from articles_neighbors where id = 1")) == 2
        assert len(rows(standby, "select item from pgsbert.similar_to('articles', '{1}')")) == 2
        assert rows(standby, "select name, state, pending, failed, workers from pgsbert.status") == [
            ("articles", "active", 0, 0, 1)
        ]
        assert rows(standby, "select count(*) from pgsbert.failures") == [0]
        assert rows(standby, "select alive from pgsbert.workers") == [True]


def test_a_standby_without_a_way_to_the_primary_says_what_is_missing(
    articles: PgConnection, standby: PgConnection
) -> None:
    replayed(articles, standby)
    with pytest.raises(psycopg.Error, match="this server is a standby") as caught:
        standby.execute("select pgsbert.embed('cats', 'fake-8')")
    assert caught.value.sqlstate == "PB001"
    assert "pgsbert gateway set-password --host" in (caught.value.diag.message_hint or "")
