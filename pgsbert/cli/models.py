"""Commands on models: model add, list, export, bench, remove."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Optional

import typer

from pgsbert import registry
from pgsbert.cli.options import AllowFake, Device, Dsn, Json, Threads, registered_name, show_table
from pgsbert.database import connect
from pgsbert.errors import ModelLoadError
from pgsbert.settings import database_dsn

app = typer.Typer(name="model", help="Models: add, list, export, bench, remove.", no_args_is_help=True)


@app.command()
def add(
    model: Annotated[str, typer.Argument(help="A folder, an installed model, or a name on the hub.")],
    dsn: Dsn = None,
    name: Annotated[
        Optional[str],
        typer.Option("--name", help="Register a folder under this name; workers find it by PGSBERT_MODELS/NAME."),
    ] = None,
    revision: Annotated[
        Optional[str],
        typer.Option("--revision", help="Commit on the hub to pin."),
    ] = None,
    dimensions: Annotated[
        Optional[int],
        typer.Option("--dimensions", min=1, max=16_000, help="Keep the first N, as truncate_dim; its name is NAME@N."),
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default of its kind.")] = False,
    allow_fake: AllowFake = False,
) -> None:
    """Load a model once, read from its files what it is, and register it."""
    from pgsbert.models.load import inspect

    if name is None:
        model = registered_name(model)
    cut = f"@{dimensions}" if dimensions else ""
    found = inspect(model + cut, revision=revision, allow_fake=allow_fake)
    found = replace(found, name=name + cut if name else found.name)
    with connect(database_dsn(dsn)) as connection:
        registry.add(connection, found, default=default)
    size = f", {found.dimensions} dimensions" if found.dimensions else ""
    tokens = f", {found.max_tokens} tokens" if found.max_tokens else ""
    labels = f", labels {', '.join(found.labels)}" if found.labels else ""
    typer.echo(f"{found.name} is registered: {found.kind}{size}{tokens}{labels}.")


@app.command("list")
def list_(dsn: Dsn = None, as_json: Json = False) -> None:
    """Show the registered models."""
    with connect(database_dsn(dsn)) as connection:
        models = registry.models(connection)
    if as_json:
        typer.echo(json.dumps(models, default=str))
        return
    show_table(
        ("name", "kind", "default", "dimensions", "tokens", "workers"),
        (
            (
                model["name"],
                model["kind"],
                "yes" if model["is_default"] else "",
                model["dimensions"],
                model["max_tokens"],
                ", ".join(f"{worker}: {state}" for worker, state in model["workers"].items()),
            )
            for model in models
        ),
    )


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A folder, an installed model, or a name on the hub.")],
    folder: Annotated[Path, typer.Argument(help="Where to write it; must not be there yet, or be empty.")],
    revision: Annotated[
        Optional[str],
        typer.Option("--revision", help="Commit on the hub to pin."),
    ] = None,
) -> None:
    """Write the form of a model that a worker without torch runs; give it that as PGSBERT_MODELS/NAME."""
    from pgsbert.models.onnx.load import export_to

    manifest = export_to(model, folder, revision=revision)
    typer.echo(f"{folder} holds {model}: largest difference from sentence-transformers {manifest.parity:.1e}.")


@app.command()
def bench(
    model: Annotated[str, typer.Argument(help="A folder, an installed model, or a name on the hub.")],
    texts: Annotated[int, typer.Option("--texts", min=1, help="How many docstrings of this Python's library.")] = 300,
    threads: Threads = None,
    device: Device = None,
    revision: Annotated[
        Optional[str],
        typer.Option("--revision", help="Commit on the hub."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a model on this machine with each engine that is installed, and compare its numbers."""
    from pgsbert.docstrings import collect
    from pgsbert.models.bench import bench as measure

    sample = [docstring.text for docstring in islice(collect(), texts)]
    found = measure(model, sample, revision=revision, threads=threads, device=device)
    if as_json:
        typer.echo(json.dumps([asdict(measurement) for measurement in found]))
    else:
        show_table(
            ("engine", "texts/s", "tokens/s", "query p50 ms", "memory MiB", "load s", "parity"),
            (
                (m.engine, m.error)
                if m.error
                else (
                    m.engine,
                    f"{m.texts_per_second:.1f}",
                    m.tokens_per_second and f"{m.tokens_per_second:.0f}",
                    f"{m.query_ms:.1f}",
                    f"{m.memory_mib:.0f}",
                    f"{m.load_seconds:.1f}",
                    None if m.parity is None else f"{m.parity:.1e}",
                )
                for m in found
            ),
        )
    if all(measurement.error for measurement in found):
        raise ModelLoadError(f'No engine here runs {model}: pip install "pgsbert[onnx]" or "pgsbert[worker]".')


@app.command()
def remove(name: Annotated[str, typer.Argument(help="A registered model.")], dsn: Dsn = None) -> None:
    """Forget a model that no vectorizer uses."""
    with connect(database_dsn(dsn)) as connection:
        registry.remove(connection, name)
    typer.echo(f"{name} is no longer registered.")
