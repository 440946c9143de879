"""Read what a model's folder says about itself: its kind, the hash of its weights, its prompts."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.types import ModelKind

KINDS: dict[object, ModelKind] = {"SentenceTransformer": "bi-encoder", "CrossEncoder": "cross-encoder"}


def detect_kind(folder: Path) -> ModelKind:
    """Return what the files say: modules.json decides, else a sequence classification head and its labels.

    Newer releases of sentence-transformers save a cross-encoder with a modules.json too; there its model_type
    tells. Raises ModelLoadError for other families (sparse and multi-vector encoders).
    """
    if not (folder / "modules.json").is_file():
        config = read_json(folder / "config.json")
        return _cross_encoder(config) if _has_head(config) else "bi-encoder"
    settings = read_json(folder / "config_sentence_transformers.json", missing_ok=True)
    family = settings.get("model_type", "SentenceTransformer")
    if family not in KINDS:
        raise ModelLoadError(f"{folder} holds a {family}; a bi-encoder or a cross-encoder is needed here.")
    if KINDS[family] == "bi-encoder":
        return "bi-encoder"
    modules = parse_json(folder / "modules.json")
    first = modules[0] if isinstance(modules, list) and modules and isinstance(modules[0], dict) else {}
    return _cross_encoder(read_json(folder / str(first.get("path", "")) / "config.json", missing_ok=True))


def _has_head(config: dict[str, object]) -> bool:
    names = config.get("architectures")
    return any(str(name).endswith("ForSequenceClassification") for name in (names if isinstance(names, list) else []))


def _cross_encoder(config: dict[str, object]) -> ModelKind:
    """One label is relevance; several are classes. A head whose labels no file names has transformers' own two."""
    labels = config.get("id2label") or config.get("num_labels", 2)
    count = len(labels) if isinstance(labels, dict) else labels
    return "classifier" if _has_head(config) and count != 1 else "cross-encoder"


def weights_hash(folder: Path) -> str:
    """Return the SHA-256 of the weights in hexadecimal.

    One safetensors file: its own digest. Several: the digest of their ``sha256sum`` listing, sorted by path.
    """
    digests = {path.relative_to(folder).as_posix(): _sha256(path) for path in weights(folder)}
    if len(digests) == 1:
        return next(iter(digests.values()))
    listing = "".join(f"{digest}  {path}\n" for path, digest in sorted(digests.items()))
    return hashlib.sha256(listing.encode()).hexdigest()


def prompts(folder: Path) -> tuple[str, str]:
    """Return the model's own query and document prompt, chosen as sentence-transformers chooses them."""
    settings = read_json(folder / "config_sentence_transformers.json", missing_ok=True)
    known = settings.get("prompts")
    known = known if isinstance(known, dict) else {}
    default = known.get(settings.get("default_prompt_name")) or ""

    def first(*names: str) -> str:
        return next((known[name] or "" for name in names if name in known), default)

    return first("query"), first("document", "passage", "corpus")


def read_json(path: Path, *, missing_ok: bool = False) -> dict[str, object]:
    """Return the JSON object in a file, {} if it may be missing and is; ModelLoadError names the file."""
    if missing_ok and not path.exists():
        return {}
    value = parse_json(path)
    if not isinstance(value, dict):
        raise ModelLoadError(f"{path.name} in {path.parent} is not a JSON object: fetch the model again.")
    return value


def parse_json(path: Path) -> object:
    """Return the JSON value in a file; ModelLoadError names the file that is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelLoadError(
            f"{path.name} is missing in {path.parent}: fetch the model again, or give the folder that has it."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"{path.name} in {path.parent} cannot be read ({error}).") from error


def weights(folder: Path) -> list[Path]:
    """Return every safetensors file of the folder and its subfolders, sorted."""
    return sorted(folder.rglob("*.safetensors"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
