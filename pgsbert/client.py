"""pgsbert from Python: the SQL functions as calls on a psycopg connection, sync or async.

Every operation is written once, as a generator that yields statements and pauses; how they are waited for depends on
the connection alone. With an ``AsyncConnection`` the call returns an awaitable of the same result.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, LiteralString, ParamSpec, TypeVar, cast, overload

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor, sql
from psycopg.rows import tuple_row

from pgsbert.errors import UsageError, VectorizerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from pgsbert.types import Vectors

    Steps = Generator["Statement | timedelta", list[tuple[Any, ...]], "T"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement to run; its rows are sent back into the generator."""

    query: LiteralString | sql.Composed
    parameters: dict[str, object]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row found by a search: its columns without vectors, its distance, and its score, higher is better."""

    item: dict[str, Any]
    distance: float
    score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """A document with its relevance score by the cross-encoder; ``ordinal`` counts from 0 in the documents given."""

    ordinal: int
    document: str
    score: float


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a classifier and how probable it is, from 0 to 1; those of one pair sum to 1."""

    label: str
    probability: float


class Operation(Generic[P, T]):
    """An operation that takes a psycopg connection of either kind as its first argument."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self._steps = steps
        self.__doc__ = steps.__doc__
        self.__name__ = steps.__name__
        self.__wrapped__ = steps

    @overload
    def __call__(self, connection: Connection[Any], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, connection: AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...
    def __call__(
        self, connection: Connection[Any] | AsyncConnection[Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> T | Awaitable[T]:
        """Perform the operation on the connection, in its transaction if it has one."""
        steps = self._steps(*args, **kwargs)
        if isinstance(connection, AsyncConnection):
            return _perform_async(connection, steps)
        return _perform(connection, steps)


def _perform(connection: Connection[Any], steps: Steps[T]) -> T:
    rows: list[tuple[Any, ...]] = []
    try:
        step = next(steps)
        while True:
            if isinstance(step, timedelta):
                time.sleep(step.total_seconds())
            else:
                # not connection.cursor(): it may have another kind of cursor, or of rows
                rows = Cursor(connection, row_factory=tuple_row).execute(step.query, step.parameters).fetchall()
            step = steps.send(rows)
    except StopIteration as end:
        return cast("T", end.value)


async def _perform_async(connection: AsyncConnection[Any], steps: Steps[T]) -> T:
    rows: list[tuple[Any, ...]] = []
    try:
        step = next(steps)
        while True:
            if isinstance(step, timedelta):
                await asyncio.sleep(step.total_seconds())
            else:
                cursor = await AsyncCursor(connection, row_factory=tuple_row).execute(step.query, step.parameters)
                rows = await cursor.fetchall()
            step = steps.send(rows)
    except StopIteration as end:
        return cast("T", end.value)


@Operation
def search(vectorizer: str, query: str, *, k: int = 10, rerank: bool = False, candidates: int = 50) -> Steps[list[Hit]]:
    """Return the ``k`` rows nearest in meaning to a query, nearest first, or best first by the cross-encoder.

    The score is 1 - distance, or the cross-encoder's. Raises psycopg.Error with an SQLSTATE of class PB.
    """
    rows = yield Statement(
        "select item, distance, score"
        " from pgsbert.search(%(vectorizer)s, %(query)s, %(k)s, %(rerank)s, %(candidates)s)",
        {"vectorizer": vectorizer, "query": query, "k": k, "rerank": rerank, "candidates": candidates},
    )
    return [Hit(*row) for row in rows]


@Operation
def similar_to(vectorizer: str, key: object, *, k: int = 10) -> Steps[list[Hit]]:
    """Return the ``k`` rows nearest in meaning to the row with that key.

    A key of several columns is a list or tuple with one value for each.
    """
    parts = list(key) if isinstance(key, list | tuple) else [key]
    # PostgreSQL writes each value as text, as it does when it compares them with the key
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Placeholder(f"key{i}")) for i in range(len(parts)))
    rows = yield Statement(
        sql.SQL(
            "select item, distance, score from pgsbert.similar_to(%(vectorizer)s, array[{}]::text[], %(k)s)"
        ).format(texts),
        {"vectorizer": vectorizer, "k": k, **{f"key{i}": part for i, part in enumerate(parts)}},
    )
    return [Hit(*row) for row in rows]


@Operation
def embed(texts: Sequence[str], *, model: str | None = None) -> Steps[Vectors]:
    """Return the embeddings of texts as queries, float32 of shape (len(texts), dimensions), in their order."""
    import numpy as np

    given = _texts("embed", texts)
    if not given:
        found = yield Statement(
            "select dimensions from pgsbert.models where name = %(model)s"
            " or %(model)s::text is null and is_default and kind = 'bi-encoder'",
            {"model": model},
        )
        return np.empty((0, found[0][0] or 0 if found else 0), dtype=np.float32)
    rows = yield Statement(
        "select (vector)::real[] from unnest(pgsbert.embed(%(texts)s::text[], %(model)s))"
        " with ordinality as u (vector, place) order by place",
        {"texts": given, "model": model},
    )
    return np.array([row[0] for row in rows], dtype=np.float32)


@Operation
def embed_image(data: bytes, *, model: str | None = None) -> Steps[NDArray[np.float32]]:
    """Return the embedding of an image file (JPEG, PNG or WebP), float32 of shape (dimensions,).

    ``model`` takes images; its texts and images are in one space.
    """
    import numpy as np

    rows = yield Statement(
        "select pgsbert.embed_image(%(data)b::bytea, %(model)s)::real[]", {"data": bytes(data), "model": model}
    )
    return np.array(rows[0][0], dtype=np.float32)


@Operation
def similarity(a: str, b: str, *, model: str | None = None) -> Steps[float]:
    """Return the cosine of the embeddings of two texts, from -1 to 1."""
    rows = yield Statement("select pgsbert.similarity(%(a)s, %(b)s, %(model)s)", {"a": a, "b": b, "model": model})
    return float(rows[0][0])


@Operation
def rerank(
    query: str, documents: Sequence[str], *, model: str | None = None, top_k: int | None = None
) -> Steps[list[Ranked]]:
    """Return documents with their scores by the cross-encoder, best first."""
    rows = yield Statement(
        "select ordinal - 1, document, score"
        " from pgsbert.rerank(%(query)s, %(documents)s::text[], %(model)s, %(top_k)s)",
        {"query": query, "documents": _texts("rerank", documents), "model": model, "top_k": top_k},
    )
    return [Ranked(*row) for row in rows]


@Operation
def classify(premise: str, hypothesis: str, *, model: str | None = None) -> Steps[list[Label]]:
    """Return the labels of a pair of texts by a classifier (such as NLI), the most probable first."""
    rows = yield Statement(
        "select label, probability from pgsbert.classify(%(premise)s, %(hypothesis)s, %(model)s)",
        {"premise": premise, "hypothesis": hypothesis, "model": model},
    )
    return [Label(*row) for row in rows]


@Operation
def create_vectorizer(
    source: str, columns: Sequence[str] | None = None, template: str | None = None, **options: str | bool
) -> Steps[str]:
    """Keep an embedding of the table ``source`` true from now on; returns the vectorizer's name.

    ``columns`` are embedded one a line, or a ``template`` such as "{title}: {body}" says how: give one of them.
    ``source`` is written as in SQL, with its schema and quotes where needed. The options are those of
    pgsbert.create_vectorizer: name, model, storage, target, distance, index, on_change, if_not_exists, triggers,
    on_truncate.
    """
    given = [sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in options]
    text = sql.SQL("columns => %(columns)s::text[], template => %(template)s::text")
    arguments = sql.SQL(", ").join([sql.SQL("%(source)s::regclass"), text, *given])
    names = None if columns is None else _texts("create_vectorizer", columns)
    rows = yield Statement(
        sql.SQL("select pgsbert.create_vectorizer({})").format(arguments),
        {"source": source, "columns": names, "template": template, **options},
    )
    return str(rows[0][0])


@Operation
def wait_until_synced(vectorizer: str, *, timeout: timedelta = timedelta(minutes=1)) -> Steps[None]:
    """Return when nothing of the vectorizer waits to be embedded; raises VectorizerTimeoutError.

    In a REPEATABLE READ transaction the queue never changes: call it outside of one.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while not (yield Statement("select pgsbert.is_synced(%(name)s)", {"name": vectorizer}))[0][0]:
        if time.monotonic() >= deadline:
            raise VectorizerTimeoutError(
                f'Vectorizer "{vectorizer}" was not in sync after {timeout}: '
                "select * from pgsbert.status shows what is pending and which workers run."
            )
        yield timedelta(milliseconds=10)


def _texts(operation: str, texts: Sequence[str]) -> list[str]:
    """Return the texts as a list; one text alone would be taken for a sequence of letters."""
    if isinstance(texts, str):
        raise UsageError(f"{operation}() takes a sequence of texts; for one text write [text].")
    if None in texts:
        raise UsageError(f"{operation}() takes texts, and None is not one.")
    return list(texts)
