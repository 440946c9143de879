"""What every benchmark stands on: a durable server of its own, databases with pgsbert, a worker process, figures."""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql

from pgsbert import embedded, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MODEL = "fake-384"
DIMENSIONS = 384
TEMPLATE = "pgsbert_bench_template"

# As a server that keeps people's data: these are PostgreSQL's defaults, named so that nobody wonders. Checkpoints
# are kept out of the rounds, or they would decide single ones.
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
SETTINGS = {**DURABLE, "max_wal_size": "4GB", "checkpoint_timeout": "30min", "log_min_messages": "fatal"}

# The lock that an awake worker holds: writers who see it taken do not pay for NOTIFY.
AWAKE: LiteralString = "select pg_advisory_lock(1885827938, 1)"
ASLEEP: LiteralString = "select pg_advisory_unlock(1885827938, 1)"

# fmt: off
WORDS = [
    "account", "address", "archive", "battery", "bridge", "cable", "camera", "church", "cloud", "copper", "corner",
    "cotton", "danger", "desert", "device", "doctor", "engine", "escape", "export", "fabric", "farmer", "filter",
    "finger", "forest", "garden", "giant", "glass", "ground", "harbor", "hidden", "honey", "import", "index",
    "island", "jacket", "journey", "kernel", "kitchen", "ladder", "letter", "liquid", "magnet", "market", "memory",
    "mirror", "mountain", "needle", "network", "number", "office", "orange", "packet", "parent", "pencil", "planet",
    "pocket", "query", "question", "radio", "record", "repair", "reset", "river", "rocket", "saddle", "sample",
    "screen", "search", "shadow", "signal", "silver", "socket", "spring", "station", "summer", "switch", "table",
    "ticket", "tunnel", "update", "valley", "vector", "village", "violin", "water", "weather", "window", "winter",
    "yellow", "zebra",
]
# fmt: on


class BenchmarkError(Exception):
    """A benchmark could not run: what it measures was never reached."""


@dataclass(frozen=True)
class Figure:
    """One answer: the measured value, what the baseline did in the same run, and what is asked of it."""

    benchmark: str
    question: str
    measured: float
    unit: str
    baseline: str
    ratio: float
    passes: float | None = None
    goal: float | None = None
    more_is_better: bool = False

    @property
    def verdict(self) -> str:
        """Return 'goal', 'passes' or 'BELOW'; '' for a figure that nothing is asked of."""
        if self.goal is not None and self._reaches(self.goal):
            return "goal"
        if self.passes is not None:
            return "passes" if self._reaches(self.passes) else "BELOW"
        return ""

    def _reaches(self, limit: float) -> bool:
        return self.measured >= limit if self.more_is_better else self.measured <= limit


