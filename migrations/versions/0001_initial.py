"""The first tables: models, vectorizers, workers, requests."""

from pgsbert.migrations import run_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of the first release."""
    run_sql("0001_initial.sql")
