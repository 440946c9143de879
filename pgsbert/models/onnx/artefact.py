"""An exported model on disk: a graph, a tokenizer and a manifest that says what they are, whole or not there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgsbert.errors import ModelExportError, ModelLoadError
from pgsbert.models.files import read_json, weights, weights_hash
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FORMAT = 1  # of the files below, and of how they are made: what another version made is made anew
MANIFEST = "pgsbert-onnx.json"
GRAPH = "model.onnx"
TOKENIZER = "tokenizer.json"
CONFIGURATION = ("*.json", "*.txt", "*.model")  # what decides the numbers beside the weights


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is in the folder of an exported model.

    ``truncate_at`` counts tokens, special ones included (None: no limit); ``parity`` is the largest absolute
    difference from sentence-transformers that the export saw.
    """

    model: Model
    truncate_at: int | None
    pad_id: int
    pad_type_id: int
    pad_left: bool
    parity: float
    made_with: str

    def write(self, folder: Path) -> None:
        """Write the manifest last: it carries the digests of all other files."""
        files = {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
        content = {"format": FORMAT, "files": files, **asdict(self)}
        (folder / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def is_exported(folder: Path) -> bool:
    """Return whether a folder holds an exported model, sound or not."""
    return (folder / MANIFEST).is_file()


def read(folder: Path, *, is_checked: bool = False) -> Manifest:
    """Return the manifest of an exported model whose files are as they were written; ``is_checked``: known to be.

    Raises ModelLoadError for a folder that another version wrote, or that is damaged.
    """
    content: dict[str, Any] = read_json(folder / MANIFEST)
    if content.pop("format", None) != FORMAT:
        raise ModelLoadError(f"{folder} was exported by another version of pgsbert: run pgsbert model export again.")
    try:
        files: dict[str, str] = content.pop("files")
        manifest = Manifest(**{**content, "model": Model(**content["model"])})
    except (KeyError, TypeError) as error:
        raise ModelLoadError(f"{folder / MANIFEST} is damaged ({error}): export the model again.") from error
    for name, digest in () if is_checked else files.items():
        if not (folder / name).is_file() or _digest(folder / name) != digest:
            raise ModelLoadError(f"{folder / name} is missing or damaged: export the model again.")
    return manifest


def cached(source: Path, build: Callable[[Path], None], *, digest: str | None = None) -> Path:
    """Return the folder of the exported form of the model in ``source``, made by ``build(empty_folder)`` if need be.

    ``digest`` is the hash of the weights where it is known. Two workers that start at once build it once; what is
    damaged or half-written is built anew. What ``build`` raises goes through, and leaves nothing behind.
    """
    folder = cache_folder() / key(source, digest=digest)
    with _locked(folder.with_suffix(".lock")):
        if is_exported(folder):
            try:
                read(folder)
            except ModelLoadError:
                shutil.rmtree(folder)
            else:
                return folder
        shutil.rmtree(folder, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            build(unfinished)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def key(source: Path, *, digest: str | None = None) -> str:
    """Return a name for all that decides a model's numbers: weights, configuration, tokenizer, and our format."""
    files = {path for pattern in CONFIGURATION for path in source.rglob(pattern)} - set(weights(source))
    listing = [f"{_digest(path)}  {path.relative_to(source).as_posix()}" for path in sorted(files)]
    return hashlib.sha256("\n".join([str(FORMAT), digest or weights_hash(source), *listing]).encode()).hexdigest()[:40]


def cache_folder() -> Path:
    """Return where exported models are kept: PGSBERT_CACHE, else pgsbert in the user's cache; made if need be."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("PGSBERT_CACHE") or Path(home) / "pgsbert") / "onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelExportError(f"{folder} cannot be made ({error.strerror}): set PGSBERT_CACHE to a folder.") from error
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the kernel frees it when a process dies."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
