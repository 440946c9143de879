"""A vectorizer on a large table: made without holding up its users, filled by all workers, live edits first."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from pgsbert.work import Embedded, embed
from tests.support import rows, run_worker, wait_until, worker_process

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from pgsbert.queue import Queue
    from pgsbert.types import Vectors
    from tests.support import Database

    OpenQueue = Callable[..., Awaitable[Queue]]

PgConnection = psycopg.Connection[Any]

CREATE = "select pgsbert.create_vectorizer('note', columns => '{body}', model => 'fake-8', index => 'none')"


@pytest.fixture
def note(connection: PgConnection) -> PgConnection:
    """Give a table of short texts without rows and without a vectorizer."""
    connection.execute("create table note (id int primary key, body text, embedding vector(8))")
    return connection


def add(connection: PgConnection, first: int, last: int) -> None:
    connection.execute(f"insert into note select i, 'note ' || i from generate_series({first}, {last}) as i")


def are_true(connection: PgConnection) -> bool:
    """Whether every row has the vector of its text."""
    found = connection.execute("select body, embedding::real[] from note").fetchall()
    stored = np.array([vector for _, vector in found], dtype=np.float32)
    return bool((stored == FakeEncoder(8).encode([text for text, _ in found])).all())


# Made while others use the table


@contextmanager
def writer(database: Database) -> Iterator[PgConnection]:
    """Hold a transaction open that has written to the table."""
    with psycopg.connect(database.dsn, application_name="a long transaction") as holder:
        holder.execute("update note set body = 'half done' where id = 1")
        yield holder
        holder.rollback()


def waiting(connection: PgConnection) -> list[Any]:
    return rows(connection, "select pid from pg_locks where not granted")


def in_use(call: Callable[[], object]) -> psycopg.errors.LockNotAvailable:
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        call()
    assert caught.value.diag.message_primary == "public.note is in use by another transaction, and nothing was changed"
    return caught.value


def test_create_vectorizer_gives_up_where_a_long_transaction_holds_the_table(
    note: PgConnection, database: Database
) -> None:
    add(note, 1, 3)
    note.execute("alter table note drop embedding")
    failed: list[psycopg.errors.LockNotAvailable] = []
    with writer(database) as holder, database.connect() as creator, database.connect() as another:
        (pid,) = rows(holder, "select pg_backend_pid()")
        creating = threading.Thread(target=lambda: failed.append(in_use(lambda: creator.execute(CREATE))))
        creating.start()
        wait_until(lambda: waiting(note))
        # queues behind the one that waits, and goes on when that gives up: the long transaction is still there
        another.execute("update note set body = 'other' where id = 2")
        creating.join(30)
        assert rows(another, "select body from note where id = 2") == ["other"]
        assert rows(creator, "show lock_timeout") == ["0"]
    hint = failed[0].diag.message_hint or ""
    assert f"held by process {pid} (postgres, in a transaction since " in hint
    assert "Call again when that transaction has ended" in hint
    assert rows(note, "select count(*) from pgsbert.vectorizer") == [0]
    assert rows(note, "select relname from pg_class where relname ~ '^(pending|lease|fill)_|^note_'") == ["note_pkey"]
    assert rows(note, "select tgname from pg_trigger where tgrelid = 'note'::regclass") == []
    assert rows(
        note, "select count(*) from pg_attribute where attrelid = 'note'::regclass and attname = 'embedding'"
    ) == [0]
    note.execute(CREATE)


def test_drop_vectorizer_gives_up_after_the_sessions_own_lock_timeout(note: PgConnection, database: Database) -> None:
    add(note, 1, 3)
    note.execute(CREATE)
    note.execute("set lock_timeout = '50ms'")
    with writer(database) as holder:
        in_use(lambda: note.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)"))
        holder.commit()
    assert rows(note, "show lock_timeout") == ["50ms"]
    assert rows(note, "select pending from pgsbert.status") == [1]
    note.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    assert rows(note, "select count(*) from pgsbert.vectorizer") == [0]


def test_a_limit_lasts_no_longer_than_the_call(note: PgConnection) -> None:
    for call in (CREATE, "select pgsbert.drop_vectorizer('note')"):
        with note.transaction():
            note.execute(call)
            assert rows(note, "show lock_timeout") == ["0"]


# The first fill


@pytest.mark.parametrize("storage", ["column", "table"])
@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_the_fill_goes_on_behind_a_row_that_an_open_transaction_holds(
    note: PgConnection, database: Database, storage: str, ends: str
) -> None:
    note.execute("alter table note drop embedding")
    add(note, 1, 100)
    note.execute(f"{CREATE[:-1]}, storage => '{storage}')")
    vectors = {"column": "select id from note where embedding is not null", "table": "select id from note_embedding"}
    with psycopg.connect(database.dsn) as holder:
        holder.execute("update note set body = 'edited' where id in (40, 70)")
        with run_worker(database.dsn, encoder=FakeEncoder(8)):
            state = "select state from pgsbert.status"
            wait_until(lambda: rows(note, state) == ["active"])
            wait_until(lambda: len(rows(note, vectors[storage])) == 98)
            getattr(holder, ends)()
            wait_until(lambda: len(rows(note, vectors[storage])) == 100)
            note.execute("call pgsbert.wait_until_synced('note')")
    [body] = rows(note, "select body from note where id = 40")
    assert body == ("edited" if ends == "commit" else "note 40")
    of_40 = {"column": "select embedding::real[] from note", "table": "select embedding::real[] from note_embedding"}
    [vector] = rows(note, f"{of_40[storage]} where id = 40")
    assert np.array_equal(np.array(vector, dtype=np.float32), FakeEncoder(8).encode([body])[0])


def test_a_refresh_waits_at_a_row_that_an_open_transaction_holds(note: PgConnection, database: Database) -> None:
    """The row has a vector, which no sweep would find to be of an older model."""
    add(note, 1, 20)
    note.execute(CREATE)
    with run_worker(database.dsn, encoder=FakeEncoder(8)), psycopg.connect(database.dsn) as holder:
        note.execute("call pgsbert.wait_until_synced('note')")
        holder.execute("update note set body = 'edited' where id = 10")
        note.execute("select pgsbert.refresh('note')")
        reached = "select k1 from pgsbert.fill_1"
        wait_until(lambda: rows(note, reached) == [9])
        wait_until(lambda: rows(note, "select pending from pgsbert.status") == [0])
        assert rows(note, "select state from pgsbert.status") == ["filling"]
        holder.rollback()
        wait_until(lambda: rows(note, "select state from pgsbert.status") == ["active"])


class Meeting(FakeEncoder):
    """Its first call returns only when another worker's model is called as well."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__(8)
        self._barrier = barrier

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if self.calls == 0:
            self._barrier.wait(30)
        return super().encode(texts)


