"""pgsbert: SBERT embeddings kept true inside PostgreSQL, and searched with plain SQL."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
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
else:

    def __getattr__(name: str) -> object:
        """Import the client when it is first used: pytest loads this package in each of its runs, for the plugin."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from pgsbert import client

        return getattr(client, name)


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
