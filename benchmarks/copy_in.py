"""How much slower is a COPY of 50,000 short rows into a table that has a vectorizer?

No worker runs. The benchmark holds the lock of an awake worker, so that NOTIFY is not paid; the same without the lock
is measured beside it. Baseline: a table of the same shape without a vectorizer.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from psycopg import sql

from benchmarks.bed import (
    ASLEEP,
    AWAKE,
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
)

if TYPE_CHECKING:
    from benchmarks.bed import Bed

ROWS = 50_000
ROUNDS = 7


def run(bed: Bed) -> list[Figure]:
    """Measure the COPY with an awake worker, with a sleeping one, and without a vectorizer, in turn."""
    block = copy_block(make_texts(ROWS))
    with bed.database("copy_in") as dsn, connect(dsn) as user, connect(dsn) as holder:
        plain, articles = make_table(user, "plain"), make_table(user, "articles")
        pending = make_vectorizer(user, "articles")

        def copy(table: sql.Identifier, *, awake: bool = False) -> float:
            user.execute(sql.SQL("truncate {}, {}").format(table, pending))
            user.execute("checkpoint")
            if awake:
                holder.execute(AWAKE)
            try:
                return seconds(lambda: copy_texts(user, table, block))
            finally:
                if awake:
                    holder.execute(ASLEEP)

        measured = alternate(
            ROUNDS,
            {
                "without": lambda: copy(plain),
                "awake": lambda: copy(articles, awake=True),
                "asleep": lambda: copy(articles),
            },
        )
    ratio = median_ratio(measured["awake"], measured["without"])
    asleep = median_ratio(measured["asleep"], measured["without"])
    baseline = f"{median(measured['without']) * 1000:.0f} ms without"
    say(
        f"COPY of {ROWS} rows, {ROUNDS} rounds: {baseline}, with a vectorizer"
        f" {median(measured['awake']) * 1000:.0f} ms when a worker is awake ({ratio:.2f}x),"
        f" {median(measured['asleep']) * 1000:.0f} ms when it pays NOTIFY ({asleep:.2f}x)"
    )
    return [
        Figure("copy_in", "COPY of 50,000 rows, with / without", ratio, "x", baseline, ratio, passes=2.5, goal=2.0),
        Figure("copy_in", "the same, paying NOTIFY", asleep, "x", baseline, asleep),
    ]
