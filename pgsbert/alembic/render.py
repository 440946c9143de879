"""The operations as lines of a migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alembic.autogenerate import renderers

from pgsbert.alembic.operations import CreateVectorizerOp, DropVectorizerOp

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext


@renderers.dispatch_for(CreateVectorizerOp)
def _render_create(context: AutogenContext, operation: CreateVectorizerOp) -> str:
    _import(context, "pgsbert.alembic")
    if operation.keeps_vectors and operation.spec.storage == "column":
        _import(context, "pgvector.sqlalchemy")  # for a vector column that the same migration adds or drops
    arguments = operation.spec.arguments()
    given = [repr(operation.table_name)]
    if "columns" in arguments:
        given.append(repr(arguments.pop("columns")))
    if operation.schema is not None:
        given.append(f"schema={operation.schema!r}")
    given += [f"{name}={value!r}" for name, value in arguments.items()]
    return f"op.create_vectorizer({', '.join(given)})"


@renderers.dispatch_for(DropVectorizerOp)
def _render_drop(context: AutogenContext, operation: DropVectorizerOp) -> str:
    _import(context, "pgsbert.alembic")
    drop_vectors = ", drop_vectors=True" if operation.drop_vectors else ""
    return f"op.drop_vectorizer({operation.name!r}{drop_vectors})"


def _import(context: AutogenContext, module: str) -> None:
    context.imports.add(f"import {module}  # noqa: F401")
