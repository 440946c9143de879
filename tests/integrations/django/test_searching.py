"""Search by meaning as a queryset: instances, filters, joins, a bounded number of statements, one question."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import FieldError
from django.db import DatabaseError, transaction
from django.db.models import Count, F
from django.test.utils import CaptureQueriesContext
from pgvector.django import CosineDistance

import pgsbert
from pgsbert.django import Embed
from pgsbert.errors import UsageError, VectorizerTimeoutError
from tests.integrations.django.library.models import Author, Book, Note, Novel, Page

if TYPE_CHECKING:
    from tests.support import RunningWorker


def add_books(count: int = 12) -> None:
    author = Author.objects.create(name="Anna")
    Book.objects.bulk_create(
        Book(title=f"red apple {i}", body="blue sea " * (i % 3), views=i, author=author) for i in range(count)
    )
    Book.objects.wait_until_synced()


def questions(connection: Any) -> int:
    """Return how many questions were put to a worker."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM pgsbert.request_id_seq")
        return int(cursor.fetchone()[0])


def make_reranker_default(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE pgsbert.model SET is_default = true WHERE name = 'fake-reranker'")


def test_ten_hits_cost_one_statement_and_one_question(library: Any, shelves: RunningWorker) -> None:
    add_books()
    asked = questions(library)
    with CaptureQueriesContext(library) as statements:
        hits = list(Book.objects.select_related("author").search("red apple 3")[:10])
        assert {hit.author.name for hit in hits} == {"Anna"}
    assert len(statements) == 1
    assert questions(library) == asked + 1
    assert len(hits) == 10
    assert hits[0].title == "red apple 3"
    assert hits[0].distance == pytest.approx(0, abs=1e-6)
    assert hits[0].score == pytest.approx(1 - hits[0].distance)
    assert [hit.distance for hit in hits] == sorted(hit.distance for hit in hits)


def test_filters_before_and_after_choose_before_the_nearest_are_taken(library: Any, shelves: RunningWorker) -> None:
    add_books()
    wanted = [book.pk for book in Book.objects.filter(views__gte=9)]
    before = list(Book.objects.filter(views__gte=9).search("red apple 3")[:3])
    after = list(Book.objects.search("red apple 3").filter(views__gte=9)[:3])
    assert sorted(book.pk for book in before) == sorted(book.pk for book in after) == wanted
    assert Book.objects.search("red apple 3").filter(distance__lt=1e-5).get().title == "red apple 3"
    assert Book.objects.search("red apple 3").count() == 12
    assert list(Book.objects.search("red apple 3").values_list("title", flat=True)[:1]) == ["red apple 3"]
    assert Author.objects.filter(book__in=Book.objects.search("red apple 3")[:2]).distinct().count() == 1


def test_an_index_gives_as_many_rows_as_are_asked_for(library: Any, shelves: RunningWorker) -> None:
    """Not the 40 at which pgvector ends a scan unless told, and with a filter as well."""
    add_books(300)
    with library.cursor() as cursor:
        cursor.execute("CREATE INDEX ON library_book USING hnsw (embedding vector_cosine_ops)")
        cursor.execute("SET enable_seqscan = off; SET enable_sort = off")
        cursor.execute("SET enable_bitmapscan = off")
    found = Book.objects.search("red apple 3")
    assert "Index Scan using library_book_embedding_idx" in found[:100].explain()
    assert len(found[:100]) == 100
    assert len(found.filter(views__gte=270)[:30]) == 30
    assert len(Book.objects.similar_to(Book.objects.get(views=3))[:100]) == 100


def test_the_cross_encoder_orders_the_nearest_candidates(library: Any, shelves: RunningWorker) -> None:
    make_reranker_default(library)
    add_books()
    with CaptureQueriesContext(library) as statements:
        found = Book.objects.search("red apple 7", rerank=True)
        hits = list(found.select_related("author")[:5])
        assert {hit.author.name for hit in hits} == {"Anna"}
    assert len(statements) == 2
    expected = pgsbert.search(library.connection, "library_book", "red apple 7", k=5, rerank=True)
    assert [(hit.pk, hit.score) for hit in hits] == [(json.loads(hit.item)["id"], hit.score) for hit in expected]
    assert [hit.pk for hit in found[1:3]] == [hit.pk for hit in hits[1:3]]
    assert found.first().pk == hits[0].pk
    assert [hit.pk for hit in found.filter(views__gte=10)[:5]] == [
        hit.pk for hit in Book.objects.filter(views__gte=10).search("red apple 7", rerank=True)[:5]
    ]
    assert len(Book.objects.search("red apple 7", rerank=True, candidates=3)) == 3


@pytest.mark.parametrize("lose", ["values", "values_list", "order_by"])
def test_scores_of_the_cross_encoder_are_not_lost_silently(library: Any, lose: str) -> None:
    found = Book.objects.search("red apple", rerank=True)
    with pytest.raises(UsageError, match="gives objects"):
        getattr(found, lose)("title")
    with pytest.raises(UsageError, match="reverse"):
        found.last()
    with pytest.raises(UsageError, match="a subquery"):
        list(Author.objects.filter(book__in=found))


def test_without_a_cross_encoder_a_search_says_how_to_get_one(library: Any, shelves: RunningWorker) -> None:
    add_books(2)
    with pytest.raises(DatabaseError, match="no reranker: run pgsbert model add"):
        list(Book.objects.search("red apple", rerank=True)[:2])


def test_similar_objects_are_found_without_the_model(library: Any, shelves: RunningWorker) -> None:
    add_books()
    book = Book.objects.get(views=3)
    asked = questions(library)
    with CaptureQueriesContext(library) as statements:
        near = list(Book.objects.filter(views__gt=0).similar_to(book)[:5])
    assert (len(statements), questions(library)) == (1, asked)
    assert book.pk not in [other.pk for other in near]
    expected = pgsbert.similar_to(library.connection, "library_book", book.pk, k=5)
    assert near[0].pk == json.loads(expected[0].item)["id"]
    assert near[0].distance == pytest.approx(expected[0].distance)


def test_an_object_without_a_vector_is_similar_to_none(library: Any, shelves: RunningWorker) -> None:
    add_books(3)
    empty = Book.objects.create(title="")
    Book.objects.wait_until_synced()
    assert list(Book.objects.similar_to(empty)[:5]) == []
    with pytest.raises(UsageError, match="takes a saved Book"):
        Book.objects.similar_to(Author(name="Anna"))
    with pytest.raises(UsageError, match="takes a saved Book"):
        Book.objects.similar_to(Book(title="new"))


def test_embed_goes_with_the_distances_of_pgvector(library: Any, shelves: RunningWorker) -> None:
    add_books()
    asked = questions(library)
    question = Embed("red apple 6", model="fake-8")
    books = list(Book.objects.annotate(far=CosineDistance("embedding", question)).order_by("far")[:3])
    assert books[0].title == "red apple 6"
    ordered = Book.objects.order_by(CosineDistance("embedding", Embed("red apple 6", model="fake-8")))[:3]
    assert [book.pk for book in ordered] == [book.pk for book in books]
    assert questions(library) == asked + 2
    near = Book.objects.alias(far=CosineDistance("embedding", question)).filter(far__lt=1e-5)
    assert [book.title for book in near] == ["red apple 6"]
    assert Book.objects.values("author").annotate(n=Count("pk")).filter(embedding__isnull=False).get()["n"] == 12
    with pytest.raises(TypeError, match="takes a text, not F"):
        Embed(F("title"))


def test_every_kind_of_model_can_be_searched(library: Any, shelves: RunningWorker) -> None:
    """A concrete child of an abstract model, a child by multi-table inheritance, a composite key."""
    Note.objects.create(text="blue sea")
    novel = Novel.objects.create(title="green forest", genre="calm")
    Novel.objects.create(title="red apple", genre="loud")
    Page.objects.create(volume="one", number=1, words="green forest")
    page = Page.objects.create(volume="one", number=2, words="green wood")
    for model in (Note, Book, Page):
        model.objects.wait_until_synced()
    assert Note.objects.search("blue sea").get().text == "blue sea"
    assert Novel.objects.search("green forest")[0] == novel
    assert [other.title for other in Novel.objects.similar_to(novel)] == ["red apple"]
    assert Page.objects.search("{one} green wood")[0].pk == ("one", 2)
    assert Page.objects.search("{one} green wood")[0].distance == pytest.approx(0, abs=1e-6)
    assert [other.pk for other in Page.objects.similar_to(page)] == [("one", 1)]


def test_reranking_knows_every_kind_of_model(library: Any, shelves: RunningWorker) -> None:
    make_reranker_default(library)
    Novel.objects.create(title="red apple", genre="loud")
    Page.objects.create(volume="one", number=1, words="green forest")
    Book.objects.wait_until_synced()
    Page.objects.wait_until_synced()
    assert Novel.objects.search("red apple", rerank=True)[0].document == "red apple"
    assert Page.objects.search("forest", rerank=True)[0].document == "{one} green forest"


@pytest.mark.parametrize("filled", [True, False])
def test_without_a_worker_a_search_says_so_at_once(library: Any, filled: bool) -> None:
    """Also where no row could be found."""
    if filled:
        Book.objects.create(title="red apple")
    with pytest.raises(DatabaseError, match=r"no worker has been seen.*: start one with pgsbert worker") as caught:
        list(Book.objects.search("red apple")[:10])
    assert caught.value.__cause__.sqlstate == "PB001"


def test_a_row_is_searchable_after_its_transaction(library: Any, shelves: RunningWorker) -> None:
    """What ATOMIC_REQUESTS and TestCase mean for it."""
    with transaction.atomic():
        Book.objects.create(title="red apple")
        assert list(Book.objects.search("red apple")) == []
        with pytest.raises(transaction.TransactionManagementError, match="TransactionTestCase"):
            Book.objects.wait_until_synced()
    Book.objects.wait_until_synced()
    assert Book.objects.search("red apple").get().title == "red apple"


def test_waiting_ends_when_no_worker_comes(library: Any) -> None:
    Book.objects.create(title="red apple")
    with pytest.raises(VectorizerTimeoutError, match=r"library\.Book\.embedding was not in sync.*pgsbert_status"):
        Book.objects.wait_until_synced(timeout=timedelta(milliseconds=30))


def test_wrong_calls_are_refused_with_the_reason(library: Any) -> None:
    with pytest.raises(UsageError, match="this one is empty"):
        Book.objects.search("")
    with pytest.raises(UsageError, match="at least 1, not 0"):
        Book.objects.search("apple", candidates=0)
    with pytest.raises(FieldError, match="Book has no EmbeddingField title: it has embedding"):
        Book.objects.search("apple", field="title")
