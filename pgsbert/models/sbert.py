"""Load a model through sentence-transformers: from its folder alone, safetensors only, no code of its own."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from pgsbert.errors import ModelLoadError, PgsbertError
from pgsbert.models.engine import TorchClassifier, TorchEncoder, TorchImageEncoder, TorchReranker, finite
from pgsbert.models.files import detect_kind, prompts, weights_hash
from pgsbert.models.registered import check_dimensions
from pgsbert.models.resolve import dimensions_in, resolve, revision_of
from pgsbert.models.safety import check
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sentence_transformers import CrossEncoder, SentenceTransformer

    from pgsbert.types import ModelKind

__all__ = ["detect_kind", "load_classifier", "load_encoder", "load_reranker"]

log = logging.getLogger(__name__)


def load_encoder(name_or_path: str, *, revision: str | None = None, device: str | None = None) -> TorchEncoder:
    """Load a bi-encoder from the folder that ``resolve`` finds; a first word is encoded at once.

    ``NAME@N`` gives the first N dimensions, as sentence-transformers' truncate_dim does.
    ``device`` is torch's (cpu, cuda:1); None takes the fastest there is. Raises ModelNotFoundError,
    ModelLoadError, or ModelOutputError if the first numbers are not finite.
    """
    started = time.perf_counter()
    folder = _folder(name_or_path, revision, "bi-encoder")
    query_prompt, document_prompt = prompts(folder)
    with _loading(folder, optional=("pooler",)):  # most bi-encoders neither use nor store one
        network = sentence_transformer(folder, device, dimensions=dimensions_in(name_or_path))
        modalities = _modalities(network, folder)
        _check_prompts(network, folder, prompted=bool(query_prompt or document_prompt))
        first = finite(network.encode(["text"], prompt="", show_progress_bar=False), name_or_path)
    check_dimensions(name_or_path, first.shape[1])
    model = Model(
        name=name_or_path,
        kind="bi-encoder",
        revision=revision_of(folder) or revision,
        hash=weights_hash(folder),
        dimensions=first.shape[1],
        max_tokens=_max_tokens(network),
        similarity=network.similarity_fn_name,
        query_prompt=query_prompt,
        document_prompt=document_prompt,
        modalities=modalities,
    )
    _log_loaded(model, network, started)
    return TorchImageEncoder(network, model) if model.takes_images else TorchEncoder(network, model)


def load_reranker(name_or_path: str, *, revision: str | None = None, device: str | None = None) -> TorchReranker:
    """Load a cross-encoder with one label from the folder that ``resolve`` finds; one pair is scored.

    Raises as load_encoder does, and ModelLoadError for a classifier: classes are not relevance.
    """
    return TorchReranker(*_load_pairs(name_or_path, revision, device, "cross-encoder"))


def load_classifier(name_or_path: str, *, revision: str | None = None, device: str | None = None) -> TorchClassifier:
    """Load a cross-encoder with several labels from the folder that ``resolve`` finds; one pair is classified.

    Raises as load_encoder does, and ModelLoadError for a cross-encoder with one label: relevance is no class.
    """
    return TorchClassifier(*_load_pairs(name_or_path, revision, device, "classifier"))


def _load_pairs(name: str, revision: str | None, device: str | None, kind: ModelKind) -> tuple[CrossEncoder, Model]:
    started = time.perf_counter()
    folder = _folder(name, revision, kind)
    with _loading(folder):
        network = cross_encoder(folder, device)
        if (network.num_labels == 1) != (kind == "cross-encoder"):
            raise ModelLoadError(f"{name} gives {network.num_labels} numbers a pair, which a {kind} does not.")
        finite(network.predict([("text", "text")], show_progress_bar=False), name)
    model = Model(
        name=name,
        kind=kind,
        revision=revision_of(folder) or revision,
        hash=weights_hash(folder),
        max_tokens=_max_tokens(network),
        labels=_labels(network) if kind == "classifier" else None,
    )
    _log_loaded(model, network, started)
    return network, model


def set_threads(threads: int) -> None:
    """Let torch use so many threads for one batch."""
    import torch

    torch.set_num_threads(threads)


def _folder(name: str, revision: str | None, needed: ModelKind) -> Path:
    folder = resolve(name, revision=revision)
    check(folder)
    kind = detect_kind(folder)
    if kind != needed:
        raise ModelLoadError(f"{name} is a {kind}, a {needed} is needed here (files: {folder}).")
    if kind != "bi-encoder":
        check_dimensions(name, None)
    return folder


def sentence_transformer(
    folder: Path, device: str | None, *, attention: str | None = None, dimensions: int | None = None
) -> SentenceTransformer:
    """Load a bi-encoder's network, ``attention`` being transformers' name of an implementation.

    Without ``dimensions`` the model's own truncate_dim holds.
    """
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        truncate_dim=dimensions,
        model_kwargs=_safely(attention),
    )


def cross_encoder(folder: Path, device: str | None, *, attention: str | None = None) -> CrossEncoder:
    """Load a cross-encoder's network, ``attention`` being transformers' name of an implementation."""
    from sentence_transformers import CrossEncoder

    safely = _safely(attention)
    network: CrossEncoder = CrossEncoder(
        str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=safely
    )
    return network


def _safely(attention: str | None) -> dict[str, object]:
    return {"use_safetensors": True, **({"attn_implementation": attention} if attention else {})}


@contextmanager
def _loading(folder: Path, *, optional: tuple[str, ...] = ()) -> Iterator[None]:
    """Turn whatever the libraries raise about the files into ModelLoadError."""
    # measured: no slower for batches of 32, and a process forked later neither warns nor hangs
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        from pgsbert.models.report import quiet_loading

        with quiet_loading(folder, optional=optional):
            yield
    except PgsbertError:
        raise
    except ImportError as error:
        raise ModelLoadError(f'{folder} cannot be loaded ({error}): pip install "pgsbert[worker]".') from error
    except Exception as error:  # the libraries name no set of errors; tokenizers raises Exception itself
        raise ModelLoadError(
            f"{folder} cannot be loaded: {type(error).__name__}: {error}. Fetch it again, or see whether "
            "sentence-transformers alone can load it."
        ) from error


def _modalities(network: SentenceTransformer, folder: Path) -> list[str]:
    """Return text, and image for a model of both; refuse models of other media, or without text.

    Combinations and chats of these are left unused.
    """
    # before 5.4 there is no such attribute, and CLIP the only class for images
    found = getattr(network, "modalities", None)
    if found is None:
        found = ["text", "image"] if type(network[0]).__name__ == "CLIPModel" else ["text"]
    if "text" not in found or {"audio", "video"} & set(found):
        takes = ", ".join(sorted(part for part in found if isinstance(part, str)))
        raise ModelLoadError(f"{folder} takes {takes}: choose a model for text, or for text and images.")
    return ["text", "image"] if "image" in found else ["text"]


def _check_prompts(network: SentenceTransformer, folder: Path, *, prompted: bool) -> None:
    """Refuse models for which a text with its prompt is not what sentence-transformers would encode."""
    if prompted and not all(getattr(module, "include_prompt", True) for module in network):
        raise ModelLoadError(
            f"{folder} leaves its prompt out of the pooling (include_prompt: false), which pgsbert does not "
            "support: choose another model."
        )


def _labels(network: CrossEncoder) -> list[str]:
    """Return what the configuration calls the classes, in the order of the output."""
    names = cast("Any", network).model.config.id2label
    return [str(names[place]) for place in range(network.num_labels)]


def _max_tokens(network: SentenceTransformer | CrossEncoder) -> int | None:
    tokens = network.max_seq_length
    return tokens if tokens is not None and tokens < 10**9 else None  # 10**30 is a tokenizer's "no limit"


def _log_loaded(model: Model, network: SentenceTransformer | CrossEncoder, started: float) -> None:
    seconds = time.perf_counter() - started
    log.info("loaded model=%s kind=%s device=%s seconds=%.1f", model.name, model.kind, network.device, seconds)
