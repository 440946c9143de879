"""How much slower is an UPDATE of 20,000 rows that does not touch a tracked column, on a table with a vectorizer?

Every row has its 384-dimensional vector, in both tables. VACUUM between rounds, so that bloat does not decide.
Baseline: a table of the same shape and content without a vectorizer.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from psycopg import sql

from benchmarks.bed import (
    ASLEEP,
    AWAKE,
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
)

if TYPE_CHECKING:
    from benchmarks.bed import Bed

ROWS = 20_000
ROUNDS = 9

FILL = """
update {} as t
set embedding = array(select sin(t.id * 7.0 + n)::real from generate_series(1, 384) as n)::vector
"""


def run(bed: Bed) -> list[Figure]:
    """Measure the same UPDATE with and without a vectorizer, in turn."""
    block = copy_block(make_texts(ROWS))
    with bed.database("untracked_update") as dsn, connect(dsn) as user, connect(dsn) as holder:
        plain, articles = make_table(user, "plain"), make_table(user, "articles")
        for table in plain, articles:
            copy_texts(user, table, block)
            user.execute(sql.SQL(FILL).format(table))
            user.execute(sql.SQL("vacuum (full, analyze) {}").format(table))
        pending = make_vectorizer(user, "articles")
        holder.execute(AWAKE)

        def update(table: sql.Identifier) -> float:
            user.execute(sql.SQL("vacuum {}").format(table))
            user.execute("checkpoint")
            return seconds(lambda: user.execute(sql.SQL("update {} set views = views + 1").format(table)))

        # the first round makes the room that updates then reuse
        for table in plain, articles:
            update(table)
        measured = alternate(ROUNDS, {"without": lambda: update(plain), "with": lambda: update(articles)})
        holder.execute(ASLEEP)
        if user.execute(sql.SQL("select from {} limit 1").format(pending)).rowcount:
            raise BenchmarkError("an untracked update queued rows")
    ratio = median_ratio(measured["with"], measured["without"])
    baseline = f"{median(measured['without']) * 1000:.0f} ms without"
    say(f"untracked UPDATE of {ROWS} rows, {ROUNDS} rounds: {baseline}, {median(measured['with']) * 1000:.0f} ms with")
    question = "UPDATE of an untracked column, 20,000 rows, with / without"
    return [Figure("untracked_update", question, ratio, "x", baseline, ratio, passes=2.2, goal=1.7)]
