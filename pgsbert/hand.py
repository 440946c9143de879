"""The claimed rows that are not in the model yet, and which of them go next: near in length, none for long. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgsbert.work import Change, Content


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows with one text, which goes through the model once."""

    length: int
    changes: list[Change]


class Hand:
    """Claimed rows by text, in the order in which the texts came."""

    def __init__(self) -> None:
        self._groups: dict[Content, _Group] = {}
        self._is_newest_next = False
        self.size = 0  # characters, or bytes of images

    def __len__(self) -> int:
        return sum(len(group.changes) for group in self._groups.values())

    def __iter__(self) -> Iterator[Change]:
        return (change for group in self._groups.values() for change in group.changes)

    def add(self, changes: Sequence[Change], lengths: Sequence[int]) -> None:
        """Take rows up; ``lengths`` are what their texts count in a batch, in the unit of its budget."""
        for change, length in zip(changes, lengths, strict=True):
            if change.text in self._groups:
                self._groups[change.text].changes.append(change)
            else:
                self._groups[change.text] = _Group(max(length, 1), [change])
                self.size += len(change.text)

    def take(self, *, budget: int, most: int) -> list[Change]:
        """Return the rows of the next batch, which leave: at most ``most`` texts, padded within ``budget``.

        It is made around the oldest text and the newest by turns: so no row waits for more batches than twice the
        number of texts that are older, and what came last does not wait for all of them. A text longer than the budget
        is a batch of its own.
        """
        if not self._groups:
            return []
        pivot = next(reversed(self._groups) if self._is_newest_next else iter(self._groups))
        self._is_newest_next = not self._is_newest_next
        texts = sorted(self._groups, key=lambda text: self._groups[text].length)
        lengths = [self._groups[text].length for text in texts]
        first, end = around(lengths, texts.index(pivot), budget=budget, most=most)
        taken = texts[first:end]
        self.size -= sum(len(text) for text in taken)
        return [change for text in taken for change in self._groups.pop(text).changes]


def around(lengths: Sequence[int], pivot: int, *, budget: int, most: int) -> tuple[int, int]:
    """Return the range of ``lengths``, which are sorted, that goes with ``pivot``: the nearest on both sides."""
    first, end = pivot, pivot + 1
    while end - first < most:
        room = budget // (end - first + 1)
        shorter = lengths[pivot] - lengths[first - 1] if first > 0 and lengths[end - 1] <= room else None
        longer = lengths[end] - lengths[pivot] if end < len(lengths) and lengths[end] <= room else None
        if longer is not None and (shorter is None or longer < shorter):
            end += 1
        elif shorter is not None:
            first -= 1
        else:
            break
    return first, end


@dataclass(frozen=True, slots=True)
class Speed:
    """How many rows a second were done lately, and how many are to be taken at a time therefore."""

    rows: float
    least: int
    most: int

    def portion(self, seconds: float) -> int:
        """Return how many rows last about so long."""
        return max(self.least, min(int(self.rows * seconds), self.most))

    def after(self, *, rows: int, seconds: float) -> Speed:
        """Return the speed after so many rows; it doubles or halves at most, and fewer than the least say nothing."""
        if rows < self.least:
            return self
        measured = min(rows / max(seconds, 1e-6), 3 * self.rows)
        return Speed((self.rows + measured) / 2, self.least, self.most)
