"""What all tests share: one embedded PostgreSQL, a database of its own for each test, workers with a fake model."""

from __future__ import annotations

import shutil
import tempfile
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert import embedded, schema
from pgsbert.database import connect_async, register_vector_async
from pgsbert.queue import Queue, read_vectorizers
from pgsbert.worker.connections import ROWS_OPTIONS
from tests.support import Database, run_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support import RunningWorker

_numbers = count(1)


@pytest.fixture(scope="session", autouse=True)
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what this test run exports apart from the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGSBERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[embedded.EmbeddedServer]:
    """Give the server of this test run: no durability, since nothing outlives it."""
    # not pytest's tmp_path: as root the server runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    settings = {"fsync": "off", "max_connections": "200", "log_min_messages": "fatal"}
    try:
        with embedded.start(folder / "postgres", settings=settings) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(server: embedded.EmbeddedServer) -> str:
    """Give the name of a database with pgsbert installed, which the tests' databases are copies of."""
    embedded.create_database(server, "pgsbert_template")
    schema.install(server.dsn("pgsbert_template"))
    with psycopg.connect(server.dsn("pgsbert_template"), autocommit=True) as connection:
        connection.execute(
            "insert into pgsbert.model (name, kind, dimensions, max_tokens)"
            " values ('fake-384', 'bi-encoder', 384, 256), ('fake-8', 'bi-encoder', 8, 256),"
            " ('fake-reranker', 'cross-encoder', null, 256)"
        )
        connection.execute(
            "insert into pgsbert.model (name, kind, labels)"
            " values ('fake-classifier', 'classifier', '{contradiction,entailment,neutral}')"
        )
    return "pgsbert_template"


def _copy(server: embedded.EmbeddedServer, source: str | None) -> Iterator[Database]:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        template = sql.SQL(" template {}").format(sql.Identifier(source)) if source else sql.SQL("")
        admin.execute(sql.SQL("create database {}{}").format(sql.Identifier(name), template))
        try:
            yield Database(name, server.dsn(name))
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(server: embedded.EmbeddedServer) -> Iterator[Database]:
    """Give a database without pgsbert."""
    yield from _copy(server, None)


@pytest.fixture
def database(server: embedded.EmbeddedServer, template: str) -> Iterator[Database]:
    """Give a database with pgsbert, the models fake-384, fake-8 and fake-reranker, and no worker."""
    yield from _copy(server, template)


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Give an autocommit connection to the test's database."""
    with database.connect() as opened:
        yield opened


@pytest.fixture
def worker(database: Database) -> Iterator[RunningWorker]:
    """Run a worker with the fake 384-dimensional model."""
    with run_worker(database.dsn) as running:
        yield running


@pytest.fixture
async def open_queue(database: Database) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that opens the queue of a vectorizer as a worker would, for forced interleavings."""
    opened: list[psycopg.AsyncConnection[Any]] = []

    async def open_(name: str = "articles", *, worker: int = 1) -> Queue:
        connection = await connect_async(database.dsn, application_name="test queue", options=ROWS_OPTIONS)
        opened.append(connection)
        await register_vector_async(connection)
        vectorizers = {v.name: v for v in await read_vectorizers(connection)}
        return Queue(vectorizers[name], connection, worker)

    yield open_
    for connection in opened:
        await connection.close()


@pytest.fixture
def articles(connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    """Make the table articles (id, title, body) with a vectorizer on title and body, and fake-8."""
    connection.execute(
        "create table articles (id bigint generated by default as identity primary key,"
        " title text, body text, views int default 0)"
    )
    connection.execute("select pgsbert.create_vectorizer('articles', columns => '{title,body}', model => 'fake-8')")
    return connection


@pytest.fixture(scope="module")
def shared_database(server: embedded.EmbeddedServer, template: str) -> Iterator[Database]:
    """Give one database like `database` to all tests of a file, which roll back or name their tables apart."""
    yield from _copy(server, template)
