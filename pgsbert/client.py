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

from psycopg import AsyncConnection, Connection, sql
from psycopg.rows import tuple_row

from pgsbert.errors import UsageError, VectorizerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

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
                rows = connection.cursor(row_factory=tuple_row).execute(step.query, step.parameters).fetchall()
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
                cursor = await connection.cursor(row_factory=tuple_row).execute(step.query, step.parameters)
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
def similar_to(vectorizer: str, key: Sequence[object], *, k: int = 10) -> Steps[list[Hit]]:
    """Return the ``k`` rows nearest in meaning to the row with that key, one value for each key column."""
    rows = yield Statement(
        "select item, distance, score from pgsbert.similar_to(%(vectorizer)s, %(key)s::text[], %(k)s)",
        {"vectorizer": vectorizer, "key": [str(part) for part in key], "k": k},
    )
    return [Hit(*row) for row in rows]


@Operation
def embed(texts: Sequence[str], *, model: str | None = None) -> Steps[Vectors]:
    """Return the embeddings of texts as queries, float32 of shape (len(texts), dimensions), in their order."""
    import numpy as np

    if isinstance(texts, str):
        raise UsageError("embed() takes a sequence of texts; for one text write [text].")
    rows = yield Statement(
        "select (vector)::real[] from unnest(pgsbert.embed(%(texts)s::text[], %(model)s))"
        " with ordinality as u (vector, place) order by place",
        {"texts": list(texts), "model": model},
    )
    return np.array([row[0] for row in rows], dtype=np.float32)


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
        {"query": query, "documents": list(documents), "model": model, "top_k": top_k},
    )
    return [Ranked(*row) for row in rows]


@Operation
def create_vectorizer(source: str, columns: Sequence[str], **options: str | bool) -> Steps[str]:
    """Keep an embedding of ``columns`` of the table ``source`` true from now on; returns the vectorizer's name.

    ``source`` is written as in SQL, with its schema and quotes where needed. The options are those of
    pgsbert.create_vectorizer: name, model, storage, target, distance, index, on_change, if_not_exists.
    """
    given = [sql.SQL("{} => {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in options]
    arguments = sql.SQL(", ").join([sql.SQL("%(source)s::regclass"), sql.SQL("columns => %(columns)s::text[]"), *given])
    rows = yield Statement(
        sql.SQL("select pgsbert.create_vectorizer({})").format(arguments),
        {"source": source, "columns": list(columns), **options},
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
