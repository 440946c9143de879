"""Judge a run: what is in the tables at the end, and whether workers grew."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.users import is_embedding
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import psycopg

    from tests.chaos.plan import Table
    from tests.chaos.workers import Supervised

CONTENTS: dict[Table, str] = {
    "notes": "select id, body, embedding::text from notes",
    # a vector without its row comes with a text that is null
    "cards": "select id, c.body, e.embedding::text from cards as c full join cards_embedding as e using (id)",
}
BUSY = (
    "select exists (select from pgsbert.status where pending > 0 or state <> 'active')"
    " or exists (select from pg_stat_activity where application_name = 'pgsbert index')"
)
POISON = ("fake:raise", "fake:exit", "fake:hang")
MORE_MEMORY = 24 * 1024  # KiB that a worker may have grown
MORE_DESCRIPTORS = 3


@dataclass(frozen=True)
class Row:
    """One row at the end of a run."""

    text: str | None
    vector: str | None
    has_failed: bool


@dataclass(frozen=True)
class Verdict:
    """What became of the rows."""

    rows: int
    lost: int
    stale: int
    poison: int
    wrongly_failed: int


@dataclass(frozen=True)
class Size:
    """What the workers use."""

    memory: int  # KiB, all workers
    descriptors: int
    connections: int


def judge(found: Sequence[Row]) -> Verdict:
    """Count the rows that are not as promised; a row that was given up has no vector to answer for."""
    counted = [row for row in found if not row.has_failed]
    return Verdict(
        rows=len(found),
        lost=sum(bool(row.text) and row.vector is None for row in counted),
        stale=sum(row.vector is not None and not (row.text and is_embedding(row.vector, row.text)) for row in counted),
        poison=sum(row.has_failed and is_poison(row.text) for row in found),
        wrongly_failed=sum(row.has_failed and not is_poison(row.text) for row in found),
    )


def is_poison(text: str | None) -> bool:
    """Tell whether no model can embed the text."""
    return text is not None and any(marker in text for marker in POISON)


def grown(before: Size, after: Size, workers: int) -> list[str]:
    """Say what is not flat."""
    return [
        f"{what} grew from {old} to {new}"
        for what, old, new, more in (
            ("memory", before.memory, after.memory, MORE_MEMORY * workers),
            ("descriptors", before.descriptors, after.descriptors, MORE_DESCRIPTORS * workers),
            ("connections", before.connections, after.connections, 0),
        )
        if new > old + more
    ]


def measure(connection: psycopg.Connection[Any], workers: Sequence[Supervised]) -> Size:
    """Look at the processes and at pg_stat_activity."""
    query = "select count(*) from pg_stat_activity where application_name like 'pgsbert %'"
    return Size(
        memory=sum(worker.memory for worker in workers),
        descriptors=sum(worker.descriptors for worker in workers),
        connections=rows(connection, query)[0],
    )


def contents(connection: psycopg.Connection[Any], table: Table) -> list[Row]:
    """Read a table with its vectors and failures."""
    failed = {int(key[0]) for key in rows(connection, "select key from pgsbert.failures where vectorizer = %s", table)}
    return [Row(text, vector, key in failed) for key, text, vector in rows(connection, CONTENTS[table])]


def synced_in(connection: psycopg.Connection[Any], limit: float, workers: int) -> float | None:
    """Wait until nothing is pending and all workers are there; return the seconds, None if not within ``limit``."""
    present = "select count(*) from pgsbert.workers where alive"
    return _waited(lambda: rows(connection, BUSY) == [False] and rows(connection, present) == [workers], limit)


def _waited(condition: Callable[[], bool], limit: float) -> float | None:
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > limit:
            return None
        time.sleep(0.2)
    return time.monotonic() - started
