"""Open a model with ONNX Runtime; what has not been exported yet is exported first, by a process that has torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError, UsageError
from pgsbert.models.files import detect_kind
from pgsbert.models.onnx.artefact import cached, is_exported, read
from pgsbert.models.onnx.session import Graph, OnnxEncoder, OnnxReranker
from pgsbert.models.resolve import resolve
from pgsbert.models.safety import check

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.models.onnx.artefact import Manifest
    from pgsbert.types import Model

EXPORT_WITHIN = 900.0  # seconds; large models on a slow machine


def open_exported(model: Model, *, threads: int | None = None) -> OnnxEncoder | OnnxReranker:
    """Return the registered model, run by ONNX Runtime with ``threads`` threads (None: one a core).

    Raises ModelNotFoundError, and ModelLoadError with the reason if it cannot be exported or opened.
    """
    if model.takes_images:
        raise ModelLoadError(f"{model.name} takes images: no graph of it is exported.")
    folder = resolve(model.name, revision=model.revision)
    is_source = not is_exported(folder)
    if is_source:
        source = folder
        check(source)
        detect_kind(source)
        folder = cached(source, lambda empty: export_apart(source, empty, model.name))
    # the cache has looked at every file
    graph = Graph(folder, threads=threads, is_checked=is_source)
    return OnnxEncoder(graph) if graph.manifest.model.kind == "bi-encoder" else OnnxReranker(graph)


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


def describe(folder: Path) -> Model:
    """Return what to register for an exported model."""
    return read(folder).model


def export_apart(source: Path, empty: Path, name: str) -> None:
    """Export the model in ``source`` into the ``empty`` folder, in a process of its own: this one never imports torch.

    Raises ModelLoadError with the reason if that fails.
    """
    command = [sys.executable, "-m", "pgsbert.models.onnx.export", str(source), str(empty), name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=EXPORT_WITHIN, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelLoadError(f"{name} was not exported within {EXPORT_WITHIN:.0f} s.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ModelLoadError(said[-1] if said else f"the export of {name} ended with code {done.returncode}.")
