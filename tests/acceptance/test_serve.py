"""What a worker does can be split over processes: rows and embeddings in one, reranking in another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support import rows, wait_until, worker_process

if TYPE_CHECKING:
    from tests.support import Database

Connection = psycopg.Connection[Any]

RERANK = "select document from pgsbert.rerank('cats', '{dogs bark,cats purr}', 'fake-reranker') limit 1"
CLASSIFY = "select label from pgsbert.classify('cats purr', 'cats', 'fake-classifier') limit 1"


def models_of(connection: Connection, service: str) -> set[str]:
    """Return which models the worker has loaded that serves it."""
    [models] = rows(connection, "select models from pgsbert.workers where %s = any (serves)", service)
    return set(models)


def refused(connection: Connection, question: str) -> str:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(question)
    assert caught.value.sqlstate == "PB001"
    return str(caught.value.diag.message_primary)


def test_rows_and_reranking_are_served_by_two_processes(articles: Connection, database: Database) -> None:
    articles.execute("insert into articles (title) values ('cats purr')")
    with worker_process(database.dsn, "--allow-fake", "--serve", "rerank"):
        wait_until(lambda: rows(articles, "select serves from pgsbert.workers where alive") == [["rerank"]])
        assert rows(articles, RERANK) == ["cats purr"]
        embed = "select pgsbert.embed('cats', 'fake-8')"
        assert (
            refused(articles, embed)
            == "no worker that serves embed has been seen: start one with pgsbert worker --serve embed"
        )
        # it neither embeds rows nor keeps writers from waking a worker that does
        assert rows(articles, "select pending, workers from pgsbert.status") == [(1, 0)]
        with worker_process(database.dsn, "--allow-fake", "--serve", "embed,rows", "--poll", "60"):
            articles.execute("call pgsbert.wait_until_synced('articles')")
            articles.execute("insert into articles (title) values ('dogs bark')")
            articles.execute("call pgsbert.wait_until_synced('articles', '20 s')")
            assert rows(articles, "select (hit.item).title from articles_search('cats purr', k => 1) as hit") == [
                "cats purr"
            ]
            assert rows(articles, CLASSIFY) == ["entailment"]
            wait_until(lambda: models_of(articles, "rerank") == {"fake-reranker", "fake-classifier"})
            wait_until(lambda: models_of(articles, "rows") == {"fake-8"})
        assert "no worker that serves embed has been seen" in refused(articles, embed)
    assert "no worker has been seen" in refused(articles, RERANK)


def test_doctor_names_what_no_worker_serves(articles: Connection, database: Database) -> None:
    from pgsbert.doctor import examine

    with worker_process(database.dsn, "--allow-fake", "--serve", "embed"):
        wait_until(lambda: rows(articles, "select serves from pgsbert.workers where alive") == [["embed"]])
        found = {finding.found: finding.advice for finding in examine(articles) if finding.about == "workers"}
    assert found == {
        "no live worker serves rows: new and changed rows wait": "start one: pgsbert worker --serve rows",
        "no live worker serves rerank: rerank() and classify() raise PB001": "start one: pgsbert worker --serve rerank",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--serve", "rows,search"],
            "--serve takes some of rows, embed, rerank, separated by commas; not 'rows,search'.",
        ),
        (["--serve", ""], "--serve takes some of rows, embed, rerank, separated by commas; not ''."),
        (["--serve", "embed", "--drain"], "--drain ends when no row waits: it needs --serve rows."),
    ],
)
def test_what_cannot_be_served_is_refused(database: Database, options: list[str], said: str) -> None:
    command = [str(Path(sys.executable).with_name("pgsbert")), "worker", "--dsn", database.dsn, *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (2, f"pgsbert: {said}\n")
