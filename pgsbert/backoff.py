"""Decide how long to wait before the next try. Pure: the random number is the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


def delay(attempt: int, *, first: timedelta, most: timedelta, chance: float) -> timedelta:
    """Return the wait before try ``attempt`` + 1: doubling from ``first`` up to ``most``, jittered in its upper half.

    ``chance`` is uniform in [0, 1): workers that failed together do not come back together.
    """
    ceiling = min(first * (1 << min(attempt, 30)), most)
    return ceiling * (0.5 + chance / 2)
