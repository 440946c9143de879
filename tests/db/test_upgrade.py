"""Upgrades: from every released schema with data, under load, and with workers that fit the schema or do not."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

import pgsbert
from pgsbert import schema
from pgsbert.errors import SchemaError
from pgsbert.testing import FakeEncoder
from pgsbert.worker import Options, Worker
from tests.db.test_install import dump
from tests.support import Database, rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgsbert.embedded import EmbeddedServer

PgConnection = psycopg.Connection[Any]

RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))


def wrong(connection: PgConnection, query: str) -> list[Any]:
    """Return the keys of rows whose vector is not that of their text; a text on which the model fails has none."""
    encoder = FakeEncoder(8)

    def is_right(text: str | None, vector: str | None) -> bool:
        if not text or "fake:" in text or vector is None:
            return (not text or "fake:" in text) and vector is None
        return np.allclose(encoder.encode([text])[0], np.fromstring(vector[1:-1], sep=","), atol=1e-6)

    return [key for key, text, vector in rows(connection, query) if not is_right(text, vector)]


@pytest.fixture
def operator_of_the_dump(server: EmbeddedServer) -> Iterator[str]:
    """Let a dump make its role, and drop it afterwards."""
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        admin.execute("create role released_operator nologin")
        yield "released_operator"
        admin.execute("drop role released_operator")


@pytest.fixture(params=RELEASED, ids=lambda file: file.stem)
def released(
    request: pytest.FixtureRequest, server: EmbeddedServer, operator_of_the_dump: str, empty_database: Database
) -> Iterator[Database]:
    """Give a database at a released schema, in use."""
    psql = [str(server.psql), "-qv", "ON_ERROR_STOP=1", "-f", str(request.param), empty_database.dsn]
    subprocess.run(psql, check=True, capture_output=True)
    yield empty_database
    empty_database.execute("drop owned by released_operator")


def at_home(connection: PgConnection) -> None:
    """Make a restored installation look as if it had always been in this database."""
    connection.execute(
        "update pgsbert.vectorizer as v set stamp = pgsbert.stamp(source),"
        " column_numbers = array(select a.attnum from unnest(column_names) with ordinality as u (name, i)"
        "  join pg_attribute as a on a.attrelid = source and a.attname = u.name order by i),"
        " key_numbers = array(select a.attnum from unnest(key_names) with ordinality as u (name, i)"
        "  join pg_attribute as a on a.attrelid = source and a.attname = u.name order by i),"
        " target_number = (select a.attnum from pg_attribute as a where a.attrelid = source and a.attname = target)"
    )


def shape(connection: PgConnection, prefix: str) -> list[Any]:
    """Return the columns of upgraded tables with that prefix that are other than in a table made now."""
    columns = (
        "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation, a.attnotnull,"
        " i.indkey::text"
        " from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " left join pg_index as i on i.indrelid = c.oid and i.indisprimary"
        " where c.relnamespace = 'pgsbert'::regnamespace and c.relname ~ %s"
    )
    upgraded = rows(connection, columns, f"^{prefix}_[0-9]+$")
    assert upgraded
    with connection.transaction(force_rollback=True):
        for id_ in {name.rpartition("_")[2] for name, *_ in upgraded}:
            connection.execute(f"drop table pgsbert.pending_{id_}, pgsbert.lease_{id_}, pgsbert.fill_{id_}")
            connection.execute(f"drop table pgsbert.truncated_{id_}")
            connection.execute("select pgsbert.create_queue(v) from pgsbert.vectorizer as v where v.id = %s", [id_])
        return sorted(set(upgraded) ^ set(rows(connection, columns, f"^{prefix}_[0-9]+$")))


@pytest.mark.parametrize("where", ["at home", "restored elsewhere"])
def test_every_released_schema_is_upgraded_with_its_data(
    server: EmbeddedServer, released: Database, database: Database, where: str
) -> None:
    with released.connect() as connection:
        if where == "at home":
            at_home(connection)
        assert schema.upgrade(released.dsn) == schema.head()
        generated = re.compile(r" (pending|lease|fill|truncated|enqueue|clear)_\d")
        upgraded, fresh = (
            {
                entry: body
                for entry, body in dump(server, each, "--no-privileges").items()
                if not generated.search(entry)
            }
            for each in (released, database)
        )
        assert upgraded == fresh
        state = "select name, state, pending, failed from pgsbert.status"
        assert rows(connection, state) == [
            ("article", "active", 2, 1), ("page", "active", 1, 0), ("quiet", "paused", 1, 0),
        ]  # fmt: skip
        connection.execute("insert into article (id, title) values (7, 'after the upgrade')")
        connection.execute("insert into article (id, title) values (8, repeat('long ', 301))")
        connection.execute("insert into page (nr, lang, body) values (9, 'en', repeat('long ', 302))")
        with run_worker(released.dsn, encoder=FakeEncoder(8)):
            connection.execute("select pgsbert.resume_vectorizer('quiet')")
            for name in ("article", "page", "quiet"):
                connection.execute("call pgsbert.wait_until_synced(%s)", [name])
            found = "select (hit.item).id from article_search('hounds bark', k => 1) as hit"
            assert rows(connection, found) == [2]
        article = "select id, concat_ws(E'\\n', nullif(title, ''), nullif(body, '')), embedding::text from article"
        assert wrong(connection, article) == []
        page = "select p.body, p.body, e.embedding::text from page as p full join page_embedding as e using (nr, lang)"
        assert wrong(connection, page) == []
        assert wrong(connection, "select id, body, embedding::text from quiet") == []
        assert rows(connection, "select vectorizer, key, error_class from pgsbert.failures") == [
            ("article", ["3"], "RuntimeError")
        ]
        assert rows(connection, "select vectorizer, key, tokens from pgsbert.truncated order by vectorizer") == [
            ("article", ["8"], 301),
            ("page", ["9", "en"], 302),
        ]
        # of tables that are made now
        assert shape(connection, "truncated") == []


def test_grants_go_on_after_an_upgrade(released: Database, operator_of_the_dump: str) -> None:
    schema.upgrade(released.dsn)
    with released.connect() as connection:
        connection.execute("create table mine (id int primary key, body text)")
        connection.execute("alter table mine owner to released_operator")
        connection.execute("grant create on schema public to released_operator")
        connection.execute("set role released_operator")
        connection.execute("select pgsbert.create_vectorizer('mine', '{body}', model => 'fake-8')")
        connection.execute("insert into mine values (1, 'cats')")
        assert rows(connection, "select pending from pgsbert.status where name = 'mine'") == [1]


def test_a_function_that_got_other_parameters_does_not_stay_beside_the_new_one(
    connection: PgConnection, database: Database
) -> None:
    connection.execute(
        "create function pgsbert.embed_for(vectorizer text, content text, weight int default 1) returns int"
        " language sql return 1"
    )
    connection.execute(
        "create function pgsbert.gone_since() returns int language sql return pgsbert.embed_for('', '', 1)"
    )
    with pytest.raises(psycopg.errors.AmbiguousFunction):
        connection.execute("select pgsbert.embed_for('articles', 'cats')")
    schema.upgrade(database.dsn)
    left = "select oid::regprocedure::text from pg_proc where proname in ('embed_for', 'gone_since')"
    assert rows(connection, left) == ["pgsbert.embed_for(text,text)"]


def test_what_an_older_version_generated_is_made_anew_and_nothing_else(
    articles: PgConnection, database: Database
) -> None:
    body = "select prosrc from pg_proc where proname in ('articles_search', 'enqueue_1_insert') order by proname"
    made = rows(articles, body)
    [definition] = rows(articles, "select pg_get_functiondef('articles_search'::regproc)")
    articles.execute(definition.replace("check_search", "check_search_as_of_old"))
    [trigger] = rows(articles, "select pg_get_functiondef('pgsbert.enqueue_1_insert'::regproc)")
    articles.execute(trigger.replace("queued", "rows_queued"))
    articles.execute("create view found as select * from articles_search('cats')")
    schema.upgrade(database.dsn)
    assert rows(articles, body) == made
    articles.execute("comment on function articles_search is 'mine now'")
    articles.execute(definition.replace("check_search", "check_search_of_mine"))
    schema.upgrade(database.dsn)
    assert "check_search_of_mine" in rows(articles, body)[0]


def test_an_upgrade_ends_with_a_sentence_where_a_transaction_is_in_its_way(
    connection: PgConnection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_LIMIT", "50ms")
    with database.connect() as other, other.transaction():
        other.execute("select from pgsbert.status")
        with pytest.raises(SchemaError, match=r"held what the upgrade must change .* nothing was changed"):
            schema.upgrade(database.dsn)
    assert schema.upgrade(database.dsn) == schema.head()


def is_true(connection: PgConnection, query: str, *parameters: object) -> bool:
    return rows(connection, query, *parameters) == [True]


@contextmanager
def writers(database: Database, *writes: Callable[[PgConnection, int], None]) -> Iterator[list[Exception]]:
    """Let each of ``writes`` run again and again on a connection of its own; the errors are in the list."""
    errors: list[Exception] = []
    ended = threading.Event()

    def repeat(write: Callable[[PgConnection, int], None]) -> None:
        with database.connect() as connection:
            turn = 0
            while not ended.wait(0.005):
                turn += 1
                try:
                    write(connection, turn)
                except psycopg.Error as error:
                    errors.append(error)

    threads = [threading.Thread(target=repeat, args=[write]) for write in writes]
    for thread in threads:
        thread.start()
    try:
        yield errors
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_an_upgrade_under_load_disturbs_neither_users_nor_the_worker(
    articles: PgConnection, database: Database
) -> None:
    articles.execute("create table page (id int primary key, body text)")
    articles.execute("select pgsbert.create_vectorizer('page', '{body}', model => 'fake-8', storage => 'table')")
    articles.execute("insert into articles (title) values ('first')")

    def edit(connection: PgConnection, turn: int) -> None:
        connection.execute("insert into articles (title) values (%s)", [f"text {turn}"])
        connection.execute("update articles set body = %s where id = 1", [f"body {turn}"])

    def turn_pages(connection: PgConnection, turn: int) -> None:
        connection.execute(
            "insert into page values (%s, %s) on conflict (id) do update set body = excluded.body",
            [turn % 20, f"{turn}"],
        )
        connection.execute("delete from page where id = %s", [(turn + 7) % 20])

    def ask(connection: PgConnection, turn: int) -> None:
        connection.execute("select pgsbert.embed(%s, 'fake-8')", [f"question {turn}"])

    with run_worker(database.dsn, encoder=FakeEncoder(8)) as running:
        with writers(database, edit, turn_pages, ask) as errors:
            for turn in range(3):
                schema.upgrade(database.dsn)
                # what a later migration will do
                articles.execute(f"alter table pgsbert.vectorizer add column later_{turn} int")
                more = "select count(embedding) > %s from articles"
                settled = rows(articles, "select count(embedding) from articles")[0]
                wait_until(partial(is_true, articles, more, settled))
        assert errors == []
        assert rows(articles, "select id from pgsbert.worker") == [1], "the worker never started anew"
        articles.execute("call pgsbert.wait_until_synced('articles')")
        articles.execute("call pgsbert.wait_until_synced('page')")
        assert running.encoder.calls > 0
    assert wrong(articles, "select id, concat_ws(E'\\n', title, body), embedding::text from articles") == []
    assert wrong(articles, "select id, body, embedding::text from page full join page_embedding using (id)") == []
    assert rows(articles, "select count(*) from pgsbert.failures") == [0]


def test_two_versions_of_the_worker_share_the_queue_during_a_deployment(
    articles: PgConnection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("insert into articles (title) select 'old ' || n from generate_series(1, 200) as n")
        schema.upgrade(database.dsn)
        monkeypatch.setattr(pgsbert, "__version__", "0.99.0")
        with run_worker(database.dsn, encoder=FakeEncoder(8)):
            both = {pgsbert.__version__, "0.1.0"}
            wait_until(lambda: set(rows(articles, "select version from pgsbert.workers")) == both)
            articles.execute("insert into articles (title) select 'new ' || n from generate_series(1, 200) as n")
            articles.execute("call pgsbert.wait_until_synced('articles')")
    assert wrong(articles, "select id, title, embedding::text from articles") == []


def test_the_schema_knows_its_version_and_takes_this_worker(connection: PgConnection) -> None:
    assert rows(connection, "select pgsbert.schema_version()") == [schema.head()]
    assert rows(connection, "select string_to_array(pgsbert.needs_worker(), '.')::int[]")[0] <= [
        int(part) for part in pgsbert.__version__.split(".")
    ]


def needs_worker(connection: PgConnection, version: str) -> None:
    connection.execute("update pgsbert.migration set version_num = '9999'")
    for name, value in {"schema_version": "9999", "needs_worker": version}.items():
        connection.execute(
            f"create or replace function pgsbert.{name}() returns text language sql immutable"
            f" set search_path = pg_catalog, pg_temp return '{value}'"
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("update pgsbert.migration set version_num = '0000'", r'at 0000, this worker needs \d+: run "pgsbert upgrade"'),
        ("drop schema pgsbert cascade", r'not in this database: run "pgsbert install"'),
        ("newer", r"at 9999 and needs a worker of 0.10.0 or newer, this one is 0.1.0: upgrade the package"),
    ],
)
def test_a_worker_that_does_not_fit_says_so_and_ends(
    database: Database, connection: PgConnection, change: str, said: str
) -> None:
    if change == "newer":
        needs_worker(connection, "0.10.0")
    else:
        connection.execute(change)
    command = [str(Path(sys.executable).with_name("pgsbert")), "worker", "--dsn", database.dsn]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "pgsbert: " in line]
    assert re.search(said, line)


def test_a_worker_goes_on_under_a_later_schema_that_fits_it(articles: PgConnection, database: Database) -> None:
    needs_worker(articles, "0.1.0")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("insert into articles (title) values ('cats')")
        articles.execute("call pgsbert.wait_until_synced('articles')")


async def test_a_running_worker_ends_when_the_schema_outgrows_it(articles: PgConnection, database: Database) -> None:
    worker = Worker(Options(dsn=database.dsn, poll=timedelta(seconds=5)), lambda model: FakeEncoder(8))
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.to_thread(wait_until, lambda: rows(articles, "select id from pgsbert.worker"))
        needs_worker(articles, "7.0")
        articles.execute("select pgsbert.announce()")
        with pytest.raises(SchemaError, match=r"needs a worker of 7\.0 or newer"):
            await asyncio.wait_for(running, 30)
    finally:
        running.cancel()
