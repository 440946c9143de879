"""Refuse a model's folder that is incomplete, corrupt or would run code, before any of it is loaded.

Pickles, classes from outside sentence-transformers, adapters and hub kernels are refused by name. The checks
are ours because older releases of the libraries trust a local folder more than we do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError
from pgsbert.models.files import parse_json, read_json, weights

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ACTIVATIONS = frozenset({"activation_fn", "activation_function", "sbert_ce_default_activation_function"})
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
TO_SAFETENSORS = (
    "convert it once, where you trust it: "
    'python -c "from sentence_transformers import SentenceTransformer as S; '
    "S('FOLDER').save_pretrained('NEW_FOLDER')\" (CrossEncoder for a reranker or a classifier)"
)


def check(folder: Path) -> None:
    """Raise ModelLoadError, naming the file and the next step, unless the folder can be loaded safely."""
    modules = _modules(folder)
    places = [module for module, _ in modules]
    _check_weights(folder, places)
    for module, class_name in modules:
        if class_name.rpartition(".")[2] in {"Transformer", "MLMTransformer", "CLIPModel"}:
            _check_transformer(module)
    for path in sorted({path for place in (folder, *places) for path in place.glob("*config*.json")}):
        _check_settings(path)


def _modules(folder: Path) -> list[tuple[Path, str]]:
    """Return each module's folder and class; classes from elsewhere are code from elsewhere."""
    listing = folder / "modules.json"
    if not listing.is_file():
        return [(folder, "Transformer")]
    entries = parse_json(listing)
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ModelLoadError(f"modules.json in {folder} does not list modules: fetch the model again.")
    return [_module(folder, entry) for entry in entries]


def _module(folder: Path, entry: dict[str, object]) -> tuple[Path, str]:
    class_name, module = str(entry.get("type")), folder / str(entry.get("path", ""))
    if not class_name.startswith("sentence_transformers."):
        raise ModelLoadError(
            f"modules.json in {folder} names the class {class_name}, which is not part of "
            "sentence-transformers: pgsbert runs no code from model repositories. Choose another model."
        )
    if class_name.endswith((".Router", ".Asym")):
        raise ModelLoadError(
            f"{folder} encodes queries and documents by different modules, which pgsbert does "
            "not support: choose another model."
        )
    if not module.resolve().is_relative_to(folder.resolve()):
        raise ModelLoadError(f"modules.json in {folder} points outside of it ({module}): choose another model.")
    return module, class_name


def _check_weights(folder: Path, modules: list[Path]) -> None:
    for module in modules:
        pickles = sorted(module.glob("pytorch_model*.bin"))
        if pickles and not any(module.glob("*.safetensors")):
            raise ModelLoadError(
                f"{module} holds {pickles[0].name} and no .safetensors: a pickle can run code and is "
                f"never read. Next: {TO_SAFETENSORS}."
            )
    stored = weights(folder)
    if not stored:
        raise ModelLoadError(
            f"{folder} holds no .safetensors weights. If the model is published as pytorch_model.bin only, "
            f"{TO_SAFETENSORS}."
        )
    for path in stored:
        _check_safetensors(path)
    for index in folder.rglob("*.safetensors.index.json"):
        shards = read_json(index).get("weight_map")
        for shard in sorted(set(shards.values())) if isinstance(shards, dict) else []:
            if not (index.parent / shard).is_file():
                raise ModelLoadError(f"{shard} is missing in {index.parent}: fetch the model again.")


def _check_safetensors(path: Path) -> None:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ModelLoadError('Models need sentence-transformers: pip install "pgsbert[worker]".') from error
    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(
            f"{path.name} in {path.parent} is corrupt or cut short ({error}): fetch the model again."
        ) from error


def _check_transformer(module: Path) -> None:
    if (module / "adapter_config.json").exists():
        raise ModelLoadError(f"{module} holds an adapter: merge it into its base model (merge_and_unload) first.")
    read_json(module / "config.json")
    if not any(found for pattern in VOCABULARIES for found in module.glob(pattern)):
        raise ModelLoadError(
            f"The tokenizer is missing in {module} (no {', '.join(VOCABULARIES)}): fetch the model again."
        )


def _check_settings(path: Path) -> None:
    """Refuse settings by which the libraries would import or download code."""
    for key, value in _pairs(parse_json(path)):
        if isinstance(value, str) and _names_code(key, value):
            raise ModelLoadError(
                f"{path.name} in {path.parent} asks for the code {value} as {key}: pgsbert runs no code from "
                "model repositories. Choose another model."
            )


def _names_code(key: str, value: str) -> bool:
    if key in ACTIVATIONS:
        return "." in value and not value.startswith("torch.nn.")
    if key == "tokenizer_class":
        return "." in value and not value.startswith("sentence_transformers.")
    return key.endswith("attn_implementation") and "/" in value  # a kernel repository on the hub


def _pairs(value: object) -> Iterator[tuple[str, object]]:
    """Yield every key and value of nested JSON."""
    if isinstance(value, dict):
        yield from value.items()
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield from _pairs(child)
