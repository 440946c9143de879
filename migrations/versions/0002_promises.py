"""Templates, row triggers and the sweep: what the vectorizer table must know for them."""

from pgsbert.migrations import run_sql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there keeps its meaning."""
    run_sql("0002_promises.sql")
