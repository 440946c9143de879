"""Open a model with ONNX Runtime; what has not been exported yet is exported first, by a process that has torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from pgsbert.errors import ModelExportError, ModelLoadError, UsageError
from pgsbert.models.files import detect_kind, weights_hash
from pgsbert.models.onnx.artefact import cached, is_exported, read
from pgsbert.models.onnx.session import Graph, OnnxClassifier, OnnxEncoder, OnnxReranker
from pgsbert.models.registered import check_dimensions, check_kind, check_weights
from pgsbert.models.resolve import dimensions_in, resolve, untruncated
from pgsbert.models.safety import check

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.models.onnx.artefact import Manifest
    from pgsbert.types import Model

EXPORT_WITHIN = 900.0  # seconds; large models on a slow machine


def open_exported(model: Model, *, threads: int | None = None) -> OnnxEncoder | OnnxReranker | OnnxClassifier:
    """Return the registered model, run by ONNX Runtime with ``threads`` threads (None: one a core).

    Raises ModelNotFoundError, ModelLoadError if the files are not sound or not the registered ones, and
    ModelExportError with the reason if ONNX Runtime cannot run them.
    """
    folder = resolve(model.name, revision=model.revision)
    is_source = not is_exported(folder)
    if is_source:
        folder = _exported(folder, model)
    # the cache has looked at every file
    graph = Graph(folder, threads=threads, is_checked=is_source)
    found = graph.manifest.model
    match found.kind:
        case "bi-encoder":
            return OnnxEncoder(graph, _called(model.name, found, graph))
        case "cross-encoder":
            return OnnxReranker(graph, _called(model.name, found, graph))
        case "classifier":
            return OnnxClassifier(graph, _called(model.name, found, graph))
        case _:
            assert_never(found.kind)


def _exported(source: Path, model: Model) -> Path:
    """Return the cached form of the files in ``source``, which are the registered ones, or nothing is exported."""
    check(source)
    check_kind(model, detect_kind(source))
    digest = weights_hash(source)
    check_weights(model, digest)
    if model.takes_images:
        raise ModelExportError(f"{model.name} takes images, and runs on torch alone (pgsbert[worker]).")
    return cached(source, lambda empty: export_apart(source, empty, untruncated(model.name)), digest=digest)


def _called(name: str, found: Model, graph: Graph) -> Model:
    """Return what was found under the name it was asked for: one artefact may serve several."""
    dimensions = dimensions_in(name)
    if dimensions is not None:
        check_dimensions(name, graph.width if found.kind == "bi-encoder" else None)
    return replace(found, name=name, dimensions=dimensions or found.dimensions)


def export_to(name: str, folder: Path, *, revision: str | None = None) -> Manifest:
    """Export the model ``name`` into ``folder``, which is made; returns what was written.

    Raises UsageError if there is something in the folder, ModelNotFoundError, and ModelLoadError with the reason.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty: give a folder for this model alone.")
    source = resolve(name, revision=revision)
    if is_exported(source):
        raise UsageError(f"{source} is exported already.")
    check(source)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(exist_ok=True)
    try:
        export_apart(source, folder, name)
    except ModelLoadError:
        shutil.rmtree(folder)
        raise
    return read(folder)


def describe(folder: Path, dimensions: int | None = None) -> Model:
    """Return what to register for an exported model, or for the first ``dimensions`` of what it gives."""
    found = read(folder).model
    if dimensions is None:
        return found
    name = f"{found.name}@{dimensions}"
    check_dimensions(name, found.dimensions)
    return replace(found, name=name, dimensions=dimensions)


def export_apart(source: Path, empty: Path, name: str) -> None:
    """Export the model in ``source`` into the ``empty`` folder, in a process of its own: this one never imports torch.

    Raises ModelExportError with the reason if that fails.
    """
    command = [sys.executable, "-m", "pgsbert.models.onnx.export", str(source), str(empty), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_WITHIN, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelExportError(f"{name} was not exported within {EXPORT_WITHIN:.0f} s.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ModelExportError(said[-1] if said else f"the export of {name} ended with code {done.returncode}.")
