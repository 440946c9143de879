from __future__ import annotations

import asyncio
import sys
import threading
from datetime import timedelta

import pytest

from pgsbert.errors import ModelTimeoutError
from pgsbert.worker.inference import MOST_HUNG, QUESTION, ROWS, Inference
from tests.support import wait_until

SHORT = timedelta(seconds=0.05)


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


async def test_calls_of_one_line_run_one_after_the_other_and_a_question_does_not_wait_for_rows() -> None:
    inference, go, order = Inference(), threading.Event(), list[str]()
    first = asyncio.ensure_future(inference.run(ROWS, go.wait, 10))
    waiting = [asyncio.ensure_future(inference.run(ROWS, order.append, name)) for name in ("rows 1", "rows 2")]
    await asyncio.sleep(0)  # all are in line
    await inference.run(QUESTION, order.append, "question")
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


async def test_a_call_that_hangs_is_left_behind_and_the_next_ones_are_made() -> None:
    inference, go = Inference(limit=SHORT), threading.Event()
    hanging = asyncio.ensure_future(inference.run(ROWS, go.wait))
    behind = asyncio.ensure_future(inference.run(ROWS, lambda: "answered"))
    with pytest.raises(ModelTimeoutError, match=r"did not return within 0\.05 s"):
        await hanging
    assert await behind == "answered"
    go.set()


async def test_the_time_in_line_does_not_count() -> None:
    inference, go = Inference(limit=SHORT), threading.Event()
    first = asyncio.ensure_future(inference.run(ROWS, go.wait, 10, limit=timedelta(seconds=10)))
    second = asyncio.ensure_future(inference.run(ROWS, lambda: "in time"))
    await asyncio.wait((second,), timeout=2 * SHORT.total_seconds())
    go.set()
    assert await second == "in time"
    assert await first


async def test_a_call_that_returns_after_its_limit_is_forgotten_and_its_thread_ends() -> None:
    inference, go = Inference(limit=SHORT), threading.Event()
    thread: list[threading.Thread] = []

    def late() -> None:
        thread.append(threading.current_thread())
        go.wait()

    with pytest.raises(ModelTimeoutError):
        await inference.run(ROWS, late)
    assert inference.hung == 1
    go.set()
    await asyncio.to_thread(wait_until, lambda: inference.hung == 0)
    wait_until(lambda: not thread[0].is_alive())
    assert await inference.run(ROWS, threading.current_thread) is not thread[0]


async def test_it_says_when_too_many_calls_hang_at_the_same_time() -> None:
    worn_out: list[bool] = []
    inference, go = Inference(limit=SHORT, worn_out=lambda: worn_out.append(True)), threading.Event()
    for hung in range(MOST_HUNG):
        assert (inference.hung, worn_out) == (hung, [])
        with pytest.raises(ModelTimeoutError):
            await inference.run(ROWS, go.wait)
    assert worn_out == [True]
    go.set()


async def test_a_call_that_hangs_after_its_caller_went_away_is_left_behind_too() -> None:
    inference, began, go = Inference(limit=SHORT), threading.Event(), threading.Event()

    def hang() -> None:
        began.set()
        go.wait()

    left = asyncio.ensure_future(inference.run(ROWS, hang))
    await asyncio.to_thread(began.wait, 10)
    left.cancel()
    assert await inference.run(ROWS, lambda: "alive") == "alive"
    go.set()