def test_two_workers_share_the_work_of_one_fill(note: PgConnection, database: Database) -> None:
    add(note, 1, 1000)
    note.execute(CREATE)
    barrier = threading.Barrier(2)
    with (
        run_worker(database.dsn, encoder=Meeting(barrier)) as one,
        run_worker(database.dsn, encoder=Meeting(barrier)) as two,
    ):
        note.execute("call pgsbert.wait_until_synced('note', '30 s')")
        # neither model was called twice for one row
        assert one.encoder.texts + two.encoder.texts == 1000
        assert min(one.encoder.texts, two.encoder.texts) > 0
    assert are_true(note)


class Recorder(FakeEncoder):
    """Remembers the texts in their order, and calls back at its first call."""

    def __init__(self, at_first: Callable[[], object]) -> None:
        super().__init__(8)
        self.seen: list[str] = []
        self._at_first = at_first

    def encode(self, texts: Sequence[str], /) -> Vectors:
        if not self.seen:
            self._at_first()
        self.seen += texts
        return super().encode(texts)


def test_live_edits_are_embedded_before_the_rest_of_a_fill(note: PgConnection, database: Database) -> None:
    add(note, 1, 5000)
    note.execute(CREATE)

    def edit() -> None:
        database.execute("update note set body = 'live edit at the end' where id = 4999")
        database.execute("update note set body = 'live edit at the front' where id = 1")
        database.execute("insert into note values (0, 'live insert')")

    encoder = Recorder(edit)
    with run_worker(database.dsn, encoder=encoder):
        note.execute("call pgsbert.wait_until_synced('note', '60 s')")
    # after what was claimed and queued by then, and no later: 64 of 128 rows, and the next claims
    live = ["live insert", "live edit at the front", "live edit at the end"]
    assert max(encoder.seen.index(text) for text in live) < 500
    assert are_true(note)


