from __future__ import annotations

from datetime import timedelta
from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from pgsbert.batching import Pace, cheapest_batches, plan_batches

lengths_of_texts = st.lists(st.integers(min_value=0, max_value=3000), max_size=200)


@given(lengths_of_texts, st.integers(1, 5000), st.integers(1, 64))
def test_every_position_is_in_exactly_one_batch(lengths: list[int], budget: int, most: int) -> None:
    batches = plan_batches(lengths, budget=budget, most=most)
    assert sorted(position for batch in batches for position in batch) == list(range(len(lengths)))


@given(lengths_of_texts, st.integers(1, 5000), st.integers(1, 64))
def test_the_padded_size_of_a_batch_stays_within_the_budget(lengths: list[int], budget: int, most: int) -> None:
    for batch in plan_batches(lengths, budget=budget, most=most):
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(lengths_of_texts, st.integers(1, 5000))
def test_batches_go_from_short_to_long(lengths: list[int], budget: int) -> None:
    planned = [lengths[i] for batch in plan_batches(lengths, budget=budget, most=64) for i in batch]
    assert planned == sorted(lengths)


def test_texts_of_equal_length_fill_the_budget() -> None:
    assert [len(batch) for batch in plan_batches([10] * 10, budget=40, most=64)] == [4, 4, 2]


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    assert plan_batches([5, 900, 5], budget=100, most=64) == [[0, 2], [1]]


@given(lengths_of_texts, st.integers(1, 5000), st.integers(1, 64), st.integers(0, 100))
def test_cheapest_batches_keep_the_bounds_and_leave_nothing_out(
    lengths: list[int], budget: int, most: int, overhead: int
) -> None:
    batches = cheapest_batches(lengths, budget=budget, most=most, overhead=overhead)
    planned = [position for batch in batches for position in batch]
    assert planned == sorted(range(len(lengths)), key=lengths.__getitem__)
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


def padded(batches: list[list[int]], lengths: list[int], overhead: int) -> int:
    return sum(len(batch) * max(lengths[i] for i in batch) + overhead for batch in batches)


@given(st.lists(st.integers(0, 100), max_size=7), st.integers(1, 400), st.integers(1, 7), st.integers(0, 60))
def test_no_other_batches_of_neighbours_are_cheaper(lengths: list[int], budget: int, most: int, overhead: int) -> None:
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    costs = []
    for cuts in product([False, True], repeat=max(len(lengths) - 1, 0)):
        ends = [i for i, is_cut in enumerate(cuts, start=1) if is_cut]
        batches = [order[a:b] for a, b in pairwise([0, *ends, len(order)])] if order else []
        if all(len(b) == 1 or (len(b) <= most and len(b) * lengths[b[-1]] <= budget) for b in batches):
            costs.append(padded(batches, lengths, overhead))
    found = cheapest_batches(lengths, budget=budget, most=most, overhead=overhead)
    assert padded(found, lengths, overhead) == min(costs)


def test_a_few_longer_texts_are_worth_a_batch_of_their_own_if_it_costs_less_than_their_padding() -> None:
    lengths = [10, 10, 10, 20, 20]
    assert cheapest_batches(lengths, budget=1000, most=64, overhead=29) == [[0, 1, 2], [3, 4]]
    assert cheapest_batches(lengths, budget=1000, most=64, overhead=31) == [[0, 1, 2, 3, 4]]


PACE = Pace(size=64, least=16, most=256, target=timedelta(seconds=1))
FAST, SLOW = timedelta(milliseconds=10), timedelta(seconds=3)


def test_a_full_fast_round_doubles_the_pace_up_to_the_most() -> None:
    pace = PACE
    for expected in (128, 256, 256):
        pace = pace.after(rows=pace.size, took=FAST)
        assert pace.size == expected


def test_a_slow_round_halves_the_pace_down_to_the_least() -> None:
    pace = PACE
    for expected in (32, 16, 16):
        pace = pace.after(rows=pace.size, took=SLOW)
        assert pace.size == expected


def test_a_round_that_was_not_full_says_nothing_about_growth() -> None:
    assert PACE.after(rows=63, took=FAST) == PACE


def test_a_slow_round_of_few_rows_shrinks_from_those_rows() -> None:
    assert PACE.after(rows=40, took=SLOW).size == 20


@given(st.lists(st.tuples(st.integers(0, 300), st.floats(0, 10)), max_size=50))
def test_the_pace_never_leaves_its_bounds(rounds: list[tuple[int, float]]) -> None:
    pace = PACE
    for rows, seconds in rounds:
        pace = pace.after(rows=rows, took=timedelta(seconds=seconds))
        assert PACE.least <= pace.size <= PACE.most


def test_another_target_changes_what_comes_and_not_the_size_at_hand() -> None:
    pace = Pace(size=64, least=16, most=1024, target=timedelta(seconds=2))
    shorter = pace.within(timedelta(seconds=0.25))
    assert shorter.size == pace.size
    assert pace.after(rows=64, took=timedelta(seconds=1)).size == 64
    assert shorter.after(rows=64, took=timedelta(seconds=1)).size == 32
