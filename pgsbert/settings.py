"""Which database to talk to: --dsn, then PGSBERT_DSN, then libpq's own variables; its password may be in a file."""

from __future__ import annotations

import os
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgsbert.errors import UsageError

PASSWORD_FILE = "PGSBERT_PASSWORD_FILE"  # noqa: S105 - the name of a variable


def database_dsn(given: str | None) -> str:
    """Return the connection string to use; the empty string leaves all to libpq (PGHOST, PGDATABASE, service file).

    Without a password of its own it gets the first line of the file that PGSBERT_PASSWORD_FILE names: a mounted secret,
    which libpq's PGPASSFILE would refuse for its mode. Raises UsageError if that cannot be read.
    """
    dsn = given if given is not None else os.environ.get("PGSBERT_DSN", "")
    file = os.environ.get(PASSWORD_FILE)
    if not file or "password" in conninfo_to_dict(dsn):
        return dsn
    return make_conninfo(dsn, password=first_line(Path(file)))


def first_line(file: Path) -> str:
    """Return the password that is a file's first line; raises UsageError where there is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the password from {file}: {error}.") from error
    if not lines or not lines[0]:
        raise UsageError(f"Cannot read the password from {file}: its first line is empty.")
    return lines[0]
