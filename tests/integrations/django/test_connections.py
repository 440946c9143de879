"""What applications put around it: connection pools, server-side parameters, test cases."""

from __future__ import annotations

import unittest
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
from django.db import DatabaseError, transaction
from django.test import TestCase, TransactionTestCase
from pgvector.psycopg import register_vector

from tests.integrations.django.library.models import Book

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import RunningWorker


@pytest.fixture
def with_options(library: Any) -> Iterator[Callable[..., None]]:
    before = library.settings_dict["OPTIONS"]

    def set_(**options: Any) -> None:
        library.close()
        library.settings_dict["OPTIONS"] = options

    yield set_
    library.close()
    library.close_pool()
    library.settings_dict["OPTIONS"] = before


def add_and_find() -> None:
    book = Book.objects.create(title="red apple")
    Book.objects.create(title="blue sea")
    Book.objects.wait_until_synced()
    assert Book.objects.search("red apple")[0] == book
    assert [other.title for other in Book.objects.similar_to(book)[:1]] == ["blue sea"]


@pytest.mark.skipif(find_spec("psycopg_pool") is None, reason="psycopg_pool is not installed")
def test_a_pool_of_connections_is_used_as_it_is(
    library: Any, shelves: RunningWorker, with_options: Callable[..., None]
) -> None:
    with_options(pool={"min_size": 1, "max_size": 2})
    add_and_find()
    library.close()
    assert Book.objects.search("red apple")[0].title == "red apple"


def test_parameters_may_be_bound_by_the_server(shelves: RunningWorker, with_options: Callable[..., None]) -> None:
    with_options(server_side_binding=True)
    add_and_find()


def test_a_connection_that_knows_the_type_vector_gives_the_same(library: Any, shelves: RunningWorker) -> None:
    library.ensure_connection()
    register_vector(library.connection)
    add_and_find()
    book = Book.objects.first()
    vector = list(book.embedding)
    book.views = 1
    book.save()
    assert list(Book.objects.get(pk=book.pk).embedding) == vector


def test_a_failed_search_leaves_an_outer_transaction_as_any_failed_statement(library: Any) -> None:
    with transaction.atomic():
        Book.objects.create(title="red apple")
        with pytest.raises(DatabaseError, match="no worker"), transaction.atomic():
            list(Book.objects.search("red apple")[:1])
    assert Book.objects.get().title == "red apple"


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_a_transaction_test_case_can_search_what_it_added(library: Any, shelves: RunningWorker) -> None:
    class Searching(TransactionTestCase):
        available_apps = ("tests.integrations.django.library",)

        def test_search(self) -> None:
            add_and_find()

    result = run(Searching)
    assert (result.errors, result.failures, result.testsRun) == ([], [], 1)
    assert not Book.objects.exists()


def test_a_test_case_is_one_transaction_and_is_told_so(library: Any, shelves: RunningWorker) -> None:
    class Searching(TestCase):
        def test_search(self) -> None:
            add_and_find()

    ((_, error),) = run(Searching).errors
    assert "In a test, use TransactionTestCase." in error
