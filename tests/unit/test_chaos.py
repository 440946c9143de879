"""The plan of a chaos run is a pure function of its seed, and its verdict one of what it found."""

from __future__ import annotations

from itertools import islice

import pytest

from pgsbert.testing import FakeEncoder
from tests.chaos import check, plan
from tests.chaos.check import Row, Size, Verdict


def vector(text: str) -> str:
    return str(FakeEncoder(8).encode([text])[0].tolist()).replace(" ", "")


def work(seed: int, session: int) -> list[plan.Operation]:
    return list(islice(plan.operations(seed, session), 200))


def test_the_same_seed_gives_the_same_plan_and_another_another() -> None:
    assert work(7, 1) == work(7, 1)
    assert len({tuple(work(seed, session)) for seed in (7, 8) for session in (1, 2)}) == 4
    assert plan.faults(7, 600) == plan.faults(7, 600) != plan.faults(8, 600)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_of_fault_comes_before_any_comes_again(seed: int) -> None:
    planned = plan.faults(seed, 600)
    kinds = [fault.kind for fault in planned]
    size = len(plan.TROUBLES)
    for start in range(0, len(kinds) - size, size):
        assert set(kinds[start : start + size]) == set(plan.TROUBLES)
    assert len(kinds) > 3 * size


def test_faults_are_in_order_and_leave_time_to_recover() -> None:
    times = [fault.at for fault in plan.faults(1, 60)]
    assert times == sorted(times)
    assert 0 < times[0] < times[-1] < 50


def test_rows_are_judged_by_their_text() -> None:
    found = [
        Row("right", vector("right"), has_failed=False),
        Row("lost", None, has_failed=False),
        Row("stale", vector("another"), has_failed=False),
        Row(None, None, has_failed=False),
        Row("", vector("no text"), has_failed=False),
        Row("fake:raise", None, has_failed=True),
        Row("fake:raise", None, has_failed=False),
        Row("innocent", None, has_failed=True),
    ]
    assert check.judge(found) == Verdict(rows=8, lost=2, stale=2, poison=1, wrongly_failed=1)


def test_what_grew_is_named() -> None:
    before = Size(memory=100_000, descriptors=18, connections=6)
    assert check.grown(before, before, 2) == []
    after = Size(memory=100_000 + 3 * check.MORE_MEMORY, descriptors=18, connections=7)
    assert check.grown(before, after, 2) == ["memory grew from 100000 to 173728", "connections grew from 6 to 7"]
