"""Real worker processes on bad days: killed, stopped, cut off, poisoned; in the end every row has its vector."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert import embedded, schema
from tests.support import Database, rows, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    Connection = psycopg.Connection[Any]

PROGRAM = str(Path(sys.executable).with_name("pgsbert"))


class Process:
    """A worker process and what it has logged so far."""

    def __init__(self, dsn: str, *options: str) -> None:
        command = [PROGRAM, "worker", "--allow-fake", "--dsn", dsn, *options]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.log: list[str] = []
        # read on, or a full pipe would stop the worker
        self._reader = threading.Thread(target=lambda: self.log.extend(self._process.stderr or ()), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_logged(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.log)

    def settled(self) -> int:
        return sum(int(found[1]) for line in self.log if (found := re.search(r" settled .*done=(\d+)", line)))

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int:
        code = self._process.wait(timeout)
        self._reader.join(5)
        return code

    def is_running(self) -> bool:
        return self._process.poll() is None

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        if self.is_running():
            self._process.kill()
        self.wait(10)
        if self._process.stderr:
            self._process.stderr.close()


@contextmanager
def process(dsn: str, *options: str, ready: bool = True) -> Iterator[Process]:
    """Run a worker process until the block ends, from when it is ready to work."""
    running = Process(dsn, *options)
    try:
        if ready:
            wait_until(lambda: running.has_logged(r" started ") or not running.is_running())
            assert running.is_running(), running.log
        yield running
    finally:
        running.close()


def load(connection: Connection, count: int, *extra: str) -> None:
    connection.execute(f"insert into articles (title) select 'row ' || i from generate_series(1, {count}) as i")
    for title in extra:
        connection.execute("insert into articles (title) values (%s)", [title])


def embedded_rows(connection: Connection) -> int:
    return int(rows(connection, "select count(*) from articles where embedding is not null")[0])


def is_done(connection: Connection) -> bool:
    return rows(connection, "select count(*) from pgsbert.pending_1") == [0]


def is_done_or_dead(connection: Connection, worker: Process) -> bool:
    return is_done(connection) or not worker.is_running()


def leased(connection: Connection) -> list[int]:
    return rows(connection, "select k1 from pgsbert.lease_1 where worker is not null")


def test_another_worker_finishes_what_a_killed_one_had(articles: Connection, database: Database) -> None:
    # slow enough that the first worker is not done before the second is there
    load(articles, 300, *(f"fake:slow {i}" for i in range(30)))
    with process(database.dsn) as victim, process(database.dsn) as other:
        wait_until(lambda: leased(articles))
        wait_until(lambda: embedded_rows(articles) > 0)
        victim.send(signal.SIGKILL)
        victim.wait(10)
        wait_until(lambda: is_done(articles))
        assert embedded_rows(articles) == 330
        assert other.has_logged("workers_died")
    assert leased(articles) == []


def test_a_restarted_worker_finishes_what_it_had_when_it_was_killed(articles: Connection, database: Database) -> None:
    load(articles, 100, "fake:slow 1", "fake:slow 2", "fake:slow 3")
    with process(database.dsn) as victim:
        wait_until(lambda: leased(articles))
        victim.send(signal.SIGKILL)
        victim.wait(10)
    with process(database.dsn):
        wait_until(lambda: is_done(articles), timeout=20)
    assert embedded_rows(articles) == 103


@pytest.mark.parametrize("marker", ["fake:slow", "fake:hang"])
def test_sigterm_ends_a_worker_in_time_and_gives_its_rows_back(
    articles: Connection, database: Database, marker: str
) -> None:
    load(articles, 0, *(f"{marker} {i}" for i in range(60)))
    with process(database.dsn) as worker:
        wait_until(lambda: leased(articles))
        worker.send(signal.SIGTERM)
        assert worker.wait(10) == 0, worker.log
    assert leased(articles) == []
    assert rows(articles, "select id from pgsbert.worker") == []
    assert len(rows(articles, "select 1 from pgsbert.pending_1")) == 60 - embedded_rows(articles)
    # none of them is under suspicion
    assert rows(articles, "select 1 from pgsbert.lease_1 where attempts > 0") == []


def test_a_text_that_kills_the_process_ends_as_a_failure_and_takes_no_other_with_it(
    articles: Connection, database: Database
) -> None:
    load(articles, 40, "fake:exit")
    load(articles, 40)
    starts = 0
    while not is_done(articles):
        assert starts < 12
        with process(database.dsn, ready=False) as worker:
            starts += 1
            wait_until(partial(is_done_or_dead, articles, worker), timeout=20)
    assert embedded_rows(articles) == 80
    assert rows(articles, "select k1, error_class from pgsbert.lease_1 where failed_at is not null") == [
        (41, "WorkerDied")
    ]


def test_every_backend_of_a_worker_may_be_terminated(articles: Connection, database: Database) -> None:
    names = ["pgsbert rows", "pgsbert questions", "pgsbert listener"]
    kill = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = %s"
    )
    with process(database.dsn) as worker:
        for number, name in enumerate(names, start=1):
            load(articles, 200, "fake:slow 1")
            wait_until(partial(rows, articles, kill, name))
            wait_until(lambda: is_done(articles), timeout=20)
            assert embedded_rows(articles) == 201 * number
            wait_until(lambda: rows(articles, "select count(*) from pgsbert.worker") == [1])
        assert worker.is_running()


def test_two_processes_share_the_work(articles: Connection, database: Database) -> None:
    with process(database.dsn) as first, process(database.dsn) as second:
        load(articles, 400, *(f"fake:slow {i}" for i in range(10)))
        wait_until(lambda: is_done(articles), timeout=20)
        wait_until(lambda: first.settled() + second.settled() == 410)
        assert first.settled() > 0
        assert second.settled() > 0


def test_a_drain_ends_when_all_is_embedded_or_failed(articles: Connection, database: Database) -> None:
    load(articles, 300, "fake:raise")
    # the last attempt is near, so that the test need not sit out the others
    with process(database.dsn, "--drain", ready=False) as worker:
        wait_until(lambda: rows(articles, "select 1 from pgsbert.lease_1 where error is not null"))
        articles.execute("update pgsbert.lease_1 set attempts = 4")
        assert worker.wait(30) == 0, worker.log
    assert embedded_rows(articles) == 300
    assert is_done(articles)
    assert rows(articles, "select attempts, error_class from pgsbert.lease_1") == [(5, "RuntimeError")]
    assert rows(articles, "select id from pgsbert.worker") == []


def without_model(connection: Connection) -> None:
    """Make a vectorizer whose model no worker can load."""
    connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('./nowhere', 'bi-encoder', 8)")
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('notes', columns => '{body}', model => './nowhere')")
    connection.execute("insert into notes values (1, 'a')")


def test_a_drain_without_the_model_ends_with_the_reason(articles: Connection, database: Database) -> None:
    without_model(articles)
    load(articles, 10)
    with process(database.dsn, "--drain", ready=False) as worker:
        assert worker.wait(30) == 1, worker.log
        assert worker.log[-1].startswith("pgsbert: ")
        assert "nowhere" in worker.log[-1]
    assert embedded_rows(articles) == 10


def test_a_worker_without_the_model_idles_and_serves_the_others(articles: Connection, database: Database) -> None:
    without_model(articles)
    with process(database.dsn) as worker, psycopg.connect(database.dsn) as holder:
        wait_until(lambda: worker.has_logged("model_not_loaded"))
        load(articles, 10)
        wait_until(lambda: embedded_rows(articles) == 10)
        # and rows that somebody holds do not make it spin either
        holder.execute("select from articles where id = 1 for update")
        articles.execute("update articles set title = 'edited' where id > 1")
        before, until = worker.cpu_seconds(), time.monotonic() + 3
        wait_until(lambda: time.monotonic() > until)
        assert worker.cpu_seconds() - before < 0.5


@pytest.mark.parametrize(
    ("dsn", "reason"), [("host=/nowhere dbname=x", "No such file"), ("", "does not exist")], ids=["server", "database"]
)
def test_a_worker_that_finds_no_database_keeps_trying_and_says_so(database: Database, dsn: str, reason: str) -> None:
    missing = dsn or database.dsn.replace(f"/{database.name}?", "/missing?")
    with process(missing, ready=False) as worker:
        wait_until(lambda: len([line for line in worker.log if "connection_lost" in line]) >= 3)
        assert worker.has_logged(reason)
        assert worker.is_running()
        worker.send(signal.SIGTERM)
        assert worker.wait(10) == 0


def test_a_database_without_pgsbert_is_one_line_and_exit_1(empty_database: Database) -> None:
    with process(empty_database.dsn, ready=False) as worker:
        assert worker.wait(20) == 1
        assert worker.log == ['pgsbert: Schema pgsbert is not in this database: run "pgsbert install".\n']


def test_an_older_schema_is_one_line_and_exit_1(connection: Connection, database: Database) -> None:
    connection.execute("update pgsbert.migration set version_num = '0000'")
    with process(database.dsn, ready=False) as worker:
        assert worker.wait(20) == 1
        assert worker.log == [
            f'pgsbert: Schema is at 0000, this worker needs {schema.head()}: run "pgsbert upgrade".\n'
        ]


@contextmanager
def own_server(**settings: str) -> Iterator[embedded.EmbeddedServer]:
    """Start a server that the test may stop, with the empty table articles and its vectorizer."""
    # not pytest's tmp_path: as root the server runs as another user, who must reach the folder
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        server = stack.enter_context(embedded.start(folder / "postgres", settings={"fsync": "off", **settings}))
        schema.install(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8)")
            connection.execute("create table articles (id bigint generated always as identity primary key, title text)")
            connection.execute("select pgsbert.create_vectorizer('articles', columns => '{title}', model => 'fake-8')")
        yield server


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_worker_outlives_a_restart_of_the_server(mode: str) -> None:
    with own_server() as server, process(server.dsn()) as worker:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            load(connection, 3000, *(f"fake:slow {i}" for i in range(10)))
            wait_until(lambda: embedded_rows(connection) > 0)
        restarted = server._pg_ctl("restart", "-m", mode, "-l", str(server.log))
        assert restarted.returncode == 0, restarted.stderr
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            wait_until(lambda: is_done(connection), timeout=30)
            assert embedded_rows(connection) == 3010
        assert worker.has_logged("connection_lost")
        assert worker.is_running()


def test_where_transactions_are_prepared_commits_do_not_notify_and_the_poll_is_short() -> None:
    with (
        own_server(max_prepared_transactions="5") as server,
        process(server.dsn(), "--poll", "60"),
        psycopg.connect(server.dsn(), autocommit=True) as connection,
    ):
        connection.execute("begin")
        load(connection, 10)
        connection.execute("prepare transaction 'both'")
        connection.execute("commit prepared 'both'")
        wait_until(lambda: embedded_rows(connection) == 10, timeout=5)


def test_a_worker_outlives_a_server_that_takes_no_writes_for_a_while(database: Database, articles: Connection) -> None:
    articles.execute("set default_transaction_read_only = off")
    switch = f'alter database "{database.name}" set default_transaction_read_only = '
    backends = (
        "select pid from pg_stat_activity where application_name = 'pgsbert rows' and datname = current_database()"
    )
    with process(database.dsn) as worker:
        articles.execute(switch + "on")
        before = rows(articles, backends)
        articles.execute(f"select pg_terminate_backend(pid) from ({backends}) as b")
        # it comes back, and cannot make itself known
        wait_until(lambda: set(rows(articles, backends)) - set(before))
        articles.execute(switch + "off")
        articles.execute("insert into articles (title) values ('after all')")
        wait_until(lambda: rows(articles, "select count(*) from articles where embedding is not null") == [1])
        assert worker.is_running()
