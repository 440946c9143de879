"""What tests use besides fixtures: the testing kit's own, conditions to wait for, a worker in a process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import Database, RunningWorker, run_worker
from pgsbert.testing.database import rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Database", "RunningWorker", "rows", "run_worker", "wait_until", "worker_process"]


def wait_until(condition: Callable[[], object], *, timeout: float = 30.0) -> Any:
    """Return the first true value of ``condition``; fail after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail("the condition did not become true in time")
        time.sleep(0.01)
    return value


@contextmanager
def worker_process(
    dsn: str, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run ``pgsbert worker`` as a user does, and end it with SIGTERM."""
    command = [str(Path(sys.executable).with_name("pgsbert")), "worker", "--dsn", dsn, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
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
