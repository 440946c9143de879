"""Show how training goes: a bar on a terminal, else an event now and then; loss and pairs a second."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from transformers import TrainerCallback

from pgsbert.events import log

EVENTS = 20  # lines in a log, whatever the number of steps
RECENT = 0.9  # weight of the past in the running mean of loss and rate


class Progress(TrainerCallback):
    """Watch a trainer; ``pairs_a_step`` makes steps a second into pairs a second."""

    def __init__(self, pairs_a_step: int) -> None:
        self.pairs_a_step = pairs_a_step
        self.loss = self.rate = 0.0
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not Console(stderr=True).is_terminal,
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the interface
        """Start the clock."""
        self.loss = self.rate = 0.0
        self.before = time.perf_counter()
        self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the interface
        """Tell of a step."""
        logs = kwargs.get("logs") or {}
        if "loss" not in logs:
            return
        now = time.perf_counter()
        rate, self.before = self.pairs_a_step / (now - self.before), now
        self.loss = RECENT * self.loss + (1 - RECENT) * logs["loss"] if self.loss else logs["loss"]
        self.rate = RECENT * self.rate + (1 - RECENT) * rate if self.rate else rate
        self.bar.update(
            self.task,
            completed=state.global_step,
            description=f"training, loss {self.loss:.3f}, {self.rate:.1f} pairs/s",
        )
        if self.bar.disable and state.global_step % max(1, state.max_steps // EVENTS) == 0:
            step = f"{state.global_step}/{state.max_steps}"
            log("trained", step=step, loss=self.loss, pairs_per_second=self.rate)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002 - the interface
        """Stop the bar."""
        self.bar.stop()
