"""Run random work under random faults; exit code 1 if anything was lost, stale, failed or grew."""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import signal
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

import psycopg

from pgsbert import embedded, schema
from tests.chaos import check, plan
from tests.chaos.faults import Faults
from tests.chaos.users import SESSIONS, Probe, Record, Session
from tests.chaos.workers import Supervised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.check import Size, Verdict

WORKERS = 2
SYNC_WITHIN = 180.0  # seconds; the fifth attempt of a poison text is up to half a minute after the first

TABLES = """
insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8);
create table notes (id bigint primary key, body text, n int default 0);
create table cards (id bigint primary key, body text, n int default 0);
select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8');
select pgsbert.create_vectorizer('cards', '{body}', model => 'fake-8', storage => 'table');
insert into notes (id, body) select -i, 'first ' || i from generate_series(1000000, 1002000) as i;
insert into cards (id, body) select -i, 'first ' || i from generate_series(1000000, 1002000) as i;
"""


def main() -> int:
    """Run, print a table, return the exit code."""
    arguments = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    arguments.add_argument("--seconds", type=float, default=180)
    arguments.add_argument("--seed", type=int, default=None)
    given = arguments.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that server and workers end with it
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # a lost connection is what users expect here
    print(f"chaos: {given.seconds:g} s, seed {seed}", flush=True)
    # not /tmp: as root the server runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-chaos-", dir="/var/tmp"))
    folder.chmod(0o755)
    violations = run(folder, seconds=given.seconds, seed=seed)
    for violation, times in Counter(violations).items():
        print(f"VIOLATION: {violation.partition(chr(10))[0]} ({times} times)")
    if violations:
        print(f"Logs of the workers are in {folder}. Again: make chaos SECONDS={given.seconds:g} SEED={seed}")
        shutil.rmtree(folder / "postgres", ignore_errors=True)
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(f"Nothing lost, nothing stale, no user failed. Again: make chaos SECONDS={given.seconds:g} SEED={seed}")
    return 0


def run(folder: Path, *, seconds: float, seed: int) -> list[str]:
    """Let it all happen and return what should not have."""
    with ExitStack() as stack:
        server = stack.enter_context(embedded.start(folder / "postgres", settings={"fsync": "off"}))
        schema.install(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(TABLES)
        workers = [Supervised(server.dsn(), folder / f"worker-{number}.log") for number in range(WORKERS)]
        for worker in workers:
            stack.callback(worker.close)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            if check.synced_in(connection, 60, WORKERS) is None:
                return ["the workers did not embed the first rows"]
            before = check.measure(connection, workers)
        record, faults = _happen(server, workers, seconds=seconds, seed=seed)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            synced = check.synced_in(connection, SYNC_WITHIN, WORKERS)
            found = [row for table in plan.TABLES for row in check.contents(connection, table)]
            after = check.measure(connection, workers)
        verdict = check.judge(found)
        _report(record, faults, workers, verdict, before, after, synced)
        return _violations(record, workers, verdict, check.grown(before, after, WORKERS), synced)


def _happen(
    server: embedded.EmbeddedServer, workers: Sequence[Supervised], *, seconds: float, seed: int
) -> tuple[Record, Faults]:
    record, stop = Record(), threading.Event()
    faults = Faults(server, workers, record, stop)
    dsn = server.dsn()
    with ThreadPoolExecutor(SESSIONS + len(plan.TABLES)) as threads:
        running = [threads.submit(Session(dsn, n, record, stop).run, seed) for n in range(SESSIONS)]
        running += [threads.submit(Probe(dsn, table, record, stop).run) for table in plan.TABLES]
        timer = threading.Timer(seconds, stop.set)
        timer.start()
        try:
            faults.run(plan.faults(seed, seconds))
            stop.wait()
        finally:
            timer.cancel()
            stop.set()
        for one in running:
            one.result()
    return record, faults


def _report(
    record: Record,
    faults: Faults,
    workers: Sequence[Supervised],
    verdict: Verdict,
    before: Size,
    after: Size,
    synced: float | None,
) -> None:
    repeated = Counter(record.repeated)
    ends = sum((worker.ends for worker in workers), Counter[str]())
    lines: list[tuple[str, Any]] = [
        ("operations", len(record.done)),
        ("faults", ", ".join(f"{kind} {times}" for kind, times in sorted(faults.happened.items()))),
        ("workers that ended", ", ".join(f"{end} {times}" for end, times in sorted(ends.items())) or 0),
        *asdict(verdict).items(),
        ("user failures", len(record.failures)),
        ("repeated: strict writers, column storage", repeated["strict"]),
        ("repeated: the server was down", repeated["down"]),
        ("questions answered", record.done.count("ask")),
        ("questions not answered in 3 s", len(record.unanswered)),
        ("commit to vector, s", _spread(record.stalls)),
        ("write, s", _spread(record.writes)),
        ("synced after the end, s", "no" if synced is None else f"{synced:.1f}"),
        ("memory of the workers, MiB", f"{before.memory // 1024} -> {after.memory // 1024}"),
        ("most memory of one worker, MiB", max(worker.most_memory for worker in workers) // 1024),
        ("descriptors of the workers", f"{before.descriptors} -> {after.descriptors}"),
        ("connections of the workers", f"{before.connections} -> {after.connections}"),
    ]
    for name, value in lines:
        print(f"{name.replace('_', ' '):<42} {value}")


def _spread(seconds: Sequence[float]) -> str:
    if len(seconds) < 2:
        return "none"
    cuts = quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.3f}  p99 {cuts[98]:.3f}  longest {max(seconds):.3f}"


def _violations(
    record: Record, workers: Sequence[Supervised], verdict: Verdict, grown: list[str], synced: float | None
) -> list[str]:
    found = [f"{verdict.lost} rows lost"] * bool(verdict.lost)
    found += [f"{verdict.stale} rows stale"] * bool(verdict.stale)
    found += [f"{verdict.wrongly_failed} rows failed that are no poison"] * bool(verdict.wrongly_failed)
    found += record.failures
    found += [f"not synced within {SYNC_WITHIN:g} s"] * (synced is None)
    return found + grown + [crash for worker in workers for crash in worker.crashes]


if __name__ == "__main__":
    sys.exit(main())
