"""What the demo shows: on a terminal with a moving bar, elsewhere as plain lines that read well in a log."""

from __future__ import annotations

import io
import shlex
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pgsbert.demo.questions import Hit
    from pgsbert.demo.table import State

    Show = Callable[[State], None]

LINES = 10  # of progress, where there is no terminal
LONGEST_NAME = 40  # characters; of 80, the rest is the summary's


class Screen:
    """Standard output."""

    def __init__(self, output: TextIO) -> None:
        if isinstance(output, io.TextIOWrapper):
            output.reconfigure(errors="replace")  # a docstring may have what the terminal's encoding has not
        self._console = Console(file=output, force_terminal=output.isatty(), highlight=False)

    def say(self, line: str) -> None:
        """Show a line as it is: neither wrapped nor read as markup."""
        self._console.print(line, markup=False, soft_wrap=True)

    def show_sql(self, statement: str) -> None:
        """Show the SQL of the answers that follow."""
        self.say("\nEach answer is plain SQL:\n")
        self._console.print(Text(statement, style="cyan"), soft_wrap=True)

    def show_hits(self, question: str, hits: Sequence[Hit], progress: str = "") -> None:
        """Show a question with its hits."""
        self._console.print()
        self._console.print(Text.assemble((question, "bold"), f"  ({progress})" if progress else ""), soft_wrap=True)
        width = min(max((len(hit.name) for hit in hits), default=0), LONGEST_NAME)
        for hit in hits:
            summary = " ".join(hit.text.split("\n\n")[0].split())
            name = hit.name if len(hit.name) <= width else f"...{hit.name[3 - width :]}"
            line = Text.assemble(f"  {hit.score:.3f}  ", (f"{name:<{width}}", "green"), f"  {summary}")
            self._console.print(line, no_wrap=True, overflow="ellipsis")

    def show_connection(self, psql: Path, dsn: str) -> None:
        """Show how to reach the database from another terminal."""
        self.say("\nWhile this runs, the same from another terminal:\n")
        self.say(f"{shlex.quote(str(psql))} {shlex.quote(dsn)}")

    def ask(self, hint: str) -> Iterator[str]:
        """Yield what is typed, without empty lines, until Ctrl-D."""
        with suppress(ImportError):
            import readline  # noqa: F401 - input() then has editing and a history
        self.say(f"\n{hint}. The worker embeds the rest meanwhile.")
        with suppress(EOFError):
            while True:
                typed = input("\n? ").strip()
                if typed:
                    yield typed.encode(errors="replace").decode()

    @contextmanager
    def progress(self, goal: int) -> Iterator[Show]:
        """Give a function that shows how far the first `goal` rows are."""
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            with self._bar(goal) as show:
                yield show
        else:
            yield self._lines(goal)

    @contextmanager
    def _bar(self, goal: int) -> Iterator[Show]:
        columns = (BarColumn(), TextColumn("{task.description}", markup=False))
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task("loading the model", total=goal)
            speed = _Speed()

            def show(state: State) -> None:
                if rate := speed.at(state.done):
                    description = f"{state.progress}, {rate:.0f} rows/s; questions from {goal}"
                    progress.update(task, completed=min(state.done, goal), description=description)

            yield show

    def _lines(self, goal: int) -> Show:
        speed = _Speed()
        shown = 0

        def show(state: State) -> None:
            nonlocal shown
            rate = speed.at(state.done)
            step = min(state.done, goal) * LINES // max(goal, 1)
            if rate and step > shown:
                shown = step
                self.say(f"  {state.progress}, {rate:.0f} rows/s")

        return show


class _Speed:
    """Rows a second since the first ones came."""

    def __init__(self) -> None:
        self._before: tuple[float, int] | None = None
        self._since: tuple[float, int] | None = None

    def at(self, done: int) -> float:
        """Return the mean rate up to now, 0 while nothing has come."""
        now = time.monotonic()
        self._before = self._before or (now, done)
        if self._since is None and done == self._before[1]:
            self._before = (now, done)
            return 0.0
        self._since = self._since or self._before
        return (done - self._since[1]) / max(now - self._since[0], 1e-9)
