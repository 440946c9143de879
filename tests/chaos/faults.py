"""Do to workers, server and tables what the plan says."""

from __future__ import annotations

import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from pgsbert.embedded import EmbeddedServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Event

    from pgsbert.embedded import EmbeddedServer
    from tests.chaos.plan import Fault
    from tests.chaos.users import Record
    from tests.chaos.workers import Supervised

FIRST_KEY = 10**9  # beyond those of the users
HELD = 40  # rows of a long transaction


class Faults:
    """The faults of a run; what lasts runs beside the others."""

    def __init__(self, server: EmbeddedServer, workers: Sequence[Supervised], record: Record, stop: Event) -> None:
        self._server = server
        self._dsn = server.dsn()
        self._workers = workers
        self._record = record
        self._stop = stop
        self._keys = count(FIRST_KEY, HELD)
        self.happened: Counter[str] = Counter()

    def run(self, planned: Sequence[Fault]) -> None:
        """Let all happen at their times; returns when the last is over."""
        started = time.monotonic()
        with ThreadPoolExecutor(16) as threads:
            running = []
            for fault in planned:
                if self._stop.wait(max(started + fault.at - time.monotonic(), 0)):
                    break
                self.happened[fault.kind] += 1
                if fault.kind.startswith("restart"):
                    self._restart(fault.kind.removeprefix("restart "))
                else:
                    running.append(threads.submit(self._happen, fault))
        for one in running:
            one.result()

    def _restart(self, mode: str) -> None:
        outage = [time.monotonic(), float("inf")]
        self._record.outages.append(outage)
        result = self._server._pg_ctl("restart", "-m", mode, "-l", str(self._server.log))
        outage[1] = time.monotonic()
        if result.returncode:
            raise EmbeddedServerError(result.stderr)

    def _happen(self, fault: Fault) -> None:
        worker = self._workers[fault.worker]
        match fault.kind:
            case "kill":
                worker.send(signal.SIGKILL)
            case "stop":
                worker.send(signal.SIGSTOP)
                self._stop.wait(fault.lasts)
                worker.send(signal.SIGCONT)
            case _:
                self._connect_and(fault)

    def _connect_and(self, fault: Fault) -> None:
        while not self._stop.is_set():
            try:
                connection = psycopg.connect(self._dsn)
            except psycopg.OperationalError:
                self._stop.wait(0.1)  # the server restarts
                continue
            with suppress(psycopg.OperationalError), connection:
                self._in_database(connection, fault)
            return

    def _in_database(self, connection: psycopg.Connection[Any], fault: Fault) -> None:
        table = sql.Identifier(fault.table)
        match fault.kind:
            case "terminate":
                connection.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = %s",
                    [fault.backend],
                )
            case "long transaction":
                first = next(self._keys)
                keys = list(range(first, first + HELD))
                insert = sql.SQL("insert into {} (id, body) select i, 'held ' || i from unnest(%s::bigint[]) as i")
                connection.execute(insert.format(table), [keys])
                connection.commit()
                half = keys[: HELD // 2]
                update = sql.SQL("update {} set body = body || ' edited' where id = any (%s)")
                connection.execute(update.format(table), [half])
                connection.execute(sql.SQL("select from {} where id = any (%s) for update").format(table), [keys])
                self._stop.wait(fault.lasts)
            case "old snapshot":
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.execute(sql.SQL("select count(*) from {}").format(table))
                self._stop.wait(fault.lasts)
            case "raise" | "exit" | "hang":
                poison = sql.SQL("insert into {} (id, body) values (%s, %s)").format(table)
                connection.execute(poison, [next(self._keys), f"fake:{fault.kind}"])
