"""Expressions that ask the model: once a statement, as scalar subqueries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.models import TextField
from django.db.models.expressions import Expression, Subquery
from pgvector.django import VectorField

if TYPE_CHECKING:
    from pgsbert.django.fields import EmbeddingField

# An HNSW scan ends after 40 rows, unless told before it begins
WIDEN = "pgsbert.widen_scan(%s)"
UNSLICED = 40


class Embed(Expression):
    """The embedding of a query, for pgvector's distances: CosineDistance("embedding", Embed("reset a password")).

    ``model`` None is the default bi-encoder of the database. The model is asked once a statement.
    """

    def __init__(self, content: str, *, model: str | None = None) -> None:
        if not isinstance(content, str):
            raise TypeError(f"Embed() takes a text, not {type(content).__name__}: a column has its embedding already.")
        super().__init__(output_field=VectorField())
        self.content = content
        self.model = model

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return what makes two of them the same expression."""
        return (type(self), self.content, self.model)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Write a scalar subquery, which an index can be searched for."""
        return "(SELECT pgsbert.embed(%s::text, %s::text))", [self.content, self.model]


class FieldExpression(Expression):
    """An expression about the vectorizer of a field, found by table and column: both may have been renamed."""

    def __init__(self, embedding: EmbeddingField, output_field: Any) -> None:
        super().__init__(output_field=output_field)
        self.embedding = embedding

    def name_sql(self, connection: Any) -> tuple[str, list[Any]]:
        """Write the vectorizer's name as a scalar subquery."""
        table = connection.ops.quote_name(self.embedding.model._meta.db_table)
        text = (
            "(SELECT v.name FROM pgsbert.vectorizers AS v WHERE v.target = %s AND v.storage = 'column'"
            " AND format('%%I.%%I', v.schema_name, v.table_name)::regclass = %s::regclass)"
        )
        return text, [self.embedding.column, table]


class Question(FieldExpression):
    """The embedding of a query by the model of a field; the index scan is widened to the rows that are wanted."""

    def __init__(self, embedding: EmbeddingField, content: str) -> None:
        super().__init__(embedding, VectorField())
        self.content = content

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return what makes two of them the same expression."""
        return (type(self), self.embedding, self.content)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Write a scalar subquery that widens the scan before it asks."""
        name, parameters = self.name_sql(connection)
        wanted = compiler.query.high_mark or UNSLICED
        return f"(SELECT pgsbert.embed_for({name}, %s::text) FROM {WIDEN})", [*parameters, self.content, wanted]


class Document(FieldExpression):
    """The text of a row as it is embedded, for the cross-encoder."""

    def __init__(self, embedding: EmbeddingField, alias: str | None = None) -> None:
        super().__init__(embedding, TextField())
        self.alias = alias

    @property
    def identity(self) -> tuple[Any, ...]:
        """Return what makes two of them the same expression."""
        return (type(self), self.embedding, self.alias)

    def resolve_expression(self, query: Any = None, *more: Any, **options: Any) -> Document:
        """Find out what the table is called in the query."""
        return Document(self.embedding, query.resolve_ref(self.embedding.name).alias)

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        """Write a call for the row."""
        name, parameters = self.name_sql(connection)
        # ".*": a column may be called as its table is
        return f"pgsbert.document({name}, {compiler.quote_name_unless_alias(self.alias)}.*)", parameters


class OriginVector(Subquery):
    """The vector of one row; the index scan is widened to the rows that are wanted."""

    template = "(SELECT origin.vector FROM (%(subquery)s) AS origin (vector), pgsbert.widen_scan(%(wanted)s))"

    def as_sql(self, compiler: Any, connection: Any, *more: Any, **options: Any) -> Any:
        """Write a scalar subquery that widens the scan as well."""
        # one more than wanted: the row itself is the nearest
        options["wanted"] = (compiler.query.high_mark or UNSLICED) + 1
        return super().as_sql(compiler, connection, *more, **options)
