"""The SQL functions of pgsbert as typed expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import ARRAY, Float, Integer, Text, cast, column, func, literal, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, ColumnExpressionArgument, ScalarSelect, TableValuedAlias

    TextArgument: TypeAlias = str | ColumnExpressionArgument[Any]


def embed(text: TextArgument, model: str | None = None) -> ScalarSelect[Any]:
    """Return the embedding of a query as a scalar subquery: the model is asked once, and an index on it serves.

    By the default bi-encoder, or the ``model`` named; `embed_for` takes that of a vectorizer.
    """
    return select(func.pgsbert.embed(*_texts(text, model), type_=VECTOR())).scalar_subquery()


def embed_for(vectorizer: str, text: TextArgument) -> ScalarSelect[Any]:
    """Return the embedding of a query by the model of a vectorizer, as a scalar subquery."""
    return select(func.pgsbert.embed_for(*_texts(vectorizer, text), type_=VECTOR())).scalar_subquery()


def similarity(a: TextArgument, b: TextArgument, model: str | None = None) -> ColumnElement[float]:
    """Return the cosine of the embeddings of two texts, from -1 to 1."""
    return func.pgsbert.similarity(*_texts(a, b, model), type_=Float())


def rerank(
    query: TextArgument,
    documents: Sequence[str] | ColumnExpressionArgument[Any],
    model: str | None = None,
    top_k: int | None = None,
) -> TableValuedAlias:
    """Return a table of ``ordinal`` (from 1), ``document`` and ``score`` by the cross-encoder, best first."""
    texts = cast(list(documents), ARRAY(Text)) if isinstance(documents, list | tuple) else documents
    called = func.pgsbert.rerank(*_texts(query), texts, cast(model, Text), cast(top_k, Integer))
    return called.table_valued(
        column("ordinal", Integer), column("document", Text), column("score", Float), name="reranked"
    )


def _texts(*values: TextArgument | None) -> list[Any]:
    # Text, so that no function is looked for that takes varchar
    return [literal(value, Text) if isinstance(value, str) else value for value in values if value is not None]
