"""System checks: what create_vectorizer would refuse, before a migration is written; and what a database lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import connections, models
from django.test.utils import isolate_apps, override_settings

from pgsbert.django import EmbeddingField
from pgsbert.django.checks import check_databases, check_names
from pgsbert.testing import FakeEncoder
from tests.integrations.django.library.models import Book
from tests.support import run_worker

if TYPE_CHECKING:
    from tests.support import Database, RunningWorker

LABEL = "tests.integrations.django.library"


def ids(messages: list[Any]) -> list[str]:
    return [message.id for message in messages]


def test_what_is_declared_well_has_nothing_to_say() -> None:
    assert [message for message in run_checks() if str(message.id).startswith("pgsbert")] == []


@pytest.mark.parametrize(
    ("field", "id_", "says"),
    [
        (EmbeddingField(source=["titel"]), "E003", "made of 'titel', and Bad has no such field"),
        (EmbeddingField(template="{title} {titel}"), "E003", "made of 'titel'"),
        (EmbeddingField(template="no field"), "E002", "names no field"),
        (EmbeddingField(source="title"), "E002", "must be a list"),
        (EmbeddingField(), "E002", "give one of them"),
        (EmbeddingField(source=["title"], template="{title}"), "E002", "give one of them"),
        (EmbeddingField(source=["title"], distance="manhattan"), "E002", "'manhattan' is not known"),  # type: ignore[arg-type]
        (EmbeddingField(source=["tags"]), "E004", "has no column"),
        (EmbeddingField(source=["title", "embedding"]), "E006", "cannot be followed"),
        (EmbeddingField(source=["title"], vectorizer="x" * 54), "E008", "longer than 53 bytes"),
    ],
)
@isolate_apps(LABEL)
def test_bad_options_are_errors(field: Any, id_: str, says: str) -> None:
    class Bad(models.Model):
        title = models.TextField()
        tags = models.ManyToManyField("self")
        embedding = field.clone()

        class Meta:
            app_label = "library"

    (error,) = Bad._meta.get_field("embedding").check()
    assert error.id == f"pgsbert.{id_}"
    assert says in error.msg


@isolate_apps(LABEL)
def test_a_source_in_the_table_of_a_parent_is_an_error_that_says_where_the_field_belongs() -> None:
    class Work(models.Model):
        title = models.TextField()

        class Meta:
            app_label = "library"

    class Play(Work):
        acts = models.TextField()
        embedding = EmbeddingField(source=["title", "acts"])

        class Meta:
            app_label = "library"

    (error,) = Play._meta.get_field("embedding").check()
    assert (error.id, error.hint) == (
        "pgsbert.E005",
        "Put the EmbeddingField on Work: a vectorizer follows one table.",
    )


@isolate_apps(LABEL)
def test_a_model_that_no_migration_makes_is_a_warning() -> None:
    class Foreign(models.Model):
        title = models.TextField()
        embedding = EmbeddingField(source=["title"])

        class Meta:
            app_label = "library"
            managed = False

    assert ids(Foreign._meta.get_field("embedding").check()) == ["pgsbert.W007"]


@isolate_apps(LABEL)
def test_vectorizers_of_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(models.Model):
        title = models.TextField()
        one = EmbeddingField(source=["title"])
        two = EmbeddingField(source=["title"])

        class Meta:
            app_label = "library"

    monkeypatch.setattr(apps, "get_models", lambda **_: [Twice])
    (error,) = check_names()
    assert error.id == "pgsbert.E009"
    assert "library_twice" in error.msg


def test_without_the_app_no_migration_would_make_a_vectorizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "is_installed", lambda name: False)
    assert ids(Book._meta.get_field("embedding").check()) == ["pgsbert.E001"]


def test_a_database_that_lacks_something_is_a_warning_with_the_next_step(
    empty_database: Database, lead: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lead("default", empty_database)
    (missing,) = check_databases(["default"])
    assert (missing.id, "pgsbert install" in missing.hint) == ("pgsbert.W012", True)
    empty_database.execute("create extension vector")
    assert ids(check_databases(["default"])) == ["pgsbert.W013"]
    call_command("check", database=["default"])
    assert "pgsbert.W013" in capsys.readouterr().err
    assert check_databases(None) == []


def test_a_worker_and_models_are_missed(library: Any, furnished: Database) -> None:
    assert ids(check_databases(["default"])) == ["pgsbert.W015"]
    with run_worker(furnished.dsn, encoder=FakeEncoder(8)):
        assert check_databases(["default"]) == []
    furnished.execute("begin; update pgsbert.migration set version_num = '0001'; commit")
    try:
        assert "pgsbert.W014" in ids(check_databases(["default"]))
    finally:
        from pgsbert import schema

        furnished.execute(f"update pgsbert.migration set version_num = '{schema.head()}'")


def test_a_model_or_vectorizer_that_is_not_there_is_a_warning(default: Any) -> None:
    with default.cursor() as cursor:
        cursor.execute("DELETE FROM pgsbert.model WHERE name = 'fake-8'")
        cursor.execute("CREATE TABLE library_book (id bigint PRIMARY KEY)")
    found = ids(check_databases(["default"]))
    assert found.count("pgsbert.W016") == 3
    assert found.count("pgsbert.W017") == 1


class KeepOut:
    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == "default" or app_label != "library"


def test_other_databases_are_asked_as_the_router_says(empty_database: Database, lead: Any) -> None:
    lead("other", empty_database)
    assert ids(check_databases(["other"])) == ["pgsbert.W012"]
    with override_settings(DATABASE_ROUTERS=[KeepOut()]):
        assert check_databases(["other"]) == []
    connections["other"].close()


def test_two_databases_have_their_own_vectors(
    library: Any, shelves: RunningWorker, database: Database, lead: Any
) -> None:
    from tests.integrations.django.conftest import make_tables

    lead("other", database)
    make_tables("other")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        Book.objects.create(title="red apple")
        Book.objects.using("other").create(title="blue sea")
        Book.objects.wait_until_synced()
        Book.objects.using("other").wait_until_synced()
        assert Book.objects.search("red apple").get().title == "red apple"
        found = Book.objects.using("other").search("red apple").get()
        assert (found.title, found._state.db) == ("blue sea", "other")
        assert list(Book.objects.db_manager("other").similar_to(found)) == []
    connections["other"].close()
