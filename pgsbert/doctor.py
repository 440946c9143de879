"""Look for what keeps an installation from working, and say what to do about each finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pgsbert
from pgsbert.database import plain_statement
from pgsbert.errors import SchemaError
from pgsbert.schema import check_gateway, head, installed_version

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

# statements of sql/doctor.sql, in the order of their report
BEFORE_INSTALL = ("check_server", "check_extensions", "check_roles")
INSTALLED = (
    "check_gateway_settings",
    "check_workers",
    "check_models",
    "check_vectorizers",
    "check_triggers",
    "check_indexes",
    "check_dimensions",
    "check_grants",
    "check_transactions",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a problem stops something now, a warning will or may."""

    level: Literal["problem", "warning"]
    about: str
    found: str
    advice: str


def examine(connection: psycopg.Connection[Any]) -> list[Finding]:
    """Return what is wrong with the installation, in the order in which to mend it; the empty list if all is well.

    ``connection`` is in autocommit and belongs to the installer or a superuser. Nothing is changed.
    """
    found = [*_pooler(connection), *_asked(connection, BEFORE_INSTALL)]
    version = installed_version(connection)
    if version is None:
        return [*found, Finding("problem", "schema pgsbert", "it is not in this database", 'run "pgsbert install"')]
    if version != head():
        older = version < head()
        return [
            *found,
            Finding(
                "problem",
                "schema pgsbert",
                f"it is at {version}, this package needs {head()}",
                'run "pgsbert upgrade"' if older else "upgrade the package",
            ),
        ]
    return [*found, *_gateway(connection), *_asked(connection, INSTALLED), *_versions(connection)]


def _asked(connection: psycopg.Connection[Any], names: tuple[str, ...]) -> Iterator[Finding]:
    for name in names:
        for row in connection.execute(plain_statement(name)).fetchall():
            yield Finding(*row)


def _pooler(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    row = connection.execute("select pg_backend_pid()").fetchone()
    assert row is not None
    # a pooler answers the connection's start itself, with a process number of its own
    if row[0] != connection.info.backend_pid:
        yield Finding(
            "warning",
            "connection",
            "a pooler is between here and PostgreSQL",
            "applications may use it; give this command a direct connection, and the worker one or --poll-only",
        )


def _gateway(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    try:
        check_gateway(connection)
    except SchemaError as error:
        yield Finding("problem", "gateway", str(error), "see docs/operations.md, Install")


def _versions(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    workers = connection.execute("select id, host, version from pgsbert.workers where alive order by id").fetchall()
    for id_, host, version in workers:
        if version != pgsbert.__version__:
            yield Finding(
                "warning",
                f"worker {id_} on {host}",
                f"it is version {version}, this is {pgsbert.__version__}",
                "restart it with this version",
            )
