"""Migrations: the vectorizer comes, changes and goes with its field, whatever is in the table."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from django.apps.registry import Apps
from django.db import connections, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from pgvector.django import VectorField

from pgsbert.declared import READ_REGISTERED, VectorizerSpec
from pgsbert.django import EmbeddingField, InstallPgsbert
from pgsbert.errors import SchemaError, UsageError
from pgsbert.testing import FakeEncoder
from tests.support import run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.migrations.operations.base import Operation

    from tests.support import Database


def book(**fields: Any) -> migrations.CreateModel:
    described = {"title": models.CharField(max_length=50), "body": models.TextField(db_default="")}
    given = {"id": models.BigAutoField(primary_key=True), **described, **fields}
    return migrations.CreateModel("Book", list(given.items()))


def embedding(*source: str, **options: Any) -> EmbeddingField:
    return EmbeddingField(source=list(source or ("title", "body")), **{"model": "fake-8", **options})


class Migrated:
    """Operations applied one after another, and taken back, as migrate does."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.done: list[tuple[Operation, ProjectState, ProjectState]] = []
        self.state = ProjectState()

    def apply(self, *operations: Operation, atomic: bool = True) -> None:
        with self.connection.schema_editor(atomic=atomic) as editor:
            for operation in operations:
                before = self.state.clone()
                operation.state_forwards("shop", self.state)
                after = self.state.clone()
                operation.database_forwards("shop", editor, before, after)
                self.done.append((operation, before, after))

    def take_back(self, count: int = 1) -> None:
        with self.connection.schema_editor() as editor:
            for _ in range(count):
                operation, before, after = self.done.pop()
                operation.database_backwards("shop", editor, after, before)
                self.state = before

    def sql(self, *operations: Operation) -> str:
        """Return what sqlmigrate shows."""
        state = self.state.clone()
        with self.connection.schema_editor(collect_sql=True) as editor:
            for operation in operations:
                before = state.clone()
                operation.state_forwards("shop", state)
                operation.database_forwards("shop", editor, before, state)
        return "\n".join(editor.collected_sql)

    def execute(self, query: str, *parameters: Any) -> list[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def vectorizers(self) -> dict[str, Any]:
        rows = self.execute(READ_REGISTERED)
        return {row[0]: {"columns": row[3], "model": row[5], "target": row[8], "distance": row[9]} for row in rows}

    @property
    def columns(self) -> set[str]:
        query = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('shop_book') AND attnum > 0"
        return {row[0] for row in self.execute(query + " AND NOT attisdropped")}


@pytest.fixture
def shop(default: Any) -> Migrated:
    return Migrated(default)


@pytest.fixture
def fill(shop: Migrated, database: Database) -> Iterator[Any]:
    """Give a function that runs the worker until all is embedded, and returns each title with its vector."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)):

        def fill_() -> dict[str, str]:
            for name in shop.vectorizers:
                shop.execute("CALL pgsbert.wait_until_synced(%s)", name)
            return dict(shop.execute("SELECT title, embedding::text FROM shop_book WHERE embedding IS NOT NULL"))

        yield fill_


def test_forwards_backwards_and_forwards_again_with_rows(shop: Migrated, fill: Any) -> None:
    shop.apply(book())
    shop.execute("INSERT INTO shop_book (title, body) VALUES ('red apple', ''), ('blue sea', 'deep')")
    add = migrations.AddField("book", "embedding", embedding())
    shop.apply(add)
    first = fill()
    assert set(first) == {"red apple", "blue sea"}
    shop.take_back()
    assert shop.vectorizers == {}
    assert shop.columns == {"id", "title", "body"}
    shop.execute("UPDATE shop_book SET title = 'red car' WHERE title = 'red apple'")
    shop.apply(add)
    again = fill()
    assert set(again) == {"red car", "blue sea"}
    assert again["blue sea"] == first["blue sea"]


def test_a_model_is_created_and_deleted_with_its_vectorizer(shop: Migrated) -> None:
    create = book(embedding=embedding())
    for _ in range(2):
        shop.apply(create)
        assert shop.vectorizers["shop_book"]["columns"] == ["title", "body"]
        shop.take_back()
        assert (shop.vectorizers, shop.columns) == ({}, set())
    shop.apply(create, migrations.DeleteModel("Book"))
    assert shop.vectorizers == {}
    assert shop.execute("SELECT count(*) FROM pgsbert.vectorizer") == [(0,)]
    shop.take_back()
    assert set(shop.vectorizers) == {"shop_book"}


def test_a_renamed_source_field_embeds_nothing_anew(shop: Migrated, fill: Any) -> None:
    shop.apply(book(embedding=embedding()))
    shop.execute("INSERT INTO shop_book (title) VALUES ('red apple')")
    before = fill()
    with run_until_still(shop):
        shop.apply(
            migrations.RenameField("book", "body", "text"),
            migrations.AlterField("book", "embedding", embedding("title", "text")),
        )
    assert shop.vectorizers["shop_book"]["columns"] == ["title", "text"]
    assert fill() == before
    with run_until_still(shop):
        shop.take_back(2)
    assert shop.vectorizers["shop_book"]["columns"] == ["title", "body"]


def test_a_renamed_and_changed_source_is_taken_back(shop: Migrated) -> None:
    shop.apply(book(embedding=embedding()))
    shop.apply(
        migrations.RenameField("book", "body", "text"), migrations.AlterField("book", "embedding", embedding("text"))
    )
    assert shop.vectorizers["shop_book"]["columns"] == ["text"]
    shop.take_back(2)
    assert shop.vectorizers["shop_book"]["columns"] == ["title", "body"]


class run_until_still:  # noqa: N801
    """Assert that a block leaves the vectorizer as it is: the same one, with nothing to do."""

    def __init__(self, shop: Migrated) -> None:
        self.shop = shop

    def _look(self) -> list[Any]:
        return self.shop.execute("SELECT id, filled_at, pgsbert.is_synced(name) FROM pgsbert.vectorizer")

    def __enter__(self) -> None:
        self.before = self._look()

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            assert self._look() == self.before


def test_renamed_models_and_embeddings_keep_their_vectors(shop: Migrated, fill: Any) -> None:
    shop.apply(book(embedding=embedding()))
    shop.execute("INSERT INTO shop_book (title) VALUES ('red apple')")
    fill()
    with run_until_still(shop):
        shop.apply(migrations.RenameField("book", "embedding", "meaning"), migrations.RenameModel("Book", "Work"))
    assert shop.vectorizers["shop_book"]["target"] == "meaning"
    shop.apply(migrations.AlterField("work", "meaning", embedding("title")))
    assert shop.vectorizers["shop_work"]["columns"] == ["title"]
    shop.apply(migrations.RemoveField("work", "meaning"))
    assert shop.vectorizers == {}


def test_another_source_embeds_all_rows_anew_while_the_old_vectors_are_there(shop: Migrated, fill: Any) -> None:
    shop.apply(book(embedding=embedding()))
    shop.execute("INSERT INTO shop_book (title, body) VALUES ('red apple', 'deep')")
    before = fill()
    shop.execute("SELECT pgsbert.pause_vectorizer('shop_book')")
    with connections["default"].cursor() as cursor:
        cursor.execute("BEGIN")
        shop.apply(migrations.AlterField("book", "embedding", embedding("title")), atomic=False)
        cursor.execute("SELECT embedding::text FROM shop_book")
        assert cursor.fetchall() == [(before["red apple"],)]
        cursor.execute("COMMIT")
    after = fill()
    assert after["red apple"] != before["red apple"]
    shop.take_back()
    assert fill() == before


def test_another_model_takes_the_old_vectors_away_at_once(shop: Migrated, fill: Any) -> None:
    shop.apply(book(embedding=embedding()))
    shop.execute("INSERT INTO shop_book (title) VALUES ('red apple')")
    fill()
    shop.apply(migrations.AlterField("book", "embedding", embedding(model="fake-384")))
    assert shop.vectorizers["shop_book"]["model"] == "fake-384"
    type_of = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = 'embedding'"
    assert shop.execute(f"{type_of} AND attrelid = 'shop_book'::regclass") == [("vector(384)",)]
    assert shop.execute("SELECT embedding FROM shop_book") == [(None,)]
    shop.take_back()
    assert set(fill()) == {"red apple"}


def test_other_options_make_the_vectorizer_anew(shop: Migrated) -> None:
    shop.apply(book(embedding=embedding()))
    shop.apply(migrations.AlterField("book", "embedding", embedding(distance="l2", vectorizer="books")))
    assert shop.vectorizers["books"]["distance"] == "l2"
    shop.take_back()
    assert shop.vectorizers["shop_book"]["distance"] == "cosine"
    with run_until_still(shop):
        shop.apply(migrations.AlterField("book", "embedding", embedding(verbose_name="meaning")))


def test_a_vector_field_becomes_an_embedding_and_one_again(shop: Migrated) -> None:
    shop.apply(book(embedding=VectorField(dimensions=8, null=True)))
    shop.apply(migrations.AlterField("book", "embedding", embedding()))
    assert set(shop.vectorizers) == {"shop_book"}
    shop.take_back()
    assert shop.vectorizers == {}
    assert "embedding" in shop.columns
    with pytest.raises(UsageError, match=r"Book\.body cannot become an EmbeddingField: remove it"):
        shop.apply(migrations.AlterField("book", "body", embedding("title")))


def test_the_type_of_a_source_field_can_change(shop: Migrated, fill: Any) -> None:
    """PostgreSQL refuses that for a column that a trigger names in its condition."""
    shop.apply(book(embedding=embedding(on_change="clear")))
    shop.execute("INSERT INTO shop_book (title) VALUES ('red apple')")
    fill()
    shop.apply(migrations.AlterField("book", "title", models.CharField(max_length=500)))
    shop.execute("UPDATE shop_book SET title = 'blue sea'")
    assert set(fill()) == {"blue sea"}
    shop.take_back()
    assert set(shop.vectorizers) == {"shop_book"}


def test_a_database_without_pgsbert_says_what_to_run(empty_database: Database, lead: Any) -> None:
    lead("default", empty_database)
    shop = Migrated(connections["default"])
    with pytest.raises(
        SchemaError, match=r'Database "default": Schema pgsbert is not in this database.*pgsbert install'
    ):
        shop.apply(book(embedding=embedding()))


def test_a_migration_can_install_pgsbert(empty_database: Database, lead: Any) -> None:
    lead("default", empty_database)
    shop = Migrated(connections["default"])
    shop.apply(InstallPgsbert(), book(embedding=embedding(model=None)))
    shop.apply(InstallPgsbert())
    assert shop.vectorizers["shop_book"]["model"] == "all-MiniLM-L6-v2"
    shop.take_back(3)
    assert shop.vectorizers == {}


def test_a_role_that_is_an_operator_migrates_its_own_tables(shop: Migrated) -> None:
    shop.execute("CREATE ROLE django_operator")
    try:
        shop.execute("GRANT CREATE, USAGE ON SCHEMA public TO django_operator")
        shop.execute("SELECT pgsbert.grant_usage('django_operator', 'operator')")
        shop.execute("SET ROLE django_operator")
        shop.apply(book(embedding=embedding(on_change="clear")))
        shop.apply(migrations.AlterField("book", "title", models.CharField(max_length=500)))
        shop.apply(migrations.AlterField("book", "embedding", embedding("title")))
        assert shop.vectorizers["shop_book"]["columns"] == ["title"]
        shop.take_back(3)
        assert shop.vectorizers == {}
    finally:
        shop.execute("RESET ROLE")
        shop.execute("DROP OWNED BY django_operator")
        shop.execute("DROP ROLE django_operator")


def changes(before: ProjectState, after: ProjectState) -> list[Operation]:
    detector = MigrationAutodetector(before, after, NonInteractiveMigrationQuestioner({"ask_initial": True}))
    found = detector.changes(graph=MigrationGraph())
    return [operation for each in found.get("shop", []) for operation in each.operations]


def state(**fields: Any) -> ProjectState:
    found = ProjectState()
    book(**fields).state_forwards("shop", found)
    return found


def test_the_writer_writes_what_was_declared_and_nothing_when_nothing_changed() -> None:
    declared = embedding(distance="l2", on_change="clear", index="none", vectorizer="books")
    (add,) = changes(state(), state(embedding=declared))
    text, imports = MigrationWriter.serialize(add.field)
    assert text == (
        "pgsbert.django.EmbeddingField(distance='l2', index='none', model='fake-8', on_change='clear',"
        " source=['title', 'body'], vectorizer='books')"
    )
    assert imports == {"import pgsbert.django"}
    assert changes(state(embedding=declared), state(embedding=declared.clone())) == []
    (alter,) = changes(state(embedding=declared), state(embedding=embedding()))
    assert isinstance(alter, migrations.AlterField)


def test_every_parameter_of_create_vectorizer_can_be_declared() -> None:
    """Some have another name; storage and target are the field's column, triggers those that fit."""
    names = {"columns": "source", "model": "encoder", "name": "vectorizer"}
    left_out = {"storage", "target", "triggers"}
    for option in fields(VectorizerSpec):
        assert option.name in left_out or hasattr(embedding(), names.get(option.name, option.name)), option.name


def test_a_model_of_an_application_is_written_and_read_back() -> None:
    from tests.integrations.django.library.models import Page

    rendered = ModelState.from_model(Page).render(Apps(["pgsbert.django"]))
    field = rendered._meta.get_field("embedding")
    assert (field.template, field.distance, field.on_change) == ("{{{volume}}} {words}", "l2", "clear")
    assert field.spec(rendered).template == "{{{volume}}} {Words}"


def test_migrations_are_squashed_into_one_operation() -> None:
    operations = [
        book(),
        migrations.AddField("book", "embedding", embedding()),
        migrations.AlterField("book", "embedding", embedding("title")),
    ]
    (squashed,) = MigrationOptimizer().optimize(operations, "shop")
    assert dict(squashed.fields)["embedding"].source == ("title",)


def test_sqlmigrate_shows_what_would_run(shop: Migrated) -> None:
    shop.apply(book())
    shown = shop.sql(migrations.AddField("book", "embedding", embedding()))
    assert shown == (
        """SELECT pgsbert.create_vectorizer('"shop_book"', columns => '{"title","body"}'::text[], model => 'fake-8');"""
    )
    shop.apply(migrations.AddField("book", "embedding", embedding()))
    shown = shop.sql(migrations.AlterField("book", "embedding", embedding("title")))
    assert shown.startswith(
        "SELECT pgsbert.drop_vectorizer('shop_book', drop_vectors => false);\nSELECT pgsbert.create"
    )
