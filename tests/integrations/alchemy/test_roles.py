"""Plain roles are enough: an operator declares and migrates its tables, a reader searches what it may read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, select
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from pgsbert.sqlalchemy import search
from tests.integrations.alchemy.blog import Article, Base
from tests.integrations.alchemy.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support import Database, RunningWorker


@pytest.fixture
def roles(database: Database) -> Iterator[tuple[str, str]]:
    """Give an operator that may make tables, and a reader."""
    names = (f"operator_{database.name}", f"reader_{database.name}")
    with database.connect() as connection:
        for name, level in zip(names, ("operator", "reader"), strict=True):
            connection.execute(f"create role {name} login; select pgsbert.grant_usage('{name}', '{level}')")
        connection.execute(f"grant create on schema public to {names[0]}")
    yield names
    with database.connect() as connection:
        for name in names:
            connection.execute(f"drop owned by {name} cascade; drop role {name}")


def engine_of(database: Database, role: str) -> Engine:
    return create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database.dsn, user=role), poolclass=NullPool
    )


def test_an_operator_migrates_and_a_reader_searches(
    database: Database, roles: tuple[str, str], small_worker: RunningWorker, tmp_path: Path
) -> None:
    operator, reader = (engine_of(database, role) for role in roles)
    project = Project(tmp_path / "migrations", operator)
    project.generate(Base.metadata)
    project.upgrade()
    project.check(Base.metadata)
    database.execute("update pgsbert.model set is_default = true where name = 'fake-reranker'")
    database.execute(f"grant select on articles to {roles[1]}")
    with Session(operator) as session:
        session.add_all(Article(title=f"subject {i}", body="text", views=i) for i in range(5))
        session.commit()
    database.execute("call pgsbert.wait_until_synced('articles')")
    with Session(reader) as session:
        for reranked in (False, True):
            hits = search(session, select(Article).where(Article.views > 2), "subject 1", k=9, rerank=reranked)
            assert {hit.item.title for hit in hits} == {"subject 3", "subject 4"}
    project.downgrade("base")
