"""What the tests of SQLAlchemy and Alembic share: engines on a database of their own, and a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from pgsbert.testing import FakeEncoder
from tests.integrations.alchemy.blog import Base
from tests.integrations.alchemy.project import Project
from tests.support import run_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support import Database, RunningWorker


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """Give an engine on the test's database."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database.dsn), poolclass=NullPool)
    yield engine
    engine.dispose()


@pytest.fixture
def tables(engine: Engine) -> Engine:
    """Give an engine on a database with the tables and vectorizers of the mapped classes."""
    Base.metadata.create_all(engine)
    return engine


@pytest.fixture
async def async_tables(tables: Engine, database: Database) -> AsyncIterator[AsyncEngine]:
    """Give an async engine on the same database."""

    async def connect() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(database.dsn)

    engine = create_async_engine("postgresql+psycopg://", async_creator=connect, poolclass=NullPool)
    yield engine
    await engine.dispose()


@pytest.fixture
def small_worker(database: Database) -> Iterator[RunningWorker]:
    """Run a worker with a model of 8 dimensions."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, engine: Engine) -> Project:
    return Project(tmp_path / "migrations", engine)
