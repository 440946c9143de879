"""Run all benchmarks, or those named: `python -m benchmarks latency embed`. Exit code 0 unless one could not run."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.bed import BenchmarkError, describe, make_bed, say
from pgsbert.errors import PgsbertError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bed import Bed, Figure

BENCHMARKS = (
    "copy_in",
    "untracked_update",
    "single_inserts",
    "throughput",
    "backfill",
    "latency",
    "embed",
    "inference",
    "ingest",
)
BELOW = "bold white on red"


def main() -> int:
    """Run what was asked for on one server and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *BENCHMARKS], metavar="benchmark", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or BENCHMARKS
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    figures: list[Figure] = []
    failed: list[str] = []
    with make_bed() as bed:
        say(describe(bed))
        for name in names:
            say(f"-- {name}")
            started = time.monotonic()
            try:
                figures += _run(name, bed)
            except (BenchmarkError, PgsbertError, psycopg.Error, OSError) as error:
                failed.append(name)
                say(f"{name} could not run: {type(error).__name__}: {error}")
            say(f"   ({time.monotonic() - started:.0f} s)")
        machine = describe(bed)
    _print(figures, machine)
    if failed:
        say(f"Could not run: {', '.join(failed)}")
    return 1 if failed else 0


def _run(name: str, bed: Bed) -> list[Figure]:
    figures: list[Figure] = import_module(f"benchmarks.{name}").run(bed)
    return figures


def _print(figures: Sequence[Figure], caption: str) -> None:
    table = Table(caption=caption, caption_justify="left")
    for heading in ("benchmark", "question"):
        table.add_column(heading)
    for heading in ("measured", "baseline", "ratio", "passes", "goal", "verdict"):
        table.add_column(heading, justify="right")
    for figure in figures:
        sign = ">=" if figure.more_is_better else "<="
        table.add_row(
            figure.benchmark,
            figure.question,
            _number(figure.measured, figure.unit),
            figure.baseline,
            _number(figure.ratio, "x"),
            *("" if limit is None else f"{sign} {limit:,g}" for limit in (figure.passes, figure.goal)),
            figure.verdict,
            style=BELOW if figure.verdict == "BELOW" else None,
        )
    console = Console()
    # into a pipe or a log, rich would fold the table to 80 columns
    (console if console.is_terminal else Console(width=170)).print(table)


def _number(number: float, unit: str) -> str:
    digits = 0 if number >= 100 else 1 if number >= 10 else 2
    return f"{number:,.{digits}f} {unit}"


if __name__ == "__main__":
    sys.exit(main())
