"""Clusters and duplicates over vectors at hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pgsbert.clusters import cluster
from pgsbert.duplicates import duplicates
from pgsbert.errors import UsageError
from pgsbert.vectors import normalized

EAST, NORTH, WEST = ([1, 0], [0, 1], [-1, 0])
GROUPS = np.array([NORTH, [5, 0.1], EAST, [0.1, 3], [2, -0.1], WEST], dtype=np.float32)


def test_directions_make_the_clusters_the_largest_first() -> None:
    found = cluster(GROUPS, 3)
    assert found.labels.tolist() == [1, 0, 0, 1, 0, 2]
    assert [sorted(members.tolist()) for members in found.members] == [[1, 2, 4], [0, 3], [5]]
    assert found.members[0][0] == 2, "the row nearest to the centre comes first"


def test_the_same_seed_gives_the_same_clusters() -> None:
    points = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    assert np.array_equal(cluster(points, 7, seed=3).labels, cluster(points, 7, seed=3).labels)


@pytest.mark.parametrize(("k", "vectors"), [(0, GROUPS), (7, GROUPS), (1, np.empty((0, 0), np.float32))])
def test_more_clusters_than_different_vectors_are_refused(k: int, vectors: np.ndarray) -> None:
    with pytest.raises(UsageError, match="number of different vectors"):
        cluster(vectors, k)


vectors_of_any_kind = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.floats(-4, 4, width=16)
)


@given(vectors_of_any_kind, st.floats(0.05, 1))
def test_duplicates_are_all_pairs_with_that_cosine(vectors: np.ndarray, threshold: float) -> None:
    points = normalized(vectors).astype(np.float64)
    cosines = points @ points.T
    found = {(pair.first, pair.second) for pair in duplicates(vectors, threshold)}
    pairs = list(itertools.combinations(range(len(points)), 2))
    assert found >= {(a, b) for a, b in pairs if cosines[a, b] >= threshold + 1e-5}
    assert found <= {(a, b) for a, b in pairs if cosines[a, b] >= threshold - 1e-5}


def test_the_nearest_pair_comes_first_and_equal_rows_have_cosine_one() -> None:
    vectors = np.array([[1, 2, 3], [1, 2, 3], [1, 2, 4], [-3, 1, 0]], dtype=np.float32)
    pairs = duplicates(vectors, 0.9)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert pairs[0].similarity == pytest.approx(1, abs=1e-6)
    assert duplicates(vectors, 1.0)[0].second == 1
    assert duplicates(np.empty((0, 0), np.float32), 0.9) == []


@pytest.mark.parametrize("threshold", [0.0, -1, 1.1, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        duplicates(GROUPS, threshold)
