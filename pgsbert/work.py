"""Turn claimed rows into outcomes: pure given a model. A text that the model cannot take fails alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pgsbert.errors import TextTooLongError
from pgsbert.failures import is_permanent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pgsbert.types import Counted, OnTruncate, Revision

    Content: TypeAlias = str | bytes  # a text, or an image as its file
    Encode: TypeAlias = Callable[[Sequence[Any]], Counted]  # of either, never of both


@dataclass(frozen=True, slots=True)
class Change:
    """A claimed row: its text or image under the revision it was claimed at, and which attempt this is."""

    revision: Revision
    text: Content
    attempts: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector to store, float32 of shape (dimensions,); None clears it, since the text is empty.

    ``tokens`` is the size of a text that the model takes only the beginning of, None for one that it takes whole.
    """

    revision: Revision
    vector: NDArray[np.float32] | None
    attempts: int = 1
    tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """What the model said about one text; a permanent failure would come again, and is not tried again."""

    revision: Revision
    attempts: int
    error_class: str
    error: str
    permanent: bool = False


Outcome: TypeAlias = Embedded | Failed


@dataclass(frozen=True, slots=True)
class _Encoded:
    vector: NDArray[np.float32]
    tokens: int
    limit: int | None

    @property
    def truncated_from(self) -> int | None:
        return self.tokens if self.limit is not None and self.tokens > self.limit else None


Result: TypeAlias = _Encoded | BaseException


def embed(changes: Sequence[Change], encode: Encode, on_truncate: OnTruncate = "accept") -> list[Outcome]:
    """Encode each different text or image once and return one outcome a change, in their order.

    When the model raises, the batch is halved until the text that it cannot take is alone; its neighbours are
    embedded, by at most 1 + 2 k log2 n calls for k such texts of n. A vector with NaN or infinity fails like an
    exception, and so does a text that is too long where that is to be refused.
    """
    texts = list(dict.fromkeys(change.text for change in changes if change.text))
    results = dict(zip(texts, _encode_halving(texts, encode), strict=True))
    if on_truncate == "refuse":
        results = {text: _refused_if_truncated(result) for text, result in results.items()}
    return [_outcome(change, results) for change in changes]


def _refused_if_truncated(result: Result) -> Result:
    if isinstance(result, BaseException) or result.truncated_from is None:
        return result
    return TextTooLongError(
        f"the text has {result.truncated_from} tokens and the model takes {result.limit}: shorten it, "
        "or create the vectorizer with on_truncate => 'accept'"
    )


def _outcome(change: Change, results: dict[Content, Result]) -> Outcome:
    if not change.text:
        return Embedded(change.revision, None, change.attempts)
    result = results[change.text]
    if isinstance(result, BaseException):
        error_class = type(result).__name__
        return Failed(change.revision, change.attempts, error_class, str(result), permanent=is_permanent(result))
    return Embedded(change.revision, result.vector, change.attempts, result.truncated_from)


def _encode_halving(texts: list[Content], encode: Encode) -> list[Result]:
    if not texts:
        return []
    try:
        found = encode(texts)
        if not np.isfinite(found.vectors).all():
            raise FloatingPointError("the model returned NaN or infinity")
    except KeyboardInterrupt:
        raise
    # whatever a model raises, it is the text's failure and not the worker's: also sys.exit(), and the panic of a
    # tokenizer in Rust, which is no Exception
    except BaseException as error:
        if len(texts) == 1:
            return [error]
        middle = len(texts) // 2
        return _encode_halving(texts[:middle], encode) + _encode_halving(texts[middle:], encode)
    return [_Encoded(*one, found.limit) for one in zip(found.vectors, found.tokens.tolist(), strict=True)]
