"""Rows that cannot be embedded or stored: each ends in pgsbert.failures with its reason, and takes no other with it."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from pgsbert.work import Failed
from pgsbert.worker.settling import MAX_ATTEMPTS, Settler
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

A_MINUTE = timedelta(minutes=1)
OFTEN = timedelta(milliseconds=100)


def failures(connection: Connection) -> list[Any]:
    return rows(connection, "select key, attempts, error_class from pgsbert.failures order by key")


def embedded(connection: Connection, table: str = "articles") -> int:
    return int(rows(connection, f"select count(*) from {table} where embedding is not null")[0])


def is_synced(connection: Connection, name: str = "articles") -> bool:
    return rows(connection, "select pgsbert.is_synced(%s)", name) == [True]


def make_due(connection: Connection) -> None:
    """End the waits between attempts."""
    connection.execute("update pgsbert.lease_1 set claimed_until = now() where failed_at is null and worker is null")


def synced_without_waits(connection: Connection) -> bool:
    make_due(connection)
    return is_synced(connection)


# What the model refuses


def test_a_text_that_the_model_refuses_fails_at_the_first_attempt_and_its_neighbours_are_stored(
    articles: Connection, database: Database
) -> None:
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 40) as i")
    articles.execute("update articles set title = 'fake:refuse' where id in (7, 23)")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: is_synced(articles))
    assert failures(articles) == [(["23"], 1, "ValueError"), (["7"], 1, "ValueError")]
    assert embedded(articles) == 38


def test_what_may_pass_is_tried_again_until_the_last_attempt(articles: Connection, database: Database) -> None:
    articles.execute("insert into articles (title) values ('fine'), ('fake:raise')")
    encoder = FakeEncoder(8)
    with run_worker(database.dsn, encoder=encoder, poll=OFTEN):
        wait_until(lambda: synced_without_waits(articles))
    assert failures(articles) == [(["2"], MAX_ATTEMPTS, "RuntimeError")]
    assert embedded(articles) == 1


class Refusing(FakeEncoder):
    """An encoder whose code is broken from one moment to the other: every text is refused."""

    broken = False

    def encode(self, texts: Sequence[str], /) -> Vectors:
        vectors = super().encode(texts)
        self.broken |= list(texts) == ["breaks the model"]
        if self.broken or "breaks the model" in texts:
            raise ValueError("no tokenizer")
        return vectors


def test_a_model_that_refuses_every_text_from_some_moment_on_is_no_rows_failure(
    articles: Connection, database: Database
) -> None:
    encoder = Refusing(8)
    # of one length, so that they go through the model together: the first half still comes through
    titles = [f"row number {i:05}" for i in range(8)]
    titles[4] = "breaks the model"
    for title in titles:
        articles.execute("insert into articles (title) values (%s)", [title])
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        wait_until(lambda: encoder.calls > 60)
        assert rows(articles, "select * from pgsbert.lease_1 where failed_at is not null or attempts > 1") == []
        articles.execute("update articles set title = 'mended' where title = 'breaks the model'")
        encoder.broken = False
        wait_until(lambda: embedded(articles) == 8)
    assert failures(articles) == []


# What the table refuses


def test_a_row_that_a_check_refuses_fails_at_once_and_is_searchable_when_it_is_mended_and_retried(
    articles: Connection, database: Database
) -> None:
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 20) as i")
    articles.execute("alter table articles add constraint no_vector check (id <> 5 or embedding is null)")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: is_synced(articles))
        assert failures(articles) == [(["5"], 1, "CheckViolation")]
        assert embedded(articles) == 19
        articles.execute("alter table articles drop constraint no_vector")
        assert rows(articles, "select pgsbert.retry_failures('articles')") == [1]
        articles.execute("call pgsbert.wait_until_synced('articles')")
        assert rows(articles, "select (item).id from articles_search('row 5', 1)") == [5]
    assert failures(articles) == []


@pytest.mark.parametrize(
    ("condition", "attempts"),
    [("23514", 1), ("P0001", 1), ("22003", 1), ("42501", 1), ("53400", MAX_ATTEMPTS), ("58030", MAX_ATTEMPTS)],
)
def test_a_row_that_a_trigger_refuses_fails_as_the_class_of_its_error_says(
    articles: Connection, database: Database, condition: str, attempts: int
) -> None:
    articles.execute(
        "create function refuse() returns trigger language plpgsql as $$"
        f" begin if new.id = 2 then raise 'no' using errcode = '{condition}'; end if; return new; end; $$"
    )
    articles.execute("create trigger refuse before update on articles for each row execute function refuse()")
    articles.execute("insert into articles (title) values ('a'), ('b'), ('c')")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        wait_until(lambda: synced_without_waits(articles))
    assert rows(articles, "select key, attempts, error from pgsbert.failures") == [(["2"], attempts, "no")]
    assert embedded(articles) == 2


def test_no_row_fails_because_the_worker_may_not_store_vectors_for_a_while(
    articles: Connection, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pgsbert")
    articles.execute("create role storer login in role pgsbert_worker")
    try:
        articles.execute("revoke update (embedding) on articles from pgsbert_worker")
        articles.execute("insert into articles (title) values ('a'), ('b')")
        dsn = psycopg.conninfo.make_conninfo(database.dsn, user="storer")
        with run_worker(dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
            wait_until(lambda: sum("turn_failed" in message for message in caplog.messages) >= 2)
            assert rows(articles, "select * from pgsbert.lease_1 where failed_at is not null or attempts > 1") == []
            articles.execute("grant update (embedding) on articles to pgsbert_worker")
            wait_until(lambda: embedded(articles) == 2)
    finally:
        articles.execute("drop role storer")
    assert "permission denied for table articles" in caplog.text


# What cannot be read


@pytest.fixture
def labels(connection: Connection) -> Connection:
    """Make labels with a type of its own, whose cast to text can be made to fail."""
    connection.execute("create type label as (number int)")
    make_cast_fail(connection, "false", "22023")
    connection.execute("create cast (label as text) with function label_text(label)")
    connection.execute("create table labels (id int primary key, body label)")
    connection.execute("select pgsbert.create_vectorizer('labels', '{body}', model => 'fake-8')")
    return connection


def make_cast_fail(connection: Connection, condition: str, sqlstate: str) -> None:
    connection.execute(
        "create or replace function label_text(label) returns text language plpgsql as $$"
        f" begin if {condition} then raise 'no text' using errcode = '{sqlstate}'; end if;"
        " return 'label ' || $1.number; end; $$"
    )


@pytest.mark.parametrize(("sqlstate", "attempts"), [("22023", 1), ("XX001", MAX_ATTEMPTS)])
def test_a_row_whose_text_cannot_be_read_fails_alone(
    labels: Connection, database: Database, sqlstate: str, attempts: int
) -> None:
    labels.execute("insert into labels select i, row(i)::label from generate_series(1, 30) as i")
    make_cast_fail(labels, "$1.number in (7, 8, 23)", sqlstate)

    def synced() -> bool:
        make_due(labels)
        return is_synced(labels, "labels")

    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=OFTEN):
        wait_until(synced)
    assert rows(labels, "select key, attempts, error from pgsbert.failures order by key") == [
        ([key], attempts, "no text") for key in ("23", "7", "8")
    ]
    assert embedded(labels, "labels") == 27


# What users see and do


def test_an_edit_of_a_failed_row_embeds_it_and_ends_its_failure(articles: Connection, database: Database) -> None:
    articles.execute("insert into articles (title) values ('fake:refuse')")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: failures(articles))
        articles.execute("update articles set views = views + 1")
        assert failures(articles)
        articles.execute("update articles set title = 'fine'")
        wait_until(lambda: embedded(articles) == 1)
    assert failures(articles) == []


def test_a_failed_row_that_loses_its_text_is_no_failure_any_more(articles: Connection, database: Database) -> None:
    articles.execute("insert into articles (title) values ('fake:refuse')")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: failures(articles))
        articles.execute("update articles set title = null")
        wait_until(lambda: not failures(articles))


@pytest.mark.parametrize("change", ["delete from articles where id = 1", "update articles set id = 3 where id = 1"])
def test_the_failure_of_a_row_that_is_gone_goes_too(articles: Connection, database: Database, change: str) -> None:
    articles.execute("insert into articles (title) values ('fake:refuse'), ('fake:refuse')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: len(failures(articles)) == 2)
    articles.execute(change)
    # a worker looks for such failures when it comes and then once a minute
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: is_synced(articles) and ["1"] not in [key for key, *_ in failures(articles)])
    assert ["2"] in [key for key, *_ in failures(articles)]


@pytest.mark.parametrize(
    ("types", "values", "shown"),
    [
        (["uuid"], ["'00000000-0000-0000-0000-00000000000a'"], ["00000000-0000-0000-0000-00000000000a"]),
        (["text", "int"], ["'it''s \"a\" \\ key, {b}'", "-1"], ['it\'s "a" \\ key, {b}', "-1"]),
        (["int[]", "bytea"], ["'{1,2}'", "'\\x00ff'"], ["{1,2}", "\\x00ff"]),
        (["pair"], ["row(1, 'a b')"], ['(1,"a b")']),
        (["daterange"], ["'[2020-01-01,2020-01-03)'"], ["[2020-01-01,2020-01-03)"]),
        (["mood", "numeric(10,2)"], ["'so so'", "1.5"], ["so so", "1.50"]),
    ],
)
def test_keys_of_any_type_are_shown_as_text(
    connection: Connection, database: Database, types: list[str], values: list[str], shown: list[str]
) -> None:
    connection.execute("create type pair as (a int, b text); create type mood as enum ('so so')")
    columns = ", ".join(f'"Key {i}" {type_}' for i, type_ in enumerate(types))
    keys = ", ".join(f'"Key {i}"' for i in range(len(types)))
    connection.execute(f'create table "Odd keys" ({columns}, body text, primary key ({keys}))')
    connection.execute("""select pgsbert.create_vectorizer('"Odd keys"', '{body}', model => 'fake-8')""")
    connection.execute(f"insert into \"Odd keys\" values ({', '.join(values)}, 'fake:refuse')")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        wait_until(lambda: failures(connection))
    assert rows(connection, "select vectorizer, key from pgsbert.failures") == [("Odd keys", shown)]


# What the log says


class Quoting(FakeEncoder):
    """An encoder whose errors quote the text, as those of real models may."""

    def encode(self, texts: Sequence[str], /) -> Vectors:
        for text in texts:
            if "secret" in text:
                raise (SystemExit if "exit" in text else ValueError)(f"cannot encode {text!r}")
        return super().encode(texts)


def test_the_log_never_quotes_a_row(
    articles: Connection, database: Database, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    articles.execute(
        "create function refuse() returns trigger language plpgsql as $$"
        " begin if new.body = 'raise' then raise 'secret %', new.title using detail = new.title;"
        " elsif new.body = 'cast' then perform new.title::int; end if; return new; end; $$"
    )
    articles.execute("create trigger refuse before update on articles for each row execute function refuse()")
    articles.execute("alter table articles add constraint refused check (body <> 'check' or embedding is null)")
    articles.execute(
        "insert into articles (title, body) values ('secret', 'model'), ('secret', 'exit'), ('my-key', 'raise'),"
        " ('my-key', 'cast'), ('my-key', 'check')"
    )
    with run_worker(database.dsn, encoder=Quoting(8), poll=OFTEN):
        wait_until(lambda: synced_without_waits(articles))
    assert [key for key, *_ in failures(articles)] == [["1"], ["2"], ["3"], ["4"], ["5"]]
    out, err = capfd.readouterr()
    assert " failed " in f" {caplog.text} "
    for text in (caplog.text, out, err):
        assert "secret" not in text
        assert "my-key" not in text


def test_the_traceback_of_an_unexpected_error_does_not_quote_the_row_it_met(
    articles: Connection, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    # DETAIL of this error is the whole row of the lease, with the key
    articles.execute("create table named (key text primary key, body text)")
    articles.execute("select pgsbert.create_vectorizer('named', '{body}', model => 'fake-8')")
    articles.execute("alter table pgsbert.lease_2 add constraint nothing_fits check (attempts is null)")
    articles.execute("insert into named values ('my-key', 'a')")
    with run_worker(database.dsn, encoder=FakeEncoder(8), poll=A_MINUTE):
        wait_until(lambda: "turn_failed" in caplog.text)
        articles.execute("alter table pgsbert.lease_2 drop constraint nothing_fits")
        wait_until(lambda: embedded(articles, "named") == 1)
    assert 'violates check constraint "nothing_fits"' in caplog.text
    assert "my-key" not in caplog.text


# The waits between attempts


@pytest.mark.parametrize("attempts", range(1, MAX_ATTEMPTS))
async def test_the_wait_doubles_after_each_attempt(articles: Connection, open_queue: OpenQueue, attempts: int) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 8) as i")
    changes = await queue.claim(8)
    [before] = rows(articles, "select clock_timestamp()")
    await Settler().fail(queue, [Failed(change.revision, attempts, "RuntimeError", "no") for change in changes])
    [after] = rows(articles, "select clock_timestamp()")
    ends = rows(articles, "select claimed_until from pgsbert.lease_1 where worker is null")
    longest = timedelta(seconds=0.5) * 2**attempts
    assert all(before + longest / 2 <= end <= after + longest for end in ends)
    assert len(ends) == 8


async def test_rows_that_failed_together_do_not_come_back_together(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 20) as i")
    changes = await queue.claim(20)
    await Settler().fail(queue, [Failed(c.revision, MAX_ATTEMPTS - 1, "RuntimeError", "no") for c in changes])
    ends = rows(articles, "select claimed_until from pgsbert.lease_1 order by revision")
    assert len(ends) == 20
    assert ends != sorted(ends)


async def test_a_failed_row_is_not_tried_before_its_time_and_then_tried(
    articles: Connection, open_queue: OpenQueue
) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) values ('a')")
    [change] = await queue.claim(1)
    await Settler().fail(queue, [Failed(change.revision, 1, "RuntimeError", "no")])
    articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp() + interval '1 hour'")
    assert await queue.claim(10) == await queue.claim_again() == []
    articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
    assert [(again.revision, again.attempts) for again in await queue.claim_again()] == [(change.revision, 2)]


async def test_a_permanent_failure_and_a_last_attempt_are_given_up(articles: Connection, open_queue: OpenQueue) -> None:
    queue = await open_queue()
    articles.execute("insert into articles (title) values ('a'), ('b'), ('c')")
    first, second, third = await queue.claim(3)
    await Settler().fail(
        queue,
        [
            Failed(first.revision, 1, "ValueError", "no", permanent=True),
            Failed(second.revision, MAX_ATTEMPTS, "RuntimeError", "no"),
            Failed(third.revision, MAX_ATTEMPTS - 1, "RuntimeError", "no"),
        ],
    )
    assert [key for key, *_ in failures(articles)] == [["1"], ["2"]]
    assert rows(articles, "select k1 from pgsbert.pending_1") == [3]
