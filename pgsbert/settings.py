"""Which database to talk to: --dsn, then PGSBERT_DSN, then libpq's own variables."""

from __future__ import annotations

import os


def database_dsn(given: str | None) -> str:
    """Return the connection string to use; the empty string leaves all to libpq (PGHOST, PGDATABASE, service file)."""
    return given if given is not None else os.environ.get("PGSBERT_DSN", "")
