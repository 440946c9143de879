"""What an application declares of a vectorizer, as one value: its arguments for SQL, and how it differs from another.

Pure: each framework runs the statements on its own connections.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, get_args

from pgsbert.errors import UsageError
from pgsbert.types import OnTruncate

if TYPE_CHECKING:
    from collections.abc import Mapping

Storage = Literal["column", "table"]
Distance = Literal["cosine", "l2", "inner_product"]
Index = Literal["hnsw", "none"]
OnChange = Literal["keep", "clear"]
Triggers = Literal["statement", "row"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "storage": get_args(Storage),
    "distance": get_args(Distance),
    "index": get_args(Index),
    "on_change": get_args(OnChange),
    "on_truncate": get_args(OnTruncate),
    "triggers": get_args(Triggers),
}

READ_REGISTERED = (
    "select name, schema_name, table_name, columns, template, model, is_default_model, storage, target, distance,"
    " index, on_change, on_truncate, triggers, side_schema_name, side_name from pgsbert.vectorizers order by name"
)
IS_INSTALLED = "select to_regclass('pgsbert.vectorizers') is not null"
NOT_INSTALLED = 'Schema pgsbert is not in this database, or older than this package: run "pgsbert install" first.'

# Another text gives a vector of the same kind, in the same place, for the same index. With any other option changed the
# stored vectors must not be searched as if nothing had happened.
_KEEPS_VECTORS = {"columns", "template", "on_change", "triggers"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorizerSpec:
    """The options of one vectorizer, as pgsbert.create_vectorizer takes them; the table is said elsewhere.

    Exactly one of ``columns`` and ``template`` is given; ``name`` None is the table's, ``model`` None the default
    bi-encoder of the database, ``triggers`` None what fits the table. Raises UsageError for what SQL would refuse
    whatever the table is.
    """

    columns: tuple[str, ...] | None = None
    template: str | None = None
    name: str | None = None
    model: str | None = None
    storage: Storage = "column"
    target: str = "embedding"
    distance: Distance = "cosine"
    index: Index = "hnsw"
    on_change: OnChange = "keep"
    on_truncate: OnTruncate = "accept"
    triggers: Triggers | None = None

    def __post_init__(self) -> None:
        if bool(self.columns) == (self.template is not None):
            raise UsageError("A vectorizer takes columns to embed, or a template that names them: give one of them.")
        if isinstance(self.columns, str):
            raise UsageError(f'columns is a sequence of names; for one column write ["{self.columns}"].')
        for option, allowed in CHOICES.items():
            value = getattr(self, option)
            if value not in allowed and not (option == "triggers" and value is None):
                raise UsageError(f"{option}={value!r} is not known: it is one of {', '.join(allowed)}.")

    @property
    def tracked(self) -> tuple[str, ...]:
        """The columns whose changes are followed, in the order of the text."""
        if self.columns is not None:
            return self.columns
        found = re.findall(r"\{\{|\}\}|\{([^{}]*)\}", self.template or "")
        return tuple(dict.fromkeys(name for name in found if name))

    def arguments(self) -> dict[str, str | list[str]]:
        """Return the named arguments of create_vectorizer besides ``source``: those that are not its defaults."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if name == "columns" else value
            for name, value in given.items()
            if value is not None and (name in ("columns", "template") or value != _DEFAULTS[name])
        }


_DEFAULTS: Mapping[str, object] = {field.name: field.default for field in fields(VectorizerSpec)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A vectorizer as the database has it now, by the names that its table and columns have now.

    ``spec.model`` is None for the default model, whose name is in ``model``; ``side`` is the schema and name of the
    table of storage="table".
    """

    name: str
    schema: str
    table: str
    model: str
    side: tuple[str, str] | None
    spec: VectorizerSpec

    @classmethod
    def from_row(cls, row: Any) -> Registered:
        """Read one row of READ_REGISTERED."""
        name, schema, table, columns, template, model, is_default_model, *options, side_schema, side_name = row
        storage, target, distance, index, on_change, on_truncate, triggers = options
        spec = VectorizerSpec(
            columns=None if columns is None else tuple(columns),
            template=template,
            name=None if name == table else name,
            model=None if is_default_model else model,
            storage=storage,
            target=target,
            distance=distance,
            index=index,
            on_change=on_change,
            on_truncate=on_truncate,
            triggers=triggers,
        )
        side = None if side_name is None else (side_schema, side_name)
        return cls(name=name, schema=schema, table=table, model=model, side=side, spec=spec)

    def differences(self, declared: VectorizerSpec) -> tuple[str, ...]:
        """Return the options in which the declaration is another one: none where the database has what it says."""
        changed = [
            field.name
            for field in fields(VectorizerSpec)
            if field.name not in ("name", "model") and getattr(declared, field.name) != getattr(self.spec, field.name)
        ]
        # the default model may be declared by its name or by none
        if declared.model not in (self.model, self.spec.model):
            changed.append("model")
        return tuple(changed)


def keeps_vectors(changed: tuple[str, ...]) -> bool:
    """Tell whether the old vectors may stay in place until each is made anew, for a change of these options.

    Another model's vectors are not comparable, those in another place are not found, and an index orders by the
    distance that it was built for.
    """
    return set(changed) <= _KEEPS_VECTORS
