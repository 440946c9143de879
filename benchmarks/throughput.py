"""How many rows a second does one worker take from the queue to a stored vector?

A real `pgsbert worker` process with the fake model, bigint key, 384 dimensions, no index on the vectors; 50,000 rows
wait in the queue of a paused vectorizer and the clock runs from its resumption until the queue is empty. The fake
model's own time is part of it. Baseline: binary COPY of the same vectors into a temporary table and one UPDATE ...
FROM, which is what storing alone costs when nobody else may use the rows meanwhile.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import Vector
from psycopg import sql

from benchmarks.bed import (
    DIMENSIONS,
    BenchmarkError,
    Figure,
    alternate,
    connect,
    copy_block,
    copy_texts,
    make_table,
    make_texts,
    make_vectorizer,
    median_ratio,
    say,
    seconds,
    value,
    wait_until,
)
from pgsbert.database import register_vector
from pgsbert.testing import FakeEncoder

if TYPE_CHECKING:
    import psycopg

    from benchmarks.bed import Bed

ROWS = 50_000
ROUNDS = 3
LIMIT = 60.0  # seconds a round


def run(bed: Bed) -> list[Figure]:
    """Measure worker and plain UPDATE in turn, from the same rows to the same vectors."""
    texts = make_texts(ROWS)
    block = copy_block(texts)
    encoder = FakeEncoder(DIMENSIONS)
    vectors: list[Vector] = []
    encoding = seconds(lambda: vectors.extend(map(Vector, encoder.encode(["\n".join(text) for text in texts]))))
    with bed.database("throughput") as dsn, connect(dsn) as user, bed.worker(dsn):
        register_vector(user)
        plain, articles = make_table(user, "plain"), make_table(user, "articles")
        pending = make_vectorizer(user, "articles")
        _warm_up(user)

        def drain() -> float:
            user.execute("select pgsbert.pause_vectorizer('articles')")
            user.execute(sql.SQL("truncate {}").format(articles))
            user.execute(sql.SQL("vacuum (analyze) {}").format(pending))
            copy_texts(user, articles, block)
            user.execute("checkpoint")

            def resume_and_wait() -> None:
                user.execute("select pgsbert.resume_vectorizer('articles')")
                is_empty = sql.SQL("select from {} limit 1").format(pending)
                wait_until(
                    lambda: not user.execute(is_empty).rowcount, limit=LIMIT, what="the queue to empty", pause=0.02
                )

            rate = ROWS / seconds(resume_and_wait)
            if missing := value(user, "select count(*) from articles where embedding is null"):
                raise BenchmarkError(f"{missing} rows have no vector")
            return rate

        def store() -> float:
            user.execute(sql.SQL("truncate {}").format(plain))
            copy_texts(user, plain, block)
            user.execute("checkpoint")
            return ROWS / seconds(lambda: _store(user, vectors))

        measured = alternate(ROUNDS, {"worker": drain, "plain": store})
        _check(user, vectors)
    rate = median(measured["worker"])
    ratio = median_ratio(measured["worker"], measured["plain"])
    baseline = f"{median(measured['plain']):.0f} rows/s by COPY and UPDATE"
    say(
        f"queue to stored vector, {ROWS} rows, {ROUNDS} rounds: {rate:.0f} rows/s ({ratio:.2f} of {baseline});"
        f" the fake model alone: {ROWS / encoding:.0f} rows/s"
    )
    question = "queue to stored vector, one worker process, fake model"
    return [Figure("throughput", question, rate, "rows/s", baseline, ratio, 6000, 10_000, more_is_better=True)]


def _warm_up(user: psycopg.Connection[Any]) -> None:
    """Let the worker load its model and end the first fill."""
    user.execute("insert into articles (id, title, body) values (0, 'first', 'row')")
    user.execute("call pgsbert.wait_until_synced('articles')")


def _store(user: psycopg.Connection[Any], vectors: list[Vector]) -> None:
    with user.transaction(), user.cursor() as cursor:
        cursor.execute("create temporary table fresh (id bigint, embedding vector(384)) on commit drop")
        with cursor.copy("copy fresh (id, embedding) from stdin (format binary)") as copy:
            copy.set_types(["int8", "vector"])
            for row in enumerate(vectors, start=1):
                copy.write_row(row)
        cursor.execute("analyze fresh")
        cursor.execute("update plain as p set embedding = f.embedding from fresh as f where p.id = f.id")


def _check(user: psycopg.Connection[Any], vectors: list[Vector]) -> None:
    """Both sides must have stored the same."""
    for number in (1, len(vectors) // 2, len(vectors)):
        for query in ("select embedding from articles where id = %s", "select embedding from plain where id = %s"):
            stored = value(user, query, number)
            if not np.allclose(stored.to_numpy(), vectors[number - 1].to_numpy(), atol=1e-6):
                raise BenchmarkError(f"row {number} has another vector than the model made")
