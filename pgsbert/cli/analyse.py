"""Commands over all rows of a vectorizer: cluster, duplicates."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import psycopg
import typer
from psycopg import sql

from pgsbert.cli.options import Dsn, Json, show_table
from pgsbert.database import connect
from pgsbert.errors import PgsbertError, UsageError
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgsbert.clusters import Clusters
    from pgsbert.vectors import Embedded

SHOWN = 3  # rows nearest to the centre of a cluster
MOST_SHOWN = 50  # pairs on the screen

Name = Annotated[str, typer.Argument(help="Name of the vectorizer.")]
Csv = Annotated[Optional[Path], typer.Option("--csv", help="Write them to this file.", show_default=False)]


def cluster(
    vectorizer: Name,
    k: Annotated[int, typer.Option("-k", help="How many clusters.")],
    dsn: Dsn = None,
    table: Annotated[
        Optional[str],
        typer.Option("--table", help="Make this table, of key and cluster; it must not exist.", show_default=False),
    ] = None,
    csv_file: Csv = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same clusters.")] = 0,
    as_json: Json = False,
) -> None:
    """Group the rows of a vectorizer by meaning: k-means over their embeddings."""
    from pgsbert import clusters, vectors

    with connect(database_dsn(dsn)) as connection:
        rows = vectors.read_vectors(connection, vectorizer)
        found = clusters.cluster(rows.vectors, k, seed=seed)
        labels = [int(label) for label in found.labels]
        if table is not None:
            _store(connection, table, rows, labels)
    if csv_file is not None:
        _write(
            csv_file,
            [*_columns(rows), "cluster"],
            ([*key, label] for key, label in zip(rows.keys, labels, strict=True)),
        )
    if as_json:
        typer.echo(json.dumps([{"key": key, "cluster": n} for key, n in zip(rows.keys, labels, strict=True)]))
        return
    show_table(("cluster", "rows", "nearest to its centre"), _summary(rows, found))


def duplicates(
    vectorizer: Name,
    dsn: Dsn = None,
    threshold: Annotated[float, typer.Option("--threshold", help="Cosine from which two rows say the same.")] = 0.95,
    csv_file: Csv = None,
    as_json: Json = False,
) -> None:
    """Show the pairs of rows whose embeddings have at least some cosine, nearest first."""
    from pgsbert import vectors
    from pgsbert.duplicates import duplicates as pairs_of

    with connect(database_dsn(dsn)) as connection:
        rows = vectors.read_vectors(connection, vectorizer)
    pairs = [(rows.keys[p.first], rows.keys[p.second], p.similarity) for p in pairs_of(rows.vectors, threshold)]
    if csv_file is not None:
        columns = [f"{column}_{side}" for side in ("a", "b") for column in _columns(rows)]
        _write(csv_file, [*columns, "similarity"], ([*a, *b, f"{similarity:.6f}"] for a, b, similarity in pairs))
    if as_json:
        typer.echo(json.dumps([{"a": a, "b": b, "similarity": similarity} for a, b, similarity in pairs]))
        return
    shown = ((_key(a), _key(b), f"{similarity:.4f}") for a, b, similarity in pairs[:MOST_SHOWN])
    show_table(("row", "row", "similarity"), shown)
    more = f", the nearest {MOST_SHOWN} are shown" if len(pairs) > MOST_SHOWN else ""
    typer.echo(f"{len(pairs)} pair(s) of {len(rows.keys)} rows{more}")


def _summary(rows: Embedded, found: Clusters) -> Iterable[tuple[int, int, str]]:
    for label, members in enumerate(found.members):
        yield label, len(members), ", ".join(_key(rows.keys[i]) for i in members[:SHOWN])


def _store(connection: psycopg.Connection[Any], table: str, rows: Embedded, labels: Sequence[int]) -> None:
    """Make a table of key, as pgsbert.vectors gives it, and cluster; all or nothing."""
    name = sql.Identifier(*table.split("."))
    with connection.transaction(), connection.cursor() as cursor:
        try:
            cursor.execute(sql.SQL("create table {} (key text[] primary key, cluster integer not null)").format(name))
        except psycopg.errors.DuplicateTable as error:
            raise UsageError(f"Table {table} exists: give another name, or drop it first.") from error
        with cursor.copy(sql.SQL("copy {} from stdin").format(name)) as copy:
            for row in zip(rows.keys, labels, strict=True):
                copy.write_row(row)


def _write(path: Path, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(lines)
    except OSError as error:
        raise PgsbertError(f"{path} cannot be written: {error.strerror}.") from error


def _columns(rows: Embedded) -> list[str]:
    width = len(rows.keys[0]) if rows.keys else 1
    return ["key"] if width == 1 else [f"key{i}" for i in range(1, width + 1)]


def _key(key: Sequence[str]) -> str:
    return key[0] if len(key) == 1 else f"({', '.join(key)})"
