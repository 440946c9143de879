"""Read every vector of a vectorizer at once, a block at a time over the wire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pgsbert.database import register_vector

if TYPE_CHECKING:
    import psycopg

    from pgsbert.types import Vectors

    Key = list[str]

BLOCK = 2000  # rows that one fetch brings


@dataclass(frozen=True, slots=True)
class Embedded:
    """The rows of a vectorizer that have a vector: keys as text, and float32 (len(keys), dimensions) beside them."""

    keys: list[Key]
    vectors: Vectors


def read_vectors(connection: psycopg.Connection[Any], vectorizer: str) -> Embedded:
    """Return what the role of the connection may see; raises psycopg.Error with PB006 for an unknown vectorizer."""
    register_vector(connection)
    keys: list[Key] = []
    blocks: list[Vectors] = []
    with connection.transaction(), connection.cursor("pgsbert_vectors", binary=True) as cursor:
        cursor.execute("select key, embedding from pgsbert.vectors(%s)", [vectorizer])
        while rows := cursor.fetchmany(BLOCK):
            keys += [key for key, _ in rows]
            blocks.append(np.stack([vector.to_numpy() for _, vector in rows]).astype(np.float32, copy=False))
    return Embedded(keys, np.concatenate(blocks) if blocks else np.empty((0, 0), dtype=np.float32))


def normalized(vectors: Vectors) -> Vectors:
    """Return the vectors at length one, so that their products are cosines; a vector of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    unit: Vectors = (vectors / lengths).astype(np.float32, copy=False)
    return unit
