"""Compare what is declared with pgsbert.vectorizers, and leave alone what the vectorizers made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import comparators
from alembic.operations import ops
from alembic.util import DispatchPriority
from sqlalchemy import Column, Table, text

from pgsbert.alembic.operations import CreateVectorizerOp
from pgsbert.declared import IS_INSTALLED, READ_REGISTERED, Registered, VectorizerSpec, keeps_vectors
from pgsbert.sqlalchemy.vectorizer import forget, vectorizers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alembic.autogenerate.api import AutogenContext
    from sqlalchemy import Connection

    Place = tuple[str, str]  # schema and table


@dataclass(frozen=True, slots=True)
class _Made:
    """What the vectorizers of a database made that Alembic reflects: side tables, vector columns and their indexes."""

    default_schema: str
    registered: tuple[Registered, ...]
    tables: dict[Place, Table]

    def place(self, schema: str | None, table: str) -> Place:
        """Return a table's place with the schema that it is in without one."""
        return schema or self.default_schema, table

    def is_side_table(self, place: Place) -> bool:
        """Tell whether a table is pgsbert's, with all that is on it."""
        return place[0] == "pgsbert" or any(place == found.side for found in self.registered)

    def vector_columns(self, place: Place) -> set[str]:
        """Return the columns of a table that create_vectorizer made, or will: those that nobody declared himself."""
        declared = vectorizers_of(self.tables[place]).values() if place in self.tables else ()
        specs = [*declared, *(found.spec for found in self.registered if (found.schema, found.table) == place)]
        return {spec.target for spec in specs if spec.storage == "column" and not self.is_own(place, spec)}

    def is_own(self, place: Place, spec: VectorizerSpec) -> bool:
        """Tell whether the application declares the vector column as one of its own, which stays without us."""
        column = self.tables[place].c.get(spec.target) if place in self.tables else None
        return spec.storage == "column" and column is not None and not column.system

    def has_index(self, place: Place, index: ops.DropIndexOp) -> bool:
        """Tell whether an index is on a vector: workers build those."""
        targets = {found.spec.target for found in self.registered if (found.schema, found.table) == place}
        columns = [getattr(column, "name", None) for column in index.to_index().expressions]
        return len(columns) == 1 and columns[0] in targets


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST)  # after the tables: their operations are there
def compare_vectorizers(context: AutogenContext, upgrade: ops.UpgradeOps, _: set[str | None]) -> None:
    """Add the operations on vectorizers to those on tables, and take out what concerns what vectorizers made."""
    connection = context.connection
    if connection is None or connection.dialect.name != "postgresql":
        return
    default_schema = connection.dialect.default_schema_name or "public"
    tables = {(table.schema or default_schema, table.name): table for table in context.sorted_tables}
    made = _Made(default_schema, tuple(_read(connection)), tables)
    kept = [_left_alone(made, operation) for operation in upgrade.ops]
    upgrade.ops[:] = [operation for operation in kept if operation is not None]
    drops: list[ops.MigrateOperation] = []
    creates: list[ops.MigrateOperation] = []
    for place in _places(context, made, upgrade):
        _compare(made, place, drops, creates)
    # a vectorizer goes before its table and columns, and comes after them
    upgrade.ops[:] = [*drops, *upgrade.ops, *creates]


def _read(connection: Connection) -> Iterator[Registered]:
    if connection.scalar(text(IS_INSTALLED)):
        yield from map(Registered.from_row, connection.execute(text(READ_REGISTERED)))


def _places(context: AutogenContext, made: _Made, upgrade: ops.UpgradeOps) -> list[Place]:
    """Return the tables that this comparison is about: another application's are not."""
    dropped = [made.place(op.schema, op.table_name) for op in upgrade.ops if isinstance(op, ops.DropTableOp)]
    return dropped + [
        place
        for place, table in made.tables.items()
        if context.run_name_filters(table.name, "table", {"schema_name": table.schema})
        and context.run_object_filters(table, table.name, "table", False, None)
    ]


def _compare(made: _Made, place: Place, drops: list[Any], creates: list[Any]) -> None:
    table = made.tables.get(place)
    declared = {} if table is None else vectorizers_of(table)
    registered = {found.name: found for found in made.registered if (found.schema, found.table) == place}
    schema = None if place[0] == made.default_schema and (table is None or table.schema is None) else place[0]

    def create(spec: VectorizerSpec, *, keeps: bool = False) -> CreateVectorizerOp:
        return CreateVectorizerOp(place[1], spec, schema=schema, keeps_vectors=keeps or made.is_own(place, spec))

    for name, spec in declared.items():
        changed = registered[name].differences(spec) if name in registered else ()
        keeps = bool(changed) and keeps_vectors(changed)
        if name in registered and changed:
            drops.append(create(registered[name].spec, keeps=keeps).reverse())
        if name not in registered or changed:
            creates.append(create(spec, keeps=keeps))
    drops += [create(found.spec).reverse() for name, found in registered.items() if name not in declared]


def _left_alone(made: _Made, operation: ops.MigrateOperation) -> ops.MigrateOperation | None:
    """Return the operation without what pgsbert takes care of, None if nothing is left."""
    if not isinstance(operation, ops.CreateTableOp | ops.DropTableOp | ops.ModifyTableOps):
        return operation
    place = made.place(operation.schema, operation.table_name)
    if made.is_side_table(place):
        return None
    columns = made.vector_columns(place)
    if isinstance(operation, ops.CreateTableOp):
        operation.columns = _without(operation.columns, columns)
        # what runs without being written to a file must not make it a second time
        forget(operation.info)
    elif isinstance(operation, ops.DropTableOp):
        if operation._reverse is not None:
            operation._reverse.columns = _without(operation._reverse.columns, columns)
    else:
        operation.ops = [op for op in operation.ops if not _is_made(made, place, columns, op)]
        if not operation.ops:
            return None
    return operation


def _without(items: Any, columns: set[str]) -> list[Any]:
    return [item for item in items if not (isinstance(item, Column) and item.name in columns)]


def _is_made(made: _Made, place: Place, columns: set[str], operation: ops.MigrateOperation) -> bool:
    if isinstance(operation, ops.DropIndexOp):
        return made.has_index(place, operation)
    return isinstance(operation, ops.DropColumnOp) and operation.column_name in columns
