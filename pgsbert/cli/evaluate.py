"""Commands that judge models: evaluate nli, sts, retrieval, rerank. Two models are compared, with an interval."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from pgsbert.cli.options import Device, Dsn, Json, ending_in_order, registered_name, show_table
from pgsbert.cli.train import Data, Sql, check_libraries, source
from pgsbert.database import connect
from pgsbert.errors import UsageError
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgsbert.training.collection import Collection
    from pgsbert.training.compare import Difference
    from pgsbert.training.evaluate import Judged
    from pgsbert.training.pairs import Pair, Target
    from pgsbert.training.scratch import Show

app = typer.Typer(name="evaluate", help="Judge models: nli, sts, retrieval, rerank.", no_args_is_help=True)

SECONDS_A_LINE = 10

Models = Annotated[list[str], typer.Argument(help="One model, or two to compare.", metavar="MODEL [MODEL]")]
Folder = Annotated[Path, typer.Option("--data", help="A folder in BEIR's layout.")]


@app.command()
def nli(
    models: Models, data: Data = None, sql: Sql = None, dsn: Dsn = None, device: Device = None, as_json: Json = False
) -> None:
    """Accuracy and macro-F1 on pairs with the labels entailment, neutral and contradiction."""
    check_libraries()
    from pgsbert.training.evaluate import judge_nli

    pairs = _pairs(data, sql, dsn, target="class")
    _show(models, lambda model: judge_nli(model, pairs, device=device), as_json)


@app.command()
def sts(
    models: Models, data: Data = None, sql: Sql = None, dsn: Dsn = None, device: Device = None, as_json: Json = False
) -> None:
    """Correlation of Pearson and Spearman with people's scores, on whatever scale they are."""
    check_libraries()
    from pgsbert.training.evaluate import judge_sts

    pairs = _pairs(data, sql, dsn, target="score")
    _show(models, lambda model: judge_sts(model, pairs, device=device), as_json)


@app.command()
def retrieval(
    models: Models,
    data: Folder,
    qrels: Annotated[str, typer.Option("--qrels", help="Which of its qrels.")] = "test",
    exclude: Annotated[
        Optional[Path],
        typer.Option("--exclude", help="Pairs to leave out of all rankings, as a file like qrels.", show_default=False),
    ] = None,
    through_database: Annotated[
        bool,
        typer.Option("--through-database", help="Embed and search in PostgreSQL, with the worker; --dsn implies it."),
    ] = False,
    dsn: Dsn = None,
    reranker: Annotated[
        Optional[str],
        typer.Option("--reranker", help="There, also order the nearest by this cross-encoder.", show_default=False),
    ] = None,
    candidates: Annotated[int, typer.Option("--candidates", min=1, help="How many of them.")] = 50,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Search a collection with bi-encoders, in memory or through the database: nDCG@10, recall@100, MRR and MAP."""
    check_libraries()
    from pgsbert.training.collection import read_collection
    from pgsbert.training.evaluate import judge_retrieval

    through_database = through_database or dsn is not None
    if through_database and (len(models) > 1 or device is not None):
        raise UsageError("Through the database one model is judged, where the worker runs it: leave the rest out.")
    if reranker is not None and not through_database:
        raise UsageError("--reranker orders what the database finds: add --through-database.")
    collection = read_collection(data, qrels=qrels, exclude=exclude)
    if through_database:
        _through_database(database_dsn(dsn), models[0], collection, reranker, candidates, as_json)
        return
    _show(models, lambda model: judge_retrieval(model, collection, device=device), as_json)


@app.command()
def rerank(
    models: Models,
    data: Folder,
    candidates: Annotated[str, typer.Option("--candidates", help="Which of its candidates.")] = "dev",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Order each question's candidates with cross-encoders or bi-encoders: MAP, MRR and nDCG@10."""
    check_libraries()
    from pgsbert.training.collection import read_collection
    from pgsbert.training.evaluate import judge_rerank

    collection = read_collection(data, candidates=candidates)
    _show(models, lambda model: judge_rerank(model, collection, device=device), as_json)


def _pairs(data: str | None, sql: str | None, dsn: str | None, *, target: Target) -> Sequence[Pair]:
    from pgsbert.training.data import read
    from pgsbert.training.pairs import Counts, check_trainable, clean

    where = source(data, sql, dsn)
    counts = Counts()
    pairs = list(clean(read(where), counts, target=target, score_range=None, judging=True))
    check_trainable(pairs, where, target=target)
    if counts.used < counts.read:
        typer.echo(f"{where}: {counts}", err=True)
    return pairs


def _show(models: list[str], judge: Callable[[str], Judged], as_json: bool) -> None:
    from pgsbert.training.compare import compare

    if len(models) > 2:
        raise UsageError("One model is judged, or two are compared: give no more.")
    judged = [judge(model) for model in models]
    differences = compare(*judged) if len(judged) == 2 else {}
    if as_json:
        told: dict[str, Any] = {
            "items": judged[0].size,
            "models": [{"model": m, **one.figures} for m, one in zip(models, judged, strict=True)],
        }
        if differences:
            told["difference"] = {name: asdict(value) for name, value in differences.items()}
        typer.echo(json.dumps(told))
        return
    # columns are narrow: a folder goes by its own name
    names = [Path(model).name if Path(model).is_dir() else model for model in models]
    if len(set(names)) < len(models):
        names = models
    _show_figures(list(zip(names, judged, strict=True)), {"difference (95 %)": differences} if differences else {})


def _through_database(
    dsn: str, model: str, collection: Collection, reranker: str | None, candidates: int, as_json: bool
) -> None:
    from pgsbert.training.compare import compare
    from pgsbert.training.scratch import leftovers
    from pgsbert.training.through_database import judge_through_database

    name, reranker = registered_name(model), None if reranker is None else registered_name(reranker)
    with connect(dsn) as connection:
        for left in leftovers(connection):
            typer.echo(f"{left.name} is in use, or was left by a run that was killed: {left.removal}", err=True)
    with ending_in_order(), _telling() as show:
        judged = judge_through_database(dsn, name, collection, reranker=reranker, candidates=candidates, show=show)
    first, *others = judged
    differences = {way: compare(judged[first], judged[way]) for way in others}
    if as_json:
        told = {
            "items": judged[first].size,
            "model": model,
            "ways": [{"way": way, **one.figures} for way, one in judged.items()],
            "difference": {
                way: {name: asdict(value) for name, value in found.items()} for way, found in differences.items()
            },
        }
        typer.echo(json.dumps(told))
        return
    named = {f"{way} - {first} (95 %)": found for way, found in differences.items()}
    _show_figures(list(judged.items()), named)


def _show_figures(judged: Sequence[tuple[str, Judged]], differences: Mapping[str, Mapping[str, Difference]]) -> None:
    _, one = judged[0]
    rows = [
        [
            figure,
            *(f"{other.figures[figure]:.4f}" for _, other in judged),
            *(f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})" for d in (f[figure] for f in differences.values())),
        ]
        for figure in one.figures
    ]
    show_table((f"{one.size} items", *(name for name, _ in judged), *differences), rows)


@contextmanager
def _telling() -> Iterator[Show]:
    """Give what counts: bars on a terminal, elsewhere a line now and then."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}
        told, last = time.monotonic(), ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal told, last
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)
            line = f"{what}: {done:,} of {total:,}"
            if bars.disable and line != last and (done == total or time.monotonic() - told > SECONDS_A_LINE):
                told, last = time.monotonic(), line
                typer.echo(line, err=True)

        yield show
