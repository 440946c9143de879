"""`pgsbert demo` and `pgsbert up` as their users run them: real processes, real model, in a pipe and on a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgsbert import cli, embedded
from pgsbert.docstrings import QUESTIONS
from pgsbert.embedded import folders, postmaster
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PGSBERT = [sys.executable, "-m", "pgsbert"]
FIRST_HITS_WITHIN = 120  # seconds; the promise is 60, and this machine may be busy or slower
ANSWERS = dict(
    zip(
        QUESTIONS,
        (
            "shutil.disk_usage",
            "calendar.weekday",
            "logging.handlers.RotatingFileHandler",
            "os.cpu_count",
            "random.Random.sample",
        ),
        strict=True,
    )
)
OWN_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
PROMPT = r"\nAsk in English, or press Ctrl-D to end[^?]*\n\? $"
NO_RERANKER = "no reranker: run pgsbert model add cross-encoder/ms-marco-MiniLM-L6-v2"

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Give a data folder; as root the server is another user's, who must reach it."""
    base = Path(tempfile.mkdtemp(prefix="pgsbert-demo-", dir="/var/tmp"))
    base.chmod(0o755)
    try:
        yield base / "postgres"
    finally:
        if postmaster.find(base / "postgres"):  # left by a test that failed
            embedded.start(base / "postgres").stop()
        shutil.rmtree(base)


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "PGSBERT_DATA_DIR": str(folder), "TERM": "xterm", "COLUMNS": "80"}


@pytest.fixture(scope="module")
def first_run(folder: Path, environment: dict[str, str]) -> str:
    """Run the demo in a pipe, on no data; what it wrote."""
    ran = subprocess.run(
        [*PGSBERT, "demo"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FIRST_HITS_WITHIN + 60,
    )
    print(ran.stdout)
    assert ran.returncode == 0
    assert processes_left(folder) == []
    return ran.stdout


def processes_left(folder: Path) -> list[str]:
    """Return the command lines of what was started for that folder and still runs."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PGSBERT_DATA_DIR={folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                left.append((process / "cmdline").read_text().replace("\0", " "))
    if postmaster.find(folder) or postmaster.has_orphans(folder):
        left.append(f"postgres -D {folder}")
    return left


def hits(output: str, question: str) -> list[str]:
    """Return the names that follow a question, best first."""
    _, _, after = output.partition(f"\n{question}  (")
    return re.findall(r"^  -?\d\.\d{3}  (\S+)", after.partition("\n\n")[0], re.MULTILINE)


def embedded_rows(output: str) -> list[int]:
    return [int(count.replace(",", "")) for count in re.findall(r"([\d,]+) of [\d,]+ embedded", output)]


class Terminal:
    """A program on a terminal of its own, so that the keys Ctrl-C and Ctrl-D do there what they do."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._terminal, side = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWN_TERMINAL, *command],
            env=environment,
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)
        self.output = ""

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def wait_for(self, pattern: str, *, limit: float = 60) -> None:
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.output):
            assert time.monotonic() < deadline, self.output[-3000:]
            self._read()

    def wait(self, *, limit: float = 60) -> int:
        """Return the exit code."""
        deadline = time.monotonic() + limit
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.output[-3000:]
            self._read()
        self._read()
        return self.process.returncode

    def close(self) -> None:
        """End it, if it still runs, as closing the window does."""
        os.close(self._terminal)
        self.process.wait(30)

    def _read(self) -> None:
        if select.select([self._terminal], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # the other side is closed
                read = os.read(self._terminal, 65536).decode(errors="replace")
                self.output += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read.replace("\r\n", "\n"))


