"""Tables share a worker: however long the queue of one is, and whatever is wrong with it, the others go on."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.errors import ModelNotFoundError
from pgsbert.hand import Speed
from pgsbert.testing import FakeEncoder
from pgsbert.worker import turns
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from pgsbert.types import Model, Vectors
    from tests.support import Database

    Connection = psycopg.Connection[Any]

A_MINUTE = timedelta(minutes=1)
TURN = 16  # rows; all turns and batches of these tests have this size, so that they can be counted


@pytest.fixture
def _turns_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "SPEED", Speed(1.0, least=TURN, most=TURN))
    monkeypatch.setattr(turns, "BATCH_ROWS", TURN)


class Recording(FakeEncoder):
    """An encoder that remembers its texts in their order, and waits in the model when it is told to."""

    def __init__(self) -> None:
        super().__init__(8)
        self.seen: list[str] = []
        self.pause_when: Callable[[], bool] = lambda: False
        self.reached, self.go_on = threading.Event(), threading.Event()

    def encode(self, texts: Sequence[str], /) -> Vectors:
        self.seen += texts
        if self.pause_when() and not self.reached.is_set():
            self.reached.set()
            assert self.go_on.wait(30)
        return super().encode(texts)

    def tables(self) -> list[str]:
        """Return the table of each text."""
        return [text.split()[0] for text in self.seen]


def make_table(connection: Connection, name: str, *, rows_before: int = 0) -> None:
    """Make a table and its vectorizer, with rows that are already there: a first fill, if there are any."""
    connection.execute(f"create table {name} (id int primary key, body text)")
    insert(connection, name, rows_before)
    connection.execute("select pgsbert.create_vectorizer(%s::regclass, '{body}', model => 'fake-8')", [name])
    if not rows_before:
        connection.execute("update pgsbert.vectorizer set filled_at = now() where name = %s", [name])


def insert(connection: Connection, name: str, count: int) -> None:
    # of one length, so that they go through the model in the order of their keys
    connection.execute(
        f"insert into {name} select i, '{name} ' || to_char(i, 'fm0000') from generate_series(1, {count}) as i"
    )


def embedded(connection: Connection, name: str) -> int:
    return int(rows(connection, f"select count(embedding) from {name}")[0])


@pytest.mark.usefixtures("_turns_of_one_size")
def test_an_edit_waits_for_one_turn_of_a_long_queue(connection: Connection, database: Database) -> None:
    make_table(connection, "huge")
    make_table(connection, "small")
    insert(connection, "huge", 400)
    encoder = Recording()
    encoder.pause_when = lambda: len(encoder.seen) >= 100
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        paused_at = len(encoder.seen)
        insert(connection, "small", 3)
        encoder.go_on.set()
        wait_until(lambda: embedded(connection, "small") == 3)
        wait_until(lambda: embedded(connection, "huge") == 400)
    # the batches in line for the model
    assert encoder.tables().index("small") - paused_at <= 2 * TURN


@pytest.mark.usefixtures("_turns_of_one_size")
def test_an_edit_waits_for_one_turn_of_one_first_fill_and_all_fills_go_on(
    connection: Connection, database: Database
) -> None:
    for name in ("one", "two", "three"):
        make_table(connection, name, rows_before=120)
    make_table(connection, "live")
    encoder = Recording()
    encoder.pause_when = lambda: encoder.tables()[-1] == "one"
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        assert encoder.reached.wait(30)
        paused_at = len(encoder.seen)
        insert(connection, "live", 3)
        encoder.go_on.set()
        wait_until(lambda: all(embedded(connection, name) == 120 for name in ("one", "two", "three")))
    tables = encoder.tables()
    assert tables.index("live") - paused_at <= 2 * TURN
    # the fills take turns
    assert {"one", "two", "three"} <= set(tables[: 6 * TURN])


class Editing(Recording):
    """An encoder during whose every call a user edits a row: that table always has work."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.connection = database.connect()
        self.still_editing = True

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if self.still_editing:
            self.connection.execute("update live set body = 'live ' || %s where id = 1", [len(self.seen)])
        return super().encode(texts)


