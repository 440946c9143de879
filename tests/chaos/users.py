"""Users: sessions that work as planned, come back after every lost connection, and note what failed and why."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from psycopg import sql

from pgsbert.testing import FakeEncoder
from tests.chaos.plan import operations

if TYPE_CHECKING:
    import threading

    from tests.chaos.plan import Operation, Table

    Connection = psycopg.Connection[Any]

SESSIONS = 6
# Strict sessions, one of each: serializable users may fail each other.
LEVELS = {1: psycopg.IsolationLevel.REPEATABLE_READ, 2: psycopg.IsolationLevel.SERIALIZABLE}
ENCODER = FakeEncoder(8)
AROUND_AN_OUTAGE = 1.0  # seconds

STATEMENTS = {
    "insert": "insert into {t} values (%(id)s, %(text)s) on conflict (id) do update set body = excluded.body",
    "update": "update {t} set body = %(text)s where id = %(id)s",
    "untracked": "update {t} set n = n + 1 where id = %(id)s",
    "no_text": "update {t} set body = null where id = %(id)s",
    "delete": "delete from {t} where id = %(id)s",
    "rekey": "update {t} set id = %(other)s where id = %(id)s and not exists (select from {t} where id = %(other)s)",
    "rollback": "update {t} set body = %(text)s where id = %(id)s",
    "bulk": (
        "insert into {t} (id, body) select i, %(text)s || ' ' || i"
        " from generate_series(%(id)s::bigint, %(last)s, %(step)s) as i"
        " on conflict (id) do update set body = excluded.body"
    ),
    "truncate": "truncate {t}",
}
VISIBLE: dict[Table, str] = {
    "notes": "select embedding is not null from notes where id = %s",
    "cards": "select exists (select from cards_embedding as e where e.id = c.id) from cards as c where id = %s",
}


@dataclass
class Record:
    """What happened to the users; its lists are shared by all threads."""

    done: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)  # while the server was down, and what column storage may do
    unanswered: list[str] = field(default_factory=list)  # questions while no worker could answer
    failures: list[str] = field(default_factory=list)
    outages: list[list[float]] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)  # seconds, while the server is up
    stalls: list[float] = field(default_factory=list)  # seconds from commit to vector

    def was_down(self, since: float) -> bool:
        """Tell whether the server was down, or just came up, between ``since`` and now."""
        return any(since < end + AROUND_AN_OUTAGE for _, end in self.outages)


class Session:
    """One user: a connection and the plan of a session."""

    def __init__(self, dsn: str, number: int, record: Record, stop: threading.Event) -> None:
        self._dsn = dsn
        self._number = number
        self._record = record
        self._stop = stop
        self._connection: Connection | None = None

    def run(self, seed: int) -> None:
        """Work until stopped."""
        for operation in operations(seed, self._number):
            while not self._stop.is_set() and not self._attempt(operation):
                self._stop.wait(0.02)
            if self._stop.wait(operation.pause):
                break
        if self._connection is not None:
            self._connection.close()

    def _attempt(self, operation: Operation) -> bool:
        """Do it; False if it is to be repeated."""
        since = time.monotonic()
        try:
            connection = self._connected()
            if operation.kind == "ask":
                self._ask(connection, operation)
            else:
                self._write(connection, operation)
                self._record.writes.append(time.monotonic() - since)
            self._record.done.append(operation.kind)
        except psycopg.Error as error:
            if isinstance(error, psycopg.errors.SerializationFailure) and self._may_repeat(operation):
                self._record.repeated.append("strict")
                return False
            if operation.kind == "ask" and error.sqlstate in ("PB001", "PB002"):
                self._record.unanswered.append(error.sqlstate)
            elif self._record.was_down(since):
                self._record.repeated.append("down")
                return False
            else:
                self._fail(operation, f"{type(error).__name__}: {error}")
        return True

    def _may_repeat(self, operation: Operation) -> bool:
        """With storage 'column' a strict writer may meet a settle of its row: the worded exception."""
        return operation.table == "notes" and self._number in LEVELS

    def _fail(self, operation: Operation, why: str) -> None:
        self._record.failures.append(f"session {self._number}: {operation.kind} {operation.table}: {why}".strip())

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._dsn)
            self._connection.isolation_level = LEVELS.get(self._number)
        return self._connection

    def _write(self, connection: Connection, operation: Operation) -> None:
        if operation.kind == "truncate" and self._number in LEVELS:
            return  # it may meet a settle, too
        table = sql.Identifier(operation.table)
        with connection.transaction(force_rollback=operation.kind == "rollback"):
            if self._number in LEVELS:
                connection.execute(sql.SQL("select count(*) from {}").format(table))
            connection.execute(
                sql.SQL(STATEMENTS[operation.kind]).format(t=table),
                {
                    "id": self._key(operation.key),
                    "other": self._key(operation.other),
                    "last": self._key(operation.key + operation.rows),
                    "step": SESSIONS,
                    "text": operation.text,
                },
            )

    def _ask(self, connection: Connection, operation: Operation) -> None:
        with connection.transaction():
            connection.execute("set local pgsbert.timeout = '3s'")
            row = connection.execute("select pgsbert.embed(%s, 'fake-8')::text", [operation.text]).fetchone()
        if row is None or not is_embedding(row[0], operation.text):
            self._fail(operation, "a wrong answer")

    def _key(self, place: int) -> int:
        return place * SESSIONS + self._number


class Probe:
    """Measures how long a committed row waits for its vector, one row after the other."""

    def __init__(self, dsn: str, table: Table, record: Record, stop: threading.Event) -> None:
        self._dsn = dsn
        self._insert = sql.SQL("insert into {} (id, body) values (%s, 'a probe')").format(sql.Identifier(table))
        self._visible = VISIBLE[table]
        self._record = record
        self._stop = stop
        self._key = 0

    def run(self) -> None:
        """Measure until stopped."""
        waiting = False
        while not self._stop.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as connection:
                    while waiting or not self._stop.wait(0.2):
                        if not waiting:
                            self._key -= 1
                            connection.execute(self._insert, [self._key])
                            committed, waiting = time.monotonic(), True
                        self._wait(connection, committed)
                        waiting = False
            except psycopg.OperationalError:
                self._stop.wait(0.05)  # the server is down; what waits goes on waiting

    def _wait(self, connection: Connection, committed: float) -> None:
        while (row := connection.execute(self._visible, [self._key]).fetchone()) is not None:  # else truncated
            waited = time.monotonic() - committed
            if row[0] or self._stop.is_set():
                self._record.stalls.append(waited)
                return
            time.sleep(0.01)


def is_embedding(vector: str, text: str) -> bool:
    """Tell whether a vector, as PostgreSQL writes it, is that of the text."""
    return np.allclose(np.fromstring(vector[1:-1], sep=","), ENCODER.encode([text])[0])
