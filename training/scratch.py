"""A collection in a schema of its own, embedded by the worker that the user runs; the schema is gone at the end.

Table and vectorizer are made first and the documents come afterwards, so that each goes the way of any row: trigger,
queue, worker, index.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from pgsbert.client import create_vectorizer
from pgsbert.database import connect, statement
from pgsbert.errors import DataError, PgsbertError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Show = Callable[[str, int, int], None]  # what is counted, how many are done, of how many

PREFIX = "pgsbert_evaluation_"
COMMENT = "Made by pgsbert evaluate retrieval, which drops it at its end"
POLL = timedelta(seconds=0.2)
PATIENCE = timedelta(seconds=60)  # a worker may be on its way back
STATE = """
select s.state, s.reason, s.pending, s.failed, s.workers,
    pgsbert.has_index(pgsbert.find_vectorizer(s.name)) as has_index
from pgsbert.status as s
where s.name = %s
"""


@dataclass(frozen=True, slots=True)
class Scratch:
    """A schema; its vectorizer has the same name."""

    name: str

    @property
    def documents(self) -> sql.Identifier:
        """The table, with its columns id and text."""
        return sql.Identifier(self.name, "documents")

    @property
    def search(self) -> sql.Identifier:
        """The function that searches it."""
        return sql.Identifier(self.name, f"{self.name}_search")

    @property
    def removal(self) -> str:
        """The SQL that removes what a killed run left."""
        return f"SELECT pgsbert.drop_vectorizer('{self.name}', if_exists => true); DROP SCHEMA {self.name} CASCADE;"


@dataclass(frozen=True, slots=True)
class State:
    """How far the table is."""

    state: str
    reason: str | None
    pending: int
    failed: int
    workers: int
    has_index: bool

    @property
    def is_done(self) -> bool:
        """Whether all is embedded, and the index there or left to the table's owner."""
        return self.state == "active" and not self.pending and (self.has_index or self.reason is not None)


@contextmanager
def embedded(
    dsn: str, model: str, documents: Mapping[str, str], *, show: Show, patience: timedelta = PATIENCE
) -> Iterator[Scratch]:
    """Give the documents' table when all are embedded and indexed, and drop it at the end, however that comes.

    Raises PgsbertError when no worker was alive for ``patience``, DataError when a document failed.
    """
    scratch = Scratch(PREFIX + secrets.token_hex(4))
    try:
        with connect(dsn, application_name="pgsbert evaluate") as connection:
            _make(connection, scratch, model)
            # a first fill that met the documents would embed them beside their triggers, and so twice
            _wait(connection, scratch, lambda state: state.state != "filling", patience=patience)
            _copy(connection, scratch, documents)
            total = sum(1 for text in documents.values() if text)  # what is empty has no vector
            done = _wait(
                connection,
                scratch,
                lambda state: state.is_done,
                patience=patience,
                look=lambda state: show("embedded", max(total - state.pending, 0), total),
            )
            if not done.has_index:
                _build_index(connection, scratch)
        yield scratch
    finally:
        _drop(dsn, scratch)


def leftovers(connection: psycopg.Connection[Any]) -> list[Scratch]:
    """Return what killed runs left in this database, or others are using now."""
    query = "select nspname::text from pg_namespace where starts_with(nspname, %s) order by nspname"
    return [Scratch(name) for (name,) in connection.execute(query, [PREFIX])]


def _make(connection: psycopg.Connection[Any], scratch: Scratch, model: str) -> None:
    schema = sql.Identifier(scratch.name)
    with connection.transaction():
        connection.execute(sql.SQL("create schema {}").format(schema))
        connection.execute(sql.SQL("comment on schema {} is {}").format(schema, sql.Literal(COMMENT)))
        table = sql.SQL("create table {} (id text primary key, text text not null)")
        connection.execute(table.format(scratch.documents))
        create_vectorizer(connection, f"{scratch.name}.documents", ["text"], name=scratch.name, model=model)


def _copy(connection: psycopg.Connection[Any], scratch: Scratch, documents: Mapping[str, str]) -> None:
    command = sql.SQL("copy {} (id, text) from stdin").format(scratch.documents)
    with connection.cursor() as cursor, cursor.copy(command) as copy:
        for row in documents.items():
            copy.write_row(row)
    # the status estimates a long queue by these statistics, and would believe it short for a while
    connection.execute("select pg_stat_force_next_flush()")


def _wait(
    connection: psycopg.Connection[Any],
    scratch: Scratch,
    until: Callable[[State], bool],
    *,
    patience: timedelta,
    look: Callable[[State], None] = lambda _: None,
) -> State:
    seen = time.monotonic()
    while True:
        state = _state(connection, scratch)
        look(state)
        if state.failed:
            raise DataError(_failure(connection, scratch, state.failed))
        if state.state == "broken":
            raise PgsbertError(f"The worker cannot go on with {scratch.name}: {state.reason}.")
        if state.state == "paused":
            raise PgsbertError(f"Vectorizer {scratch.name} was paused by somebody else: run this again.")
        if until(state):
            return state
        if state.workers:
            seen = time.monotonic()
        elif time.monotonic() - seen >= patience.total_seconds():
            raise PgsbertError("No worker embeds rows: start one with pgsbert worker on the same database.")
        time.sleep(POLL.total_seconds())


def _build_index(connection: psycopg.Connection[Any], scratch: Scratch) -> None:
    """Do as the status says where the worker may not, or cannot watch over a build."""
    row = connection.execute("select pgsbert.vector_schema()::text").fetchone()
    assert row is not None
    operators = sql.Identifier(row[0], "vector_cosine_ops")
    target = sql.Identifier("embedding")
    connection.execute(
        statement("build_index", vector_table=scratch.documents, target=target, operator_class=operators)
    )


def _state(connection: psycopg.Connection[Any], scratch: Scratch) -> State:
    with connection.cursor(row_factory=class_row(State)) as cursor:
        state = cursor.execute(STATE, [scratch.name]).fetchone()
    if state is None:
        raise PgsbertError(f"Vectorizer {scratch.name} was dropped by somebody else: run this again.")
    return state


def _failure(connection: psycopg.Connection[Any], scratch: Scratch, failed: int) -> str:
    query = "select key[1], error_class, error from pgsbert.failures where vectorizer = %s order by failed_at limit 1"
    first = connection.execute(query, [scratch.name]).fetchone()
    told = f": document {first[0]}: {first[1]}: {first[2]}" if first else ""
    return f"{failed} document(s) could not be embedded{told}. Figures without them would be of another collection."


def _drop(dsn: str, scratch: Scratch) -> None:
    """Drop on a connection of its own: that of the run may have been what broke."""
    try:
        with connect(dsn, application_name="pgsbert evaluate") as connection, connection.transaction():
            connection.execute("select pgsbert.drop_vectorizer(%s, if_exists => true)", [scratch.name])
            connection.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(scratch.name)))
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error)
        raise PgsbertError(f"{scratch.name} could not be dropped ({reason}). Remove it: {scratch.removal}") from error
