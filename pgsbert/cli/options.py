"""What several commands share: options, and tables on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Optional

import typer
from rich.console import Console
from rich.table import Table

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


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; None is an empty cell, and brackets or colons in users' texts are no markup."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(markup=False, emoji=False, highlight=False).print(table)
