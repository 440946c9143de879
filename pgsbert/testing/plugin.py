"""Fixtures for pytest: databases with pgsbert, and a worker; nothing starts or is imported unless one is asked for.

Override `pgsbert_server` to use another server than the embedded one, and `pgsbert_setup` to make your tables once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgsbert.testing import Database, RunningWorker, Server


@pytest.fixture(scope="session")
def pgsbert_server() -> Iterator[Server]:
    """PostgreSQL with pgvector for this test run: embedded, without durability, removed at the end."""
    from pgsbert.testing import throwaway_server

    with throwaway_server() as running:
        yield running


@pytest.fixture(scope="session")
def pgsbert_setup() -> Callable[[str], object]:
    """Override it: a function of a connection string that fills the database of which all tests get a copy."""
    return lambda _dsn: None


@pytest.fixture(scope="session")
def pgsbert_template(pgsbert_server: Server, pgsbert_setup: Callable[[str], object]) -> Iterator[str]:
    """The name of a database with schema pgsbert and what `pgsbert_setup` made; leave it as it is."""
    from pgsbert import schema
    from pgsbert.testing import new_database

    with new_database(pgsbert_server) as template:
        schema.install(template.dsn)
        pgsbert_setup(template.dsn)
        yield template.name


@pytest.fixture
def pgsbert_database(pgsbert_server: Server, pgsbert_template: str) -> Iterator[Database]:
    """A database of the test's own, a copy of `pgsbert_template`, without a worker."""
    from pgsbert.testing import new_database

    with new_database(pgsbert_server, pgsbert_template) as database:
        yield database


@pytest.fixture
def pgsbert_worker(pgsbert_database: Database) -> Iterator[RunningWorker]:
    """A worker on `pgsbert_database`, with deterministic stand-ins for the registered models."""
    from pgsbert.testing import run_worker

    with run_worker(pgsbert_database.dsn) as running:
        yield running
