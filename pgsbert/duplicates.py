"""Find rows that say the same: all pairs whose embeddings have at least some cosine, compared exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pgsbert.errors import MissingPackageError, UsageError
from pgsbert.vectors import normalized

if TYPE_CHECKING:
    from pgsbert.types import Vectors

MEGABYTES = 64  # of distances at a time
ROUNDING = 1e-6  # float32: equal vectors may have a cosine a little below one


@dataclass(frozen=True, slots=True)
class Pair:
    """Two rows, by their positions, and the cosine of their embeddings."""

    first: int
    second: int
    similarity: float


def duplicates(vectors: Vectors, threshold: float) -> list[Pair]:
    """Return the pairs of vectors, float32 (n, dimensions), with a cosine of at least ``threshold``, nearest first.

    Every row is compared with every other: the time grows with n squared, the memory with the pairs found. Raises
    UsageError for a threshold that is no cosine above 0.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"The threshold is a cosine above 0 and at most 1, not {threshold:g}.")
    if not len(vectors):
        return []
    try:
        from sklearn import config_context
        from sklearn.neighbors import NearestNeighbors
    except ImportError as error:
        raise MissingPackageError(f'Duplicates need scikit-learn ({error}): pip install "pgsbert[train]".') from error
    points = normalized(vectors)
    with config_context(working_memory=MEGABYTES):
        # of vectors at length one the squared distance is twice one minus the cosine
        radius = np.sqrt(2 * (1 - threshold + ROUNDING))
        index = NearestNeighbors(radius=radius, algorithm="brute", metric="euclidean").fit(points)
        near = index.radius_neighbors(points, return_distance=False)
    firsts = np.repeat(np.arange(len(points)), [len(found) for found in near])
    seconds = np.concatenate(near).astype(np.int64)
    firsts, seconds = firsts[firsts < seconds], seconds[firsts < seconds]
    cosines = np.einsum("nd,nd->n", points[firsts], points[seconds])
    order = np.lexsort((seconds, firsts, -cosines))
    return [
        Pair(int(firsts[i]), int(seconds[i]), min(float(cosines[i]), 1.0))
        for i in order
        if cosines[i] >= threshold - ROUNDING  # two vectors of zeros are near each other and have no cosine
    ]
