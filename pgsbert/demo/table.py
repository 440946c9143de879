"""The demo's table: docstrings of the running Python, filled once, embedded by the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

from pgsbert import docstrings

if TYPE_CHECKING:
    import psycopg

CREATE = """
create table if not exists public.docstrings (
    id bigint generated always as identity primary key,
    module text not null,
    name text not null,
    kind text not null,
    signature text not null,
    text text not null
)
"""
VECTORIZE = """
select pgsbert.create_vectorizer('public.docstrings', columns => '{name,signature,text}', if_not_exists => true)
"""
STATE = """
select
    (select count(embedding) from public.docstrings) as done,
    (select count(*) from public.docstrings) as total,
    pgsbert.is_synced(v.name) as is_synced,
    w.id is not null as worker_is_there,
    w.models ->> v.model as model_state
from pgsbert.vectorizer as v
left join pgsbert.workers as w on w.pid = %s and w.alive
where v.name = 'docstrings'
"""


@dataclass(frozen=True)
class State:
    """How far the table is embedded, and whether one worker is there and has the model."""

    done: int
    total: int
    is_synced: bool
    worker_is_there: bool
    model_state: str | None

    @property
    def progress(self) -> str:
        """N of M embedded."""
        return f"{self.done:,} of {self.total:,} embedded"


def fill(connection: psycopg.Connection[Any]) -> None:
    """Make the table, fill it if it is empty, and have it embedded; best-known names come first."""
    with connection.transaction():
        connection.execute(CREATE)
        # two demos on one server must not both fill it
        connection.execute("lock table public.docstrings in share row exclusive mode")
        if not connection.execute("select from public.docstrings limit 1").rowcount:
            _copy(connection)
    connection.execute(VECTORIZE)


def look(connection: psycopg.Connection[Any], worker_pid: int) -> State:
    """Return the state as it is now."""
    with connection.cursor(row_factory=class_row(State)) as cursor:
        state = cursor.execute(STATE, [worker_pid]).fetchone()
    assert state is not None
    return state


def _copy(connection: psycopg.Connection[Any]) -> None:
    columns = "copy public.docstrings (module, name, kind, signature, text) from stdin"
    with connection.cursor() as cursor, cursor.copy(columns) as copy:
        for entry in docstrings.collect():
            copy.write_row((entry.module, entry.name, entry.kind, entry.signature, entry.text))
