from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsbert.hand import Hand, Speed, around
from pgsbert.types import Revision
from pgsbert.work import Change

lengths_of_texts = st.lists(st.integers(1, 300), max_size=60)
SPEED = Speed(32.0, least=16, most=1024)


def hand_of(*lengths: int) -> Hand:
    """Make a hand of different texts, whose revisions count from 0 in the order in which they came."""
    hand = Hand()
    hand.add([Change(Revision(i), f"text {i}", 1) for i in range(len(lengths))], lengths)
    return hand


def taken(hand: Hand, *, budget: int = 100, most: int = 64) -> list[int]:
    return [change.revision for change in hand.take(budget=budget, most=most)]


def test_a_batch_is_what_is_nearest_in_length_to_the_oldest() -> None:
    assert taken(hand_of(20, 3, 19, 100, 22, 4), budget=66) == [2, 0, 4]


def test_the_oldest_and_the_newest_are_taken_by_turns() -> None:
    hand = hand_of(10, 20, 30, 40, 50)
    assert [taken(hand, budget=1) for _ in range(6)] == [[0], [4], [1], [3], [2], []]


def test_texts_of_one_length_go_in_the_order_in_which_they_came() -> None:
    assert taken(hand_of(5, 5, 5, 5), budget=15) == [0, 1, 2]


def test_a_text_longer_than_the_budget_is_a_batch_of_its_own() -> None:
    hand = hand_of(900, 5, 5)
    assert taken(hand) == [0]
    assert taken(hand) == [1, 2]


def test_rows_with_one_text_go_together_and_count_once() -> None:
    hand = Hand()
    hand.add([Change(Revision(1), "same", 1), Change(Revision(2), "other", 1)], [60, 60])
    hand.add([Change(Revision(3), "same", 1)], [60])
    assert (len(hand), hand.size) == (3, 9)
    assert taken(hand) == [1, 3]
    assert (len(hand), hand.size, [change.revision for change in hand]) == (1, 5, [2])


@given(st.lists(st.tuples(lengths_of_texts, st.integers(0, 5)), max_size=6), st.integers(1, 800), st.integers(1, 40))
def test_every_row_leaves_once_and_after_a_bounded_number_of_batches(
    rounds: list[tuple[list[int], int]], budget: int, most: int
) -> None:
    hand, revisions, left = Hand(), count(), set[int]()
    bounds: dict[int, int] = {}  # the batches after which each row has left
    batches = 0
    while rounds or hand:
        lengths, takes = rounds.pop(0) if rounds else ([], 1)
        for length in lengths:
            revision = next(revisions)
            bounds[revision] = batches + 2 * (len(hand) + 1)
            hand.add([Change(Revision(revision), f"text {revision}", 1)], [length])
        for _ in range(takes):
            batch = taken(hand, budget=budget, most=most)
            batches += 1
            assert not left & set(batch)
            left |= set(batch)
            assert all(batches <= bounds[revision] for revision in batch)
    assert left == set(range(next(revisions)))
    assert hand.size == 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.data(), st.integers(1, 2000), st.integers(1, 40))
def test_a_batch_is_as_large_as_its_bounds_allow(
    lengths: list[int], data: st.DataObject, budget: int, most: int
) -> None:
    lengths.sort()
    pivot = data.draw(st.integers(0, len(lengths) - 1))
    first, end = around(lengths, pivot, budget=budget, most=most)
    assert first <= pivot < end
    assert end - first == 1 or (end - first) * lengths[end - 1] <= budget
    assert end - first <= most
    if end - first < most:
        assert first == 0 or (end - first + 1) * lengths[end - 1] > budget
        assert end == len(lengths) or (end - first + 1) * lengths[end] > budget


def test_a_portion_is_what_the_speed_says_within_its_bounds() -> None:
    assert [Speed(rows, 16, 1024).portion(2.0) for rows in (1, 100, 9000)] == [16, 200, 1024]


@pytest.mark.parametrize(
    ("rows", "seconds", "then"),
    [(64, 2.0, 32.0), (640, 2.0, 64.0), (96, 2.0, 40.0), (32, 2.0, 24.0), (16, 1000.0, 16.008)],
)
def test_the_speed_follows_what_is_measured_and_doubles_or_halves_at_most(
    rows: int, seconds: float, then: float
) -> None:
    assert SPEED.after(rows=rows, seconds=seconds).rows == pytest.approx(then)


@pytest.mark.parametrize("seconds", [0.001, 10.0])
def test_few_rows_say_nothing_about_the_speed(seconds: float) -> None:
    assert SPEED.after(rows=15, seconds=seconds) == SPEED
