"""Alembic migrations of schema pgsbert. Functions and views are not here: they are made anew after each upgrade."""

from pathlib import Path

from alembic import context, op


def run_sql(name: str) -> None:
    """Run a file of versions/ in the migration's transaction, with :"vector_schema" filled in."""
    text = (Path(__file__).parent / "versions" / name).read_text(encoding="utf-8")
    for variable, value in context.config.attributes["variables"].items():
        text = text.replace(f':"{variable}"', value)
    op.get_bind().exec_driver_sql(text.replace("%", "%%"))
