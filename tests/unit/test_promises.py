"""docs/promises.md names tests that there are, every promise, and every mechanism that the tests take away."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))
FILES = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)))


def rows_of(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its first two lines."""
    lines = [line for line in PAGE.partition(heading)[2].partition("\n## ")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@pytest.mark.parametrize("name", NAMED)
def test_every_test_on_the_page_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize("name", FILES)
def test_every_file_on_the_page_exists(name: str) -> None:
    assert (ROOT / name).is_file()


def test_every_promise_names_a_test() -> None:
    promises = rows_of("# Promises")
    assert [cells[0] for cells in promises] == [f"P{i}" for i in range(1, 9)]
    assert all(re.search(r"`test_\w+`", cells[2]) for cells in promises)


def test_the_page_has_no_mechanism_but_those_that_are_taken_away() -> None:
    assert sorted(cells[0] for cells in rows_of("## Every mechanism")) == sorted(m.mechanism for m in MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.mechanism)
def test_every_mechanism_stands_beside_its_test(mutant: Mutant) -> None:
    [row] = [cells for cells in rows_of("## Every mechanism") if cells[0] == mutant.mechanism]
    assert re.findall(r"`(test_\w+)`", row[1]) == list(mutant.tests)
