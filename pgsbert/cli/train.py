"""Commands that train: train bi-encoder, train cross-encoder."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from pgsbert.cli.options import Device, Dsn, log_to_stderr
from pgsbert.errors import UsageError
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from pgsbert.training.data import Source

app = typer.Typer(name="train", help="Fine-tune models: bi-encoder, cross-encoder.", no_args_is_help=True)

LIBRARIES = ("torch", "sentence_transformers", "accelerate", "datasets", "matplotlib", "sklearn", "ir_measures")

Objective = Literal["softmax", "mnrl", "cosine", "cosent"]
CrossObjective = Literal["nli", "bce", "mse"]
Pooling = Literal["mean", "cls", "max"]

Data = Annotated[
    Optional[str],
    typer.Option("--data", help="A .jsonl or .csv file (also .gz), or NAME:SPLIT on the hub.", show_default=False),
]
Sql = Annotated[
    Optional[str], typer.Option("--sql", help="Or a query: SELECT premise, hypothesis, label.", show_default=False)
]
DevData = Annotated[
    Optional[str], typer.Option("--dev", help="Pairs to judge by, given as --data is.", show_default=False)
]
Base = Annotated[str, typer.Option("--base", help="A folder, an installed model, or a name on the hub.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the model; must not be there yet, or be empty.")]
Sample = Annotated[
    Optional[int],
    typer.Option("--sample", min=1, help="Train on so many pairs, drawn with the seed.", show_default=False),
]
ScoreRange = Annotated[str, typer.Option("--score-range", help="Lowest and highest score in the data, LOW,HIGH.")]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="How often to go through the pairs.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pairs in memory at a time.")]
Accumulate = Annotated[int, typer.Option("--accumulate", min=1, help="Batches to a step.")]
LearningRate = Annotated[float, typer.Option("--lr", help="Highest learning rate of the encoder.")]
HeadLearningRate = Annotated[float, typer.Option("--head-lr", help="That of the layers on top, which begin at random.")]
Warmup = Annotated[float, typer.Option("--warmup", min=0, max=1, help="Share of the steps in which the rate rises.")]
MaxLength = Annotated[int, typer.Option("--max-length", min=4, help="Tokens at which a text is cut while training.")]
Every = Annotated[int, typer.Option("--every", min=1, help="Steps between checkpoints.")]
Patience = Annotated[
    Optional[int],
    typer.Option("--patience", min=1, help="Stop when dev got no better at so many checkpoints.", show_default=False),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed ends with the same numbers.")]
Licence = Annotated[
    Optional[str], typer.Option("--data-licence", help="Licence of the data, for the card.", show_default=False)
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped or killed.")]


@app.command("bi-encoder")
def bi_encoder(
    base: Base,
    out: Out,
    data: Data = None,
    sql: Sql = None,
    dsn: Dsn = None,
    dev: DevData = None,
    objective: Annotated[Objective, typer.Option("--objective", help="softmax, mnrl, cosine or cosent.")] = "softmax",
    concatenation: Annotated[
        str, typer.Option("--concatenation", help="What softmax sees of two embeddings.")
    ] = "u,v,|u-v|",
    hidden: Annotated[str, typer.Option("--hidden", help="Sizes of hidden layers, such as 256,128.")] = "",
    pooling: Annotated[
        Optional[Pooling], typer.Option("--pooling", help="mean, cls or max; else the base's.", show_default=False)
    ] = None,
    sample: Sample = None,
    score_range: ScoreRange = "0,1",
    epochs: Epochs = 1,
    batch_size: BatchSize = 16,
    accumulate: Accumulate = 1,
    lr: LearningRate = 2e-5,
    head_lr: HeadLearningRate = 1e-3,
    warmup: Warmup = 0.1,
    max_length: MaxLength = 128,
    every: Every = 200,
    patience: Patience = None,
    seed: Seed = 0,
    data_licence: Licence = None,
    device: Device = None,
    resume: Resume = False,
) -> None:
    """Fine-tune a bi-encoder on pairs with classes (softmax, mnrl) or scores (cosine, cosent)."""
    check_libraries()
    from pgsbert.training import bi_encoder as training
    from pgsbert.training.fit import Practice

    log_to_stderr()
    knobs = training.Knobs(
        train=source(data, sql, dsn),
        dev=source(dev, None, None) if dev else None,
        base=base,
        objective=objective,
        concatenation=concatenation.replace(" ", ""),
        hidden=_sizes(hidden),
        pooling=pooling,
        sample=sample,
        score_range=_range(score_range),
        licence=data_licence,
        practice=Practice(
            out=out,
            epochs=epochs,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=lr,
            head_learning_rate=head_lr,
            warmup=warmup,
            max_length=max_length,
            every=every,
            patience=patience,
            seed=seed,
            device=device,
        ),
    )
    training.train(knobs, command=command_line(sys.argv), resume=resume)
    typer.echo(f"{out} holds the model. Next: pgsbert model add {shlex.quote(str(out))}")


@app.command("cross-encoder")
def cross_encoder(
    base: Base,
    out: Out,
    data: Data = None,
    sql: Sql = None,
    dsn: Dsn = None,
    dev: DevData = None,
    objective: Annotated[CrossObjective, typer.Option("--objective", help="nli, bce or mse.")] = "nli",
    negatives: Annotated[int, typer.Option("--negatives", min=0, help="Hard negatives for each relevant pair.")] = 0,
    miner: Annotated[
        Optional[str], typer.Option("--miner", help="Bi-encoder that finds them; else all-MiniLM-L6-v2.")
    ] = None,
    vectorizer: Annotated[
        Optional[str], typer.Option("--vectorizer", help="Or the vectorizer whose search finds them.")
    ] = None,
    sample: Sample = None,
    score_range: ScoreRange = "0,1",
    epochs: Epochs = 1,
    batch_size: BatchSize = 16,
    accumulate: Accumulate = 1,
    lr: LearningRate = 2e-5,
    head_lr: HeadLearningRate = 1e-3,
    warmup: Warmup = 0.1,
    max_length: MaxLength = 128,
    every: Every = 200,
    patience: Patience = None,
    seed: Seed = 0,
    data_licence: Licence = None,
    device: Device = None,
    resume: Resume = False,
) -> None:
    """Fine-tune a cross-encoder on pairs with classes (nli) or with relevance or similarity (bce, mse)."""
    check_libraries()
    from pgsbert.training import cross_encoder as training
    from pgsbert.training.fit import Practice

    if miner and vectorizer:
        raise UsageError("Hard negatives come from --miner or from --vectorizer: leave one out.")
    if (miner or vectorizer) and not negatives:
        raise UsageError("--miner and --vectorizer find hard negatives: say how many with --negatives.")
    if negatives and objective == "nli":
        raise UsageError("--negatives are for relevance: --objective bce.")
    log_to_stderr()
    knobs = training.Knobs(
        train=source(data, sql, dsn),
        dev=source(dev, None, None) if dev else None,
        base=base,
        objective=objective,
        negatives=negatives,
        miner=miner,
        vectorizer=vectorizer,
        dsn=database_dsn(dsn) if vectorizer else None,
        sample=sample,
        score_range=_range(score_range),
        licence=data_licence,
        practice=Practice(
            out=out,
            epochs=epochs,
            batch_size=batch_size,
            accumulate=accumulate,
            learning_rate=lr,
            head_learning_rate=head_lr,
            warmup=warmup,
            max_length=max_length,
            every=every,
            patience=patience,
            seed=seed,
            device=device,
        ),
    )
    training.train(knobs, command=command_line(sys.argv), resume=resume)
    typer.echo(f"{out} holds the model. Next: pgsbert model add {shlex.quote(str(out))}")


def source(data: str | None, sql: str | None, dsn: str | None) -> Source:
    """Return where pairs come from; a query goes to the database that every command asks."""
    from pgsbert.training.data import Source

    return Source(data=data, sql=sql, dsn=database_dsn(dsn) if sql else None)


def command_line(arguments: list[str]) -> str:
    """Return what was typed, for the card; a connection string may hold a password and is left out."""
    words, kept = iter(arguments[1:]), ["pgsbert"]
    for word in words:
        if word == "--dsn":
            next(words, None)
        elif not word.startswith("--dsn="):
            kept.append(word)
    return shlex.join(kept)


def check_libraries() -> None:
    """Raise UsageError, with what to install, unless all that training needs is there."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f'Training needs {", ".join(missing)}: pip install "pgsbert[worker,train]".')


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(",") if size.strip())
    except ValueError as error:
        raise UsageError(f"--hidden {text}: give whole numbers, such as 256,128.") from error
    if any(size < 1 for size in sizes):
        raise UsageError(f"--hidden {text}: a layer has at least one unit.")
    return sizes


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in text.split(","))
    except ValueError as error:
        raise UsageError(f"--score-range {text}: give two numbers, such as 0,5.") from error
    if low >= high:
        raise UsageError(f"--score-range {text}: the lowest score comes first.")
    return low, high
