"""Checks across models and databases: names that collide, and what is missing where the embeddings are.

What a database lacks is a warning: ``migrate`` runs these checks, and may be about to bring it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core import checks
from django.db import Error, connections, router

from pgsbert import schema
from pgsbert.declared import IS_INSTALLED
from pgsbert.django.fields import EmbeddingField, embedding_fields
from pgsbert.django.schema_editor import read_registered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INSTALL = "Run 'pgsbert install' on it, or put pgsbert.django.InstallPgsbert() first in a migration."


def check_names(app_configs: Any = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report vectorizers that would have the same name."""
    named = defaultdict(list)
    for field in _declared():
        named[field.vectorizer_name()].append(field)
    hint = "Pass vectorizer= to all of them but one; in an abstract model leave it out."
    return [
        checks.Error(f"Several vectorizers would be called '{name}'.", hint=hint, obj=field, id="pgsbert.E009")
        for name, fields in named.items()
        for field in fields[1:]
    ]


def check_databases(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report what keeps embeddings from working: 'manage.py check --database default', and each migrate."""
    return [message for alias in databases or () for message in _check_database(alias)]


def _check_database(alias: str) -> Iterator[checks.CheckMessage]:
    fields = [field for field in _declared() if router.allow_migrate_model(alias, field.model)]
    connection = connections[alias]
    if not fields:
        return
    if connection.vendor != "postgresql":
        text = f"Database '{alias}' is no PostgreSQL, and cannot hold the embeddings of {fields[0].model.__name__}."
        yield checks.Error(text, hint="Let a database router keep the model out of it.", id="pgsbert.E010")
        return
    try:
        yield from _check_installation(connection, fields)
    except Error as error:
        reason = str(error).partition("\n")[0]
        hint = "An administrator gives the rights: SELECT pgsbert.grant_usage('role')."
        yield checks.Warning(f"Database '{alias}' could not be checked: {reason}", hint=hint, id="pgsbert.W011")


def _check_installation(connection: Any, fields: list[EmbeddingField]) -> Iterator[checks.CheckMessage]:
    about = f"Database '{connection.alias}'"
    if not _first(connection, "SELECT count(*) FROM pg_extension WHERE extname = 'vector'"):
        yield checks.Warning(f"{about} has no extension vector.", hint=INSTALL, id="pgsbert.W012")
    elif not _first(connection, IS_INSTALLED):
        yield checks.Warning(f"{about} has no schema pgsbert, or an older one.", hint=INSTALL, id="pgsbert.W013")
    else:
        yield from _check_version(connection, about)
        yield from _check_worker(connection, about)
        yield from _check_models(connection, about, fields)
        yield from _check_vectorizers(connection, about, fields)


def _check_version(connection: Any, about: str) -> Iterator[checks.CheckMessage]:
    # who only searches may not read it
    if _first(connection, "SELECT has_table_privilege('pgsbert.migration', 'select')"):
        version = _first(connection, "SELECT version_num FROM pgsbert.migration")
        if version != schema.head():
            text = f"{about} has schema pgsbert at {version}, and this package is made for {schema.head()}."
            hint = "Run 'pgsbert upgrade', or upgrade the package, whichever is older."
            yield checks.Warning(text, hint=hint, id="pgsbert.W014")


def _check_worker(connection: Any, about: str) -> Iterator[checks.CheckMessage]:
    if not _first(connection, "SELECT count(*) FROM pgsbert.workers WHERE alive"):
        hint = "Start one: manage.py pgsbert_worker. Nothing is embedded, and searches fail, until it runs."
        yield checks.Warning(f"No worker of {about} is alive.", hint=hint, id="pgsbert.W015")


def _check_models(connection: Any, about: str, fields: list[EmbeddingField]) -> Iterator[checks.CheckMessage]:
    for field in fields:
        kind = _first(connection, "SELECT min(kind) FROM pgsbert.models WHERE name = %s", field.encoder)
        if field.encoder is not None and kind != "bi-encoder":
            text = f"{about} knows no bi-encoder '{field.encoder}'."
            hint = f"Register it: pgsbert model add {field.encoder}"
            yield checks.Warning(text, hint=hint, obj=field, id="pgsbert.W016")


def _check_vectorizers(connection: Any, about: str, fields: list[EmbeddingField]) -> Iterator[checks.CheckMessage]:
    for field in fields:
        table = field.model._meta.db_table
        if not _first(connection, "SELECT to_regclass(%s) IS NOT NULL", connection.ops.quote_name(table)):
            continue  # not migrated yet
        registered = read_registered(connection, table, field.column)
        if registered is None:
            hint = "Run migrate; where that is done already, make it with pgsbert.create_vectorizer."
            text = f"{about} has no vectorizer for column '{field.column}' of table '{table}'."
            yield checks.Warning(text, hint=hint, obj=field, id="pgsbert.W017")
            continue
        reason = _first(
            connection, "SELECT min(reason) FROM pgsbert.status WHERE name = %s AND state = 'broken'", registered.name
        )
        if reason is not None:
            text = f"{about}: vectorizer '{registered.name}' is broken: {reason}"
            yield checks.Warning(text, obj=field, id="pgsbert.W018")


def _declared() -> list[EmbeddingField]:
    return [
        field
        for model in apps.get_models(include_auto_created=True)
        if model._meta.managed and not model._meta.proxy
        for field in embedding_fields(model)
    ]


def _first(connection: Any, query: str, *parameters: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        row = cursor.fetchone()
        return None if row is None else row[0]
