"""Commands that judge models: evaluate nli, sts, retrieval, rerank. Two models are compared, with an interval."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgsbert.cli.options import Device, Dsn, Json, show_table
from pgsbert.cli.train import Data, Sql, check_libraries, source
from pgsbert.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgsbert.training.evaluate import Judged
    from pgsbert.training.pairs import Pair, Target

app = typer.Typer(name="evaluate", help="Judge models: nli, sts, retrieval, rerank.", no_args_is_help=True)

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
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Search a collection exactly with bi-encoders: nDCG@10, recall@100, MRR and MAP."""
    check_libraries()
    from pgsbert.training.collection import read_collection
    from pgsbert.training.evaluate import judge_retrieval

    collection = read_collection(data, qrels=qrels)
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
    rows = [
        [name, *(f"{one.figures[name]:.4f}" for one in judged)]
        + ([f"{d.value:+.4f} ({d.low:+.4f} to {d.high:+.4f})"] if (d := differences.get(name)) else [])
        for name in judged[0].figures
    ]
    show_table((f"{judged[0].size} items", *models, *(["difference (95 %)"] if differences else [])), rows)
