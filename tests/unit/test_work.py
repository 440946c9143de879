from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pgsbert.types import Revision
from pgsbert.work import Change, Embedded, Failed, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgsbert.types import Vectors


class Recorder:
    """An encoder of two numbers a text: length and first character. 'x' raises, 'n' gives NaN."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Vectors:
        self.batches.append(list(texts))
        if any("x" in text for text in texts):
            raise ValueError("an x")
        vectors = np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)
        vectors[["n" in text for text in texts]] = np.nan
        return vectors


def changes(*texts: str) -> list[Change]:
    return [Change(Revision(number), text, 1) for number, text in enumerate(texts)]


def numbers(outcome: Embedded | Failed) -> list[float] | None:
    assert isinstance(outcome, Embedded)
    return None if outcome.vector is None else outcome.vector.tolist()


@given(st.lists(st.text("abxn", max_size=3), max_size=40))
def test_each_row_gets_its_own_outcome_whatever_its_neighbours_are(texts: list[str]) -> None:
    outcomes = embed(changes(*texts), Recorder())
    assert [outcome.revision for outcome in outcomes] == list(range(len(texts)))
    for text, outcome in zip(texts, outcomes, strict=True):
        if "x" in text or "n" in text:
            assert isinstance(outcome, Failed)
        else:
            assert numbers(outcome) == ([len(text), ord(text[0])] if text else None)


def test_identical_texts_are_encoded_once() -> None:
    encode = Recorder()
    outcomes = embed(changes("a", "b", "a", "a"), encode)
    assert encode.batches == [["a", "b"]]
    assert numbers(outcomes[0]) == numbers(outcomes[2]) == numbers(outcomes[3]) == [1, ord("a")]


def test_an_empty_text_loses_its_vector_without_a_call() -> None:
    encode = Recorder()
    assert [numbers(outcome) for outcome in embed(changes("", ""), encode)] == [None, None]
    assert encode.batches == []


def test_no_rows_are_no_call() -> None:
    encode = Recorder()
    assert embed([], encode) == []
    assert encode.batches == []


def test_a_text_that_raises_fails_with_its_reason_and_attempt() -> None:
    poison = Change(Revision(7), "x", 3)
    assert embed([poison, *changes("a")], Recorder())[0] == Failed(Revision(7), 3, "ValueError", "an x")


def test_a_vector_with_nan_fails_alone() -> None:
    outcomes = embed(changes("a", "n", "b"), Recorder())
    assert [isinstance(outcome, Embedded) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].error_class == "FloatingPointError"


def test_one_poison_among_many_costs_calls_by_the_logarithm() -> None:
    encode = Recorder()
    embed(changes(*(f"a{i}" for i in range(127)), "x"), encode)
    assert len(encode.batches) <= 2 * 7 + 1
