"""Operating a worker: probes, metrics, doctor and the status that goes on, each as scripts and Prometheus use it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.test_cli import PROGRAM, pgsbert, read
from tests.support import wait_until, worker_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body, (0, reason) while nothing listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


def samples(port: int) -> dict[str, float]:
    """Return the metrics of a worker, by name and first label's value."""
    page = get(port, "/metrics")[1]
    return {
        " ".join([sample.name, *([sample.labels["vectorizer"]] if "vectorizer" in sample.labels else [])]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


@pytest.fixture
def notes(database: Database) -> Database:
    database.execute("create table notes (id int primary key, body text)")
    database.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', index => 'none')")
    database.execute("insert into notes values (1, 'one'), (2, 'two'), (3, 'fake:raise')")
    return database


@contextmanager
def measured_worker(database: Database) -> Iterator[int]:
    """Run a worker with metrics; yields the port when it is ready."""
    port = free_port()
    with worker_process(database.dsn, "--allow-fake", "--metrics-port", str(port)):
        wait_until(lambda: get(port, "/ready")[0] == 200)
        yield port


def test_metrics_count_what_the_worker_did(notes: Database) -> None:
    with measured_worker(notes) as port:
        notes.execute("select pgsbert.embed('a question', 'fake-8')")
        found = wait_until(
            lambda: (
                (s := samples(port)).get("pgsbert_rows_settled_total notes") == 2
                and s.get("pgsbert_row_attempts_failed_total notes", 0) >= 1
                and s.get("pgsbert_questions_answered_total") == 1
                and s.get("pgsbert_rows_pending notes") == 1
                and s
            )
        )
        assert found["pgsbert_ready"] == 1
        assert found["pgsbert_settle_seconds_count notes"] >= 1
        assert found["pgsbert_oldest_pending_seconds notes"] > 0


def test_every_metric_is_documented_and_every_documented_metric_exists(notes: Database) -> None:
    with measured_worker(notes) as port:
        page = get(port, "/metrics")[1]
    names = {family.name for family in text_string_to_metric_families(page)}
    documented = set(re.findall(r"^\| `(pgsbert_\w+?)(?:_total)?` \|", OPERATIONS.read_text(encoding="utf-8"), re.M))
    assert {name.removesuffix("_total") for name in names} == documented


def test_probes_say_why_a_worker_is_not_ready(notes: Database) -> None:
    with measured_worker(notes) as port:
        assert get(port, "/live") == (200, "live\n")
        assert get(port, "/elsewhere")[0] == 404
        notes.execute("insert into pgsbert.model (name, kind, dimensions) values ('not-there', 'bi-encoder', 8)")
        notes.execute("create table others (id int primary key, body text)")
        notes.execute("select pgsbert.create_vectorizer('others', '{body}', model => 'not-there')")
        status, reason = wait_until(lambda: (answer := get(port, "/ready"))[0] == 503 and answer)
        assert (status, reason.startswith("model not-there: ")) == (503, True)
        wait_until(lambda: "model not-there: " in pgsbert("health", "--here", "--dsn", notes.dsn).stdout)


def test_a_port_that_is_taken_is_said_in_one_line(notes: Database) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = pgsbert("worker", "--allow-fake", "--metrics-port", port, "--dsn", notes.dsn)
    assert done.returncode == 2
    assert f"cannot be served on 127.0.0.1:{port}" in done.stderr.splitlines()[-1]


@pytest.fixture
def login(notes: Database) -> Iterator[str]:
    """Give the connection string of a login that may do what a worker does, and nothing else."""
    notes.execute("create role health_worker login in role pgsbert_worker")
    yield notes.dsn.replace("postgres@", "health_worker@")
    notes.execute("drop role health_worker")


def test_the_login_of_a_worker_may_ask_for_its_health(notes: Database, login: str) -> None:
    done = pgsbert("health", "--dsn", login)
    assert (done.returncode, done.stdout) == (1, "no worker is alive\n")
    with worker_process(notes.dsn, "--allow-fake"):
        wait_until(lambda: pgsbert("health", "--here", "--dsn", login).stdout == "healthy\n")


def test_health_is_zero_while_a_worker_serves_and_one_with_the_reason_else(notes: Database) -> None:
    done = pgsbert("health", "--dsn", notes.dsn)
    assert (done.returncode, done.stdout) == (1, "no worker is alive\n")
    with worker_process(notes.dsn, "--allow-fake"):
        wait_until(lambda: pgsbert("health", "--dsn", notes.dsn).returncode == 0)
        assert pgsbert("health", "--here", "--dsn", notes.dsn).stdout == "healthy\n"
        notes.execute("update pgsbert.pending_1 set queued_at = now() - interval '1 hour'")  # fake:raise waits
        done = pgsbert("health", "--max-lag", "60", "--dsn", notes.dsn)
        assert done.returncode == 1
        assert re.fullmatch(r"vectorizer notes: a row has waited for 36\d\d s\n", done.stdout)
        notes.execute("alter table notes drop column body cascade")
        done = wait_until(lambda: (done := pgsbert("health", "--dsn", notes.dsn)).returncode and done)
        assert done.stdout.startswith("vectorizer notes is broken: column")
        # a container is not restarted for what a restart does not mend
        assert pgsbert("health", "--here", "--dsn", notes.dsn).returncode == 0


def test_doctor_is_a_table_or_json_with_an_exit_code(notes: Database) -> None:
    done = pgsbert("doctor", "--dsn", notes.dsn)
    assert done.returncode == 1
    assert "start one: pgsbert worker" in done.stdout
    notes.execute("delete from notes where id = 3")
    with worker_process(notes.dsn, "--allow-fake"):
        wait_until(lambda: pgsbert("doctor", "--dsn", notes.dsn).stdout == "Nothing is wrong.\n")
        assert read("doctor", "--dsn", notes.dsn) == []


def test_status_goes_on_until_interrupted(notes: Database) -> None:
    with subprocess.Popen(
        [PROGRAM, "status", "--watch", "0.1", "--dsn", notes.dsn],
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = 0
        while seen < 3:
            seen += "notes" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (0, "")
