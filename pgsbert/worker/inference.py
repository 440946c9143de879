"""One thread for the models: callers wait without holding a transaction, and questions go before rows."""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

QUESTION, ROWS = 0, 1  # the lower goes first
LATELY = 5.0  # seconds


class Inference:
    """Runs calls one after the other in a daemon thread, the most urgent first.

    The thread ends with the process and never delays its end: a model that hangs must not.
    """

    def __init__(self) -> None:
        self._calls: queue.PriorityQueue[tuple[int, int, Callable[[], None]]] = queue.PriorityQueue()
        self._order = itertools.count()
        self._asked = -1e9
        threading.Thread(target=self._run, name="inference", daemon=True).start()

    @property
    def was_asked_lately(self) -> bool:
        """Whether a question came in the last seconds: then the next may come soon, and should not wait for long."""
        return time.monotonic() - self._asked < LATELY

    async def run(self, urgency: int, call: Callable[..., T], *arguments: Any) -> T:
        """Return what ``call(*arguments)`` returns in the thread, or raise what it raises."""
        if urgency == QUESTION:
            self._asked = time.monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(result: T | None, error: BaseException | None) -> None:
            if future.cancelled():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only beside an error

        def work() -> None:
            if future.cancelled():
                return
            result: T | None = None
            error: Exception | None = None
            try:
                result = call(*arguments)
            except Exception as raised:  # handed to the caller, who knows what it means
                error = raised
            except BaseException as raised:  # sys.exit() in a model's code must not end the only thread
                error = RuntimeError(f"{type(raised).__name__}: {raised}")
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._calls.put((urgency, next(self._order), work))
        return await future

    def _run(self) -> None:
        while True:
            self._calls.get()[2]()
