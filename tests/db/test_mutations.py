"""Each mechanism is needed: the test of its promise passes with it and fails without it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from tests.db import test_gate, test_interleavings, test_queue, test_vectorizer
from tests.mutants import MUTANTS, Mutant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

    from pgsbert.queue import Queue
    from tests.support import Database

    Connection = psycopg.Connection[Any]
    OpenQueue = Callable[..., Awaitable[Queue]]

FILES = (test_queue, test_interleavings, test_gate, test_vectorizer)
CASES = [
    pytest.param(mutant, test, id=f"{mutant.mechanism}-{test}".replace(" ", "-"))
    for mutant in MUTANTS
    for test in mutant.tests
]


def find(test: str) -> Callable[..., Any]:
    promise: Callable[..., Any]
    [promise] = [getattr(file, test) for file in FILES if hasattr(file, test)]
    return promise


async def run(promise: Callable[..., Any], needs: dict[str, Any]) -> None:
    result = promise(**needs)
    if inspect.isawaitable(result):
        await result


@pytest.mark.parametrize("is_taken_away", [False, True], ids=["with", "without"])
@pytest.mark.parametrize(("mutant", "test"), CASES)
async def test_the_test_fails_just_without_the_mechanism(
    mutant: Mutant,
    test: str,
    is_taken_away: bool,
    articles: Connection,
    database: Database,
    open_queue: OpenQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    promise = find(test)
    at_hand = {"articles": articles, "connection": articles, "database": database, "open_queue": open_queue}
    at_hand |= {"monkeypatch": monkeypatch, **mutant.arguments}
    needs = {name: at_hand[name] for name in inspect.signature(promise).parameters}
    if not is_taken_away:
        await run(promise, needs)
        return
    with mutant.taken_away(articles), pytest.raises(mutant.fails_with):
        await run(promise, needs)