def test_a_killed_worker_costs_no_more_than_what_it_had_claimed(note: PgConnection, database: Database) -> None:
    add(note, 1, 3000)
    note.execute("update note set body = 'fake:hang' where id = 2000")
    note.execute("create table stored (id int)")
    note.execute(
        "create function note_stored() returns trigger language plpgsql security definer as"
        " 'begin insert into public.stored values (new.id); return new; end'"
    )
    note.execute(CREATE)
    note.execute(
        "create trigger stored after update of embedding on note for each row"
        " when (old.embedding is distinct from new.embedding) execute function note_stored()"
    )
    with worker_process(database.dsn, "--allow-fake") as process:
        wait_until(lambda: rows(note, "select from pgsbert.lease_1 where k1 = 2000"))
        # what it settled before the batch that hangs
        wait_until(
            lambda: rows(note, "select state from pg_stat_activity where application_name = 'pgsbert rows'") == ["idle"]
        )
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        # a statement under way ends first
        wait_until(lambda: not rows(note, "select from pg_stat_activity where application_name = 'pgsbert rows'"))
    (claimed, passed, done) = rows(
        note,
        "select (select count(*) from pgsbert.lease_1), (select passed from pgsbert.fill_1),"
        " (select count(*) from stored)",
    )[0]
    assert 1 <= claimed <= 1024
    assert rows(note, "select filled_at is not null from pgsbert.vectorizer") == [True] or 2000 <= passed < 3000
    assert done > 0
    note.execute("update note set body = 'mended' where id = 2000")
    encoder = FakeEncoder(8)
    with run_worker(database.dsn, encoder=encoder):
        note.execute("call pgsbert.wait_until_synced('note', '60 s')")
    assert are_true(note)
    assert rows(note, "select count(*), count(distinct id) from stored") == [(3000, 3000)]
    # the second worker's model saw what was left and nothing else
    assert encoder.texts == 3000 - done


