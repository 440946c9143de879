"""The images, built and run for real: compose, scaled workers, killed containers, testcontainers, PostgreSQL 17."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import pgsbert
from tests.docker.engine import BRING_UP, DATABASE, ROOT, WORKER, Compose, answers, brought_up, build, run
from tests.support import rows, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    PgConnection = psycopg.Connection[Any]

pytestmark = pytest.mark.timeout(1200)

A_WHILE = timedelta(minutes=4)
PASSWORD = "it's a secret"
# what a server of any version must do; tests that need the embedded server's files or socket are not among them
SQL_SUITE = (
    "tests/db/test_smoke.py",
    "tests/db/test_embed.py",
)


@pytest.fixture(scope="session")
def engine() -> Iterator[None]:
    """Give a Docker engine: the one that runs, else one that is brought up for this run."""
    with ExitStack() as stack:
        if not answers() and (ROOT / BRING_UP).exists():
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            for name, value in stack.enter_context(brought_up()).items():
                patch.setenv(name, value)
        if not answers():
            reason = "no Docker engine runs here"
            pytest.fail(reason) if os.environ.get("REQUIRE_DOCKER") == "1" else pytest.skip(reason)
        yield


@pytest.fixture(scope="session")
def images(engine: None, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Build both images."""
    build(tmp_path_factory.mktemp("context"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def compose(images: None, port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Give a running project with two workers."""
    secrets = tmp_path_factory.mktemp("secrets")
    for name in ("database_password", "worker_password"):
        (secrets / name).write_text(f"{PASSWORD} of {name}\n")
    compose = Compose(f"pgsbert-test-{os.getpid()}", port, secrets)
    try:
        compose("up", "--detach", "--no-build", "--scale", "worker=2", timeout=300)
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "20")


@pytest.fixture
def connection(compose: Compose, port: int) -> Iterator[PgConnection]:
    """Connect as an application does, with the table note, emptied."""
    with opened(port) as connection:
        connection.execute("create table if not exists note (id int primary key, body text)")
        connection.execute("select pgsbert.create_vectorizer('note', '{body}', if_not_exists => true)")
        connection.execute("truncate note")
        yield connection


def opened(port: int) -> PgConnection:
    dsn = psycopg.conninfo.make_conninfo(
        host="127.0.0.1",
        port=port,
        dbname="search",
        user="postgres",
        password=f"{PASSWORD} of database_password",
    )
    return psycopg.connect(dsn, autocommit=True, connect_timeout=5)


def health(container: str) -> str:
    return run("docker", "inspect", "--format", "{{.State.Health.Status}}", container)


def settled(container: str) -> int:
    """Return how many vectors a worker says that it has stored."""
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    return sum(int(found) for found in re.findall(r" settled vectorizer=note done=(\d+)", done.stdout + done.stderr))


def add(connection: PgConnection, count: int) -> None:
    connection.execute(
        "insert into note select i, 'the text of note number ' || i from generate_series(1, %s) as i",
        [count],
    )


def test_an_insert_through_compose_is_embedded_and_found(connection: PgConnection, compose: Compose) -> None:
    connection.execute("insert into note values (1, 'Changing your credentials'), (2, 'Shipping times')")
    pgsbert.wait_until_synced(connection, "note", timeout=A_WHILE)
    [hit] = pgsbert.search(connection, "note", "reset a password", k=1)
    assert hit.item["id"] == 1
    for container in [*compose.containers("database"), *compose.containers("worker")]:
        wait_until(partial(lambda container: health(container) == "healthy", container), timeout=60)


def test_two_scaled_workers_share_the_work(connection: PgConnection, compose: Compose) -> None:
    one, two = compose.containers("worker")
    before = settled(one), settled(two)
    add(connection, 2000)
    pgsbert.wait_until_synced(connection, "note", timeout=A_WHILE)
    done = settled(one) - before[0], settled(two) - before[1]
    assert sum(done) == 2000
    assert min(done) > 0


def test_a_killed_container_loses_nothing(connection: PgConnection, compose: Compose, port: int) -> None:
    one, _two = compose.containers("worker")
    [database] = compose.containers("database")
    add(connection, 2000)
    some = "select count(embedding) > 0 and count(embedding) < count(*) from note"
    wait_until(lambda: rows(connection, some)[0])
    run("docker", "kill", "--signal", "KILL", one)
    assert rows(connection, some)[0], "all was done before the worker was killed"
    run("docker", "kill", "--signal", "KILL", database)
    run("docker", "start", database)
    wait_until(lambda: health(database) == "healthy", timeout=60)
    try:
        with opened(port) as again:
            assert rows(again, "select count(*) from note") == [2000]
            pgsbert.wait_until_synced(again, "note", timeout=A_WHILE)
            assert rows(again, "select count(embedding) from note") == [2000]
            assert rows(again, "select count(*) from pgsbert.failures") == [0]
    finally:
        run("docker", "start", one)


def test_the_worker_is_nobody_and_has_no_torch(images: None) -> None:
    script = "import os; from importlib.util import find_spec as f; print(os.getuid(), f('torch'), f('pip'))"
    assert run("docker", "run", "--rm", "--entrypoint", "python", WORKER, "-c", script) == "10001 None None"


def test_a_worker_without_its_model_is_not_healthy(connection: PgConnection, compose: Compose) -> None:
    connection.execute("insert into note values (1, 'Changing your credentials')")
    environment = compose("run", "--detach", "-e", "PGSBERT_MODELS=/none", "worker").splitlines()[-1]
    try:
        wait_until(lambda: "all-MiniLM-L6-v2" in unhealthy(environment), timeout=60)
        assert "was not found" in unhealthy(environment)
    finally:
        run("docker", "rm", "--force", environment)


def unhealthy(container: str) -> str:
    done = subprocess.run(["docker", "exec", container, "pgsbert", "health", "--here"], capture_output=True, text=True)
    return done.stdout if done.returncode == 1 else ""


def test_a_first_start_without_a_password_says_what_to_set(images: None) -> None:
    done = subprocess.run(["docker", "run", "--rm", DATABASE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "set POSTGRES_PASSWORD_FILE" in done.stderr


def test_a_container_of_testcontainers_has_the_schema_and_a_worker(images: None) -> None:
    from pgsbert.testing import PgsbertContainer  # reads its settings when it is imported

    with PgsbertContainer(DATABASE) as container:
        with psycopg.connect(container.dsn(), autocommit=True) as connection:
            connection.execute("create table note (id int primary key, body text)")
            connection.execute("select pgsbert.create_vectorizer('note', '{body}')")
            connection.execute("insert into note values (1, 'reset a password'), (2, 'shipping times')")
            container.wait_until_synced()
            [hit] = pgsbert.search(connection, "note", "how to reset my password", k=1)
        assert hit.item["id"] == 1
        assert container.worker is not None
        assert container.worker.encoder.texts == 3


def test_the_sql_suite_passes_on_its_postgresql(images: None, tmp_path: Path) -> None:
    options = ["--env", "POSTGRES_PASSWORD=secret", "--publish", "127.0.0.1::5432", "--shm-size", "256m"]
    settings = ["-c", "fsync=off", "-c", "max_connections=200"]
    container = run("docker", "run", "--detach", "--rm", *options, DATABASE, *settings)
    try:
        wait_until(lambda: health(container) == "healthy", timeout=60)
        port = run("docker", "port", container, "5432").rpartition(":")[2]
        server = f"postgresql://postgres:secret@127.0.0.1:{port}/{{database}}"
        suite = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SQL_SUITE],
            cwd=ROOT,
            env={**os.environ, "PGSBERT_TEST_SERVER": server},
            capture_output=True,
            text=True,
            check=False,
        )
        assert suite.returncode == 0, suite.stdout[-6000:]
        with psycopg.connect(server.format(database="postgres")) as connection:
            print(rows(connection, "select version()"), suite.stdout.splitlines()[-1])
            versions = "select extversion from pg_extension where extname = 'vector'"
            print(rows(connection, versions))
    finally:
        run("docker", "rm", "--force", "--volumes", container)
