"""Saving objects: the database sees every way to write, and no save undoes what the worker wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from django.core import serializers
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext
from pgvector import Vector

from tests.integrations.django.library.models import Book

if TYPE_CHECKING:
    from tests.support import RunningWorker

OWN = [1.0, 0, 0, 0, 0, 0, 0, 0]


def vector(book: Book) -> list[float]:
    found = Book.objects.values_list("embedding", flat=True).get(pk=book.pk)
    assert found is not None
    return list(found)


def nearest(text: str) -> str:
    Book.objects.wait_until_synced()
    return str(Book.objects.search(text)[0].title)


def test_every_way_to_write_is_followed(library: Any, shelves: RunningWorker) -> None:
    one, two = Book.objects.bulk_create([Book(title="red apple"), Book(title="blue sea")])
    assert nearest("red apple") == "red apple"
    Book.objects.filter(pk=two.pk).update(title="green forest")
    assert nearest("green forest") == "green forest"
    Book.objects.filter(pk=two.pk).update(title=Concat(F("title"), Value(" walk")))
    assert nearest("green forest walk") == "green forest walk"
    one.title = "yellow sun"
    Book.objects.bulk_update([one], ["title"])
    assert nearest("yellow sun") == "yellow sun"
    with library.cursor() as cursor:
        cursor.execute("UPDATE library_book SET title = 'white snow' WHERE id = %s", [one.pk])
    assert nearest("white snow") == "white snow"
    Book.objects.update_or_create(pk=one.pk, defaults={"title": "black coal"})
    assert nearest("black coal") == "black coal"
    Book.objects.bulk_create(
        [Book(pk=one.pk, title="grey stone")], update_conflicts=True, unique_fields=["pk"], update_fields=["title"]
    )
    assert nearest("grey stone") == "grey stone"


def test_an_object_loaded_before_the_worker_came_does_not_take_the_vector_back(
    library: Any, shelves: RunningWorker
) -> None:
    """The interleaving: load, embedded by the worker, save."""
    Book.objects.create(title="red apple")
    with library.cursor() as cursor:
        cursor.execute("UPDATE library_book SET embedding = NULL")
    loaded = Book.objects.get()
    assert loaded.embedding is None
    with library.cursor() as cursor:
        cursor.execute("SELECT pgsbert.refresh('library_book')")
    Book.objects.wait_until_synced()
    written = vector(loaded)
    loaded.views = 1
    with CaptureQueriesContext(library) as statements:
        loaded.save()
    assert "embedding" not in statements[0]["sql"]
    assert vector(loaded) == written


def test_an_object_loaded_with_an_older_vector_does_not_bring_it_back(library: Any, shelves: RunningWorker) -> None:
    book = Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    loaded = Book.objects.get()
    Book.objects.filter(pk=book.pk).update(title="blue sea")
    Book.objects.wait_until_synced()
    newer = vector(book)
    assert newer != list(loaded.embedding)
    loaded.title = "blue sea"
    loaded.save()
    assert vector(book) == newer
    loaded.save(update_fields=["views", "embedding"])
    assert vector(book) == newer
    loaded.refresh_from_db()
    assert list(loaded.embedding) == newer
    Book.objects.filter(pk=book.pk).update(embedding=OWN)
    loaded.save()
    assert vector(book) == OWN


def test_an_object_made_anew_with_the_key_of_a_row_leaves_its_vector(library: Any, shelves: RunningWorker) -> None:
    book = Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    written = vector(book)
    Book(pk=book.pk, title="red apple", views=7).save()
    assert Book.objects.get().views == 7
    assert vector(book) == written


@pytest.mark.parametrize("given", [OWN, np.array(OWN), Vector(OWN)], ids=["list", "array", "Vector"])
def test_a_vector_set_on_purpose_is_written_once(library: Any, shelves: RunningWorker, given: Any) -> None:
    book = Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    made = vector(book)
    book.embedding = given
    book.save()
    assert vector(book) == OWN
    Book.objects.filter(pk=book.pk).update(embedding=made)
    book.save()
    assert vector(book) == made


def test_a_vector_given_with_a_new_object_is_made_anew(library: Any, shelves: RunningWorker) -> None:
    book = Book.objects.create(title="red apple", embedding=OWN)
    Book.objects.wait_until_synced()
    made = vector(book)
    assert made != OWN
    book.views = 1
    book.save()
    assert vector(book) == made


def test_update_and_bulk_update_write_a_vector_that_they_name(library: Any, shelves: RunningWorker) -> None:
    book = Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    Book.objects.update(embedding=OWN)
    assert vector(book) == OWN
    book.embedding = [0.0, *OWN[:-1]]
    Book.objects.bulk_update([book], ["embedding"])
    assert vector(book) == [0.0, *OWN[:-1]]


def test_deferred_and_refreshed_objects_are_saved_like_others(library: Any, shelves: RunningWorker) -> None:
    Book.objects.create(title="red apple")
    Book.objects.wait_until_synced()
    found = Book.objects.search("red apple").get()
    assert "embedding" not in found.__dict__
    made = list(found.embedding)
    Book.objects.update(embedding=OWN)
    found.views = 1
    found.save()
    assert (Book.objects.get().views, vector(found)) == (1, OWN)
    found.refresh_from_db(fields=["embedding"])
    assert list(found.embedding) == OWN != made


def test_a_vector_is_in_no_form_and_no_fixture(library: Any) -> None:
    book = Book.objects.create(title="red apple")
    assert "embedding" not in serializers.serialize("json", [book])
    assert not Book._meta.get_field("embedding").editable
    book.full_clean(exclude=["author", "body"])
