"""pgsbert: SBERT embeddings kept true inside PostgreSQL, and searched with plain SQL."""

__version__ = "0.1.0"
