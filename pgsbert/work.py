"""Turn claimed rows into outcomes: pure given a model. A text that the model cannot take fails alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pgsbert.types import Revision, Vectors

    Encode: TypeAlias = Callable[[Sequence[str]], Vectors]


@dataclass(frozen=True, slots=True)
class Change:
    """A claimed row: its text under the revision it was claimed at, and which attempt this is."""

    revision: Revision
    text: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector to store, float32 of shape (dimensions,); None clears it, since the text is empty."""

    revision: Revision
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Failed:
    """What the model said about one text."""

    revision: Revision
    attempts: int
    error_class: str
    error: str


Outcome: TypeAlias = Embedded | Failed


def embed(changes: Sequence[Change], encode: Encode) -> list[Outcome]:
    """Encode each different text once and return one outcome a change, in their order.

    When the model raises, the batch is halved until the text that it cannot take is alone; its neighbours are
    embedded. A vector with NaN or infinity fails like an exception.
    """
    texts = list(dict.fromkeys(change.text for change in changes if change.text))
    results = dict(zip(texts, _encode_halving(texts, encode), strict=True))
    return [_outcome(change, results) for change in changes]


def _outcome(change: Change, results: dict[str, NDArray[np.float32] | Exception]) -> Outcome:
    if not change.text:
        return Embedded(change.revision, None)
    result = results[change.text]
    if isinstance(result, Exception):
        return Failed(change.revision, change.attempts, type(result).__name__, str(result))
    return Embedded(change.revision, result)


def _encode_halving(texts: list[str], encode: Encode) -> list[NDArray[np.float32] | Exception]:
    if not texts:
        return []
    try:
        vectors = encode(texts)
        if not np.isfinite(vectors).all():
            raise FloatingPointError("the model returned NaN or infinity")
    except Exception as error:  # whatever a model raises, it is the text's failure and not the worker's
        if len(texts) == 1:
            return [error]
        middle = len(texts) // 2
        return _encode_halving(texts[:middle], encode) + _encode_halving(texts[middle:], encode)
    return list(vectors)
