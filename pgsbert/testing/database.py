"""A database of its own for each test, copied from a template in a fraction of a second."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

import psycopg
from psycopg import sql

from pgsbert.testing.synced import LIMIT, wait_until_synced

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta


class Server(Protocol):
    """A PostgreSQL with pgvector on which the tests may create databases."""

    def dsn(self, database: str = "postgres") -> str:
        """Return the libpq URI of a database, as a superuser."""
        ...


@dataclass(frozen=True)
class Database:
    """One test's database."""

    name: str
    dsn: str

    @property
    def sqlalchemy_url(self) -> str:
        """The URL for `sqlalchemy.create_engine`, with the driver psycopg."""
        return self.dsn.replace("postgresql://", "postgresql+psycopg://", 1)

    def connect(self, **parameters: Any) -> psycopg.Connection[Any]:
        """Open an autocommit connection."""
        return psycopg.connect(self.dsn, autocommit=True, **parameters)

    def execute(self, query: str, *parameters: object) -> list[Any]:
        """Run a statement on a connection of its own and return its rows; one-column rows come as values."""
        with self.connect() as connection:
            return rows(connection, query, *parameters)

    def wait_until_synced(self, vectorizer: str | None = None, *, timeout: timedelta = LIMIT) -> None:
        """Return when all that was committed is embedded; see pgsbert.testing.wait_until_synced."""
        wait_until_synced(self.dsn, vectorizer, timeout=timeout)


def rows(connection: psycopg.Connection[Any], query: str, *parameters: object) -> list[Any]:
    """Run a statement; one-column rows come as values."""
    cursor = connection.execute(query, parameters or None)
    if cursor.description is None:
        return []
    fetched = cursor.fetchall()
    return [row[0] for row in fetched] if len(cursor.description) == 1 else fetched


@contextmanager
def new_database(server: Server, template: str | None = None) -> Iterator[Database]:
    """Make a database, a copy of `template` if one is named, and drop it with all its connections at the end."""
    # other runs may use the same server
    name = f"pgsbert_test_{uuid4().hex[:12]}"
    source = sql.SQL(" template {}").format(sql.Identifier(template)) if template else sql.SQL("")
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        if template:
            # a pool that filled the template and was not closed would keep it from being copied
            admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [template])
        admin.execute(sql.SQL("create database {}{}").format(sql.Identifier(name), source))
        try:
            yield Database(name, server.dsn(name))
        finally:
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
