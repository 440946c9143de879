"""Alembic's entry: migrates schema pgsbert over the connection that pgsbert.schema hands in."""

from alembic import context


def run() -> None:
    """Run the migrations inside the caller's transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        version_table="migration",
        version_table_schema="pgsbert",
        transactional_ddl=True,
    )
    context.run_migrations()


run()
