"""A worker as a process of its own: started, watched and stopped by this one, and it never outlives it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Self

from pgsbert.backoff import delay
from pgsbert.database import connect
from pgsbert.errors import UsageError
from pgsbert.events import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STOP_LIMIT = timedelta(seconds=12)  # the worker itself promises 10
START_LIMIT = timedelta(seconds=30)
CHECK_EVERY = timedelta(seconds=2)
RESTART_FIRST = timedelta(seconds=1)
RESTART_MOST = timedelta(minutes=1)


class WorkerProcess:
    """A running `pgsbert worker` for the database `dsn`, until `stop()` or the end of a `with` block.

    Its log goes to the file `log_file`, else to our stderr. Raises UsageError if that file cannot be written.
    """

    def __init__(self, dsn: str, log_file: Path | None = None) -> None:
        self._dsn = dsn
        with _opened(log_file) as stderr:
            self._process = subprocess.Popen(
                # -P: the folder we are called from must not offer modules
                [sys.executable, "-P", "-m", "pgsbert", "worker", "--until-eof"],
                # it ends when this pipe does, so also when we are killed
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={**os.environ, "PGSBERT_DSN": dsn},
                start_new_session=True,  # Ctrl-C reaches us alone; we then stop it in order
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def wait(self, limit: timedelta = timedelta(0)) -> int | None:
        """Return its exit code once it has ended, None if it still runs after `limit`."""
        try:
            return self._process.wait(limit.total_seconds())
        except subprocess.TimeoutExpired:
            return None

    def is_at_work(self) -> bool:
        """Tell whether the database has seen it."""
        with connect(self._dsn, application_name="pgsbert sidecar") as connection:
            query = "select from pgsbert.workers where pid = %s and alive"
            return connection.execute(query, [self.pid]).rowcount > 0

    def stop(self) -> None:
        """End it in order, or after STOP_LIMIT by force; calling it again does nothing."""
        self._process.terminate()
        if self.wait(STOP_LIMIT) is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()


def keep_working(dsn: str, *, announce: Callable[[], None], check: Callable[[], object]) -> None:
    """Keep a worker running for ever, another one in place of each that ends.

    `announce` is called once, when the first is at work or did not come up; `check` every few seconds, and what
    it raises ends all.
    """
    attempt, announced = 0, False
    while True:
        started = time.monotonic()
        with WorkerProcess(dsn) as worker:
            while (code := worker.wait(CHECK_EVERY if announced else timedelta(seconds=0.1))) is None:
                check()
                if not announced and (worker.is_at_work() or _seconds_since(started) > START_LIMIT.total_seconds()):
                    announced = True
                    announce()
        if not announced:
            announced = True
            announce()
        if _seconds_since(started) > RESTART_MOST.total_seconds():
            attempt = 0
        pause = delay(attempt, first=RESTART_FIRST, most=RESTART_MOST, chance=random.random()).total_seconds()
        log("worker_ended", pid=worker.pid, code=code, restart_in=pause)
        attempt += 1
        time.sleep(pause)


def _seconds_since(moment: float) -> float:
    return time.monotonic() - moment


def _opened(log_file: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    if log_file is None:
        return nullcontext()
    try:
        return log_file.open("wb")
    except OSError as error:
        raise UsageError(f"Cannot write {log_file}: {error}. Choose another folder with PGSBERT_DATA_DIR.") from error
