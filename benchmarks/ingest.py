"""What does a real model lose on the way from INSERT to a stored vector, and what does a question lose beside it?

A real `pgsbert worker --engine onnx` process with all-MiniLM-L6-v2; the texts are docstrings of the standard library,
of mixed lengths. By turns, ROUNDS times: TEXTS of them are inserted by one statement, and the clock runs from there
until all have their vectors; the same texts are encoded by the same engine in this process, in one call. Then different
questions are asked in SQL while a backfill runs; baseline: the same while nothing else is to do. Then workers are
started with one row waiting, until it has its vector; the exported model is in the cache. Memory is the most that the
worker process ever had resident, after all of that.
"""

from __future__ import annotations

import random
import re
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bed import (
    BenchmarkError,
    Figure,
    alternate,
    connect,
    median_ratio,
    percentile,
    say,
    seconds,
    value,
    wait_until,
)
from pgsbert.docstrings import collect
from pgsbert.models.load import Runtime, load
from pgsbert.types import Model

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bed import Bed
    from pgsbert.types import LoadedModel

MODEL = "all-MiniLM-L6-v2"
TEXTS = 1500
ROUNDS = 5
BACKFILL = 5000
QUESTIONS = 100
PAUSE = 0.02, 0.12  # seconds
STARTS = 5
LIMIT = 300.0


def run(bed: Bed) -> list[Figure]:
    """Measure inserts beside the bare engine, questions beside a backfill, the worker's memory, then its start."""
    texts = [docstring.text for docstring in collect()]
    random.Random(1).shuffle(texts)
    encoder = load(Model(name=MODEL, kind="bi-encoder"), Runtime(engine="onnx"))
    with bed.database("ingest") as dsn, connect(dsn) as user:
        user.execute("create table articles (id bigint generated always as identity primary key, body text)")
        user.execute("select pgsbert.create_vectorizer('articles', columns => '{body}', index => 'none')")
        with bed.worker(dsn, "--engine", "onnx") as pid:
            insert(user, ["the first row loads the model"])
            figures = [_inserts(user, encoder, texts[:TEXTS]), *_questions(user, texts)]
            peak = peak_bytes(pid) / 2**20
        say(f"the worker's peak: {peak:.0f} MiB")
        figures.append(Figure("ingest", "peak resident memory, ONNX worker", peak, "MiB", "", 1, 350, 280))
        figures.append(_starts(bed, dsn, user))
    return figures


def insert(user: psycopg.Connection[Any], texts: list[str]) -> None:
    """Insert rows by one statement and return when all have their vectors."""
    user.execute("insert into articles (body) select unnest(%s::text[])", [texts])
    wait_for_vectors(user)


def wait_for_vectors(user: psycopg.Connection[Any]) -> None:
    """Return when nothing is pending; every row has its vector then."""
    is_empty = "select not exists (select from pgsbert.pending_1)"
    wait_until(lambda: value(user, is_empty), limit=LIMIT, what="the queue to empty", pause=0.02)
    if missing := value(user, "select count(*) from articles where embedding is null and body <> ''"):
        raise BenchmarkError(f"{missing} rows have no vector")


def _inserts(user: psycopg.Connection[Any], encoder: LoadedModel, texts: list[str]) -> Figure:
    def ingest() -> float:
        user.execute("truncate articles")
        return len(texts) / seconds(lambda: insert(user, texts))

    def encode() -> float:
        return len(texts) / seconds(lambda: encoder.encode(texts))  # type: ignore[union-attr]  # a bi-encoder

    measured = alternate(ROUNDS, {"ingest": ingest, "engine": encode})
    for side, rates in measured.items():
        say(f"  {side}: {', '.join(f'{rate:.1f}' for rate in rates)} texts/s")
    ratio = median_ratio(measured["ingest"], measured["engine"])
    rate, bare = (statistics.median(measured[side]) for side in ("ingest", "engine"))
    say(f"INSERT to stored vector, {len(texts)} docstrings: {rate:.1f} texts/s, {ratio:.3f} of the engine's {bare:.1f}")
    question = "INSERT to stored vector, share of the engine's rate"
    return Figure("ingest", question, ratio, "x", f"{bare:.1f} texts/s", ratio, 0.93, 0.97, more_is_better=True)


def _questions(user: psycopg.Connection[Any], texts: list[str]) -> list[Figure]:
    alone = _ask(user, "alone", QUESTIONS)
    user.execute("truncate articles")
    user.execute("insert into articles (body) select unnest(%s::text[])", [texts[:BACKFILL]])
    beside = _ask(user, "beside a backfill", QUESTIONS)
    if not value(user, "select exists (select from pgsbert.pending_1)"):
        raise BenchmarkError("the backfill was over before the last question")
    user.execute("truncate articles")
    p50, p95 = (percentile(beside, percent) for percent in (50, 95))
    q50, q95 = (percentile(alone, percent) for percent in (50, 95))
    say(f"embed() during a backfill: p50 {p50:.1f} ms, p95 {p95:.1f} ms; alone: p50 {q50:.1f} ms, p95 {q95:.1f} ms")
    baseline = f"{q95:.1f} ms alone"
    return [
        Figure("ingest", "a question during a backfill, p95", p95, "ms", baseline, p95 / q95, passes=150, goal=60),
        Figure("ingest", "the same, p50", p50, "ms", f"{q50:.1f} ms alone", p50 / q50),
    ]


def _ask(user: psycopg.Connection[Any], when: str, count: int) -> list[float]:
    """Return the milliseconds of each of so many different questions."""
    chance = random.Random(3)
    user.execute("set pgsbert.timeout = '30s'")
    took = []
    for number in range(count):
        time.sleep(chance.uniform(*PAUSE))
        question = f"how do I find file number {number} {when}?"
        took.append(seconds(lambda question=question: user.execute("select pgsbert.embed(%s)", [question])) * 1000)  # type: ignore[misc]
    return took


def _starts(bed: Bed, dsn: str, user: psycopg.Connection[Any]) -> Figure:
    """Measure from the start of the process, which a shell's PATH would add nothing to."""
    took = []
    for number in range(STARTS):
        user.execute("insert into articles (body) values (%s)", [f"row {number}"])
        started = time.perf_counter()
        with bed.worker(dsn, "--engine", "onnx"):
            wait_for_vectors(user)
            took.append(time.perf_counter() - started)
    say(f"worker start to first embedding: {', '.join(f'{t:.2f}' for t in took)} s")
    return Figure("ingest", "worker start to first embedding", statistics.median(took), "s", "", 1, 2, 1)


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process ever had resident; Linux only."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    if found is None:
        raise BenchmarkError(f"/proc says nothing of process {pid}")
    return int(found[1]) * 1024
