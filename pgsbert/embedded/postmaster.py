"""The server process of a data folder: found by /proc and its pid file, shared and stopped under file locks."""

from __future__ import annotations

import contextlib
import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Postmaster:
    """What its pid file says of a running server."""

    pid: int
    port: str
    socket_folder: str
    ready: bool


def find(folder: Path) -> Postmaster | None:
    """Return the living postmaster of the folder; a file left by a dead one, or by half a write, is None."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
        pid = int(lines[0])
    except (OSError, ValueError, IndexError):
        return None
    if not _works_in(folder, pid):
        return None
    port, socket_folder = (lines[3], lines[4]) if len(lines) > 4 else ("", "")
    return Postmaster(pid, port, socket_folder, ready=len(lines) > 7 and lines[7].strip() == "ready")


def is_ready(folder: Path) -> bool:
    """Tell whether a server runs there that accepts connections."""
    postmaster = find(folder)
    return postmaster is not None and postmaster.ready


def _works_in(folder: Path, pid: int) -> bool:
    """Tell whether that process is a PostgreSQL of this folder: the pid alone may be a zombie's or reused."""
    process = Path(f"/proc/{pid}")
    try:
        return (process / "exe").readlink().name.startswith("postgres") and (process / "cwd").samefile(folder)
    except OSError:  # ended, a zombie, or another user's
        return False


def has_orphans(folder: Path) -> bool:
    """Tell whether backends of a killed postmaster still run: they end at their next wait."""
    return any(_works_in(folder, int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def remove_stale_locks(folder: Path) -> None:
    """Remove what a killed postmaster left; call it only when none lives.

    PostgreSQL does so itself, except while the kernel keeps the dead process as a zombie or has given its pid
    to another: then it would refuse to start.
    """
    for lock in [folder / "postmaster.pid", *folder.glob(".s.PGSQL.*.lock")]:
        lock.unlink(missing_ok=True)


def lock_file(folder: Path, purpose: str) -> Path:
    """Return the lock file "lock" or "users" of the folder."""
    return folder.with_name(f"{folder.name}.{purpose}")  # beside the folder: initdb wants it empty


@contextlib.contextmanager
def transition(folder: Path) -> Iterator[None]:
    """Keep everybody else from starting or stopping the server during the block."""
    with lock_file(folder, "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_last_user(users: IO[str]) -> bool:
    """Tell whether nobody else holds the lock of its users; the kernel releases it however a process ends."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
