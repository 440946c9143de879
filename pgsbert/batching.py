"""Decide how many rows to take and which go through the model together. Pure: nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

CHARACTERS_A_TOKEN = 4


def plan_batches(lengths: Sequence[int], *, budget: int, most: int) -> list[list[int]]:
    """Group texts of nearly equal length: each batch's padded size (rows x longest) stays within ``budget``.

    ``lengths`` and ``budget`` share a unit, characters or tokens. Returns the positions in ``lengths``, every one
    exactly once, the shortest first; a text longer than the budget is a batch of its own.
    """
    batches: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        batch = batches[-1] if batches else []
        # sorted, so the text at hand is the longest of the batch it joins
        if batch and len(batch) < most and (len(batch) + 1) * lengths[position] <= budget:
            batch.append(position)
        else:
            batches.append([position])
    return batches


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return len(text) // CHARACTERS_A_TOKEN + 2


def cheapest_batches(lengths: Sequence[int], *, budget: int, most: int, overhead: int) -> list[list[int]]:
    """Group texts so that the padded sizes of all batches, and ``overhead`` for each of them, are least in sum.

    Bounds, unit and result are those of :func:`plan_batches`.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs = [0]  # of the shortest texts, so many as the place in this list
    starts = [0]  # where the last batch of them begins
    for end, position in enumerate(order, start=1):
        first = max(end - most, end - max(budget // max(lengths[position], 1), 1), 0)
        cost, start = min((costs[i] + (end - i) * lengths[position] + overhead, i) for i in range(first, end))
        costs.append(cost)
        starts.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(order[starts[end] : end])
        end = starts[end]
    return batches[::-1]


@dataclass(frozen=True, slots=True)
class Pace:
    """How many rows to take at a time so that taking them lasts about ``target``; grows and shrinks by halves."""

    size: int
    least: int
    most: int
    target: timedelta

    def after(self, *, rows: int, took: timedelta) -> Pace:
        """Return the pace after ``rows`` rows lasted ``took``; a round that was not full says nothing about growth."""
        if took > self.target and rows > self.least:
            return self._with(min(self.size, rows) // 2)
        if rows >= self.size and took < self.target / 2:
            return self._with(self.size * 2)
        return self

    def within(self, target: timedelta) -> Pace:
        """Return the same size with another target for what comes."""
        return Pace(self.size, self.least, self.most, target)

    def _with(self, size: int) -> Pace:
        return Pace(max(self.least, min(size, self.most)), self.least, self.most, self.target)
