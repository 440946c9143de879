"""create_all makes what is declared, drop_all removes it: quoted, in its schema, with every option."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pgvector.sqlalchemy import VECTOR
from psycopg import sql
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text, create_engine, create_mock_engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column

from pgsbert.declared import READ_REGISTERED, Registered, VectorizerSpec
from pgsbert.errors import SchemaError, UsageError
from pgsbert.sqlalchemy import Vectorizer, embedded_column, vectorizers_of
from tests.integrations.alchemy.blog import Base

if TYPE_CHECKING:
    from tests.support import Database


def registered(engine: Engine) -> dict[str, Registered]:
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(READ_REGISTERED).all()
    return {found.name: found for found in map(Registered.from_row, rows)}


def table(*items: Any, name: str = "notes", schema: str | None = None) -> Table:
    return Table(name, MetaData(schema=schema), Column("id", Integer, primary_key=True), Column("body", Text), *items)


def test_a_mapped_class_gets_its_vectorizer_and_loses_all_of_it(engine: Engine, database: Database) -> None:
    before = database.execute("select oid from pg_class union all select oid from pg_proc")
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)  # what is there is left alone
    found = registered(engine)["articles"]
    assert found.spec == VectorizerSpec(columns=("title", "body"), model="fake-8")
    (column,) = (c for c in inspect(engine).get_columns("articles") if c["name"] == "embedding")
    assert isinstance(column["type"], VECTOR)
    assert column["type"].dim == 8
    Base.metadata.drop_all(engine)
    assert registered(engine) == {}
    assert set(database.execute("select oid from pg_class union all select oid from pg_proc")) == set(before)


@pytest.mark.parametrize("schema", [None, 'My "own" 100%\'s'])
@pytest.mark.parametrize(
    "options",
    [
        {"columns": ("body",)},
        {"template": "a 'note' \\ of 100%: {body} %(x)s :x", "distance": "l2", "index": "none", "on_change": "clear"},
        {"columns": ("body",), "storage": "table", "target": "vec's", "name": 'The "name"'},
        {"columns": ("body",), "target": "v v", "triggers": "row"},
    ],
)
def test_a_core_table_gets_its_vectorizer(
    engine: Engine, database: Database, schema: str | None, options: dict[str, Any]
) -> None:
    if schema is not None:
        with database.connect() as connection:
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))
    spec = VectorizerSpec(**options, model="fake-8")
    given = {**options, "model": "fake-8"}
    name = 'no"t%es'
    notes = table(Vectorizer(*given.pop("columns", ()), **given), name=name, schema=schema)
    with engine.begin() as connection:
        if schema is not None:
            connection.execute(text(f"create schema {connection.dialect.identifier_preparer.quote(schema)}"))
        notes.create(connection)
    (found,) = registered(engine).values()
    assert (found.schema, found.table, found.spec) == (schema or "public", name, spec)
    assert (spec.target in notes.c) is (spec.storage == "column")
    with engine.begin() as connection:
        notes.drop(connection)
        assert inspect(connection).get_table_names(schema=schema) == []
    assert registered(engine) == {}


def test_a_table_may_have_two(engine: Engine) -> None:
    notes = table(
        Vectorizer("body", model="fake-8"), Vectorizer("body", model="fake-384", name="long", target="long_embedding")
    )
    notes.metadata.create_all(engine)
    assert {name: found.spec.model for name, found in registered(engine).items()} == {
        "notes": "fake-8",
        "long": "fake-384",
    }


def test_a_second_one_without_a_name_is_refused() -> None:
    with pytest.raises(UsageError, match="Table notes has a second vectorizer: give it a name="):
        table(Vectorizer("body"), Vectorizer("id", target="other"))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("body",), {"storage": "table"}, "embedded_column takes no storage: its column is the target"),
        ((), {}, "give one of them"),
        (("body",), {"distance": "near"}, "distance='near' is not known: it is one of cosine, l2, inner_product"),
    ],
)
def test_a_wrong_declaration_is_refused_where_it_stands(
    columns: tuple[str, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        embedded_column(*columns, **options)


def test_a_declared_vector_column_is_adopted(engine: Engine) -> None:
    notes = table(Column("embedding", VECTOR(8)), Vectorizer("body", model="fake-8"))
    notes.metadata.create_all(engine)
    assert [column.name for column in notes.c] == ["id", "body", "embedding"]
    assert not notes.c.embedding.system
    assert "notes" in registered(engine)


def test_mixins_copies_and_translated_schemas_take_it_along(engine: Engine) -> None:
    class Own(DeclarativeBase):
        pass

    class Embedded:
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        vector: Mapped[Any] = embedded_column("body", model="fake-8", column_name="Vector")

    class First(Embedded, Own):
        __tablename__ = "first"

    class Second(Embedded, Own):
        __tablename__ = "second"

    copied = First.__table__.to_metadata(MetaData(), schema="tenant")  # type: ignore[attr-defined]
    assert vectorizers_of(copied) == {"first": VectorizerSpec(columns=("body",), model="fake-8", target="Vector")}
    translated = engine.execution_options(schema_translate_map={None: "tenant"})
    with engine.begin() as connection:
        connection.execute(text("create schema tenant"))
    Own.metadata.create_all(translated)
    assert {(found.schema, found.table) for found in registered(engine).values()} == {
        ("tenant", "first"),
        ("tenant", "second"),
    }
    Own.metadata.create_all(engine, [])
    Own.metadata.drop_all(translated)
    assert registered(engine) == {}


def test_a_table_dropped_elsewhere_takes_no_namesake_along(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("create schema other; create table other.notes (id int primary key)"))
    table(Vectorizer("body", model="fake-8")).metadata.create_all(engine)
    table(Vectorizer("body", model="fake-8"), schema="other").metadata.drop_all(engine)
    assert "notes" in registered(engine)


def test_a_dataclass_has_no_such_field(engine: Engine) -> None:
    class Own(MappedAsDataclass, DeclarativeBase):
        pass

    class Note(Own):
        __tablename__ = "notes"
        id: Mapped[int] = mapped_column(primary_key=True)
        body: Mapped[str]
        embedding: Mapped[Any] = embedded_column("body", model="fake-8", dataclass=True)

    Own.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Note(1, "text"))
        session.commit()
        assert repr(session.get(Note, 1)).endswith("Note(id=1, body='text')")


def test_a_missing_column_is_named(engine: Engine) -> None:
    with pytest.raises(DBAPIError, match=r'table public.notes has no column "bodi"\s+HINT:  It has: id, body'):
        table(Vectorizer("bodi", model="fake-8")).metadata.create_all(engine)
    assert inspect(engine).get_table_names() == []


def test_a_table_without_a_key_is_refused_with_the_reason(engine: Engine) -> None:
    notes = Table("notes", MetaData(), Column("body", Text), Vectorizer("body", model="fake-8"))
    with pytest.raises(DBAPIError, match=r"has no key that can name its rows\s+HINT:  Add a primary key"):
        notes.metadata.create_all(engine)


def test_a_database_without_pgsbert_says_what_to_do(empty_database: Database) -> None:
    engine = create_engine(empty_database.dsn.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with pytest.raises(SchemaError, match='run "pgsbert install" first'):
            Base.metadata.create_all(engine)
        Base.metadata.drop_all(engine)  # nothing is there to be dropped
    finally:
        engine.dispose()


def test_the_statements_can_be_printed() -> None:
    printed: list[str] = []
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    mock = create_mock_engine(
        "postgresql+psycopg://", lambda sql, *_, **__: printed.append(str(sql.compile(dialect=dialect)))
    )
    notes = table(Vectorizer("body", storage="table"))
    notes.metadata.create_all(mock, checkfirst=False)
    notes.metadata.drop_all(mock, checkfirst=False)
    assert printed[1] == (
        "SELECT pgsbert.create_vectorizer(source => 'notes'::regclass, columns => ARRAY['body'], storage => 'table')"
    )
    assert printed[2] == "SELECT pgsbert.drop_vectorizer(name => 'notes', drop_vectors => true, if_exists => true)"


def test_another_database_gets_the_table_alone() -> None:
    engine = create_engine("sqlite://")
    table(Vectorizer("body")).metadata.create_all(engine)
    assert [column["name"] for column in inspect(engine).get_columns("notes")] == ["id", "body"]
    engine.dispose()
