"""CREATE and DROP of a vectorizer as SQLAlchemy's own kind of statement: quoted, translated and logged by it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import String
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ExecutableDDLElement

from pgsbert.declared import NOT_INSTALLED
from pgsbert.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Table
    from sqlalchemy.sql.compiler import DDLCompiler, IdentifierPreparer

    from pgsbert.declared import VectorizerSpec

MISSING = ("3F000", "42883", "42P01")  # no such schema, function, relation


class CreateVectorizer(ExecutableDDLElement):
    """Make a vectorizer for a table that is there."""

    def __init__(self, table: Table, spec: VectorizerSpec) -> None:
        self.table = table
        self.spec = spec


class DropVectorizer(ExecutableDDLElement):
    """End a vectorizer; its vectors stay unless ``drop_vectors``."""

    def __init__(self, name: str, *, drop_vectors: bool = False, if_exists: bool = False) -> None:
        self.name = name
        self.drop_vectors = drop_vectors
        self.if_exists = if_exists


@contextmanager
def explaining() -> Iterator[None]:
    """Raise SchemaError where what is called is missing because pgsbert is."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) in MISSING:
            raise SchemaError(NOT_INSTALLED) from error
        raise


def qualified_name(preparer: IdentifierPreparer, table: Table) -> str:
    """Return a table's name quoted for SQL, as a value: a percent sign of it stands once."""
    quoted: str = preparer.format_table(table)
    return quoted.replace("%%", "%") if preparer._double_percents else quoted


@compiles(CreateVectorizer, "postgresql")
def _create(element: CreateVectorizer, compiler: DDLCompiler, **_: Any) -> str:
    source = _literal(compiler, qualified_name(compiler.preparer, element.table))
    given = {"source": f"{source}::regclass", **_rendered(compiler, element.spec)}
    return f"SELECT pgsbert.create_vectorizer({_named(given)})"


@compiles(DropVectorizer, "postgresql")
def _drop(element: DropVectorizer, compiler: DDLCompiler, **_: Any) -> str:
    given = {"name": _literal(compiler, element.name)}
    given |= {option: "true" for option in ("drop_vectors", "if_exists") if getattr(element, option)}
    return f"SELECT pgsbert.drop_vectorizer({_named(given)})"


def _rendered(compiler: DDLCompiler, spec: VectorizerSpec) -> dict[str, str]:
    return {
        name: _literal(compiler, value)
        if isinstance(value, str)
        else f"ARRAY[{', '.join(_literal(compiler, item) for item in value)}]"
        for name, value in spec.arguments().items()
    }


def _named(given: dict[str, str]) -> str:
    return ", ".join(f"{name} => {value}" for name, value in given.items())


def _literal(compiler: DDLCompiler, value: str) -> str:
    # quotes, backslashes and percent signs as the dialect and the driver need them
    return str(compiler.sql_compiler.render_literal_value(value, String()))
