"""How long does `pgsbert.embed()` take in SQL?

A real `pgsbert worker` process with the fake model answers 200 different texts, one session, each in a transaction of
its own; then one text again and again within one transaction, which the session remembers. Baseline: `SELECT 1`
through a dblink connection to the same server, by turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bed import Figure, connect, make_texts, percentile, say, seconds, value

if TYPE_CHECKING:
    from benchmarks.bed import Bed

TEXTS = 200
HITS = 2000


def run(bed: Bed) -> list[Figure]:
    """Ask for texts nobody has asked for, and for one that was just asked for."""
    asked, loopback = [], []
    with bed.database("embed") as dsn, connect(dsn) as user, bed.worker(dsn):
        user.execute("select dblink_connect('bench', %s)", [dsn])
        user.execute("select pgsbert.embed('the first question loads the model', 'fake-384')")
        for title, _ in make_texts(TEXTS):
            loopback.append(seconds(lambda: user.execute("select n from dblink('bench', 'select 1') as d (n int)")))
            asked.append(seconds(lambda title=title: user.execute("select pgsbert.embed(%s, 'fake-384')", [title])))  # type: ignore[misc]
        with user.transaction():
            user.execute("select pgsbert.embed('again', 'fake-384')")
            query = "select count(pgsbert.embed('again', 'fake-384')) from generate_series(1, %s)"
            hit = seconds(lambda: value(user, query, HITS)) / HITS * 1e6
    p50, p95 = (percentile(asked, percent) * 1000 for percent in (50, 95))
    beside = percentile(loopback, 50) * 1000
    say(
        f"embed() of {TEXTS} texts: p50 {p50:.1f} ms, p95 {p95:.1f} ms; SELECT 1 by dblink: p50 {beside:.2f} ms;"
        f" a text remembered by the transaction: {hit:.0f} us"
    )
    baseline = f"{beside:.2f} ms SELECT 1 by dblink"
    return [
        Figure("embed", "embed() in SQL, different texts, p50", p50, "ms", baseline, p50 / beside, passes=8, goal=4),
        Figure("embed", "the same, p95", p95, "ms", baseline, p95 / beside),
        Figure("embed", "remembered by the transaction", hit, "us", baseline, hit / 1000 / beside),
    ]
