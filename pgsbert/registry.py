"""The registered models of a database: add, list, remove."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from pgsbert.database import statement
from pgsbert.errors import UsageError

if TYPE_CHECKING:
    from pgsbert.types import Model


def add(connection: psycopg.Connection[Any], model: Model, *, default: bool) -> None:
    """Register a model; the first of its kind, or one added with ``default``, becomes the default.

    Raises UsageError if the name is taken by other weights: what was embedded with them would be compared with what
    comes from these.
    """
    with connection.transaction():
        cursor = connection.execute(statement("add_model"), asdict(model))
        if cursor.rowcount == 0:
            raise UsageError(
                f'A model is already registered as "{model.name}", with other weights: '
                "register this one under a name of its own with --name."
            )
        if default:
            connection.execute(statement("retire_default_model"), {"name": model.name})
        connection.execute(statement("choose_default_model"), {"name": model.name})


def models(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Return what pgsbert.models shows."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute("select * from pgsbert.models").fetchall()


def remove(connection: psycopg.Connection[Any], name: str) -> None:
    """Forget a model; raises UsageError if there is none of that name or a vectorizer uses it."""
    try:
        cursor = connection.execute("delete from pgsbert.model where name = %s", [name])
    except psycopg.errors.ForeignKeyViolation as error:
        used = connection.execute("select string_agg(name, ', ') from pgsbert.vectorizer where model = %s", [name])
        row = used.fetchone()
        raise UsageError(f'"{name}" is used by: {row and row[0]}. Drop these vectorizers first.') from error
    if cursor.rowcount == 0:
        raise UsageError(f'No model is registered as "{name}": "pgsbert model list" shows them.')
