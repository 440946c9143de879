"""What Django's migrations do with an EmbeddingField: the vectorizer comes, changes and goes with the field.

Mixed into the schema editor of every PostgreSQL backend in use, so that CreateModel, AddField, AlterField, RemoveField
and DeleteModel are the operations of embeddings too: they are detected, squashed and reversed as any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgvector.django import VectorField

from pgsbert.declared import IS_INSTALLED, NOT_INSTALLED, READ_REGISTERED, Registered, keeps_vectors
from pgsbert.django.fields import EmbeddingField, embedding_fields
from pgsbert.errors import SchemaError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

TRIGGERS = """
    SELECT v.name, t.tgname
    FROM unnest(%s::text[]) AS given (name)
    CROSS JOIN LATERAL pgsbert.find_vectorizer(given.name) AS v
    JOIN pg_trigger AS t ON t.tgrelid = v.source
    JOIN pg_proc AS p ON p.oid = t.tgfoid AND p.pronamespace = 'pgsbert'::regnamespace
    WHERE p.proname ~ format('^(enqueue|clear)_%%s(_|$)', v.id)
"""
ARRAYS = {"columns": "::text[]"}


def follow_embeddings(editor: type[Any]) -> type[Any]:
    """Return a backend's schema editor that makes and drops vectorizers; the same class where it does already."""
    return editor if issubclass(editor, FollowsEmbeddings) else type(editor.__name__, (FollowsEmbeddings, editor), {})


