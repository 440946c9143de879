"""Search by meaning as a queryset: model instances come back, filtered, joined and sliced as any others."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldError
from django.db import connections, transaction
from django.db.models import Exists, F, FloatField, Manager, QuerySet, Value
from django.db.models.expressions import ExpressionWrapper
from django.db.models.lookups import IsNull
from django.db.models.query import ModelIterable

from pgsbert.django.expressions import Document, OriginVector, Question
from pgsbert.django.fields import DISTANCES, EmbeddingField
from pgsbert.django.schema_editor import read_registered
from pgsbert.errors import UsageError, VectorizerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Iterator


class SearchQuerySet(QuerySet):
    """A queryset that searches: objects = SearchQuerySet.as_manager()."""

    _reranked: tuple[str, int] | None = None

    def search(self, query: str, *, field: str | None = None, rerank: bool = False, candidates: int = 50) -> Any:
        """Return the objects nearest in meaning to a query, nearest first, each with ``distance`` and ``score``.

        Slice it: search(...)[:10]. Filters, before or after, choose before the nearest are taken. The score is
        1 - distance; with ``rerank`` the cross-encoder's, and the nearest ``candidates`` are ordered by it. ``field``
        names one where the model has several. The database raises SQLSTATE PB001 where no worker runs.
        """
        if not query:
            raise UsageError("search() takes a query, and this one is empty.")
        if candidates < 1:
            raise UsageError(f"candidates must be at least 1, not {candidates}.")
        embedding = self._embedding(field)
        found = self._nearest(embedding, Question(embedding, query))
        if rerank:
            found = found.annotate(document=Document(embedding))
            found._reranked = (query, candidates)
            found._iterable_class = RerankedIterable
        return found

    def similar_to(self, other: Any, *, field: str | None = None) -> Any:
        """Return the objects nearest in meaning to another one of the model, which is not among them.

        None where it has no vector yet: it was not embedded, or its text is empty.
        """
        if not isinstance(other, self.model._meta.concrete_model) or not other._is_pk_set():
            raise UsageError(f"similar_to() takes a saved {self.model.__name__}, not {other!r}.")
        embedding = self._embedding(field)
        has_vector = {f"{embedding.name}__isnull": False}
        origin = embedding.model._base_manager.using(self.db).filter(pk=other.pk, **has_vector)
        nearest = self._nearest(embedding, OriginVector(origin.values(embedding.name)))
        return nearest.filter(Exists(origin)).exclude(pk=other.pk)

    def wait_until_synced(self, *, field: str | None = None, timeout: timedelta = timedelta(minutes=1)) -> None:
        """Return when nothing of the model waits to be embedded, for scripts and tests; or VectorizerTimeoutError."""
        embedding, deadline = self._embedding(field), time.monotonic() + timeout.total_seconds()
        connection = connections[self.db]
        if connection.in_atomic_block:
            raise transaction.TransactionManagementError(
                "wait_until_synced() inside a transaction would wait for ever: the worker sees rows that are committed."
                " In a test, use TransactionTestCase."
            )
        registered = read_registered(connection, embedding.model._meta.db_table, embedding.column)
        if registered is None:
            raise UsageError(f"{embedding} has no vectorizer in this database: run migrate.")
        with connection.cursor() as cursor:
            while True:
                cursor.execute("SELECT pgsbert.is_synced(%s)", [registered.name])
                if cursor.fetchone()[0]:
                    return
                if time.monotonic() >= deadline:
                    raise VectorizerTimeoutError(
                        f"{embedding} was not in sync after {timeout}: manage.py pgsbert_status shows what is pending"
                        " and whether a worker runs."
                    )
                time.sleep(0.01)

    def values(self, *fields: Any, **expressions: Any) -> Any:
        """Refuse what would lose the cross-encoder's scores; else as in any queryset."""
        self._refuse_if_reranked("values()")
        return super().values(*fields, **expressions)

    def values_list(self, *fields: Any, **options: Any) -> Any:
        """Refuse what would lose the cross-encoder's scores; else as in any queryset."""
        self._refuse_if_reranked("values_list()")
        return super().values_list(*fields, **options)

    def order_by(self, *field_names: Any) -> Any:
        """Refuse what would take other candidates than the nearest; else as in any queryset."""
        self._refuse_if_reranked("order_by()")
        return super().order_by(*field_names)

    def reverse(self) -> Any:
        """Refuse what would take the farthest candidates; else as in any queryset."""
        self._refuse_if_reranked("reverse()")
        return super().reverse()

    def resolve_expression(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse what would lose the cross-encoder's scores; else as in any queryset."""
        self._refuse_if_reranked("a subquery")
        return super().resolve_expression(*args, **kwargs)

    def _clone(self) -> Any:
        clone = super()._clone()
        clone._reranked = self._reranked
        return clone

    def _refuse_if_reranked(self, what: str) -> None:
        if self._reranked is not None:
            raise UsageError(
                f"search(rerank=True) gives objects in the cross-encoder's order, which {what} does not know."
            )

    def _nearest(self, embedding: EmbeddingField, vector: Any) -> Any:
        distance = DISTANCES[embedding.distance](embedding.name, vector)
        score = ExpressionWrapper(Value(1.0) - F("distance"), output_field=FloatField())
        # The filter on the vector asked for is one for all rows: it is made, and the scan widened, before any is read.
        return (
            self.filter(IsNull(vector, False), **{f"{embedding.name}__isnull": False})
            .defer(embedding.name)
            .annotate(distance=distance, score=score)
            .order_by("distance")
        )

    def _embedding(self, name: str | None) -> EmbeddingField:
        fields = [field for field in self.model._meta.concrete_fields if isinstance(field, EmbeddingField)]
        chosen = [field for field in fields if name in (None, field.name)]
        if len(chosen) == 1:
            return chosen[0]
        names = ", ".join(field.name for field in fields) or "none"
        if not chosen:
            raise FieldError(f"{self.model.__name__} has no EmbeddingField {name or ''}: it has {names}.")
        raise FieldError(f"{self.model.__name__} has several embeddings: pass field= one of {names}.")


class RerankedIterable(ModelIterable):
    """Takes the nearest candidates of a search and yields them best first by the cross-encoder, cut to the slice."""

    def __iter__(self) -> Iterator[Any]:
        """Ask two statements: one for the candidates, one for their scores."""
        query, candidates = self.queryset._reranked
        low, high = self.queryset.query.low_mark, self.queryset.query.high_mark
        nearest = self.queryset._chain()
        nearest.query.clear_limits()
        nearest.query.set_limits(high=max(candidates, high or 0))
        found = list(ModelIterable(nearest, chunked_fetch=False))
        for instance, score in self._scores(query, found)[low:high]:
            instance.score = score
            yield instance

    def _scores(self, query: str, found: list[Any]) -> list[tuple[Any, float]]:
        with connections[self.queryset.db].cursor() as cursor:
            cursor.execute(
                "SELECT ordinal - 1, score FROM pgsbert.rerank(%s, %s::text[])",
                [query, [instance.document for instance in found]],
            )
            return [(found[place], score) for place, score in cursor.fetchall()]


SearchManager = Manager.from_queryset(SearchQuerySet, class_name="SearchManager")
