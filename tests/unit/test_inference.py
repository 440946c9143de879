from __future__ import annotations

import asyncio
import sys
import threading

import pytest

from pgsbert.worker.inference import QUESTION, ROWS, Inference


async def test_a_call_runs_in_another_thread_and_returns_its_result() -> None:
    assert await Inference().run(ROWS, threading.get_ident) != threading.get_ident()


async def test_what_a_call_raises_is_raised_where_it_was_asked_for() -> None:
    with pytest.raises(ZeroDivisionError):
        await Inference().run(ROWS, lambda: 1 / 0)


async def test_a_model_that_calls_exit_ends_neither_process_nor_thread() -> None:
    inference = Inference()
    with pytest.raises(RuntimeError, match="SystemExit"):
        await inference.run(ROWS, sys.exit, 1)
    assert await inference.run(ROWS, lambda: "alive") == "alive"


async def test_questions_go_before_rows() -> None:
    inference, go, order = Inference(), threading.Event(), list[str]()
    first = asyncio.ensure_future(inference.run(ROWS, go.wait, 10))
    waiting = [
        asyncio.ensure_future(inference.run(urgency, order.append, name))
        for urgency, name in ((ROWS, "rows 1"), (ROWS, "rows 2"), (QUESTION, "question"))
    ]
    await asyncio.sleep(0)  # all are in line
    go.set()
    await asyncio.gather(first, *waiting)
    assert order == ["question", "rows 1", "rows 2"]


async def test_a_call_nobody_waits_for_any_more_is_not_made() -> None:
    inference, go, order = Inference(), threading.Event(), list[str]()
    first = asyncio.ensure_future(inference.run(ROWS, go.wait, 10))
    left = asyncio.ensure_future(inference.run(ROWS, order.append, "left"))
    await asyncio.sleep(0)  # both are in line
    left.cancel()
    await asyncio.sleep(0)  # the cancel has arrived
    go.set()
    await first
    await inference.run(ROWS, order.append, "last")
    assert order == ["last"]