def resident_megabytes(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    assert found
    return int(found[1]) / 1024


def test_the_memory_of_a_worker_does_not_depend_on_its_backlog(note: PgConnection, database: Database) -> None:
    note.execute(CREATE)
    with worker_process(database.dsn, "--allow-fake") as process:
        add(note, 1, 2000)
        note.execute("call pgsbert.wait_until_synced('note', '60 s')")
        at_first = resident_megabytes(process.pid)
        add(note, 2001, 202_000)
        last_of_the_first_claims = "select embedding is not null from note where id = 42_000"
        wait_until(lambda: rows(note, last_of_the_first_claims) == [True], timeout=120)
        # all 200,000 were in the queue when it began
        assert resident_megabytes(process.pid) - at_first < 50


# What is said of it


async def settle(queue: Queue, limit: int) -> int:
    changes = await queue.claim(limit)
    outcomes = embed(changes, FakeEncoder(8).encode_counted)
    return len(await queue.settle([outcome for outcome in outcomes if isinstance(outcome, Embedded)]))


async def test_status_tells_the_progress_of_a_fill_and_the_time_it_still_takes(
    note: PgConnection, open_queue: OpenQueue
) -> None:
    add(note, 1, 100)
    note.execute("analyze note")
    note.execute(CREATE)
    status = "select state, progress, extract(epoch from eta)::float8 from pgsbert.status"
    assert rows(note, status) == [("filling", 0, None)]
    queue = await open_queue("note")
    await queue.fill(40)
    assert rows(note, status) == [("filling", 0, None)]
    assert await settle(queue, 10) == 10
    assert rows(note, status) == [("filling", 0.1, None)]
    note.execute("insert into pgsbert.worker (host, pid, version, rates) values ('here', 1, '1', '{\"1\": 5}')")
    assert rows(note, status) == [("filling", 0.1, 18)]
    assert await settle(queue, 100) == 30
    await queue.fill(61)
    assert rows(note, status) == [("active", 1, 12)]
    assert await settle(queue, 100) == 60
    assert rows(note, status) == [("active", 1, 0)]
    note.execute("select pgsbert.refresh('note')")
    assert rows(note, status) == [("filling", 0, 20)]


def test_status_counts_a_long_queue_no_further_than_ten_thousand(note: PgConnection) -> None:
    note.execute(CREATE)
    add(note, 1, 10_000)
    pending = "select pending from pgsbert.status"
    assert rows(note, pending) == [10_000]
    add(note, 10_001, 12_000)
    # PostgreSQL's own estimate, which follows in a second
    wait_until(lambda: rows(note, pending) == [12_000])
    note.execute("select pg_stat_reset_single_table_counters('pgsbert.pending_1'::regclass)")
    assert rows(note, pending) == [10_001]


# Claims from a long queue


async def test_a_claim_does_not_read_again_what_claims_before_it_have_taken(
    note: PgConnection, database: Database, open_queue: OpenQueue
) -> None:
    note.execute(CREATE)
    add(note, 1, 2000)
    queue = await open_queue("note")
    with psycopg.connect(database.dsn) as holder:
        # with an old snapshot about, no entry that was settled can be removed
        holder.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        holder.execute("select count(*) from note")
        for _ in range(50):
            assert len(await queue.claim(40)) == 40
            note.execute("delete from pgsbert.pending_1 where revision in (select revision from pgsbert.lease_1)")
        await queue._connection.execute("select pg_stat_force_next_flush()")
        read = "select idx_tup_read from pg_stat_user_indexes where indexrelname = 'pending_1_pkey'"
        # each once, and what is beside; from the first key each time it would be fifty thousand
        found = wait_until(lambda: [number for number in rows(note, read) if number >= 2000], timeout=60)
        assert found[0] < 10_000
        assert await queue.claim(40) == []


KEYS = {
    "numbers": ("bigint", ["-5", "3", "40", "1000"]),
    "texts": ("text", ["", "'", "\\N", 'a "b", {c}\n%s %%']),
    "a collation": ('text collate "C"', ["B", "a", "é", "ü"]),
    "arrays": ("text[]", ["{}", '{"a,b",NULL}', '{"a\\"b"}', "{b}"]),
    "a composite": ("pair", ['(1,"a,b")', '(1,"a""b")', "(2,)", "(2,x)"]),
    "an enum": ('"mood of %s"', ["sad", "so-so", "glad"]),
    "ranges": ("int4range", ["empty", "[1,5)", "[2,3)", "[2,)"]),
    "moments": ("timestamptz", ["-infinity", "2024-01-01 00:00:00.000001+00", "2024-06-01 12:00+02", "infinity"]),
    "bytes": ("bytea", ["\\x", "\\x00ff", "\\x27", "\\xff"]),
    "fractions": ("float8", ["-Infinity", "0.1", "0.30000000000000004", "NaN"]),
    "truths": ("boolean", ["false", "true"]),
    "a domain": ("short", ["a", "b", "c"]),
}


@pytest.mark.parametrize(("type_", "values"), KEYS.values(), ids=KEYS)
async def test_a_pass_goes_on_after_the_last_key_whatever_its_type(
    connection: PgConnection, open_queue: OpenQueue, type_: str, values: list[str]
) -> None:
    connection.execute("create type pair as (a int, b text)")
    connection.execute("create type \"mood of %s\" as enum ('sad', 'so-so', 'glad')")
    connection.execute("create domain short as varchar(5) check (value <> '')")
    connection.execute(f"create table note (place int, id {type_}, body text, primary key (id, place))")
    connection.execute(CREATE)
    for value in values:
        for place in (1, 2):
            connection.execute("insert into note values (%s, %s, %s)", [place, value, f"{values.index(value)} {place}"])
    queue = await open_queue("note")
    claimed = [change.text for _ in range(2 * len(values)) for change in await queue.claim(1)]
    expected = connection.execute("select body from note order by id, place").fetchall()
    assert claimed == [text for (text,) in expected]
    assert await queue.claim(1) == []
