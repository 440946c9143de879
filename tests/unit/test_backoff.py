from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsbert.backoff import delay

FIRST, MOST = timedelta(seconds=1), timedelta(seconds=60)
chances = st.floats(min_value=0, max_value=1, exclude_max=True)


@pytest.mark.parametrize(("attempt", "ceiling"), [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (1000, 60)])
def test_the_wait_doubles_up_to_the_most(attempt: int, ceiling: int) -> None:
    assert delay(attempt, first=FIRST, most=MOST, chance=0.0) == timedelta(seconds=ceiling / 2)
    assert delay(attempt, first=FIRST, most=MOST, chance=0.999999) <= timedelta(seconds=ceiling)


@given(st.integers(0, 10_000), chances)
def test_the_wait_is_positive_and_bounded(attempt: int, chance: float) -> None:
    assert FIRST / 2 <= delay(attempt, first=FIRST, most=MOST, chance=chance) <= MOST


@given(st.integers(0, 20), chances, chances)
def test_a_later_attempt_waits_no_shorter_with_the_same_luck(attempt: int, chance: float, other: float) -> None:
    now = delay(attempt, first=FIRST, most=MOST, chance=min(chance, other))
    assert now <= delay(attempt + 1, first=FIRST, most=MOST, chance=max(chance, other))
