"""What tests use besides fixtures: a database at hand, conditions to wait for, a worker in a thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import FakeClassifier, FakeEncoder, FakeReranker
from pgsbert.worker import Options, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgsbert.types import LoadedModel, Model


@dataclass(frozen=True)
class Database:
    """One test's database."""

    name: str
    dsn: str

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """Open an autocommit connection."""
        return psycopg.connect(self.dsn, autocommit=True, **parameters)

    def execute(self, query: str, *parameters: object) -> list[Any]:
        """Run a statement on a connection of its own and return its rows."""
        with self.connect() as connection:
            return rows(connection, query, *parameters)


def rows(connection: psycopg.Connection[Any], query: str, *parameters: object) -> list[Any]:
    """Run a statement; one-column rows come as values."""
    cursor = connection.execute(query, parameters or None)
    if cursor.description is None:
        return []
    fetched = cursor.fetchall()
    return [row[0] for row in fetched] if len(cursor.description) == 1 else fetched


def wait_until(condition: Callable[[], object], *, timeout: float = 30.0) -> Any:
    """Return the first true value of ``condition``; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail("the condition did not become true in time")
        time.sleep(0.01)
    return value


@dataclass
class RunningWorker:
    """A worker in a thread of the test, with models whose calls can be counted."""

    worker: Worker
    encoder: FakeEncoder
    reranker: FakeReranker

    def load(self, model: Model) -> LoadedModel:
        """Return the fake of the asked kind."""
        fakes: dict[str, LoadedModel] = {"bi-encoder": self.encoder, "cross-encoder": self.reranker}
        return fakes.get(model.kind) or FakeClassifier()


@contextmanager
def run_worker(
    dsn: str,
    *,
    encoder: FakeEncoder | None = None,
    poll: timedelta = timedelta(seconds=5),
    sweep_every: timedelta = timedelta(minutes=10),
    poll_only: bool = False,
    load: Callable[[Model], LoadedModel] | None = None,
) -> Iterator[RunningWorker]:
    """Run a worker until the block ends; the first call to ``embed`` may come before it is up."""
    loop = asyncio.new_event_loop()
    running = RunningWorker(None, encoder or FakeEncoder(384), FakeReranker())  # type: ignore[arg-type]  # made in its loop
    ready = threading.Event()

    async def work() -> None:
        options = Options(dsn=dsn, poll_only=poll_only, poll=poll, sweep_every=sweep_every)
        running.worker = Worker(options, load or running.load)
        ready.set()
        await running.worker.run()

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
            wait_until(lambda: rows(connection, "select id from pgsbert.worker"))
        yield running
    finally:
        loop.call_soon_threadsafe(running.worker.stop)
        thread.join(20)
        assert not thread.is_alive()
        loop.close()


@contextmanager
def worker_process(dsn: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Run ``pgsbert worker`` as a user does, and end it with SIGTERM."""
    command = [str(Path(sys.executable).with_name("pgsbert")), "worker", "--dsn", dsn, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        log: list[str] = []
        # read on, or a full pipe would stop the worker
        reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
                wait_until(lambda: process.poll() is not None or rows(connection, "select id from pgsbert.worker"))
            assert process.poll() is None, "".join(log)
            yield process
        finally:
            process.terminate()
            process.wait(20)
            reader.join(5)
