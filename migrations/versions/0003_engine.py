"""More kinds of models, and what is known of each text: what the tables must know for them."""

from pgsbert.migrations import run_sql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what is there keeps its meaning."""
    run_sql("0003_engine.sql")