@contextlib.contextmanager
def demo_on_a_terminal(folder: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """Give the demo at its prompt; it must end in order with the block."""
    with contextlib.closing(Terminal([*PGSBERT, "demo"], environment)) as terminal:
        terminal.wait_for(PROMPT, limit=FIRST_HITS_WITHIN)
        yield terminal
        assert terminal.wait() == 0, terminal.output
    assert processes_left(folder) == []
    assert f"Stopping; the data stay in {folder}" in terminal.output
    assert "Traceback" not in terminal.output


@pytest.mark.parametrize(("question", "answer"), ANSWERS.items())
def test_demo_answers_its_questions(question: str, answer: str, first_run: str) -> None:
    found = hits(first_run, question)
    assert found[0] == answer
    assert len(found) == 3


def test_demo_shows_its_sql_its_psql_line_and_what_is_embedded(first_run: str, folder: Path) -> None:
    assert f"ORDER BY embedding <=> (SELECT pgsbert.embed('{QUESTIONS[0]}'))\nLIMIT 3;" in first_run
    assert first_run.count("SELECT name") == 1
    assert re.search(rf"^/\S*/psql 'postgresql://postgres@/demo\?host=.*{folder.parent.name}.*'$", first_run, re.M)
    for question in QUESTIONS:
        assert re.search(rf"^{re.escape(question)}  \([\d,]+ of [\d,]{{5}} embedded\)$", first_run, re.MULTILINE)
    assert embedded_rows(first_run)[-1] >= 500


def test_demo_says_that_there_is_no_reranker(first_run: str) -> None:
    assert f"pgsbert.rerank: {NO_RERANKER}\n" in first_run


def test_demo_in_a_pipe_writes_plain_lines(first_run: str) -> None:
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]| $", first_run, re.MULTILINE)
    assert len(re.findall(r"rows/s$", first_run, re.MULTILINE)) <= 10
    assert "Traceback" not in first_run


def test_first_hits_come_within_a_minute_or_so(first_run: str) -> None:
    (seconds,) = re.findall(r"The first hits came ([\d.]+) s after the start", first_run)
    print(f"first hits after {seconds} s")
    assert float(seconds) < FIRST_HITS_WITHIN


def test_second_run_goes_on_and_answers_on_a_terminal(
    first_run: str, folder: Path, environment: dict[str, str]
) -> None:
    with demo_on_a_terminal(folder, environment) as terminal:
        assert embedded_rows(terminal.output)[0] >= embedded_rows(first_run)[-1]
        terminal.type("a 'quote', a \\ and 'json' as text\n")
        terminal.wait_for(r"as text  \([^?]*\n\? $")
        terminal.type("\n")
        terminal.wait_for(r"\n\? \n\n\? $")
        terminal.type("\x04")
    assert any(name.startswith("json") for name in hits(terminal.output, "a 'quote', a \\ and 'json' as text"))


@pytest.mark.usefixtures("first_run")
def test_killed_demo_leaves_no_worker_and_the_next_one_ends_with_ctrl_c(
    folder: Path, environment: dict[str, str]
) -> None:
    with contextlib.closing(Terminal([*PGSBERT, "demo"], environment)) as killed:
        killed.wait_for("LIMIT 3", limit=FIRST_HITS_WITHIN)
        killed.process.kill()
        assert killed.wait() == -signal.SIGKILL
    wait_until(lambda: processes_left(folder) == [f"postgres -D {folder}"])
    with demo_on_a_terminal(folder, environment) as terminal:
        terminal.type("\x03")


@pytest.mark.usefixtures("first_run")
def test_up_serves_its_database_and_replaces_a_killed_worker(folder: Path, environment: dict[str, str]) -> None:
    with subprocess.Popen([*PGSBERT, "up", "--database", "mine"], env=environment, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            dsn = process.stdout.readline().decode().strip()
            assert dsn.startswith("postgresql://")
            with psycopg.connect(dsn, autocommit=True) as connection:
                assert connection.info.dbname == "mine"
                connection.execute("create table note (id int primary key, body text)")
                connection.execute("select pgsbert.create_vectorizer('note', columns => '{body}')")
                connection.execute("insert into note values (1, 'The cat sleeps on the sofa.')")
                kill_worker(connection)
                wait_until(lambda: is_embedded(connection), timeout=90)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert process.stdout.read() == b""
        finally:
            process.kill()
    assert processes_left(folder) == []


def kill_worker(connection: psycopg.Connection) -> None:
    (pid,) = connection.execute("select pid from pgsbert.workers where alive").fetchone() or (0,)
    assert pid
    os.kill(pid, signal.SIGKILL)


def is_embedded(connection: psycopg.Connection) -> bool:
    return connection.execute("select from note where embedding is not null").rowcount > 0


@pytest.mark.parametrize("command", ["demo", "up"])
def test_missing_extra_is_one_line_with_the_next_step(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["pgsbert", command])
    monkeypatch.setenv("PGSBERT_DATA_DIR", str(tmp_path / "postgres"))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    written = capsys.readouterr().err
    assert written.splitlines() == [
        'pgsbert: The embedded PostgreSQL is not installed here: pip install "pgsbert[embedded]".'
    ]
