"""op.create_vectorizer and op.drop_vectorizer, each the other's reverse, and op.install_pgsbert."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Unpack

import alembic.context
import alembic.op
from alembic.operations import MigrateOperation, Operations
from psycopg.conninfo import make_conninfo
from sqlalchemy import MetaData, Table

from pgsbert import schema as pgsbert_schema
from pgsbert.database import connect
from pgsbert.declared import Storage, VectorizerSpec
from pgsbert.errors import SchemaError
from pgsbert.sqlalchemy.ddl import CreateVectorizer, DropVectorizer, explaining

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection

    from pgsbert.sqlalchemy.vectorizer import Options


@Operations.register_operation("create_vectorizer")
class CreateVectorizerOp(MigrateOperation):
    """Make a vectorizer; its reverse drops it, with its vectors unless ``keeps_vectors``."""

    def __init__(
        self, table_name: str, spec: VectorizerSpec, *, schema: str | None = None, keeps_vectors: bool = False
    ) -> None:
        self.table_name = table_name
        self.spec = spec
        self.schema = schema
        self.keeps_vectors = keeps_vectors

    @property
    def name(self) -> str:
        """The vectorizer's name in the database."""
        return self.spec.name or self.table_name

    @classmethod
    def create_vectorizer(
        cls,
        operations: Operations,
        table_name: str,
        columns: Sequence[str] | None = None,
        *,
        schema: str | None = None,
        storage: Storage = "column",
        target: str = "embedding",
        **options: Unpack[Options],
    ) -> None:
        """Keep an embedding of a table's columns true from now on; the options are those of the SQL function."""
        given = None if columns is None else tuple(columns)
        spec = VectorizerSpec(columns=given, storage=storage, target=target, **options)
        operations.invoke(cls(table_name, spec, schema=schema))

    def reverse(self) -> DropVectorizerOp:
        """Return the operation that undoes this one."""
        return DropVectorizerOp(self.name, drop_vectors=not self.keeps_vectors, reverses=self)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return ("add_vectorizer", self.name, self.table_name, self.spec.arguments())


@Operations.register_operation("drop_vectorizer")
class DropVectorizerOp(MigrateOperation):
    """End a vectorizer; its reverse makes ``reverses`` again."""

    def __init__(self, name: str, *, drop_vectors: bool = False, reverses: CreateVectorizerOp | None = None) -> None:
        self.name = name
        self.drop_vectors = drop_vectors
        self.reverses = reverses

    @classmethod
    def drop_vectorizer(cls, operations: Operations, name: str, *, drop_vectors: bool = False) -> None:
        """End a vectorizer; its vectors stay unless ``drop_vectors``."""
        operations.invoke(cls(name, drop_vectors=drop_vectors))

    def reverse(self) -> CreateVectorizerOp:
        """Return the operation that undoes this one."""
        if self.reverses is None:
            raise ValueError(f'What vectorizer "{self.name}" was made of is not known: this drop cannot be reversed.')
        return self.reverses

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what `alembic check` prints."""
        return ("remove_vectorizer", self.name)


@Operations.register_operation("install_pgsbert")
class InstallPgsbertOp(MigrateOperation):
    """Install or upgrade schema pgsbert; undone by nothing."""

    @classmethod
    def install_pgsbert(cls, operations: Operations) -> None:
        """Do what "pgsbert install" does, unless the database has this package's version.

        Over a connection of its own, which commits: call it in a migration of its own, before those that use it.
        """
        operations.invoke(cls())

    def reverse(self) -> MigrateOperation:
        """Return an operation that does nothing: other applications may use the schema."""
        return InstallPgsbertOp()


@Operations.implementation_for(CreateVectorizerOp)
def _create(operations: Operations, operation: CreateVectorizerOp) -> None:
    table = Table(operation.table_name, MetaData(), schema=operation.schema)
    with explaining():
        operations.execute(CreateVectorizer(table, operation.spec))


@Operations.implementation_for(DropVectorizerOp)
def _drop(operations: Operations, operation: DropVectorizerOp) -> None:
    with explaining():
        operations.execute(DropVectorizer(operation.name, drop_vectors=operation.drop_vectors))


@Operations.implementation_for(InstallPgsbertOp)
def _install(operations: Operations, _: InstallPgsbertOp) -> None:
    if operations.migration_context.as_sql:
        raise SchemaError('A script of SQL cannot install pgsbert: run "pgsbert install" before it.')
    dsn = _dsn(operations.get_bind())
    with connect(dsn, application_name="pgsbert install") as connection:
        if pgsbert_schema.installed_version(connection) == pgsbert_schema.head():
            return
    with _environment_kept():
        pgsbert_schema.install(dsn)


def _dsn(connection: Connection) -> str:
    driver: Any = connection.connection.driver_connection
    # a migration that has locked what the installation needs must not wait for it for ever
    return make_conninfo(driver.info.dsn, password=driver.info.password or None, options="-c lock_timeout=5s")


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Let Alembic run within Alembic: alembic.op and alembic.context stand for one environment at a time."""
    proxies = [getattr(module, "_proxy", None) for module in (alembic.context, alembic.op)]
    try:
        yield
    finally:
        for proxy in proxies:
            if proxy is not None:
                proxy._install_proxy()
