"""Texts that the model takes only the beginning of are known by key and size, as long as that is true."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.testing import FakeEncoder
from pgsbert.work import Embedded, embed
from pgsbert.worker import turns
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

    from pgsbert.queue import Queue
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

LIMIT = 256  # of the fake model, in words
OFTEN = timedelta(milliseconds=100)


def long(words: int) -> str:
    return "word " * words


def make(connection: Connection, storage: str = "column", on_truncate: str = "accept") -> None:
    connection.execute("create table pairs (id int, part text, body text, primary key (id, part))")
    connection.execute(
        "select pgsbert.create_vectorizer('pairs', '{body}', model => 'fake-8', storage => %s, on_truncate => %s)",
        [storage, on_truncate],
    )
    connection.execute("update pgsbert.model set max_tokens = %s where name = 'fake-8'", [LIMIT])


def truncated(connection: Connection) -> list[Any]:
    return rows(connection, "select vectorizer, key, tokens, max_tokens from pgsbert.truncated order by key")


def count(connection: Connection) -> Any:
    (number,) = rows(connection, "select truncated from pgsbert.status")
    return number


@pytest.mark.parametrize("storage", ["column", "table"])
def test_truncated_rows_are_listed_and_counted_until_they_are_embedded_whole(
    connection: Connection, database: Database, storage: str
) -> None:
    make(connection, storage)
    connection.execute(
        "insert into pairs values (1, 'a', %s), (1, 'b', %s), (2, 'a', %s), (3, 'a', %s)",
        [long(LIMIT), long(LIMIT + 1), long(700), long(300)],
    )
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        connection.execute("call pgsbert.wait_until_synced('pairs')")
        assert truncated(connection) == [
            ("pairs", ["1", "b"], LIMIT + 1, LIMIT),
            ("pairs", ["2", "a"], 700, LIMIT),
            ("pairs", ["3", "a"], 300, LIMIT),
        ]
        assert count(connection) == 3
        # shortened, lengthened, emptied
        connection.execute("update pairs set body = 'short' where id = 1 and part = 'b'")
        connection.execute("update pairs set body = %s where id = 2", [long(800)])
        connection.execute("update pairs set body = null where id = 3")
        connection.execute("call pgsbert.wait_until_synced('pairs')")
        assert truncated(connection) == [("pairs", ["2", "a"], 800, LIMIT)]
        assert count(connection) == 1


def test_rows_that_are_gone_are_forgotten(
    connection: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "FORGET_EVERY", 0.1)
    make(connection)
    connection.execute("insert into pairs select i, 'a', %s from generate_series(1, 20) as i", [long(300)])
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        connection.execute("call pgsbert.wait_until_synced('pairs')")
        assert count(connection) == 20
        connection.execute("delete from pairs where id <= 18; update pairs set part = 'b' where id = 19")
        wait_until(lambda: [key for _, key, *_ in truncated(connection)] == [["19", "b"], ["20", "a"]])


async def test_those_that_are_gone_are_looked_for_by_ranges(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) select %s from generate_series(1, 25) as i", [long(300)])
    outcomes = embed(await queue.claim(64), FakeEncoder(8).encode_counted)
    await queue.settle([outcome for outcome in outcomes if isinstance(outcome, Embedded)])
    articles.execute("delete from articles where id in (3, 12, 25)")
    assert [await queue.forget_truncated(10) for _ in range(3)] == [True, True, False]
    gone = "select k1 from generate_series(1, 25) as k1 except select k1 from pgsbert.truncated_1 order by 1"
    assert rows(articles, gone) == [3, 12, 25]
    # and from the first again
    articles.execute("delete from articles where id = 1")
    assert await queue.forget_truncated(10)
    assert rows(articles, gone) == [1, 3, 12, 25]


async def test_a_row_edited_while_it_was_embedded_says_nothing_of_the_text_it_had(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) values (%s)", [long(300)])
    outcomes = embed(await queue.claim(1), FakeEncoder(8).encode_counted)
    articles.execute("update articles set title = 'short'")
    assert await queue.settle([outcome for outcome in outcomes if isinstance(outcome, Embedded)]) == set()
    assert rows(articles, "select count(*) from pgsbert.truncated_1") == [0]


@pytest.mark.parametrize("storage", ["column", "table"])
def test_a_refused_text_fails_at_once_and_nothing_is_stored(
    connection: Connection, database: Database, storage: str
) -> None:
    make(connection, storage, "refuse")
    connection.execute("insert into pairs values (1, 'a', 'short'), (2, 'a', %s)", [long(700)])
    stored = (
        "select id from pairs where embedding is not null" if storage == "column" else "select id from pairs_embedding"
    )
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        connection.execute("call pgsbert.wait_until_synced('pairs')")
        assert rows(connection, "select key, attempts, error_class, error from pgsbert.failures") == [
            (
                ["2", "a"],
                1,
                "TextTooLongError",
                "the text has 700 tokens and the model takes 256: shorten it,"
                " or create the vectorizer with on_truncate => 'accept'",
            )
        ]
        assert rows(connection, stored) == [1]
        assert truncated(connection) == []
        connection.execute("update pairs set body = 'shorter' where id = 2")
        connection.execute("call pgsbert.wait_until_synced('pairs')")
        assert rows(connection, stored) == [1, 2]


def test_whoever_may_not_read_the_table_sees_no_key(connection: Connection, database: Database) -> None:
    make(connection)
    connection.execute("insert into pairs values (1, 'a', %s)", [long(300)])
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        connection.execute("call pgsbert.wait_until_synced('pairs')")
    reader = f"reader_{database.name}"
    connection.execute(f"create role {reader}")
    try:
        connection.execute("select pgsbert.grant_usage(%s)", [reader])
        connection.execute(f"set role {reader}")
        assert truncated(connection) == []
        assert count(connection) == 1
        connection.execute(f"reset role; grant select on pairs to {reader}; set role {reader}")
        assert len(truncated(connection)) == 1
    finally:
        connection.execute(f"reset role; drop owned by {reader}; drop role {reader}")


def test_dropping_the_vectorizer_drops_what_was_known(connection: Connection) -> None:
    make(connection)
    assert rows(connection, "select to_regclass('pgsbert.truncated_1') is not null") == [True]
    connection.execute("select pgsbert.drop_vectorizer('pairs')")
    assert rows(connection, "select to_regclass('pgsbert.truncated_1') is not null") == [False]
