"""Load what the database registered, or refuse it: same kind, same weights, and fakes only when allowed.

On a CPU a model runs in ONNX Runtime; on another device, and where it does not export, in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, assert_never

from pgsbert.errors import ModelLoadError, ModelNotFoundError
from pgsbert.events import log
from pgsbert.models.fake import fake
from pgsbert.models.files import detect_kind
from pgsbert.models.onnx.artefact import is_exported
from pgsbert.models.onnx.load import describe, open_exported
from pgsbert.models.resolve import resolve

if TYPE_CHECKING:
    from pgsbert.models.engine import TorchEncoder, TorchReranker
    from pgsbert.models.fake import FakeEncoder, FakeReranker
    from pgsbert.types import Encoder, Engine, Model, ModelKind, Reranker


@dataclass(frozen=True, slots=True)
class Runtime:
    """How this process runs models: the engine, the torch device, and how many threads for one batch."""

    engine: Engine = "auto"
    device: str | None = None
    threads: int | None = None
    allow_fake: bool = False


def load(model: Model, runtime: Runtime | None = None) -> Encoder | Reranker:
    """Return the registered model, an Encoder for a bi-encoder and a Reranker for a cross-encoder.

    Raises ModelNotFoundError, and ModelLoadError if the files are of another kind, hash or dimension than
    registered.
    """
    runtime = runtime or Runtime()
    loaded = _fake(model.name, allow_fake=runtime.allow_fake) or _load(model, runtime)
    found = loaded.model
    if found.kind != model.kind:
        raise ModelLoadError(f"{model.name} is a {found.kind}, it is registered as a {model.kind}.")
    if model.hash is not None and found.hash != model.hash:
        raise ModelLoadError(
            f"The weights of {model.name} differ from the registered ones: registered {model.hash}, found "
            f"{found.hash}. Give this worker the registered files, or register the new ones as another model."
        )
    if model.dimensions is not None and found.dimensions != model.dimensions:
        raise ModelLoadError(
            f"{model.name} is registered with {model.dimensions} dimensions, but has {found.dimensions}."
        )
    if model.takes_images and not found.takes_images:
        raise ModelLoadError(f"{model.name} is registered for images, but takes text only.")
    return loaded


def inspect(name_or_path: str, *, revision: str | None = None, allow_fake: bool = False) -> Model:
    """Return what to register for a model, its kind found by its files; it is loaded once to be sure.

    Raises ModelNotFoundError, ModelLoadError.
    """
    if stand_in := _fake(name_or_path, allow_fake=allow_fake):
        return stand_in.model
    folder = resolve(name_or_path, revision=revision)
    if is_exported(folder):
        return describe(folder)
    return _load_torch(name_or_path, detect_kind(folder), revision, Runtime()).model


def _load(model: Model, runtime: Runtime) -> Encoder | Reranker:
    """Load with the engine asked for; by itself ONNX Runtime is tried on a CPU, and torch if that cannot be."""
    if runtime.engine == "torch" or (runtime.engine == "auto" and runtime.device not in (None, "cpu")):
        return _load_torch(model.name, model.kind, model.revision, runtime)
    try:
        return open_exported(model, threads=runtime.threads)
    except ModelLoadError as error:
        if runtime.engine == "onnx" or find_spec("sentence_transformers") is None:
            raise
        log("runs_on_torch", model=model.name, reason=error)
        loaded = _load_torch(model.name, model.kind, model.revision, runtime)
        loaded.engine = f"torch: {error}"
        return loaded


def _load_torch(name: str, kind: ModelKind, revision: str | None, runtime: Runtime) -> TorchEncoder | TorchReranker:
    # late: a worker that runs only exported models never imports torch
    from pgsbert.models.sbert import load_encoder, load_reranker, set_threads

    if runtime.threads is not None:
        set_threads(runtime.threads)
    match kind:
        case "bi-encoder":
            return load_encoder(name, revision=revision, device=runtime.device)
        case "cross-encoder":
            return load_reranker(name, revision=revision, device=runtime.device)
        case _:
            assert_never(kind)


def _fake(name: str, *, allow_fake: bool) -> FakeEncoder | FakeReranker | None:
    stand_in = fake(name)
    if stand_in is not None and not allow_fake:
        raise ModelNotFoundError(
            f"{name} is a stand-in for tests and answers nonsense: start with --allow-fake or choose another."
        )
    return stand_in
