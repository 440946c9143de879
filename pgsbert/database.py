"""Connections to PostgreSQL, set up the way pgsbert needs them, and the named statements of sql/."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from pgvector import Vector
from psycopg import sql
from psycopg.types import TypeInfo

if TYPE_CHECKING:
    from collections.abc import Mapping

KEEPALIVE: Mapping[str, Any] = {
    # a host that vanished must not hold the awake lock for two hours
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

FILES = ("queries.sql", "doctor.sql")
_NAMED = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def _statements() -> Mapping[str, LiteralString]:
    texts = (files("pgsbert.sql").joinpath(name).read_text(encoding="utf-8") for name in FILES)
    parts = [part for text in texts for part in _NAMED.split(text)[1:]]
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}


def statement(name: str, /, **identifiers: sql.Composable) -> sql.Composed:
    """Return the named statement of sql/queries.sql with its {placeholders} filled by identifiers."""
    return sql.SQL(_statements()[name]).format(**identifiers)


def plain_statement(name: str, /) -> LiteralString:
    """Return the named statement of sql/doctor.sql, which has neither placeholders nor parameters."""
    return _statements()[name]


async def connect_async(
    dsn: str,
    *,
    application_name: str,
    factory: type[psycopg.AsyncConnection[Any]] = psycopg.AsyncConnection,
    **parameters: Any,
) -> psycopg.AsyncConnection[Any]:
    """Open an autocommit connection of the worker."""
    settings = {**KEEPALIVE, "connect_timeout": 10, "application_name": application_name, **parameters}
    return await factory.connect(dsn, autocommit=True, **settings)


def connect(dsn: str, *, application_name: str = "pgsbert", **parameters: Any) -> psycopg.Connection[Any]:
    """Open an autocommit connection of a command."""
    return psycopg.connect(dsn, autocommit=True, application_name=application_name, connect_timeout=10, **parameters)


async def register_vector_async(connection: psycopg.AsyncConnection[Any]) -> None:
    """Teach a connection the type vector, in whatever schema the extension lives."""
    row = await (await connection.execute(statement("vector_type"))).fetchone()
    if row is not None:
        _register(connection, TypeInfo("vector", row[0], row[1]))


def register_vector(connection: psycopg.Connection[Any]) -> None:
    """Teach a connection the type vector, in whatever schema the extension lives."""
    row = connection.execute(statement("vector_type")).fetchone()
    if row is not None:
        _register(connection, TypeInfo("vector", row[0], row[1]))


def _register(connection: psycopg.BaseConnection[Any], info: TypeInfo) -> None:
    from pgvector.psycopg.vector import register_vector_info

    register_vector_info(connection, info)


def as_vectors(rows: Any) -> list[Vector]:
    """Wrap the rows of a float32 array, shape (n, dimensions), for a parameter of type vector[]."""
    return [Vector(row) for row in rows]
