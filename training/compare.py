"""Is one model better than another, or was it luck? A paired bootstrap over the items both were judged on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pgsbert.errors import DataError

if TYPE_CHECKING:
    from pgsbert.training.evaluate import Judged

DRAWS = 1000
COVERED = (2.5, 97.5)  # percentiles: 95 %


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better the second model is in a figure, and the interval that holds 95 % of the draws."""

    value: float
    low: float
    high: float


def compare(first: Judged, second: Judged, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Difference]:
    """Return the difference in each figure; the same items are drawn for both models (Efron and Tibshirani 1993)."""
    if first.size != second.size:
        raise DataError(f"The models were judged on {first.size} and {second.size} items: give both the same.")
    chance = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in first.figures}
    for _ in range(draws):
        chosen = chance.integers(first.size, size=first.size)
        one, other = first.figures_of(chosen), second.figures_of(chosen)
        for name, values in found.items():
            values.append(other[name] - one[name])
    before, after = first.figures, second.figures
    return {
        name: Difference(after[name] - before[name], *map(float, np.percentile(values, COVERED)))
        for name, values in found.items()
    }
