"""Make pairs of rows, and leave out what would spoil training: every pair left out is counted and told.

A pair is two texts and a target: a class (0 entailment, 1 neutral, 2 contradiction) or a score from 0 to 1.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from pgsbert.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pgsbert.training.data import Row

LABELS = ("entailment", "neutral", "contradiction")  # the order of SNLI and MultiNLI on the hub
UNLABELLED = ("", "-", "-1", "none")  # how SNLI marks a pair on which the annotators did not agree
TEXT_COLUMNS = (("premise", "hypothesis"), ("sentence1", "sentence2"), ("query", "document"))
TARGET_COLUMNS = ("label", "score")

Target: TypeAlias = Literal["class", "score"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts and what is known about them."""

    first: str
    second: str
    target: float


@dataclass(slots=True)
class Counts:
    """What became of the rows of one source; ``used`` is what is left."""

    read: int = 0
    unlabelled: int = 0
    empty: int = 0
    duplicate: int = 0
    leaked: int = 0
    used: int = 0

    def __str__(self) -> str:
        left_out = {name: n for name, n in asdict(self).items() if n and name not in ("read", "used")}
        told = "".join(f", {n} {name} left out" for name, n in left_out.items())
        return f"{self.used} of {self.read} rows used{told}"


def clean(
    rows: Iterable[Row],
    counts: Counts,
    *,
    target: Target,
    score_range: tuple[float, float] | None = (0.0, 1.0),
    apart_from: Iterable[Pair] = (),
    judging: bool = False,
    otherwise: str | None = None,
) -> Iterator[Pair]:
    """Yield each usable pair once, and count the others; DataError for wrong columns, labels and scores.

    For ``judging`` a pair counts as often as it comes: a benchmark is what it is.

    ``apart_from`` are the dev pairs: a training pair of the same two texts, in either order and whatever the case, is
    a leak and is left out. Scores are brought to 0 to 1 from ``score_range``; None leaves them as they are.
    ``otherwise`` is the class of rows that have no column for it.
    """
    seen: set[bytes] = set()
    held_out = {name for pair in apart_from for name in (key(pair.first, pair.second), key(pair.second, pair.first))}
    columns: tuple[str, str, str | None] | None = None
    for row in rows:
        counts.read += 1
        columns = columns or find_columns(row, may_lack_target=otherwise is not None)
        first, second = row.get(columns[0]), row.get(columns[1])
        value = row.get(columns[2]) if columns[2] else otherwise
        texts = str(first or "").strip(), str(second or "").strip()
        name = key(*texts)
        if target == "class" and str("" if value is None else value).strip().lower() in UNLABELLED:
            counts.unlabelled += 1
        elif not all(texts):
            counts.empty += 1
        elif name in seen and not judging:
            counts.duplicate += 1
        elif name in held_out:
            counts.leaked += 1
        else:
            seen.add(name)
            counts.used += 1
            number = _class(value, counts.read) if target == "class" else _score(value, score_range, counts.read)
            yield Pair(*texts, number)


def sample(pairs: Iterable[Pair], size: int | None, *, seed: int) -> list[Pair]:
    """Return ``size`` pairs (None: all) in an order that depends on texts and seed alone, not on the source's order.

    Those with the smallest keyed digests: a query without ORDER BY gives the same sample each time.
    """

    def rank(pair: Pair) -> bytes:
        return hashlib.blake2b(f"{pair.first}\0{pair.second}".encode(), key=str(seed).encode(), digest_size=16).digest()

    return heapq.nsmallest(size, pairs, key=rank) if size is not None else sorted(pairs, key=rank)


def check_trainable(pairs: Sequence[Pair], source: object, *, target: Target) -> None:
    """Raise DataError where nothing can be learned: no pairs, one class or one score only."""
    if not pairs:
        raise DataError(f"No pair is left to train on from {source}.")
    if len({pair.target for pair in pairs}) == 1:
        known = f"the label {LABELS[int(pairs[0].target)]}" if target == "class" else f"the score {pairs[0].target:g}"
        raise DataError(f"All {len(pairs)} pairs from {source} have {known}: nothing can be learned from one {target}.")


def find_columns(row: Row, *, may_lack_target: bool = False) -> tuple[str, str, str | None]:
    """Return the names of first text, second text and target in a row."""
    texts = next((names for names in TEXT_COLUMNS if all(name in row for name in names)), None)
    target = next((name for name in TARGET_COLUMNS if name in row), None)
    if texts is None or (target is None and not may_lack_target):
        known = " or ".join(", ".join(names) for names in TEXT_COLUMNS)
        raise DataError(
            f"A pair needs the columns {known}, and label or score; found: {', '.join(map(str, row)) or 'none'}. "
            "In a query, name them: SELECT title AS query, body AS document, relevant AS label."
        )
    return *texts, target


def _class(value: object, row: int) -> int:
    text = str(value).strip().lower()
    if text in LABELS:
        return LABELS.index(text)
    if text in {"0", "1", "2"}:
        return int(text)
    raise DataError(f'Row {row} has the label "{value}"; known are {", ".join(LABELS)}, or 0, 1, 2 in this order.')


def _score(value: object, score_range: tuple[float, float] | None, row: int) -> float:
    try:
        score = float(value)  # type: ignore[arg-type] # anything else is the TypeError below
    except (TypeError, ValueError) as error:
        raise DataError(f'Row {row} has the score "{value}", which is no number.') from error
    if score_range is None and math.isfinite(score):
        return score
    low, high = score_range or (0.0, 1.0)
    if not low <= score <= high:
        raise DataError(
            f"Row {row} has the score {score:g}, outside of {low:g} to {high:g}: say the scale with --score-range."
        )
    return (score - low) / (high - low)


def key(first: str, second: str) -> bytes:
    """Return a short name of two texts that ignores case and blanks."""
    words = (" ".join(text.casefold().split()) for text in (first, second))
    return hashlib.blake2b("\0".join(words).encode(), digest_size=16).digest()
