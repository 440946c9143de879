"""Load the base that training starts from: checked as every model is, and an encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError
from pgsbert.models.files import detect_kind, parse_json, read_json
from pgsbert.models.report import quiet_loading
from pgsbert.models.resolve import resolve
from pgsbert.models.safety import check
from pgsbert.models.sbert import cross_encoder, sentence_transformer

if TYPE_CHECKING:
    from pathlib import Path

    from sentence_transformers import CrossEncoder, SentenceTransformer

HEADS = ("classifier", "pooler", "head.")  # what starts at random on a base without a head
DECODERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")


def load_for_bi_encoder(base: str, *, device: str | None) -> SentenceTransformer:
    """Load a bi-encoder, or a plain encoder, to which mean pooling is added.

    Raises ModelNotFoundError, and ModelLoadError for what gives no embedding.
    """
    folder = resolve(base)
    check(folder)
    _check_encoder(folder, base)
    if (kind := detect_kind(folder)) != "bi-encoder":
        raise ModelLoadError(f"{base} is a {kind}, which has no embedding: give a bi-encoder or a plain encoder.")
    with quiet_loading(folder, optional=("pooler",)):
        return sentence_transformer(folder, device)


def load_for_cross_encoder(base: str, *, labels: int, device: str | None) -> CrossEncoder:
    """Load a cross-encoder with so many labels, or a new one on the transformer of a bi-encoder or plain encoder.

    A head of another size than ``labels`` is made anew. Raises ModelNotFoundError, ModelLoadError.
    """
    folder = resolve(base)
    check(folder)
    _check_encoder(folder, base)
    from sentence_transformers import CrossEncoder

    with quiet_loading(folder, optional=HEADS):
        network: CrossEncoder = CrossEncoder(
            str(transformer(folder)),
            num_labels=labels,
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "ignore_mismatched_sizes": True},
        )
    return network


def load_trained_cross_encoder(model: str, *, labels: int, device: str | None) -> CrossEncoder:
    """Load a cross-encoder whose head has so many labels; ModelLoadError if it is another."""
    folder = resolve(model)
    check(folder)
    if detect_kind(folder) == "bi-encoder":
        raise ModelLoadError(f"{model} is not a cross-encoder (files: {folder}).")
    with quiet_loading(folder):
        network = cross_encoder(folder, device)
    if network.num_labels != labels:
        raise ModelLoadError(f"{model} is a cross-encoder with {network.num_labels} labels; {labels} needed here.")
    return network


def transformer(folder: Path) -> Path:
    """Return the folder of the transformer alone, without what a bi-encoder puts on top of it."""
    listing = folder / "modules.json"
    modules = parse_json(listing) if listing.is_file() else None
    return folder / str(modules[0].get("path", "")) if isinstance(modules, list) else folder


def _check_encoder(folder: Path, base: str) -> None:
    config = read_json(transformer(folder) / "config.json", missing_ok=True)
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if config.get("is_encoder_decoder") or config.get("is_decoder") or any(n.endswith(DECODERS) for n in names):
        raise ModelLoadError(
            f"{base} is not an encoder ({', '.join(names) or config.get('model_type')}): give a BERT-like model or a "
            "bi-encoder, for example all-MiniLM-L6-v2."
        )
