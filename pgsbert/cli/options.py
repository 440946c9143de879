"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

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
