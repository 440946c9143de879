"""Load what the database registered, or refuse it: same kind, same weights, and fakes only when allowed.

On a CPU a model runs in ONNX Runtime; on another device, and where it does not export, in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, assert_never

from pgsbert.errors import ModelExportError, ModelNotFoundError
from pgsbert.events import log
from pgsbert.models.fake import fake
from pgsbert.models.files import detect_kind
from pgsbert.models.onnx.artefact import is_exported
from pgsbert.models.onnx.load import describe, open_exported
from pgsbert.models.registered import check_same
from pgsbert.models.resolve import dimensions_in, resolve

if TYPE_CHECKING:
    from pgsbert.models.engine import TorchClassifier, TorchEncoder, TorchReranker
    from pgsbert.models.fake import FakeModel
    from pgsbert.types import Engine, LoadedModel, Model, ModelKind


@dataclass(frozen=True, slots=True)
class Runtime:
    """How this process runs models: the engine, the torch device, and how many threads for one batch."""

    engine: Engine = "auto"
    device: str | None = None
    threads: int | None = None
    allow_fake: bool = False


def load(model: Model, runtime: Runtime | None = None) -> LoadedModel:
    """Return the registered model: an Encoder, a Reranker or a Classifier, as its kind says.

    Raises ModelNotFoundError, and ModelLoadError if the files are not sound, or of another kind, hash, dimension or
    labels than registered.
    """
    runtime = runtime or Runtime()
    loaded = _fake(model.name, allow_fake=runtime.allow_fake) or _load(model, runtime)
    check_same(model, loaded.model)
    return loaded


def inspect(name_or_path: str, *, revision: str | None = None, allow_fake: bool = False) -> Model:
    """Return what to register for a model, its kind found by its files; it is loaded once to be sure.

    Raises ModelNotFoundError, ModelLoadError.
    """
    if stand_in := _fake(name_or_path, allow_fake=allow_fake):
        return stand_in.model
    folder = resolve(name_or_path, revision=revision)
    if is_exported(folder):
        return describe(folder, dimensions_in(name_or_path))
    return _load_torch(name_or_path, detect_kind(folder), revision, Runtime()).model


def _load(model: Model, runtime: Runtime) -> LoadedModel:
    """Load with the engine asked for; by itself ONNX Runtime is tried on a CPU, and torch if that cannot be.

    What is wrong with the files themselves is final: torch would read the same ones.
    """
    if runtime.engine == "torch" or (runtime.engine == "auto" and runtime.device not in (None, "cpu")):
        return _load_torch(model.name, model.kind, model.revision, runtime)
    try:
        return open_exported(model, threads=runtime.threads)
    except ModelExportError as error:
        if runtime.engine == "onnx" or find_spec("sentence_transformers") is None:
            raise
        log("runs_on_torch", model=model.name, reason=error)
        loaded = _load_torch(model.name, model.kind, model.revision, runtime)
        loaded.engine = f"torch: {error}"
        return loaded


def _load_torch(
    name: str, kind: ModelKind, revision: str | None, runtime: Runtime
) -> TorchEncoder | TorchReranker | TorchClassifier:
    # late: a worker that runs only exported models never imports torch
    from pgsbert.models.sbert import load_classifier, load_encoder, load_reranker, set_threads

    if runtime.threads is not None:
        set_threads(runtime.threads)
    match kind:
        case "bi-encoder":
            return load_encoder(name, revision=revision, device=runtime.device)
        case "cross-encoder":
            return load_reranker(name, revision=revision, device=runtime.device)
        case "classifier":
            return load_classifier(name, revision=revision, device=runtime.device)
        case _:
            assert_never(kind)


def _fake(name: str, *, allow_fake: bool) -> FakeModel | None:
    stand_in = fake(name)
    if stand_in is not None and not allow_fake:
        raise ModelNotFoundError(
            f"{name} is a stand-in for tests and answers nonsense: start with --allow-fake or choose another."
        )
    return stand_in