@pytest.mark.usefixtures("_turns_of_one_size")
def test_a_first_fill_goes_on_beside_a_table_that_is_always_edited(connection: Connection, database: Database) -> None:
    make_table(connection, "live")
    insert(connection, "live", 1)
    make_table(connection, "filling", rows_before=100)
    encoder = Editing(database)
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        wait_until(lambda: embedded(connection, "filling") == 100)
        encoder.still_editing = False
        wait_until(lambda: rows(connection, "select pgsbert.is_synced('live')") == [True])
    encoder.connection.close()


class Slow(Recording):
    """An encoder of 50 texts a second that looks how many rows are claimed meanwhile."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self.connection = database.connect()
        self.claimed: list[int] = []

    def encode(self, texts: Sequence[str], /) -> Vectors:
        self.claimed += rows(self.connection, "select count(*) from pgsbert.lease_2 where worker is not null")
        time.sleep(0.02 * len(texts))
        return super().encode(texts)


def test_turns_are_short_beside_a_table_that_was_edited_lately(connection: Connection, database: Database) -> None:
    make_table(connection, "small")
    make_table(connection, "huge")
    insert(connection, "huge", 128)
    encoder = Slow(database)
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE):
        wait_until(lambda: embedded(connection, "huge") == 128)
        # a turn of one second, and as many rows for the next three in hand
        assert max(encoder.claimed) >= 128
        encoder.claimed.clear()
        insert(connection, "small", 1)
        wait_until(lambda: embedded(connection, "small") == 1)
        connection.execute("update huge set body = body || ' anew', embedding = null")
        wait_until(lambda: embedded(connection, "huge") == 128)
    encoder.connection.close()
    # a quarter of a second is twelve texts of this model
    assert max(encoder.claimed) <= 16


# What is wrong with one table


def test_a_missing_model_holds_up_no_other_table(connection: Connection, database: Database) -> None:
    connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('missing', 'bi-encoder', 8)")
    connection.execute("create table sick (id int primary key, body text); insert into sick values (1, 'a')")
    encoder = Recording()
    with run_worker(database.dsn, encoder=encoder, poll=A_MINUTE) as running:
        asked: list[str] = []

        def load(model: Model) -> Any:
            asked.append(model.name)
            if model.name == "missing":
                raise ModelNotFoundError("missing is nowhere.")
            return encoder

        running.worker._models._load = load
        connection.execute("select pgsbert.create_vectorizer('sick', '{body}', model => 'missing')")
        wait_until(lambda: "missing" in asked)
        make_table(connection, "healthy", rows_before=100)
        wait_until(lambda: embedded(connection, "healthy") == 100)
        connection.execute("update healthy set body = 'healthy anew' where id = 1")
        wait_until(
            lambda: "healthy anew" in encoder.seen and rows(connection, "select pgsbert.is_synced('healthy')")[0]
        )
    assert embedded(connection, "sick") == 0
    assert rows(connection, "select * from pgsbert.failures") == []


@pytest.mark.parametrize("filled", [True, False], ids=["live", "filling"])
def test_a_locked_table_holds_up_no_other(connection: Connection, database: Database, filled: bool) -> None:
    make_table(connection, "sick", rows_before=0 if filled else 50)
    if filled:
        insert(connection, "sick", 50)
    make_table(connection, "healthy", rows_before=100)
    with database.connect() as holder, holder.transaction():
        holder.execute("lock table sick in access exclusive mode")
        with run_worker(database.dsn, encoder=Recording(), poll=A_MINUTE):
            wait_until(lambda: embedded(connection, "healthy") == 100)
            connection.execute("update healthy set body = 'healthy anew', embedding = null where id = 1")
            wait_until(lambda: embedded(connection, "healthy") == 100)


def test_a_trigger_that_misses_a_column_holds_up_no_other_table(connection: Connection, database: Database) -> None:
    make_table(connection, "sick")
    insert(connection, "sick", 3)
    # a trigger in C: its error looks as if the worker had named the column
    connection.execute(
        "create trigger words before update on sick for each row"
        " execute function tsvector_update_trigger(nowhere, 'pg_catalog.english', body)"
    )
    make_table(connection, "healthy", rows_before=100)
    with run_worker(database.dsn, encoder=Recording(), poll=A_MINUTE):
        wait_until(lambda: embedded(connection, "healthy") == 100)
        connection.execute("update healthy set body = 'healthy anew', embedding = null where id = 1")
        wait_until(lambda: embedded(connection, "healthy") == 100)
        connection.execute("drop trigger words on sick")
        wait_until(lambda: embedded(connection, "sick") == 3)
