"""A flush never writes a vector back: an object loaded, left alone and saved keeps what the worker wrote meanwhile."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, undefer

from pgsbert.sqlalchemy import Vectorizer
from pgsbert.testing import FakeEncoder
from tests.integrations.alchemy.blog import Article
from tests.support import run_worker

if TYPE_CHECKING:
    from tests.support import Database

LOADED = select(Article).options(undefer(Article.embedding))
OLD = [1.0] * 8


@pytest.fixture
def article(tables: Engine, database: Database) -> int:
    """Give the key of an article whose vector is an old one, and which waits for the worker."""
    with Session(tables) as session:
        session.add(Article(id=1, title="title", body="body"))
        session.commit()
    database.execute("update articles set embedding = %s::public.vector", str(OLD))
    return 1


def embed_meanwhile(database: Database) -> list[float]:
    """Let a worker write the vector of the present text."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        database.execute("call pgsbert.wait_until_synced('articles')")
    new: list[float] = stored(database)
    assert new != OLD
    return new


def stored(database: Database) -> Any:
    (vector,) = database.execute("select embedding::real[] from articles where id = 1")
    return vector


def test_an_object_saved_after_the_worker_wrote_keeps_its_vector(
    tables: Engine, database: Database, article: int
) -> None:
    with Session(tables) as session:
        loaded = session.scalars(LOADED).one()
        assert loaded.embedding == OLD
        new = embed_meanwhile(database)
        loaded.views = 7
        session.commit()
        assert (loaded.views, loaded.embedding) == (7, new)
    assert stored(database) == new


@pytest.mark.parametrize("by_pickle", [False, True])
def test_a_detached_object_merged_after_the_worker_wrote_keeps_its_vector(
    tables: Engine, database: Database, article: int, by_pickle: bool
) -> None:
    with Session(tables) as session:
        detached = session.scalars(LOADED).one()
    assert detached.embedding == OLD
    detached.views = 7
    new = embed_meanwhile(database)
    with Session(tables) as session:
        merged = session.merge(pickle.loads(pickle.dumps(detached)) if by_pickle else detached)
        session.commit()
        assert (merged.views, merged.embedding) == (7, new)
    assert stored(database) == new


def test_a_vector_item_of_a_table_is_guarded_too(tables: Engine, database: Database) -> None:
    class Own(DeclarativeBase):
        pass

    class Note(Own):
        __tablename__ = "notes"
        __table_args__ = (Vectorizer("body", model="fake-8"),)
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]

    Own.metadata.create_all(tables)
    with Session(tables) as session:
        session.add(Note(id=1, body="text"))
        session.commit()
        detached = session.get(Note, 1)
        assert detached is not None
        session.expunge(detached)
    database.execute("update notes set embedding = %s::public.vector", str(OLD))
    with Session(tables) as session:
        merged = session.merge(detached)
        merged.body = "text"
        session.commit()
    assert database.execute("select embedding::real[] from notes") == [OLD]


@pytest.mark.parametrize("own", [[0.5] * 8, np.full(8, 0.5, dtype=np.float32)], ids=["list", "array"])
@pytest.mark.parametrize("detached", [False, True])
def test_a_vector_set_on_purpose_is_written(
    tables: Engine, database: Database, article: int, detached: bool, own: Any
) -> None:
    embed_meanwhile(database)
    with Session(tables) as session:
        loaded = session.scalars(LOADED).one()
        if detached:
            session.expunge(loaded)
        loaded.embedding = own
        session.merge(loaded)
        session.commit()
    assert stored(database) == [0.5] * 8


def test_a_new_object_may_bring_its_vector(tables: Engine, database: Database, article: int) -> None:
    own = [0.5] * 8
    with Session(tables) as session:
        session.merge(Article(id=1, title="title", body="body", embedding=own))
        session.commit()
    assert stored(database) == own


def test_a_vector_is_loaded_when_it_is_used(tables: Engine, article: int) -> None:
    with Session(tables) as session:
        loaded = session.scalars(select(Article)).one()
        assert "embedding" not in loaded.__dict__
        assert loaded.embedding == OLD
