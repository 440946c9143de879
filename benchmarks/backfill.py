"""How many rows a second does one worker embed from a large table, and does the rate fall as the queue grows?

For each size: `create_vectorizer` on the filled table is timed; a real `pgsbert worker` process with the fake model
fills it; then one UPDATE changes every text while the vectorizer is paused, so that all rows wait in the queue at
once, and the worker takes them. The worker's own log says when it had settled how many rows and what each claim took.
Baseline: the same work in its first tenth. At last, settles into a table with an HNSW index on its vectors.

Sizes are 10,000 and 200,000 rows, or those in PGSBERT_BENCH_ROWS, such as 10000,200000,2000000. With
PGSBERT_BENCH_SNAPSHOT=1 another transaction holds an old snapshot all the time, so that no dead row can be removed.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import psycopg
from psycopg import sql

from benchmarks.bed import (
    MODEL,
    BenchmarkError,
    Figure,
    copy_block,
    copy_texts,
    make_table,
    make_texts,
    percentile,
    say,
    seconds,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bed import Bed

SIZES = [int(size) for size in os.environ.get("PGSBERT_BENCH_ROWS", "10000,200000").split(",")]
HOLDS_SNAPSHOT = bool(os.environ.get("PGSBERT_BENCH_SNAPSHOT"))
SLOWEST = 500  # rows a second; a worker that is slower is not waited for
COPY_AT_ONCE = 100_000
INDEXED_ROWS = 5_000

EVENT = re.compile(r" (claimed|settled) vectorizer=\S+ (?:rows|done)=(\d+) .*?seconds=([\d.]+)")


@dataclass(frozen=True)
class Taken:
    """What the worker's log tells of one phase: when how many rows were settled, and the seconds of its statements."""

    settled: list[tuple[float, int]]
    claims: list[float]
    settles: list[float]

    @property
    def rate(self) -> float:
        """Rows a second, from the first settle to the last."""
        return self._rate_between(0, 1)

    @property
    def evenness(self) -> float:
        """The rate in the last tenth of the rows as a share of that in the second: the first one starts up."""
        return self._rate_between(0.9, 1) / self._rate_between(0.1, 0.2)

    def _rate_between(self, first: float, last: float) -> float:
        rows = self.settled[-1][1]
        return (last - first) * rows / (self._moment(last * rows) - self._moment(first * rows))

    def _moment(self, rows: float) -> float:
        """When that many rows had been settled: the log is looked at now and then, between two looks by proportion."""
        moments, counts = zip(*self.settled, strict=True)
        return float(numpy.interp(rows, counts, moments))


