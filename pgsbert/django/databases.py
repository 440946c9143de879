"""Databases of the settings as pgsbert connects to them: by connection string, with a connection of its own."""

from __future__ import annotations

from typing import Any

from psycopg import pq
from psycopg.conninfo import make_conninfo


def dsn_of(connection: Any) -> str:
    """Return the connection string of a Django connection: those of its parameters that libpq knows."""
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    parameters = connection.get_connection_params()
    return make_conninfo(**{name: value for name, value in parameters.items() if name in known and value is not None})
