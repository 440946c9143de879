"""Read rows from a JSONL or CSV file, a data set on the hub or a query, one at a time and never all at once."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from psycopg.rows import dict_row

from pgsbert.database import connect
from pgsbert.errors import DataError, UsageError
from pgsbert.models.resolve import PROBE, reachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

Row: TypeAlias = "Mapping[str, object]"

ROWS_A_FETCH = 2000


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows come from: exactly one of ``data`` (a file, or NAME:SPLIT on the hub) and ``sql`` (with ``dsn``)."""

    data: str | None = None
    sql: str | None = None
    dsn: str | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.sql is None):
            raise UsageError("Say where the pairs are: either --data or --sql.")

    def __str__(self) -> str:
        return self.data if self.data is not None else f"the query {self.sql}"


def read(source: Source) -> Iterator[Row]:
    """Yield the rows of a source by column name; DataError names what cannot be read."""
    if source.sql is not None:
        return _query(source.sql, source.dsn or "")
    name = source.data or ""
    if Path(name.partition(":")[0]).expanduser().is_dir():
        return _dataset(name)
    path = Path(name).expanduser()
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if path.is_file() and kind in {"csv", "tsv"}:
        return _csv(path, delimiter="," if kind == "csv" else "\t")
    if path.is_file() and kind in {"jsonl", "ndjson", "json"}:
        return _jsonl(path)
    if path.exists() or path.is_absolute() or kind in {"csv", "tsv", "jsonl", "ndjson", "json"}:
        known = ".jsonl, .csv or .tsv, each also with .gz"
        raise DataError(f"{path} is {'no file of a known kind' if path.exists() else 'not there'}: give a {known}.")
    return _dataset(name)


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _jsonl(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with _open(path) as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}, is no JSON object: each line is one pair.")
                yield row
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read, line {number or 1}: {error}.") from error


def _csv(path: Path, *, delimiter: str) -> Iterator[Row]:
    try:
        with _open(path) as file:
            yield from csv.DictReader(file, delimiter=delimiter, strict=True)
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error


def _query(sql: str, dsn: str) -> Iterator[Row]:
    """Stream a query's rows through a cursor of the server: the result is never here as a whole."""
    with connect(dsn, application_name="pgsbert train") as connection, connection.transaction():
        connection.execute("set transaction read only")
        with connection.cursor(name="pairs", row_factory=dict_row) as cursor:
            cursor.itersize = ROWS_A_FETCH
            try:
                cursor.execute(sql)  # the caller's own query, with the caller's own rights
                yield from cursor
            except psycopg.errors.SyntaxError as error:
                raise DataError(f"--sql must be one SELECT: {error.diag.message_primary}.") from error


def _dataset(name: str) -> Iterator[Row]:
    """Stream NAME:SPLIT (train if no split is named) from the hub, or from a folder that holds a data set."""
    from datasets import load_dataset
    from huggingface_hub import constants

    dataset, _, split = name.partition(":")
    folder = Path(dataset).expanduser()
    told = f"{dataset} is neither a file here nor a data set that the hub gave"
    # the library would try for minutes
    if not folder.is_dir() and not reachable(constants.ENDPOINT, within=PROBE):
        raise DataError(f"{told} ({constants.ENDPOINT} is unreachable): check the path, or the network.")
    try:
        yield from load_dataset(str(folder) if folder.is_dir() else dataset, split=split or "train", streaming=True)
    except Exception as error:  # the library names no set of errors
        raise DataError(f"{told} ({type(error).__name__}): check the path, or the name.") from error
