"""Commands that ask: status, embed, search, rerank. With --json one document on stdout, for scripts."""

from __future__ import annotations

import json
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Optional

import psycopg
import typer
from psycopg.rows import dict_row

import pgsbert
from pgsbert.cli.options import Dsn, Json, show_table, watching
from pgsbert.database import connect
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from rich.live import Live

Model = Annotated[
    Optional[str],
    typer.Option("--model", help="A registered model; else the default.", show_default=False),
]


def status(
    dsn: Dsn = None,
    as_json: Json = False,
    watch: Annotated[
        Optional[float],
        typer.Option("--watch", min=0.1, help="Show it anew every so many seconds, until Ctrl-C.", show_default=False),
    ] = None,
) -> None:
    """Show each vectorizer: state, progress of its first fill, rows, pending, failed, rate, time left and workers."""
    with connect(database_dsn(dsn)) as connection:
        if watch is None:
            _show_status(connection, as_json)
            return
        with suppress(KeyboardInterrupt), nullcontext() if as_json else watching() as screen:
            while True:
                _show_status(connection, as_json, screen)
                time.sleep(watch)


def _show_status(connection: psycopg.Connection[Any], as_json: bool, screen: Live | None = None) -> None:
    vectorizers = _rows(connection, "select * from pgsbert.status")
    if as_json:
        typer.echo(json.dumps(vectorizers, default=str))
        return
    columns = ("name", "source", "state", "progress", "rows", "pending", "failed", "oldest_pending", "rate", "eta")
    more = ("workers", "reason")
    shown = ({**vectorizer, "progress": f"{vectorizer['progress']:.0%}"} for vectorizer in vectorizers)
    rows = ([vectorizer[column] for column in (*columns, *more)] for vectorizer in shown)
    show_table((*columns, *more), rows, screen)


def embed(
    texts: Annotated[list[str], typer.Argument(help="Texts to embed.")],
    dsn: Dsn = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Print the embeddings of texts, one a line, as pgvector writes them."""
    with connect(database_dsn(dsn)) as connection:
        vectors = pgsbert.embed(connection, texts, model=model)
    # float32 prints in its own shortest form: what is read back is the same number
    written = [[float(str(number)) for number in vector] for vector in vectors]
    if as_json:
        typer.echo(json.dumps(written))
        return
    for vector in written:
        typer.echo(json.dumps(vector, separators=(",", ":")))


def search(
    vectorizer: Annotated[str, typer.Argument(help="Name of the vectorizer.")],
    query: Annotated[str, typer.Argument(help="What to look for.")],
    dsn: Dsn = None,
    k: Annotated[int, typer.Option("-k", help="How many rows.")] = 10,
    rerank: Annotated[bool, typer.Option("--rerank", help="Order the best candidates by the cross-encoder.")] = False,
    candidates: Annotated[int, typer.Option("--candidates", help="How many rows the cross-encoder scores.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the rows nearest in meaning to a query."""
    with connect(database_dsn(dsn)) as connection:
        hits = pgsbert.search(connection, vectorizer, query, k=k, rerank=rerank, candidates=candidates)
    if as_json:
        typer.echo(json.dumps([asdict(hit) for hit in hits], default=str))
        return
    show_table(
        ("score", "distance", "row"),
        ((f"{hit.score:.4f}", f"{hit.distance:.4f}", json.dumps(hit.item, ensure_ascii=False)) for hit in hits),
    )


def rerank(
    query: Annotated[str, typer.Argument(help="The query.")],
    documents: Annotated[list[str], typer.Argument(help="Documents to score.")],
    dsn: Dsn = None,
    model: Model = None,
    top_k: Annotated[
        Optional[int],
        typer.Option("--top-k", help="Only the best."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score documents against a query with the cross-encoder, best first."""
    with connect(database_dsn(dsn)) as connection:
        ranked = pgsbert.rerank(connection, query, documents, model=model, top_k=top_k)
    if as_json:
        typer.echo(json.dumps([asdict(document) for document in ranked]))
        return
    show_table(("score", "document"), ((f"{document.score:.4f}", document.document) for document in ranked))


def _rows(connection: psycopg.Connection[Any], query: Any) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query).fetchall()
