"""One's own models and those of the hub: a folder, a pinned revision in the hub's cache, and pickles made safe."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from typer.testing import CliRunner

import pgsbert
from pgsbert.cli import app
from pgsbert.errors import ModelLoadError
from pgsbert.models.files import weights_hash
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.models.safety import check
from pgsbert.models.sbert import load_encoder
from tests.models.conformance import TEXTS, bi_encoder, is_same, transformer
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from tests.support import Database

SOME = TEXTS[:12]
FIRST, SECOND = "1" * 40, "2" * 40  # commits
TORCH = Runtime(engine="torch", device="cpu")


def command(*arguments: str) -> str:
    """Run a command of pgsbert in this process; what it prints."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def make_models(folder: Path) -> tuple[Path, Path]:
    """Make two versions of a model: the same network, and what it gives for other weights."""
    first = bi_encoder("BERT", folder / "first", "mean", ("Normalize",))
    second = bi_encoder("BERT", folder / "second", "cls", ("Normalize",))
    weights = second / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4:] = content[-8:-4]
    weights.write_bytes(content)
    return first, second


def store(cache: Path, repository: str, commit: str, files: Path) -> Path:
    """Put files into a hub cache as the hub's client does: blobs by content, and a snapshot of links to them."""
    repo = cache / f"models--{repository.replace('/', '--')}"
    for path in files.rglob("*"):
        if path.is_file():
            blob = repo / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, blob)
            link = repo / "snapshots" / commit / path.relative_to(files)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    (repo / "refs").mkdir(exist_ok=True)
    return repo


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Give two versions of tiny/model, which lie in a hub cache as well: main is the second one, v1 the first."""
    cache = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    first, second = make_models(tmp_path)
    repo = store(cache, "tiny/model", FIRST, first)
    store(cache, "tiny/model", SECOND, second)
    (repo / "refs" / "main").write_text(SECOND)
    (repo / "refs" / "v1").write_text(FIRST)
    return {FIRST: first, SECOND: second}


@pytest.mark.parametrize(("revision", "commit"), [(None, SECOND), ("main", SECOND), ("v1", FIRST), (FIRST, FIRST)])
def test_a_hub_name_is_registered_with_the_commit_it_stands_for(
    hub: dict[str, Path], revision: str | None, commit: str
) -> None:
    registered = inspect("tiny/model", revision=revision)
    assert (registered.name, registered.revision) == ("tiny/model", commit)
    assert registered.hash == weights_hash(hub[commit])
    encoder: Any = load(registered, TORCH)
    expected = SentenceTransformer(str(hub[commit]), device="cpu").encode(SOME, show_progress_bar=False)
    assert is_same(encoder.encode(SOME), expected)


def test_the_two_revisions_are_two_models(hub: dict[str, Path]) -> None:
    first, second = (load_encoder("tiny/model", revision=commit, device="cpu").encode(SOME) for commit in hub)
    assert not is_same(first, second)


def test_a_pinned_revision_stays_when_the_branch_moves(database: Database, hub: dict[str, Path]) -> None:
    said = command("model", "add", "tiny/model", "--revision", "v1", "--dsn", database.dsn)
    assert said == "tiny/model is registered: bi-encoder, 32 dimensions, 32 tokens.\n"
    registered = database.execute("select revision, hash from pgsbert.models where name = 'tiny/model'")
    assert registered == [(FIRST, weights_hash(hub[FIRST]))]
    (Path(os.environ["HF_HUB_CACHE"]) / "models--tiny--model" / "refs" / "v1").write_text(SECOND)
    expected = SentenceTransformer(str(hub[FIRST]), device="cpu").encode(SOME, show_progress_bar=False)
    with run_worker(database.dsn, load=partial(load, runtime=TORCH)), database.connect() as connection:
        connection.execute("set pgsbert.timeout = '60s'")
        assert is_same(pgsbert.embed(connection, SOME, model="tiny/model"), expected)
        shown = rows(connection, "select w.value from pgsbert.models as m, jsonb_each_text(m.workers) as w")
        assert shown in ([], ["present (torch)"])


def test_a_folder_is_registered_with_its_hash_and_used_by_its_path(database: Database, tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean", ("Normalize",))
    said = command("model", "add", str(folder), "--dimensions", "16", "--dsn", database.dsn)
    assert said == f"{folder}@16 is registered: bi-encoder, 16 dimensions, 32 tokens.\n"
    registered = database.execute("select hash, dimensions from pgsbert.models where name = %s", f"{folder}@16")
    assert registered == [(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(), 16)]
    network = SentenceTransformer(str(folder), device="cpu", truncate_dim=16)
    with run_worker(database.dsn, load=partial(load, runtime=TORCH)), database.connect() as connection:
        connection.execute("set pgsbert.timeout = '60s'")
        found = pgsbert.embed(connection, SOME, model=f"{folder}@16")
    assert is_same(found, network.encode(SOME, show_progress_bar=False))


# Pickles: what the error says to do is tried as it is written


def unsafe(folder: Path) -> None:
    """Keep the weights of all modules as pickles only, as older releases wrote them."""
    for weights in folder.rglob("model.safetensors"):
        torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
        weights.unlink()


def convert(error: ModelLoadError, folder: Path, *, cross_encoder: bool = False) -> Path:
    """Run the command that an error advises, with the folders filled in."""
    advised = re.search(r"where you trust it: (python .*) \(CrossEncoder for a reranker or a classifier\)", str(error))
    assert advised, str(error)
    program, option, code = shlex.split(advised[1])  # as a shell reads it
    assert (program, option) == ("python", "-c")
    code = code.replace("'NEW_FOLDER'", repr(f"{folder}-safe")).replace("'FOLDER'", repr(str(folder)))
    exec(code.replace("SentenceTransformer as S", "CrossEncoder as S") if cross_encoder else code, {})
    return Path(f"{folder}-safe")


@pytest.mark.parametrize("heads", [(), ("Dense",)], ids=["plain", "with a Dense head"])
def test_the_advised_command_makes_a_bi_encoder_of_pickles_safe(tmp_path: Path, heads: tuple[str, ...]) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean", heads)
    expected = SentenceTransformer(str(folder), device="cpu").encode(SOME, show_progress_bar=False)
    unsafe(folder)
    with pytest.raises(ModelLoadError, match=r"holds pytorch_model\.bin and no \.safetensors") as raised:
        load_encoder(str(folder), device="cpu")
    safe = convert(raised.value, folder)
    check(safe)
    assert is_same(load_encoder(str(safe), device="cpu").encode(SOME), expected)


@pytest.mark.parametrize("labels", [1, 3])
def test_the_advised_command_makes_a_cross_encoder_of_pickles_safe(tmp_path: Path, labels: int) -> None:
    folder = transformer("BERT", tmp_path / "model", "ForSequenceClassification", num_labels=labels)
    pairs = [("a module", text) for text in SOME]
    expected = CrossEncoder(str(folder), device="cpu").predict(pairs, apply_softmax=True)
    unsafe(folder)
    with pytest.raises(ModelLoadError, match=r"holds pytorch_model\.bin and no \.safetensors") as raised:
        inspect(str(folder))
    safe = convert(raised.value, folder, cross_encoder=True)
    model: Any = load(inspect(str(safe)), TORCH)
    found = model.score("a module", SOME) if labels == 1 else model.classify("a module", SOME)
    assert abs(found - expected).max() <= 1e-5
