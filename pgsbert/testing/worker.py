"""A worker in a thread of the tests, whose models are deterministic stand-ins that count their calls."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pgsbert.errors import PgsbertError
from pgsbert.models.fake import FakeClassifier, FakeEncoder, FakeReranker
from pgsbert.worker import Options, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgsbert.types import LoadedModel, Model

UP_WITHIN = 30.0  # seconds
DOWN_WITHIN = 20.0


class NoWorkerError(PgsbertError):
    """The worker did not come up, or did not end."""


@dataclass
class RunningWorker:
    """A worker in a thread, and what stands in for its models, whatever their names."""

    encoder: FakeEncoder  # of bi-encoders with its dimensions; those with others get one of their own
    reranker: FakeReranker
    worker: Worker = field(init=False)

    def load(self, model: Model) -> LoadedModel:
        """Return what stands in for a registered model."""
        if model.kind == "cross-encoder":
            return self.reranker
        if model.kind == "classifier":
            return FakeClassifier()
        if model.dimensions in (None, self.encoder.model.dimensions):
            return self.encoder
        return FakeEncoder(model.dimensions)


@contextmanager
def run_worker(
    dsn: str,
    *,
    encoder: FakeEncoder | None = None,
    poll: timedelta = timedelta(seconds=5),
    sweep_every: timedelta = timedelta(minutes=10),
    poll_only: bool = False,
    load: Callable[[Model], LoadedModel] | None = None,
) -> Iterator[RunningWorker]:
    """Run a worker until the block ends; it needs no model, no files and no network, unless ``load`` does.

    Raises NoWorkerError when it is not connected after 30 s, and what ended it before the block did.
    """
    running = RunningWorker(encoder or FakeEncoder(384), FakeReranker())
    options = Options(dsn=dsn, poll_only=poll_only, poll=poll, sweep_every=sweep_every)
    thread = _Thread(options, running, load or running.load)
    thread.start()
    try:
        thread.wait_until_connected()
        yield running
    finally:
        thread.stop()
    thread.raise_error()


class _Thread(threading.Thread):
    """The thread with the worker's event loop."""

    def __init__(self, options: Options, running: RunningWorker, load: Callable[[Model], LoadedModel]) -> None:
        super().__init__(name="pgsbert worker", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._options = options
        self._running = running
        self._load = load
        self._made = threading.Event()
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self._made.set()
            self._loop.close()

    async def _work(self) -> None:
        self._running.worker = Worker(self._options, self._load)  # in its loop
        self._made.set()
        await self._running.worker.run()

    def wait_until_connected(self) -> None:
        deadline = time.monotonic() + UP_WITHIN
        self._made.wait(UP_WITHIN)
        while not self._is_connected():
            self.raise_error()
            if time.monotonic() > deadline:
                raise NoWorkerError(f"The worker could not connect within {UP_WITHIN:g} s: its log says why.")
            time.sleep(0.005)

    def _is_connected(self) -> bool:
        return hasattr(self._running, "worker") and self._running.worker.is_connected

    def stop(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: it has ended by itself
            self._loop.call_soon_threadsafe(self._running.worker.stop)
        self.join(DOWN_WITHIN)
        if self.is_alive():
            raise NoWorkerError(f"The worker did not end within {DOWN_WITHIN:g} s: a model hangs.")

    def raise_error(self) -> None:
        if self._error is not None:
            raise self._error