class FollowsEmbeddings:
    """Makes, changes and drops vectorizers with the fields that declare them."""

    # what the editor has that this is mixed into
    collect_sql: bool
    connection: Any
    execute: Any
    quote_name: Any

    def column_sql(self, model: Any, field: Any, include_default: bool = False) -> Any:
        """Return no definition for an embedding: create_vectorizer adds the column, with the model's dimensions."""
        if isinstance(field, EmbeddingField):
            return None, None
        return super().column_sql(model, field, include_default)  # type: ignore[misc]

    def create_model(self, model: Any) -> None:
        """Create a table, then its vectorizers."""
        super().create_model(model)  # type: ignore[misc]
        for field in embedding_fields(model):
            self._create_vectorizer(model, field)

    def delete_model(self, model: Any) -> None:
        """Drop the vectorizers of a table, then the table."""
        for field in embedding_fields(model):
            self._drop_vectorizer(model, field)
        super().delete_model(model)  # type: ignore[misc]

    def add_field(self, model: Any, field: Any) -> None:
        """Add a column; for an embedding, with its vectorizer."""
        if isinstance(field, EmbeddingField):
            self._create_vectorizer(model, field)
        else:
            super().add_field(model, field)  # type: ignore[misc]

    def remove_field(self, model: Any, field: Any) -> None:
        """Remove a column; for an embedding, with its vectorizer."""
        if isinstance(field, EmbeddingField):
            self._drop_vectorizer(model, field)
        super().remove_field(model, field)  # type: ignore[misc]

    def alter_field(self, model: Any, old_field: Any, new_field: Any, strict: bool = False) -> None:
        """Alter a column; for an embedding, what its vectorizer is."""
        was, becomes = isinstance(old_field, EmbeddingField), isinstance(new_field, EmbeddingField)
        if was and becomes:
            self._alter_embedding(model, old_field, new_field)
            return
        if was:
            self._drop_vectorizer(model, old_field)
        if becomes:
            if not isinstance(old_field, VectorField):
                raise UsageError(
                    f"{model.__name__}.{old_field.name} cannot become an EmbeddingField: remove it, then add the field."
                )
            # the column is adopted as it is
            self._create_vectorizer(model, new_field)
            return
        # PostgreSQL changes no type of a column that a trigger names in its condition
        without_triggers = self._drop_triggers(model, old_field, new_field)
        super().alter_field(model, old_field, new_field, strict)  # type: ignore[misc]
        for name in without_triggers:
            self.execute("SELECT pgsbert.create_triggers(pgsbert.find_vectorizer(%s))", [name])
        if old_field.name != new_field.name and not self.collect_sql:
            # backwards, the field gets its old sources before they get their old names
            for field in embedding_fields(new_field.model):
                self._conform(new_field.model, field)

    def _alter_embedding(self, model: Any, old_field: Any, new_field: Any) -> None:
        table = self.quote_name(model._meta.db_table)
        if old_field.column != new_field.column:
            names = self.quote_name(old_field.column), self.quote_name(new_field.column)
            self.execute("ALTER TABLE {} RENAME COLUMN {} TO {}".format(table, *names))
        if not self.collect_sql and old_field.vectorizer == new_field.vectorizer:
            self._conform(model, new_field)
        elif changed := _changes(old_field, new_field):
            self._make_anew(model, new_field, changed)

    def _conform(self, model: Any, field: EmbeddingField) -> None:
        """Make the vectorizer anew if it is another one than the field declares; a rename was followed already."""
        registered = self._registered(model, field)
        if registered is None or not field.has_sources(model):
            return
        if changed := registered.differences(field.spec(model)):
            self._make_anew(model, field, changed)

    def _make_anew(self, model: Any, field: EmbeddingField, changed: tuple[str, ...]) -> None:
        # by another name the vectors are the same
        kept = keeps_vectors(tuple(option for option in changed if option != "vectorizer"))
        self._drop_vectorizer(model, field, drop_vectors=not kept)
        self._create_vectorizer(model, field)

    def _create_vectorizer(self, model: Any, field: EmbeddingField) -> None:
        self._require_installation()
        arguments: Mapping[str, Any] = field.spec(model).arguments()
        given = "".join(f", {name} => %s{ARRAYS.get(name, '')}" for name in arguments)
        table = self.quote_name(model._meta.db_table)
        self.execute(f"SELECT pgsbert.create_vectorizer(%s{given})", [table, *map(self._literal, arguments.values())])

    def _drop_vectorizer(self, model: Any, field: EmbeddingField, *, drop_vectors: bool = False) -> None:
        if self.collect_sql:
            name: str | None = field.vectorizer_name()
        else:
            self._require_installation()
            registered = self._registered(model, field)
            name = None if registered is None else registered.name
        # where somebody has dropped it, there is nothing to do
        if name is not None:
            self.execute("SELECT pgsbert.drop_vectorizer(%s, drop_vectors => %s)", [name, drop_vectors])

    def _literal(self, value: str | list[str]) -> str:
        if isinstance(value, str):
            return value
        return "{" + ",".join('"{}"'.format(part.replace("\\", "\\\\").replace('"', '\\"')) for part in value) + "}"

    def _require_installation(self) -> None:
        if self.collect_sql:
            return
        with self.connection.cursor() as cursor:
            cursor.execute(IS_INSTALLED)
            if not cursor.fetchone()[0]:
                raise SchemaError(f'Database "{self.connection.alias}": {NOT_INSTALLED}')

    def _drop_triggers(self, model: Any, old_field: Any, new_field: Any) -> set[str]:
        fields = embedding_fields(model)
        if self.collect_sql or not fields or _type(self, old_field) == _type(self, new_field):
            return set()
        table = self.quote_name(model._meta.db_table)
        names = [registered.name for field in fields if (registered := self._registered(model, field))]
        with self.connection.cursor() as cursor:
            cursor.execute(TRIGGERS, [names])
            triggers = cursor.fetchall()
        for _, trigger in triggers:
            self.execute(f"DROP TRIGGER {self.quote_name(trigger)} ON {table}")
        return {name for name, _ in triggers}

    def _registered(self, model: Any, field: EmbeddingField) -> Registered | None:
        return read_registered(self.connection, model._meta.db_table, field.column)


def read_registered(connection: Any, table: str, column: str) -> Registered | None:
    """Return the vectorizer whose vectors are in that column of that table."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH registered AS ({READ_REGISTERED}) SELECT * FROM registered"
            " WHERE format('%%I.%%I', schema_name, table_name)::regclass = to_regclass(%s)"
            " AND target = %s AND storage = 'column'",
            [connection.ops.quote_name(table), column],
        )
        row = cursor.fetchone()
    return None if row is None else Registered.from_row(row)


def _type(editor: Any, field: Any) -> Any:
    return field.db_parameters(connection=editor.connection)["type"]


def _changes(old_field: EmbeddingField, new_field: EmbeddingField) -> tuple[str, ...]:
    options = {"source": "columns", "template": "template", "encoder": "model"}
    same = {option: option for option in ("distance", "index", "on_change", "on_truncate", "vectorizer")}
    pairs = (options | same).items()
    return tuple(name for option, name in pairs if getattr(old_field, option) != getattr(new_field, option))
