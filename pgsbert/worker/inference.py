"""Threads for the models: callers wait without holding a transaction, and no question stands behind rows."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from pgsbert.errors import ModelTimeoutError
from pgsbert.events import log

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# a thread for each
Line: TypeAlias = Literal["questions", "rows", "lengths", "loads"]
QUESTION: Line = "questions"
ROWS: Line = "rows"
LENGTHS: Line = "lengths"
LOADS: Line = "loads"
LATELY = 5.0  # seconds
LIMIT = timedelta(minutes=2)
MOST_HUNG = 3  # each of them may burn a core for ever


class Inference:
    """Runs calls in daemon threads, those of one line one after the other.

    Lines do not wait for each other: ONNX Runtime runs one session from several threads at the same time, on the same
    weights. A model on torch has a lock of its own: there a question waits for the batch that is in the model.

    A call that lasts longer than its limit is left behind with its thread, and a new thread takes the next ones of its
    line. The threads end with the process and never delay its end. ``worn_out`` is called, in the event loop, when
    MOST_HUNG calls hang at the same time: nothing but the end of the process gives their cores back.
    """

    def __init__(self, *, limit: timedelta = LIMIT, worn_out: Callable[[], None] | None = None) -> None:
        self._limit = limit
        self._worn_out = worn_out
        self._calls: dict[Line, queue.SimpleQueue[Callable[[], None]]] = {}
        self._threads: dict[Line, threading.Thread] = {}
        self._asked = -1e9
        self.hung = 0  # calls past their limit that have not returned

    @property
    def was_asked_lately(self) -> bool:
        """Whether a question came in the last seconds: then the next may come soon, and should not wait for long."""
        return time.monotonic() - self._asked < LATELY

    async def run(self, line: Line, call: Callable[..., T], *arguments: Any, limit: timedelta | None = None) -> T:
        """Return what ``call(*arguments)`` returns in the thread of its line, or raise what it raises.

        Raises ModelTimeoutError if it runs longer than ``limit`` (default: this object's); waiting in line is not
        counted.
        """
        if line == QUESTION:
            self._asked = time.monotonic()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        watch = _Watch(self, line, limit or self._limit, future)

        def settle(result: T | None, error: BaseException | None) -> None:
            watch.end()
            if future.done():  # nobody waits any more, or not for this late answer
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only beside an error

        def work() -> None:
            if future.cancelled() or loop.is_closed():
                return
            loop.call_soon_threadsafe(watch.begin, loop)
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

        if line not in self._threads:
            self._start(line)
        self._calls[line].put(work)
        return await future

    def leave_behind(self, line: Line) -> None:
        """Let a new thread take the next calls of a line; the one at work ends with its call."""
        self.hung += 1
        log("model_call_hangs", hung=self.hung, of=MOST_HUNG)
        self._start(line)
        if self.hung >= MOST_HUNG and self._worn_out is not None:
            self._worn_out()

    def _start(self, line: Line) -> None:
        self._calls.setdefault(line, queue.SimpleQueue())
        self._threads[line] = threading.Thread(target=self._run, args=[line], name=line, daemon=True)
        self._threads[line].start()

    def _run(self, line: Line) -> None:
        while self._threads[line] is threading.current_thread():
            self._calls[line].get()()


class _Watch:
    """The limit of one call, from when it begins to run; all in the event loop."""

    def __init__(self, inference: Inference, line: Line, limit: timedelta, future: asyncio.Future[Any]) -> None:
        self._inference = inference
        self._line = line
        self._limit = limit
        self._future = future
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the clock."""
        self._timer = loop.call_later(self._limit.total_seconds(), self._pass)

    def end(self) -> None:
        """Stop the clock; a call that comes back late hangs no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._is_over:
            self._inference.hung -= 1

    def _pass(self) -> None:
        self._is_over = True
        self._inference.leave_behind(self._line)
        if not self._future.done():
            seconds = f"{self._limit.total_seconds():g}"
            self._future.set_exception(ModelTimeoutError(f"The model did not return within {seconds} s."))