@dataclass(frozen=True)
class Bed:
    """The server of this run and the folder it lies in."""

    server: embedded.EmbeddedServer
    folder: Path

    def program(self, name: str) -> Path:
        """Return a program of the server's own version, such as pgbench."""
        return self.server.programs / name

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Give the DSN of a new database with pgsbert and the fake model, dropped afterwards."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            made = sql.Identifier(f"bench_{name}")
            admin.execute(sql.SQL("create database {} template {}").format(made, sql.Identifier(TEMPLATE)))
            try:
                yield self.server.dsn(f"bench_{name}")
            finally:
                admin.execute(sql.SQL("drop database {} with (force)").format(made))

    @contextmanager
    def worker(self, dsn: str, *options: str) -> Iterator[int]:
        """Run `pgsbert worker --allow-fake` until the block ends and give its pid; it has registered by then."""
        command = [sys.executable, "-c", "from pgsbert.cli import main; main()"]
        log = self.folder / "worker.log"
        with log.open("ab") as output:
            process = subprocess.Popen([*command, "worker", "--allow-fake", "--dsn", dsn, *options], stderr=output)
        try:
            with connect(dsn) as watcher:
                seen = lambda: process.poll() is not None or value(watcher, "select count(*) from pgsbert.worker")  # noqa: E731
                wait_until(seen, limit=60, what="the worker to start")
            if process.returncode is not None:
                raise BenchmarkError(f"the worker ended at once:\n{log.read_text()[-2000:]}")
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def make_bed() -> Iterator[Bed]:
    """Start a durable server in a folder of its own under /var/tmp; both are gone afterwards."""
    # as root the server runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-bench-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with embedded.start(folder / "postgres", settings=SETTINGS) as server:
            embedded.create_database(server, TEMPLATE)
            schema.install(server.dsn(TEMPLATE))
            with connect(server.dsn(TEMPLATE)) as connection:
                connection.execute(
                    "insert into pgsbert.model (name, kind, dimensions, max_tokens) values (%s, 'bi-encoder', %s, 256)",
                    [MODEL, DIMENSIONS],
                )
            yield Bed(server, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def describe(bed: Bed) -> str:
    """Return one line on the machine and the server's durability, as the server itself reports it."""
    with connect(bed.server.dsn()) as connection:
        settings = ", ".join(f"{name} {value(connection, f'show {name}')}" for name in DURABLE)
        version = value(connection, "show server_version")
    load = os.getloadavg()[0]
    return f"PostgreSQL {version} on {os.cpu_count()} cores (load {load:.1f}); {settings}"


def connect(dsn: str) -> psycopg.Connection[Any]:
    """Open an autocommit connection."""
    # a benchmark that waits for ever on a lock would never say so
    bounds = "-c statement_timeout=60s -c lock_timeout=20s"
    return psycopg.connect(dsn, autocommit=True, application_name="pgsbert bench", options=bounds)


def value(connection: psycopg.Connection[Any], query: LiteralString, *parameters: object) -> Any:
    """Return the first column of the first row."""
    row = connection.execute(query, parameters or None).fetchone()
    if row is None:
        raise BenchmarkError(f"no row from: {query}")
    return row[0]


def make_table(connection: psycopg.Connection[Any], name: str) -> sql.Identifier:
    """Make an empty table of the shape all benchmarks use: bigint key, two texts, an untracked column, a vector."""
    table = sql.Identifier(name)
    connection.execute(
        sql.SQL(
            "create table {} (id bigint generated by default as identity primary key, title text, body text,"
            " views integer not null default 0, embedding vector(384))"
        ).format(table)
    )
    return table


def make_vectorizer(connection: psycopg.Connection[Any], name: str) -> sql.Identifier:
    """Put a vectorizer on a table, without an index on the vectors; return the table that holds its queue."""
    connection.execute(
        "select pgsbert.create_vectorizer(%s::text::regclass, columns => '{title,body}', model => %s, index => 'none')",
        [name, MODEL],
    )
    return sql.Identifier("pgsbert", f"pending_{value(connection, 'select id from pgsbert.vectorizer')}")


def make_texts(count: int, *, seed: int = 1) -> list[tuple[str, str]]:
    """Return that many different (title, body), about thirty and eighty characters; the same ones at each run."""
    chance = random.Random(seed)
    return [(f"{_phrase(chance, 4)} {number}", _phrase(chance, 12)) for number in range(count)]


def _phrase(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(WORDS, k=words))


def copy_texts(connection: psycopg.Connection[Any], table: sql.Identifier, block: str) -> None:
    """COPY a block of COPY text lines (id, title, body) into a table, in a transaction of its own."""
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} (id, title, body) from stdin").format(table)) as copy,
    ):
        copy.write(block)


def copy_block(texts: Sequence[tuple[str, str]], *, first: int = 1) -> str:
    """Return texts as COPY text lines, with ids from ``first``."""
    return "".join(f"{number}\t{title}\t{body}\n" for number, (title, body) in enumerate(texts, start=first))


def seconds(act: Callable[[], object]) -> float:
    """Return how long a call took."""
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def alternate(rounds: int, sides: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure every side once a round, in an order that turns, and return each side's values."""
    measured: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides)
    for _ in range(rounds):
        for name in order:
            measured[name].append(sides[name]())
        order = [*order[1:], order[0]]
    return measured


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Return the median of the ratios of the rounds: what slows a whole round then leaves it alone."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that ``percent`` of them do not exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def wait_until(condition: Callable[[], object], *, limit: float, what: str, pause: float = 0.01) -> None:
    """Return when the condition is true; raises BenchmarkError after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited {limit:.0f} s in vain for {what}")
        time.sleep(pause)


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)
