"""How long after its commit does a row have its vector, when the worker was idle?

A real `pgsbert worker` process with the fake model; 200 single rows, each after a short random pause in which the
worker goes to sleep. The clock starts when COMMIT is sent; a second connection looks every half millisecond. Baseline:
the client stores a ready vector itself, seen in the same way, by turns.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks.bed import (
    BenchmarkError,
    Figure,
    connect,
    make_table,
    make_texts,
    make_vectorizer,
    percentile,
    say,
    value,
)

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bed import Bed

ROWS = 200
PAUSE = 0.02, 0.15  # seconds
LOOK_EVERY = 0.0005
LIMIT = 10.0


def run(bed: Bed) -> list[Figure]:
    """Insert rows one by one and watch for their vectors; between two of them do the baseline once."""
    chance = random.Random(2)
    from_sent, from_done, baseline = [], [], []
    with bed.database("latency") as dsn, connect(dsn) as user, connect(dsn) as watcher, bed.worker(dsn):
        make_table(user, "plain")
        make_table(user, "articles")
        make_vectorizer(user, "articles")
        user.execute("insert into articles (title, body) values ('first', 'row')")
        user.execute("call pgsbert.wait_until_synced('articles')")
        vector = value(user, "select embedding::text from articles")
        for title, body in make_texts(ROWS):
            time.sleep(chance.uniform(*PAUSE))
            baseline.append(_store(user, watcher, title, body, vector))
            time.sleep(chance.uniform(*PAUSE))
            sent, done = _insert(user, watcher, title, body)
            from_sent.append(sent)
            from_done.append(done)
    p50, p95 = (percentile(from_sent, percent) for percent in (50, 95))
    by_hand = percentile(baseline, 50)
    say(
        f"COMMIT sent to vector visible, {ROWS} rows: p50 {p50:.1f} ms, p95 {p95:.1f} ms"
        f" (from COMMIT's return: p50 {percentile(from_done, 50):.1f} ms);"
        f" stored by hand: p50 {by_hand:.1f} ms, p95 {percentile(baseline, 95):.1f} ms"
    )
    beside = f"{by_hand:.1f} ms stored by hand"
    return [
        Figure("latency", "commit to vector visible, idle, p50", p50, "ms", beside, p50 / by_hand, passes=20, goal=10),
        Figure("latency", "the same, p95", p95, "ms", beside, p95 / by_hand),
    ]


def _insert(
    user: psycopg.Connection[Any], watcher: psycopg.Connection[Any], title: str, body: str
) -> tuple[float, float]:
    """Return the milliseconds until the vector is seen, from sending COMMIT and from its return."""
    user.execute("begin")
    number = value(user, "insert into articles (title, body) values (%s, %s) returning id", title, body)
    sent = time.perf_counter()
    user.execute("commit")
    done = time.perf_counter()
    seen = _see(watcher, "select from articles where id = %s and embedding is not null", number)
    return (seen - sent) * 1000, (seen - done) * 1000


def _store(
    user: psycopg.Connection[Any], watcher: psycopg.Connection[Any], title: str, body: str, vector: str
) -> float:
    """Return the milliseconds until a vector is seen that the client stores after its insert, from sending COMMIT."""
    user.execute("begin")
    number = value(user, "insert into plain (title, body) values (%s, %s) returning id", title, body)
    sent = time.perf_counter()
    user.execute("commit")
    user.execute("update plain set embedding = %s::vector where id = %s", [vector, number])
    return (_see(watcher, "select from plain where id = %s and embedding is not null", number) - sent) * 1000


def _see(watcher: psycopg.Connection[Any], query: str, number: int) -> float:
    deadline = time.perf_counter() + LIMIT
    while not watcher.execute(query, [number], prepare=True).rowcount:
        if time.perf_counter() > deadline:
            raise BenchmarkError(f"row {number} had no vector after {LIMIT:.0f} s")
        time.sleep(LOOK_EVERY)
    return time.perf_counter()
