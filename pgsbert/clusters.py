"""Group rows by meaning: k-means over their embeddings at length one (scikit-learn's)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pgsbert.errors import MissingPackageError, UsageError
from pgsbert.vectors import normalized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pgsbert.types import Vectors

STARTS = 4  # from different centres; the best of them is kept


@dataclass(frozen=True, slots=True)
class Clusters:
    """The cluster of each row, numbered from 0 by size, and of each cluster the rows from its centre outwards."""

    labels: NDArray[np.int64]
    members: list[NDArray[np.int64]]


def cluster(vectors: Vectors, k: int, *, seed: int = 0) -> Clusters:
    """Return ``k`` clusters of vectors, float32 (n, dimensions); the same seed gives the same clusters.

    Lloyd's k-means from k-means++ centres (Arthur and Vassilvitskii 2007) on vectors at length one, whose squared
    distance is twice one minus the cosine. Raises UsageError if there are fewer different vectors than clusters.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise MissingPackageError(f'Clusters need scikit-learn ({error}): pip install "pgsbert[train]".') from error
    points = normalized(vectors)
    different = len(np.unique(points, axis=0)) if len(points) else 0
    if not 1 <= k <= different:
        raise UsageError(f"-k must be from 1 to {different}, the number of different vectors, not {k}.")
    found = KMeans(k, n_init=STARTS, random_state=seed).fit(points)
    by_size = np.argsort(-np.bincount(found.labels_, minlength=k), kind="stable")
    labels = np.empty(k, dtype=np.int64)
    labels[by_size] = np.arange(k)
    distances = np.linalg.norm(points - found.cluster_centers_[found.labels_], axis=1)
    outwards = np.argsort(distances, kind="stable")
    numbered = labels[found.labels_]
    return Clusters(numbered, [outwards[numbered[outwards] == label] for label in range(k)])
