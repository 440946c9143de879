"""What several commands share: options, and tables on the screen."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pgsbert import types

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
