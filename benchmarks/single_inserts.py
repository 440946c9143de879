"""What share of the insert rate of eight clients is left when the table has a vectorizer?

pgbench inserts single rows; the vectorizer is paused and the lock of an awake worker held, as under steady load, so
what remains is the trigger and the queue entry. Baseline: a table of the same shape without a vectorizer, in pairs.
"""

from __future__ import annotations

import re
import subprocess
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
    make_table,
    make_vectorizer,
    median_ratio,
    say,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bed import Bed

CLIENTS = 8
PAIRS = 9
SECONDS = 4


def run(bed: Bed) -> list[Figure]:
    """Measure the rate with and without a vectorizer, in nine alternating pairs."""
    with bed.database("single_inserts") as dsn, connect(dsn) as user, connect(dsn) as holder:
        tables = {name: make_table(user, name) for name in ("plain", "articles")}
        pending = make_vectorizer(user, "articles")
        user.execute("select pgsbert.pause_vectorizer('articles')")
        scripts = {name: _script(bed.folder / f"{name}.sql", name) for name in tables}
        holder.execute(AWAKE)

        def rate(name: str) -> float:
            user.execute(sql.SQL("truncate {}, {}").format(tables[name], pending))
            user.execute("checkpoint")
            return _pgbench(bed.program("pgbench"), scripts[name], dsn)

        measured = alternate(PAIRS, {"without": lambda: rate("plain"), "with": lambda: rate("articles")})
        holder.execute(ASLEEP)
    ratio = median_ratio(measured["with"], measured["without"])
    baseline = f"{median(measured['without']):.0f} tps without"
    rate_with = median(measured["with"])
    say(f"{CLIENTS} clients inserting, {PAIRS} pairs of {SECONDS} s: {baseline}, {rate_with:.0f} tps with")
    return [
        Figure(
            "single_inserts",
            "8 clients inserting single rows, rate with / without",
            ratio,
            "x",
            baseline,
            ratio,
            passes=0.75,
            goal=0.9,
            more_is_better=True,
        )
    ]


def _script(path: Path, table: str) -> Path:
    path.write_text(
        "\\set n random(1, 1000000)\n"
        f"insert into {table} (title, body) values ('reset a password :n', 'open the settings and choose a new one');\n"
    )
    return path


def _pgbench(program: Path, script: Path, dsn: str) -> float:
    options = ["-n", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-f", str(script)]
    done = subprocess.run([str(program), *options, dsn], capture_output=True, text=True, check=False, timeout=60)
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise BenchmarkError(f"pgbench failed: {done.stderr.strip()[-500:]}")
    return float(found[1])
