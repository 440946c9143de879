"""What several commands share: options, and tables on the screen."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pgsbert import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# typer reads annotations at run time, so they are written the old way
Dsn = Annotated[
    Optional[str],
    typer.Option("--dsn", help="Connection string; else PGSBERT_DSN, else libpq's variables.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AllowFake = Annotated[bool, typer.Option("--allow-fake", help="Allow the fake models that tests use.")]
Device = Annotated[
    Optional[str],
    typer.Option("--device", help="torch device, for example cuda.", show_default=False),
]


Engine = Annotated[
    types.Engine,
    typer.Option("--engine", help="What runs models; auto is ONNX Runtime on a CPU where the model exports."),
]
Threads = Annotated[
    Optional[int],
    typer.Option("--threads", min=1, help="Threads for one batch; else one a core.", show_default=False),
]


def log_to_stderr() -> None:
    """Let a command that runs for long tell of itself on stderr, one event a line."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    for chatty in ("httpx", "alembic", "sentence_transformers"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def registered_name(model: str) -> str:
    """Return the name that a model is registered by: a folder's is its whole path, for workers that run elsewhere."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM or a closed terminal raise KeyboardInterrupt in the block; a second one is ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    # what our caller ignores stays ignored: nohup
    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]

    def end(*_: object) -> None:
        for number in heard:
            # not SIG_IGN: the programs that stop the server would inherit it
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            # after the first one the others stay unheard until the process has ended
            if signal.getsignal(number) is end:
                signal.signal(number, handler)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], screen: Live | None = None) -> None:
    """Print a table, in place of the last one on a ``screen``.

    None is an empty cell, and brackets or colons in users' texts are no markup.
    """
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    if screen is not None and screen.console.is_terminal:
        screen.update(table, refresh=True)
    else:
        _console().print(table)


def watching() -> Live:
    """Return a screen on which each table takes the place of the one before; where there is none, they follow."""
    return Live(console=_console(), auto_refresh=False, transient=False)


def _console() -> Console:
    return Console(markup=False, emoji=False, highlight=False)
