from __future__ import annotations

from math import ceil, log2
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsbert.types import Counted, Revision
from pgsbert.work import Change, Embedded, Failed, embed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgsbert.types import Vectors


class Recorder:
    """Two numbers a text: length and first character. 'x' raises what stays, 'y' what may pass, 'n' gives NaN."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def __call__(self, texts: Sequence[str]) -> Counted:
        self.batches.append(list(texts))
        if any("x" in text for text in texts):
            raise ValueError("an x")
        if any("y" in text for text in texts):
            raise RuntimeError("a y")
        vectors = np.array([[len(text), ord(text[0])] for text in texts], dtype=np.float32)
        vectors[["n" in text for text in texts]] = np.nan
        return counted(vectors, texts)


def counted(vectors: Vectors, texts: Sequence[str]) -> Counted:
    """Take a character for a token, and three at most."""
    return Counted(vectors, np.array([len(text) for text in texts]), limit=3)


def changes(*texts: str) -> list[Change]:
    return [Change(Revision(number), text, 1) for number, text in enumerate(texts)]


def numbers(outcome: Embedded | Failed) -> list[float] | None:
    assert isinstance(outcome, Embedded)
    return None if outcome.vector is None else outcome.vector.tolist()


def expected_error(text: str) -> str | None:
    found = [
        error
        for mark, error in (("x", "ValueError"), ("y", "RuntimeError"), ("n", "FloatingPointError"))
        if mark in text
    ]
    return found[0] if found else None


@given(st.lists(st.text("abcdxyn", max_size=3), max_size=60))
def test_each_row_gets_its_own_outcome_whatever_its_neighbours_are(texts: list[str]) -> None:
    encode = Recorder()
    outcomes = embed(changes(*texts), encode)
    assert [outcome.revision for outcome in outcomes] == list(range(len(texts)))
    for text, outcome in zip(texts, outcomes, strict=True):
        error = expected_error(text)
        if error is None:
            assert numbers(outcome) == ([len(text), ord(text[0])] if text else None)
        else:
            assert isinstance(outcome, Failed)
            assert (outcome.error_class, outcome.permanent) == (error, error == "ValueError")
    different = {text for text in texts if text}
    poison = sum(expected_error(text) is not None for text in different)
    assert len(encode.batches) <= bool(different) + 2 * poison * ceil(log2(max(len(different), 1)))


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
    assert embed([poison, *changes("a")], Recorder())[0] == Failed(Revision(7), 3, "ValueError", "an x", permanent=True)


@pytest.mark.parametrize("raised", [SystemExit(1), type("PanicException", (BaseException,), {})("index out of range")])
def test_a_text_that_ends_the_models_thread_fails_alone(raised: BaseException) -> None:
    def encode(texts: Sequence[str]) -> Counted:
        if "x" in texts:
            raise raised
        return counted(np.ones((len(texts), 2), dtype=np.float32), texts)

    good, poison = embed(changes("a", "x"), encode)
    assert numbers(good) == [1, 1]
    assert isinstance(poison, Failed)
    assert (poison.error_class, poison.permanent) == (type(raised).__name__, False)


def test_the_size_of_a_text_is_known_only_where_the_model_takes_less() -> None:
    outcomes = embed(changes("abc", "abcd", "", "abcd"), Recorder())
    assert [outcome.tokens for outcome in outcomes if isinstance(outcome, Embedded)] == [None, 4, None, 4]


def test_a_text_that_is_too_long_fails_alone_and_for_good_where_it_is_refused() -> None:
    whole, refused, poison = embed(changes("abc", "abcd", "x"), Recorder(), "refuse")
    assert numbers(whole) == [3, ord("a")]
    reason = (
        "the text has 4 tokens and the model takes 3: shorten it, or create the vectorizer with on_truncate => 'accept'"
    )
    assert refused == Failed(Revision(1), 1, "TextTooLongError", reason, permanent=True)
    assert isinstance(poison, Failed)
    assert poison.error_class == "ValueError"


def test_a_vector_with_nan_fails_alone() -> None:
    outcomes = embed(changes("a", "n", "b"), Recorder())
    assert [isinstance(outcome, Embedded) for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1], Failed)
    assert outcomes[1].error_class == "FloatingPointError"


def test_one_poison_among_many_costs_calls_by_the_logarithm() -> None:
    encode = Recorder()
    embed(changes(*(f"a{i}" for i in range(127)), "x"), encode)
    assert len(encode.batches) <= 2 * 7 + 1
