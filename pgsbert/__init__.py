"""pgsbert: SBERT embeddings kept true inside PostgreSQL, and searched with plain SQL."""

__version__ = "0.1.0"

from pgsbert.client import (
    Hit,
    Label,
    Ranked,
    classify,
    create_vectorizer,
    embed,
    embed_image,
    rerank,
    search,
    similar_to,
    similarity,
    wait_until_synced,
)

__all__ = [
    "Hit",
    "Label",
    "Ranked",
    "classify",
    "create_vectorizer",
    "embed",
    "embed_image",
    "rerank",
    "search",
    "similar_to",
    "similarity",
    "wait_until_synced",
]
