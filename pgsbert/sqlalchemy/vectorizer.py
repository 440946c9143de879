"""Declare a vectorizer with its table: as a column of a mapped class, or as an item of a Table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import Column, Table, event
from sqlalchemy.orm import mapped_column
from sqlalchemy.schema import SchemaItem

from pgsbert.declared import Distance, Index, OnChange, Storage, Triggers, VectorizerSpec
from pgsbert.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.orm import MappedColumn
    from sqlalchemy.sql.base import SchemaEventTarget

    from pgsbert.types import OnTruncate

_KEY = "pgsbert.vectorizers"  # in Table.info, which SQLAlchemy copies with the table


class Options(TypedDict, total=False):
    """The options of pgsbert.create_vectorizer that both ways of declaring take."""

    template: str | None
    name: str | None
    model: str | None
    distance: Distance
    index: Index
    on_change: OnChange
    on_truncate: OnTruncate
    triggers: Triggers | None


class Vectorizer(SchemaItem):
    """A vectorizer of a Table: put it behind the columns, in ``Table(...)`` or in ``__table_args__``.

    Takes the names of the columns to embed, or a template, and the options of pgsbert.create_vectorizer. With
    storage="column" the table gets the column ``target``, unless it declares that itself as a pgvector VECTOR.
    """

    __visit_name__ = "pgsbert_vectorizer"

    def __init__(
        self,
        *columns: str,
        storage: Storage = "column",
        target: str = "embedding",
        **options: Unpack[Options],
    ) -> None:
        self.spec = VectorizerSpec(columns=columns or None, storage=storage, target=target, **options)

    def _set_parent(self, parent: SchemaEventTarget, **_: Any) -> None:
        assert isinstance(parent, Table)
        if self.spec.storage == "column" and self.spec.target not in parent.c:
            # made by create_vectorizer, not by CREATE TABLE
            parent.append_column(Column(self.spec.target, VECTOR(), nullable=True, system=True))
        _declare(parent, self.spec)


def embedded_column(
    *columns: str,
    column_name: str | None = None,
    deferred: bool = True,
    dataclass: bool = False,
    **options: Unpack[Options],
) -> MappedColumn[Any]:
    """Map a vector column that pgsbert fills from the columns named, or from a template.

    It is loaded when it is used, unless ``deferred`` is False, and written only when it is set. ``column_name`` is
    its name in the table, by default that of the attribute. In a MappedAsDataclass pass ``dataclass=True``: it is
    then no field of __init__, __repr__ and __eq__.
    """
    unknown = sorted(options.keys() - Options.__annotations__.keys())
    if unknown:
        raise UsageError(
            f"embedded_column takes no {', '.join(unknown)}: its column is the target. For vectors in a table beside, "
            'put Vectorizer(..., storage="table") into __table_args__.'
        )
    declared = VectorizerSpec(columns=columns or None, **options)
    no_field: dict[str, Any] = {"init": False, "repr": False, "compare": False} if dataclass else {}
    # "system": in SELECT, and not in CREATE TABLE. create_vectorizer adds it, with the dimensions of its model.
    mapped: MappedColumn[Any] = mapped_column(
        column_name, VECTOR(), nullable=True, system=True, deferred=deferred, **no_field
    )

    def attached(column: Column[Any], table: SchemaEventTarget) -> None:
        if isinstance(table, Table):
            _declare(table, replace(declared, target=column.name))

    # a mixin's column is copied to each class, its listeners with it
    event.listen(mapped.column, "after_parent_attach", attached, propagate=True)
    return mapped


def vectorizers_of(table: Table) -> Mapping[str, VectorizerSpec]:
    """Return what is declared for a table, by the names that the vectorizers have in the database."""
    declared: Mapping[str, VectorizerSpec] = table.info.get(_KEY, {})
    return {name or table.name: spec for name, spec in declared.items()}


def forget(info: dict[Any, Any] | None) -> None:
    """Take what is declared out of a copy of Table.info."""
    (info or {}).pop(_KEY, None)


def _declare(table: Table, spec: VectorizerSpec) -> None:
    declared = table.info.get(_KEY, {})
    if declared.get(spec.name, spec) != spec:
        raise UsageError(f"Table {table.name} has a second vectorizer: give it a name=, and a column of its own.")
    table.info[_KEY] = {**declared, spec.name: spec}
