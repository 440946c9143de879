"""The operations run forwards and backwards, and pgsbert is installed in an application's history or apart."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import Engine, MetaData, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from pgsbert.errors import SchemaError
from pgsbert.schema import head, install
from pgsbert.sqlalchemy import Vectorizer, embedded_column
from tests.integrations.alchemy.project import Project, notes

if TYPE_CHECKING:
    from tests.support import Database


def test_a_script_of_sql_has_the_calls(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.write("    op.create_vectorizer('no\\'tes', template='{a} 100%')", "op.drop_vectorizer('notes')")
    project.upgrade(sql=True)
    assert (
        "SELECT pgsbert.create_vectorizer(source => '\"no''tes\"'::regclass, template => '{a} 100%')"
        in capsys.readouterr().out
    )


def test_without_pgsbert_a_migration_says_what_to_do(empty_database: Database, tmp_path: Path) -> None:
    project = Project(tmp_path / "migrations", empty_engine(empty_database))
    project.write("    op.create_vectorizer('notes', ['body'])")
    with pytest.raises(SchemaError, match='run "pgsbert install" first'):
        project.upgrade()


def empty_engine(database: Database) -> Engine:
    return create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database.dsn), poolclass=NullPool)


def test_an_application_may_install_pgsbert_in_its_own_history(empty_database: Database, tmp_path: Path) -> None:
    project = Project(tmp_path / "migrations", empty_engine(empty_database))
    project.write("    op.install_pgsbert()\n    op.execute('create table marker (id int)')", "op.drop_table('marker')")
    metadata = notes(Vectorizer("title", "body"))
    project.upgrade()
    assert empty_database.execute("select pgsbert.schema_version()") == [head()]
    project.generate(metadata)
    project.upgrade()
    project.check(notes(Vectorizer("title", "body")), include_name=lambda name, kind, _: name != "marker")
    project.downgrade("base")
    assert empty_database.execute("select to_regclass('marker'), to_regclass('pgsbert.vectorizer') is not null") == [
        (None, True)
    ]
    project.upgrade()
    assert empty_database.execute("select version_num from alembic_version") == [project.head()]


def test_or_it_runs_apart_from_the_application_in_any_order(empty_database: Database, tmp_path: Path) -> None:
    project = Project(tmp_path / "migrations", empty_engine(empty_database))
    empty = MetaData()
    project.generate(empty)
    project.upgrade()
    install(empty_database.dsn)
    project.check(empty, include_schemas=True)
    metadata = notes(Vectorizer("title", "body"))
    project.generate(metadata)
    project.upgrade()
    install(empty_database.dsn)
    project.check(metadata, include_schemas=True)


def test_a_missing_column_ends_the_migration_and_leaves_nothing(project: Project, database: Database) -> None:
    project.generate(notes(Vectorizer("titel", model="fake-8")))
    with pytest.raises(DBAPIError, match='has no column "titel"'):
        project.upgrade()
    assert database.execute("select to_regclass('notes')") == [None]


def test_a_drop_written_by_hand_has_no_reverse() -> None:
    from pgsbert.alembic import DropVectorizerOp

    with pytest.raises(ValueError, match='What vectorizer "notes" was made of is not known'):
        DropVectorizerOp("notes").reverse()


def test_the_document_shows_what_autogenerate_writes(project: Project) -> None:
    class Own(DeclarativeBase):
        pass

    class Recipe(Own):
        __tablename__ = "recipes"

        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        method: Mapped[str]
        minutes: Mapped[int]
        embedding: Mapped[Any] = embedded_column("title", "method")

    text = project.generate(Own.metadata)
    document = (Path(__file__).parents[3] / "docs" / "alembic.md").read_text(encoding="utf-8")
    shown = document.split("```text\n")[1].split("```")[0]
    assert text.endswith(shown)
