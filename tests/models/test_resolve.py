"""Where a model's files are found, and how long it may take to say that they are nowhere."""

from __future__ import annotations

import socket
import threading
import time
from datetime import timedelta
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import huggingface_hub
import huggingface_hub.constants
import pytest

from pgsbert.errors import ModelNotFoundError
from pgsbert.models.resolve import reachable, resolve, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "SENTENCE_TRANSFORMERS_HOME", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def silent_hub() -> Iterator[str]:
    """The worst network there is: connections are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def store_snapshot(cache: Path, repository: str, *files: str) -> Path:
    repo = cache / f"models--{repository.replace('/', '--')}"
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    for name in files:
        (snapshot / name).touch()
    return snapshot


def test_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert resolve(str(tmp_path)) == tmp_path.resolve()


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"])
def test_minilm_is_found_in_the_installed_package(name: str, minilm: Path) -> None:
    assert resolve(name) == minilm


def test_bare_name_is_found_in_the_cache_under_its_organisation(cache: Path) -> None:
    snapshot = store_snapshot(cache, "sentence-transformers/some-model", "config.json", "model.safetensors")
    found = resolve("some-model")
    assert found == snapshot
    assert revision_of(found) == COMMIT


def test_cached_tokenizer_without_weights_is_no_model(
    cache: Path, silent_hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    store_snapshot(cache, "some/model", "config.json", "tokenizer.json")
    with pytest.raises(ModelNotFoundError, match=r"no \.safetensors in"):
        resolve("some/model")


def test_unknown_name_without_network_ends_in_time_and_says_where_it_looked(
    silent_hub: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", silent_hub)
    started = time.monotonic()
    with pytest.raises(ModelNotFoundError) as caught:
        resolve("nobody/has-this")
    assert time.monotonic() - started < 8
    for place in (
        "no such folder",
        "installed packages",
        "hub cache",
        f"{silent_hub} (unreachable)",
        "Next:",
    ):
        assert place in str(caught.value)


def test_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(60) and [])
    started = time.monotonic()
    assert not reachable("http://hub.invalid", within=timedelta(seconds=0.2))
    assert time.monotonic() - started < 2
    never.set()


def test_hub_is_asked_for_nothing_that_is_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []

    def download(repository: str, **options: Any) -> str:
        if options["local_files_only"] or "/" not in repository:
            raise FileNotFoundError(repository)
        asked.append({"repository": repository} | options)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr("pgsbert.models.resolve.reachable", lambda *_, **__: True)
    assert resolve("some-model", revision="v2") == tmp_path
    assert (asked[0]["repository"], asked[0]["revision"]) == ("sentence-transformers/some-model", "v2")
    files = [
        "model.safetensors",
        "1_Pooling/config.json",
        "vocab.txt",
        "a.bin",
        "a.py",
        "a.pkl",
        "onnx/a.json",
    ]
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in asked[0]["allow_patterns"])]
    left = [file for file in wanted if not any(fnmatch(file, skip) for skip in asked[0]["ignore_patterns"])]
    assert left == files[:3]  # as huggingface_hub matches patterns


def test_offline_setting_is_honoured(silent_hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", silent_hub)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started = time.monotonic()
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE is set"):
        resolve("nobody/has-this")
    assert time.monotonic() - started < 2


def test_revision_passes_over_the_package_that_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match=r"at revision abc .* names no revision"):
        resolve("all-MiniLM-L6-v2", revision="abc")


@pytest.mark.parametrize(("status", "answer"), [(200, True), (404, True), (407, False), (503, False)])
def test_any_answer_but_a_gateways_means_reachable(status: int, answer: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert reachable(url, within=timedelta(seconds=5)) is answer