class Log:
    """The worker's log, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0

    def follow(self, rows: int) -> Taken:
        """Return when that many rows were settled; raises BenchmarkError for a worker that is too slow."""
        taken = Taken([(time.monotonic(), 0)], [], [])
        deadline = time.monotonic() + 60 + rows / SLOWEST
        done = 0
        while done < rows:
            time.sleep(0.05)
            with self._path.open(encoding="utf-8") as log:
                log.seek(self._position)
                lines = log.read()
            # a line may not be complete yet
            lines = lines[: lines.rfind("\n") + 1]
            self._position += len(lines.encode())
            for event, count, took in EVENT.findall(lines):
                (taken.claims if event == "claimed" else taken.settles).append(float(took))
                done += int(count) if event == "settled" else 0
            if done > taken.settled[-1][1]:
                taken.settled.append((time.monotonic(), done))
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{done} of {rows} rows were settled: {lines[-1000:]}")
        return taken


def run(bed: Bed) -> list[Figure]:
    """Measure each size, then settles with an index."""
    figures: list[Figure] = []
    for rows in SIZES:
        with bed.database(f"backfill_{rows}") as dsn, _old_snapshot(dsn):
            figures += _measure(bed, dsn, rows)
    with bed.database("indexed") as dsn:
        figures.append(_settle_with_index(bed, dsn))
    return figures


def _measure(bed: Bed, dsn: str, rows: int) -> list[Figure]:
    with psycopg.connect(dsn, autocommit=True) as user:
        table = make_table(user, "articles")
        for first in range(0, rows, COPY_AT_ONCE):
            count = min(COPY_AT_ONCE, rows - first)
            copy_texts(user, table, copy_block(make_texts(count, seed=first), first=first + 1))
        user.execute(sql.SQL("vacuum (analyze) {}").format(table))
        create = seconds(lambda: _make_vectorizer(user, "none"))
        with bed.worker(dsn) as process:
            log = Log(bed.folder / "worker.log")
            at_first = resident_bytes(process)
            filled = log.follow(rows)
            user.execute("select pgsbert.pause_vectorizer('articles')")
            user.execute(sql.SQL("update {} set body = body || '.'").format(table))
            status = seconds(lambda: value(user, "select pending from pgsbert.status"))
            user.execute("checkpoint")
            user.execute("select pgsbert.resume_vectorizer('articles')")
            queued = log.follow(rows)
            grown = (resident_bytes(process) - at_first) / 1e6
        if missing := value(user, "select count(*) from articles where embedding is null"):
            raise BenchmarkError(f"{missing} rows have no vector")
    say(f"{rows} rows: create_vectorizer {create * 1000:.0f} ms, status {status * 1000:.0f} ms, worker +{grown:.0f} MB")
    figures = [
        Figure("backfill", f"create_vectorizer on {rows:,} rows", create * 1000, "ms", "", 1, 1000, 1000),
        Figure("backfill", f"growth of the worker, {rows:,} rows", grown, "MB", "", 1, 50, 50),
    ]
    for what, taken in (("fill of", filled), ("queue of", queued)):
        claim = percentile(taken.claims, 95) * 1000
        say(f"  {what} {rows}: {taken.rate:.0f} rows/s, last tenth {taken.evenness:.2f}, claim p95 {claim:.0f} ms")
        question = f"{what} {rows:,} rows, last tenth to second; claim p95 {claim:.0f} ms"
        rate = f"{taken.rate:.0f} rows/s"
        figures.append(
            Figure("backfill", question, taken.rate, "rows/s", rate, taken.evenness, 8000, 8000, more_is_better=True)
        )
    return figures


def _settle_with_index(bed: Bed, dsn: str) -> Figure:
    """Settle into a table whose vectors have an HNSW index: each vector is also put into its graph."""
    with psycopg.connect(dsn, autocommit=True) as user:
        table = make_table(user, "articles")
        copy_texts(user, table, copy_block(make_texts(INDEXED_ROWS)))
        _make_vectorizer(user, "none")
        with bed.worker(dsn):
            log = Log(bed.folder / "worker.log")
            log.follow(INDEXED_ROWS)
            user.execute("create index on articles using hnsw (embedding vector_cosine_ops)")
            user.execute(sql.SQL("update {} set body = body || '.'").format(table))
            taken = log.follow(INDEXED_ROWS)
    longest = percentile(taken.settles, 99) * 1000
    say(f"settles with an HNSW index: p99 {longest:.0f} ms, {taken.rate:.0f} rows/s")
    return Figure(
        "backfill",
        f"settle p99, HNSW index on {INDEXED_ROWS:,} rows",
        longest,
        "ms",
        f"{taken.rate:.0f} rows/s",
        1,
        50,
        50,
    )


def _make_vectorizer(user: psycopg.Connection[Any], index: str) -> None:
    user.execute(
        "select pgsbert.create_vectorizer('articles', columns => '{title,body}', model => %s, index => %s)",
        [MODEL, index],
    )


@contextmanager
def _old_snapshot(dsn: str) -> Iterator[None]:
    if not HOLDS_SNAPSHOT:
        yield
        return
    with psycopg.connect(dsn) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute("select")
        yield


def resident_bytes(pid: int) -> int:
    """Return the memory that a process has resident; Linux only."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    if found is None:
        raise BenchmarkError(f"/proc says nothing of process {pid}")
    return int(found[1]) * 1024
