"""What a worker holds beside the model's batch: there before it is needed, kept leased, given back, in nobody's way."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.hand import Speed
from pgsbert.testing import FakeEncoder
from pgsbert.worker import turns
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from pgsbert.types import Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]

A_MINUTE = timedelta(minutes=1)
TURN, BATCH = 16, 8  # rows


@pytest.fixture(autouse=True)
def _turns_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SPEED", Speed(1.0, least=TURN, most=TURN))
    monkeypatch.setattr(turns, "BATCH_ROWS", BATCH)


class Pausing(FakeEncoder):
    """An encoder that stops in its seventh call until it is let go."""

    def __init__(self) -> None:
        super().__init__(8)
        self.reached, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if self.calls == 6:
            self.reached.set()
            assert self.go_on.wait(60)
        return super().encode(texts)


class Watching(FakeEncoder):
    """An encoder that looks how many rows are held when it comes to a text."""

    def __init__(self, text: str, connection: Connection) -> None:
        super().__init__(8)
        self.text = text
        self.connection = connection
        self.held: list[int] = []

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if self.text in texts:
            self.held.append(leased(self.connection))
        return super().encode(texts)


class Uncountable(FakeEncoder):
    """An encoder whose tokenizer fails on one text."""

    def lengths(self, texts: Sequence[str], /) -> list[int]:
        if any("odd" in text for text in texts):
            raise ValueError("no tokens")
        return super().lengths(texts)

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if "odd" in texts:
            raise ValueError("no tokens")
        return super().encode(texts)


def insert(connection: Connection, count: int) -> None:
    connection.execute(
        "insert into articles (title) select 'row ' || to_char(i, 'fm0000') from generate_series(1, %s) as i", [count]
    )


def leased(connection: Connection) -> int:
    return int(rows(connection, "select count(*) from pgsbert.lease_1 where worker is not null")[0])


def embedded(connection: Connection) -> int:
    return int(rows(connection, "select count(embedding) from articles")[0])


def test_while_the_model_works_what_it_returned_is_settled_and_the_next_rows_are_claimed(
    articles: Connection, database: Database
) -> None:
    insert(articles, 200)
    encoder = Pausing()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        # six batches came back; the seventh is in the model, another is in line, and there are more in hand than a turn
        wait_until(lambda: embedded(articles) == 6 * BATCH)
        assert leased(articles) > TURN
        encoder.go_on.set()
        wait_until(lambda: embedded(articles) == 200)
    assert leased(articles) == 0


def test_what_waits_for_the_model_stays_leased(
    articles: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsbert.queue.RENEW_AFTER", timedelta(seconds=0.2))
    insert(articles, 200)
    encoder = Pausing()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        wait_until(lambda: embedded(articles) == 6 * BATCH)
        held = leased(articles)
        assert held > TURN
        articles.execute("update pgsbert.lease_1 set claimed_until = clock_timestamp()")
        renewed = "select count(*) from pgsbert.lease_1 where claimed_until > clock_timestamp() + interval '1 minute'"
        wait_until(lambda: rows(articles, renewed) == [held])
        encoder.go_on.set()


@pytest.mark.parametrize("change", ["pause", "rename", "drop"])
def test_a_change_of_the_vectorizer_gives_back_what_is_held(
    articles: Connection, database: Database, change: str
) -> None:
    statements = {
        "pause": "select pgsbert.pause_vectorizer('articles')",
        "rename": "alter table articles rename to pieces",
        "drop": "select pgsbert.drop_vectorizer('articles', drop_vectors => false)",
    }
    insert(articles, 200)
    encoder = Pausing()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        articles.execute(statements[change])  # type: ignore[arg-type, unused-ignore]
        encoder.go_on.set()
        if change == "pause":
            wait_until(lambda: leased(articles) == 0)
            paused_at = embedded(articles)
            assert paused_at < 200
            articles.execute("select pgsbert.resume_vectorizer('articles')")
            wait_until(lambda: embedded(articles) == 200)
        elif change == "rename":
            wait_until(lambda: rows(articles, "select count(embedding) from pieces") == [200])
        else:
            articles.execute("create table others (id int primary key, body text)")
            articles.execute("select pgsbert.create_vectorizer('others', '{body}', model => 'fake-8')")
            articles.execute("insert into others values (1, 'after')")
            wait_until(lambda: rows(articles, "select 1 from others where embedding is not null"))


def test_a_row_edited_in_hand_gets_the_vector_of_its_new_text(articles: Connection, database: Database) -> None:
    insert(articles, 200)
    encoder = Pausing()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        articles.execute("update articles set title = 'edited ' || id")
        encoder.go_on.set()
        articles.execute("call pgsbert.wait_until_synced('articles')")
    assert rows(articles, "select count(*) from articles where embedding is null") == [0]
    found = rows(articles, "select title, embedding::text from articles where id in (1, 98, 100, 120, 200)")
    known = FakeEncoder(8)
    for title, vector in found:
        assert [float(number) for number in vector[1:-1].split(",")] == pytest.approx(known.encode([title])[0].tolist())


def test_what_may_kill_the_worker_is_tried_again_when_nothing_else_is_held(
    articles: Connection, database: Database
) -> None:
    insert(articles, 400)
    # as after two workers died of it
    articles.execute("insert into articles (title) values ('suspect')")
    articles.execute(
        "insert into pgsbert.lease_1 (k1, revision, attempts, claimed_until)"
        " select k1, revision, 2, clock_timestamp() from pgsbert.pending_1 order by k1 desc limit 1"
    )
    with database.connect() as watcher:
        encoder = Watching("suspect", watcher)
        with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
            wait_until(lambda: embedded(articles) == 401)
    assert encoder.held == [1]


def test_a_text_that_the_tokenizer_cannot_take_fails_alone(articles: Connection, database: Database) -> None:
    insert(articles, 40)
    articles.execute("update articles set title = 'odd' where id = 20")
    with run_worker(database.dsn, encoder=Uncountable(8), poll=A_MINUTE):
        wait_until(lambda: rows(articles, "select pgsbert.is_synced('articles')") == [True])
    assert rows(articles, "select key from pgsbert.failures") == [["20"]]
    assert embedded(articles) == 39
