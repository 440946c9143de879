"""create_all makes the declared vectorizers, drop_all removes them, and a flush writes no vector that nobody set."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, MetaData, Table, event, text
from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.orm.exc import UnmappedColumnError

from pgsbert.declared import IS_INSTALLED
from pgsbert.sqlalchemy.ddl import CreateVectorizer, DropVectorizer, explaining, qualified_name
from pgsbert.sqlalchemy.vectorizer import vectorizers_of

if TYPE_CHECKING:
    from sqlalchemy.orm.state import InstanceState


@event.listens_for(Table, "after_create")
def _create(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name != "postgresql":
        return
    for spec in vectorizers_of(table).values():
        with explaining():
            connection.execute(CreateVectorizer(table, spec))


@event.listens_for(Table, "before_drop")
def _drop(table: Table, connection: Connection, **_: Any) -> None:
    if connection.dialect.name != "postgresql":
        return
    for name in vectorizers_of(table):
        if _is_there(connection, name, table):
            connection.execute(DropVectorizer(name, drop_vectors=True, if_exists=True))


def _is_there(connection: Connection, name: str, table: Table) -> bool:
    """Tell whether the name is this table's: names of vectorizers are unique in a database, not in a schema."""
    if not isinstance(connection, Connection):  # a mock engine, which prints
        return True
    if not connection.scalar(text(IS_INSTALLED)):
        return False
    schemas = connection.get_execution_options().get("schema_translate_map", {})
    if table.schema in schemas:
        table = Table(table.name, MetaData(), schema=schemas[table.schema])
    source = qualified_name(connection.dialect.identifier_preparer, table)
    query = text(
        "select exists (select from pgsbert.vectorizers where name = :name"
        " and to_regclass(format('%I.%I', schema_name, table_name)) = to_regclass(:source))"
    )
    return bool(connection.scalar(query, {"name": name, "source": source}))


class EmbeddedProperty(ColumnProperty[Any]):
    """A vector that the worker writes: Session.merge takes it from a detached object only if that one set it.

    A flush writes what has changed in a session. What merge copies counts as changed: with the old vector of an
    object from a cache or an earlier request it would overwrite the one made since.
    """

    __slots__ = ()
    inherit_cache = True

    def merge(  # noqa: D102
        self,
        session: Any,
        source_state: InstanceState[Any],
        source_dict: dict[str, Any],
        dest_state: InstanceState[Any],
        dest_dict: dict[str, Any],
        load: bool,
        *caches: Any,
    ) -> None:
        set_on_purpose = source_state.key is None or self.key in source_state.committed_state
        if load and not set_on_purpose:
            source_dict = {key: value for key, value in source_dict.items() if key != self.key}
        super().merge(session, source_state, source_dict, dest_state, dest_dict, load, *caches)


@event.listens_for(Mapper, "after_mapper_constructed")
def _guard(mapper: Mapper[Any], _: type[Any]) -> None:
    for table in mapper.tables:
        declared = vectorizers_of(table).values() if isinstance(table, Table) else ()
        for spec in declared:
            # not get_property, which would configure all mappers before their relationships can be
            with suppress(KeyError, UnmappedColumnError):
                prop = mapper.get_property_by_column(table.c[spec.target])
                if type(prop) is ColumnProperty:
                    prop.__class__ = EmbeddedProperty
