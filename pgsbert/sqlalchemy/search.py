"""Search a mapped class by meaning: mapped objects come back, with filters and eager loading as in any SELECT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Select, Table, and_, column, func, inspect, literal_column, select, table, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session
from sqlalchemy.orm import Mapper

from pgsbert.errors import UsageError
from pgsbert.sqlalchemy.functions import embed_for
from pgsbert.sqlalchemy.functions import rerank as reranked
from pgsbert.sqlalchemy.vectorizer import vectorizers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session, scoped_session

    from pgsbert.declared import VectorizerSpec

T = TypeVar("T")

# of a paramstyle that doubles no percent sign: literal_column does that itself
_quoted = postgresql.dialect(paramstyle="named").identifier_preparer.quote  # type: ignore[no-untyped-call]

# The model is asked here, also where no row has a vector yet: a worker that does not run must be told. The search
# finds the answer in the transaction's memo.
_WIDEN = text(
    "select pgsbert.check_search(:query, :k, :rerank, :candidates), pgsbert.embed_for(:vectorizer, :query) is not null,"
    " w.ef_search, w.iterative_scan from pgsbert.widen_scan(:wanted) as w"
)
_NARROW = text("select pgsbert.narrow_scan(:ef_search, :iterative_scan)")


@dataclass(frozen=True, slots=True)
class Hit(Generic[T]):
    """A mapped object found by a search, its distance, and its score, higher is better."""

    item: T
    distance: float
    score: float


@dataclass(frozen=True, slots=True)
class _Source:
    """The vectorizer of a mapped class."""

    name: str
    spec: VectorizerSpec
    table: Table
    mapper: Mapper[Any]


@overload
def search(
    session: Session | scoped_session[Any],
    source: type[T] | Select[T],
    query: str,
    *,
    k: int = 10,
    rerank: bool = False,
    candidates: int = 50,
    vectorizer: str | None = None,
) -> list[Hit[T]]: ...
@overload
def search(
    session: AsyncSession | async_scoped_session[Any],
    source: type[T] | Select[T],
    query: str,
    *,
    k: int = 10,
    rerank: bool = False,
    candidates: int = 50,
    vectorizer: str | None = None,
) -> Awaitable[list[Hit[T]]]: ...
def search(
    session: Session | scoped_session[Any] | AsyncSession | async_scoped_session[Any],
    source: type[T] | Select[T],
    query: str,
    *,
    k: int = 10,
    rerank: bool = False,
    candidates: int = 50,
    vectorizer: str | None = None,
) -> list[Hit[T]] | Awaitable[list[Hit[T]]]:
    """Return the ``k`` objects nearest in meaning to a query, nearest first, or best first by the cross-encoder.

    ``source`` is a mapped class, or a SELECT of one: its filters choose before the nearest are taken, its options
    load as they say. ``vectorizer`` names one where the class has several. The score is 1 - distance, or the
    cross-encoder's for the best of the nearest ``candidates``. With an AsyncSession, await the result. Three
    statements, whatever ``k`` is, besides those of the options. Raises UsageError, or what the database raises with
    an SQLSTATE of class PB in ``error.orig.sqlstate``.
    """
    given = {"query": query, "k": k, "rerank": rerank, "candidates": candidates}
    if isinstance(session, async_scoped_session):
        session = session()
    if isinstance(session, AsyncSession):
        return cast("Awaitable[list[Hit[T]]]", session.run_sync(_search, source, given, vectorizer))
    return _search(session, source, given, vectorizer)


def _search(session: Any, source: Any, given: dict[str, Any], vectorizer: str | None) -> list[Hit[Any]]:
    statement = source if isinstance(source, Select) else select(source)
    found = _source_of(statement, vectorizer)
    build = _by_rerank if given["rerank"] else _by_distance
    statement = build(statement, found, given["query"], given["k"], given["candidates"])
    wanted = max(given["k"], given["candidates"]) if given["rerank"] else given["k"]
    before = session.execute(_WIDEN, {**given, "vectorizer": found.name, "wanted": wanted}).one()
    rows = session.execute(statement).unique().all()
    session.execute(_NARROW, {"ef_search": before.ef_search, "iterative_scan": before.iterative_scan})
    hits = [Hit(row[0], row.pgsbert_distance, row.pgsbert_score) for row in rows]
    # the index orders by a distance that differs in the last bits
    return hits if given["rerank"] else sorted(hits, key=lambda hit: hit.distance)


def _by_distance(statement: Select[Any], source: _Source, query: str, k: int, _: int) -> Select[Any]:
    statement, distance, present = _nearest(statement, source, query)
    labels = distance.label("pgsbert_distance"), (1 - distance).label("pgsbert_score")
    return statement.add_columns(*labels).where(present).order_by(None).order_by(distance).limit(k)


def _by_rerank(statement: Select[Any], source: _Source, query: str, k: int, candidates: int) -> Select[Any]:
    plain, distance, present = _nearest(statement, source, query)
    keys = source.mapper.primary_key
    # ".*": a column may be called as its table is
    document = func.pgsbert.document(source.name, literal_column(f"{_quoted(source.table.name)}.*"))
    nearest = (
        plain.with_only_columns(
            *(key.label(f"key{i}") for i, key in enumerate(keys)),
            distance.label("distance"),
            document.label("document"),
            maintain_column_froms=True,
        )
        .where(present)
        .order_by(None)
        .order_by(distance)
        .limit(max(k, candidates))
        .cte("nearest")
    )
    ordinal = func.row_number().over(order_by=nearest.c.distance)
    candidate = select(nearest, ordinal.label("ordinal")).cte("candidate")
    documents = func.array(select(candidate.c.document).order_by(candidate.c.ordinal).scalar_subquery())
    score = reranked(query, documents, top_k=k)
    return (
        statement.add_columns(candidate.c.distance.label("pgsbert_distance"), score.c.score.label("pgsbert_score"))
        .where(*(key == candidate.c[f"key{i}"] for i, key in enumerate(keys)), candidate.c.ordinal == score.c.ordinal)
        .order_by(None)
        .order_by(score.c.score.desc(), candidate.c.ordinal)
    )


def _nearest(
    statement: Select[Any], source: _Source, query: str
) -> tuple[Select[Any], ColumnElement[float], ColumnElement[bool]]:
    """Return the statement with the vectors at hand, the distance to the query, and the condition for a vector."""
    vector: Any
    if source.spec.storage == "column":
        vector = source.table.c[source.spec.target]
    else:
        keys = source.table.primary_key.columns
        side = table(
            f"{source.table.name}_{source.spec.target}",
            *(column(key.name, key.type) for key in keys),
            column("embedding", VECTOR()),
            schema=source.table.schema,
        )
        statement = statement.join(side, and_(*(key == side.c[key.name] for key in keys)))
        vector = side.c.embedding
    operator = {"cosine": "cosine_distance", "l2": "l2_distance", "inner_product": "max_inner_product"}
    distance = getattr(vector, operator[source.spec.distance])(embed_for(source.name, query))
    return statement, distance, vector.is_not(None)


def _source_of(statement: Select[Any], wanted: str | None) -> _Source:
    entities = [described["expr"] for described in statement.column_descriptions]
    mapper = inspect(entities[0], raiseerr=False) if len(entities) == 1 else None
    if not isinstance(mapper, Mapper):
        raise UsageError("search takes a mapped class, or a SELECT of one: search(session, Article, ...).")
    declared = [
        _Source(name, spec, table, mapper)
        for table in mapper.tables
        if isinstance(table, Table)
        for name, spec in vectorizers_of(table).items()
        if wanted in (None, name)
    ]
    if len(declared) != 1:
        names = ", ".join(source.name for source in declared)
        raise UsageError(
            f"{mapper.class_.__name__} has several vectorizers: pass vectorizer= one of {names}."
            if declared
            else f"{mapper.class_.__name__} has no vectorizer{f' {wanted!r}' if wanted else ''}: declare an "
            "embedded_column, or a Vectorizer in __table_args__."
        )
    return declared[0]
