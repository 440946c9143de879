"""Load a model through sentence-transformers: from its folder alone, safetensors only, no code of its own."""

from __future__ import annotations

import logging
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError, PgsbertError
from pgsbert.models.engine import TorchEncoder, TorchReranker, finite
from pgsbert.models.files import detect_kind, prompts, weights_hash
from pgsbert.models.resolve import resolve, revision_of
from pgsbert.models.safety import check
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sentence_transformers import CrossEncoder, SentenceTransformer

    from pgsbert.types import ModelKind

__all__ = ["detect_kind", "load_encoder", "load_reranker"]

log = logging.getLogger(__name__)


def load_encoder(name_or_path: str, *, revision: str | None = None, device: str | None = None) -> TorchEncoder:
    """Load a bi-encoder from the folder that ``resolve`` finds; a first word is encoded at once.

    ``device`` is torch's (cpu, cuda:1); None takes the fastest there is. Raises ModelNotFoundError,
    ModelLoadError, or ModelOutputError if the first numbers are not finite.
    """
    started = time.perf_counter()
    folder = _folder(name_or_path, revision, "bi-encoder")
    query_prompt, document_prompt = prompts(folder)
    with _loading(folder, optional=("pooler",)):  # most bi-encoders neither use nor store one
        network = sentence_transformer(folder, device)
        _check_texts(network, folder, prompted=bool(query_prompt or document_prompt))
        first = finite(network.encode(["text"], prompt="", show_progress_bar=False), name_or_path)
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
    )
    _log_loaded(model, network, started)
    return TorchEncoder(network, model)


def load_reranker(name_or_path: str, *, revision: str | None = None, device: str | None = None) -> TorchReranker:
    """Load a cross-encoder with one label from the folder that ``resolve`` finds; one pair is scored.

    Raises as load_encoder does, and ModelLoadError for a classifier: classes are not relevance.
    """
    started = time.perf_counter()
    folder = _folder(name_or_path, revision, "cross-encoder")
    with _loading(folder):
        network = cross_encoder(folder, device)
        if network.num_labels != 1:
            raise ModelLoadError(
                f"{name_or_path} is a classifier with {network.num_labels} labels: it gives classes, not "
                "relevance. Choose a cross-encoder with one label."
            )
        finite(network.predict([("text", "text")], show_progress_bar=False), name_or_path)
    model = Model(
        name=name_or_path,
        kind="cross-encoder",
        revision=revision_of(folder) or revision,
        hash=weights_hash(folder),
        max_tokens=_max_tokens(network),
    )
    _log_loaded(model, network, started)
    return TorchReranker(network, model)


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
    return folder


def sentence_transformer(folder: Path, device: str | None, *, attention: str | None = None) -> SentenceTransformer:
    """Load a bi-encoder's network, ``attention`` being transformers' name of an implementation."""
    from sentence_transformers import SentenceTransformer

    safely = _safely(attention)
    return SentenceTransformer(
        str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs=safely
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


def _check_texts(network: SentenceTransformer, folder: Path, *, prompted: bool) -> None:
    """Refuse models for which a text as given is not what sentence-transformers would encode."""
    if media := {"image", "audio", "video"} & set(getattr(network, "modalities", ())):
        raise ModelLoadError(
            f"{folder} also takes {', '.join(sorted(map(str, media)))}: it would open a text that is an "
            "address or a path. Choose a model for text."
        )
    if prompted and not all(getattr(module, "include_prompt", True) for module in network):
        raise ModelLoadError(
            f"{folder} leaves its prompt out of the pooling (include_prompt: false), which pgsbert does not "
            "support: choose another model."
        )


def _max_tokens(network: SentenceTransformer | CrossEncoder) -> int | None:
    tokens = network.max_seq_length
    return tokens if tokens is not None and tokens < 10**9 else None  # 10**30 is a tokenizer's "no limit"


def _log_loaded(model: Model, network: SentenceTransformer | CrossEncoder, started: float) -> None:
    seconds = time.perf_counter() - started
    log.info("loaded model=%s kind=%s device=%s seconds=%.1f", model.name, model.kind, network.device, seconds)
