"""Load what the database registered, or refuse it: same kind, same weights, and fakes only when allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from pgsbert.errors import ModelLoadError, ModelNotFoundError
from pgsbert.models.fake import fake
from pgsbert.models.files import detect_kind
from pgsbert.models.resolve import resolve
from pgsbert.models.sbert import load_encoder, load_reranker

if TYPE_CHECKING:
    from pgsbert.models.fake import FakeEncoder, FakeReranker
    from pgsbert.types import Encoder, Model, ModelKind, Reranker


def load(model: Model, *, allow_fake: bool = False, device: str | None = None) -> Encoder | Reranker:
    """Return the registered model, an Encoder for a bi-encoder and a Reranker for a cross-encoder.

    Raises ModelNotFoundError, and ModelLoadError if the files are of another kind, hash or dimension than
    registered.
    """
    loaded = _fake(model.name, allow_fake=allow_fake) or _load(model.name, model.kind, model.revision, device)
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
    return loaded


def inspect(name_or_path: str, *, revision: str | None = None, allow_fake: bool = False) -> Model:
    """Return what to register for a model, its kind found by its files; it is loaded once to be sure.

    Raises ModelNotFoundError, ModelLoadError.
    """
    if stand_in := _fake(name_or_path, allow_fake=allow_fake):
        return stand_in.model
    kind = detect_kind(resolve(name_or_path, revision=revision))
    return _load(name_or_path, kind, revision, None).model


def _load(name: str, kind: ModelKind, revision: str | None, device: str | None) -> Encoder | Reranker:
    match kind:
        case "bi-encoder":
            return load_encoder(name, revision=revision, device=device)
        case "cross-encoder":
            return load_reranker(name, revision=revision, device=device)
        case _:
            assert_never(kind)


def _fake(name: str, *, allow_fake: bool) -> FakeEncoder | FakeReranker | None:
    stand_in = fake(name)
    if stand_in is not None and not allow_fake:
        raise ModelNotFoundError(
            f"{name} is a stand-in for tests and answers nonsense: start with --allow-fake or choose another."
        )
    return stand_in
