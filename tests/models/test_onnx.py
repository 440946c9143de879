"""ONNX Runtime gives the numbers of sentence-transformers, without torch, from files that are whole or made anew."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from pgsbert.errors import ModelLoadError, UsageError
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.models.onnx import artefact
from pgsbert.models.onnx.export import SENTENCES
from pgsbert.models.onnx.load import export_to, open_exported
from pgsbert.models.onnx.session import Graph, OnnxEncoder, OnnxReranker
from pgsbert.types import Model
from tests.models.conftest import make_bi_encoder, make_transformer
from tests.models.test_sbert import sentences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import BertTokenizer

ONNX = Runtime(engine="onnx")
MINILM = Model(name="all-MiniLM-L6-v2", kind="bi-encoder")


def assert_same(ours: np.ndarray[Any, Any], reference: np.ndarray[Any, Any]) -> None:
    cosine = (ours * reference).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(reference, axis=1)
    assert ours.dtype == np.float32
    assert cosine.min() >= 0.99999
    assert np.abs(ours - reference).max() <= 1e-5


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    loaded = load(MINILM, ONNX)
    assert isinstance(loaded, OnnxEncoder)
    return loaded


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizer) -> Path:
    """Give a small bi-encoder with CLS pooling and prompts, and its exported form beside it."""
    folder = tmp_path_factory.mktemp("small")
    make_bi_encoder(make_transformer(folder / "transformer", tokenizer), folder / "original")
    export_to(str(folder / "original"), folder / "exported")
    return folder


@pytest.fixture
def exported(small: Path, tmp_path: Path) -> Path:
    """Give a copy of the exported form, to be damaged at will."""
    return shutil.copytree(small / "exported", tmp_path / "exported")


def test_minilm_gives_the_numbers_of_sentence_transformers(encoder: OnnxEncoder, minilm: Path) -> None:
    texts = sentences()
    reference = SentenceTransformer(str(minilm), device="cpu").encode(texts, show_progress_bar=False)
    assert_same(encoder.encode(texts), reference)
    assert encoder.encode([]).shape == (0, 384)


def test_a_text_has_the_same_vector_alone_and_in_any_batch(encoder: OnnxEncoder) -> None:
    texts = [*SENTENCES, *SENTENCES[::-1]]
    together = encoder.encode(texts)
    assert_same(together, np.concatenate([encoder.encode([text]) for text in texts]))


def test_a_wrong_pooling_does_not_pass_for_the_same_model(encoder: OnnxEncoder, minilm: Path) -> None:
    network = SentenceTransformer(str(minilm), device="cpu")
    network[1].pooling_mode = "cls"  # type: ignore[assignment]  # modules are typed as tensors
    reference = network.encode(list(SENTENCES), show_progress_bar=False)
    with pytest.raises(AssertionError):
        assert_same(encoder.encode(SENTENCES), reference)


def test_cls_pooling_is_in_the_graph_and_prompts_are_not(small: Path) -> None:
    encoder = OnnxEncoder(Graph(small / "exported"))
    network = SentenceTransformer(str(small / "original"), device="cpu")
    reference = network.encode(SENTENCES, prompt="", show_progress_bar=False)
    ours = encoder.encode(SENTENCES)
    assert np.ptp(reference, axis=0).max() > 0.1  # the texts differ, so equality says something
    assert np.abs(ours - reference).max() <= 1e-5 * np.abs(reference).max()
    assert (encoder.model.query_prompt, encoder.model.document_prompt) == ("question: ", "text: ")


@pytest.mark.parametrize("sigmoid", [False, True])
def test_reranker_gives_the_scores_of_the_cross_encoder(make_cross_encoder: Callable[..., Path], sigmoid: bool) -> None:
    folder = make_cross_encoder(labels=1, sigmoid=sigmoid)
    reranker = load(Model(name=str(folder), kind="cross-encoder"), ONNX)
    assert isinstance(reranker, OnnxReranker)
    reference = CrossEncoder(str(folder), device="cpu").predict([("the fox", text) for text in SENTENCES])
    scores = reranker.score("the fox", SENTENCES)
    assert np.ptp(reference) > 0.01
    assert np.abs(scores - reference).max() <= 1e-5
    assert reranker.score("the fox", []).shape == (0,)


def test_a_classifier_is_no_reranker(make_cross_encoder: Callable[..., Path]) -> None:
    with pytest.raises(ModelLoadError, match="is a classifier, it is registered as a cross-encoder"):
        load(Model(name=str(make_cross_encoder(labels=3)), kind="cross-encoder"), ONNX)


def test_an_exported_model_runs_without_torch_and_transformers(exported: Path) -> None:
    code = (
        "import sys; from pgsbert.models.load import Runtime, load; from pgsbert.types import Model;"
        f"e = load(Model(name={str(exported)!r}, kind='bi-encoder'));"
        "assert e.encode(['a text']).shape == (1, 32) and e.engine == 'onnx';"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_cached_model_runs_without_torch_and_transformers(encoder: OnnxEncoder) -> None:
    code = (
        "import sys; from pgsbert.models.load import Runtime, load; from pgsbert.types import Model;"
        "assert load(Model(name='all-MiniLM-L6-v2', kind='bi-encoder')).encode(['a text']).shape == (1, 384);"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_exported_folder_registers_as_the_model_it_was_made_of(
    small: Path, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, described = inspect(str(small / "original")), inspect(str(exported))
    assert described == original
    monkeypatch.setenv("PGSBERT_MODELS", str(exported.parent))
    registered = Model(name="exported", kind="bi-encoder", hash=original.hash, dimensions=32)
    assert load(registered).engine == "onnx"
    other = Model(name="exported", kind="bi-encoder", hash="53aa" + 60 * "0")
    with pytest.raises(ModelLoadError, match="differ from the registered ones"):
        load(other)


def test_a_model_that_does_not_export_runs_on_torch_with_the_reason(tmp_path: Path, minilm: Path) -> None:
    from tokenizers import Tokenizer

    static = StaticEmbedding(Tokenizer.from_file(str(minilm / "tokenizer.json")), embedding_dim=16)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path), create_model_card=False)
    model = Model(name=str(tmp_path), kind="bi-encoder")
    loaded = load(model)
    assert loaded.engine.startswith("torch: ")
    assert str(tmp_path) in loaded.engine
    with pytest.raises(ModelLoadError):
        load(model, ONNX)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_a_damaged_file_is_named(exported: Path, name: str) -> None:
    with (exported / name).open("r+b") as file:
        file.seek(100)
        file.write(b"damage")
    with pytest.raises(ModelLoadError, match=rf"{name} is missing or damaged: export the model again"):
        open_exported(Model(name=str(exported), kind="bi-encoder"))


def test_what_another_version_exported_is_said(exported: Path) -> None:
    manifest = json.loads((exported / artefact.MANIFEST).read_text())
    (exported / artefact.MANIFEST).write_text(json.dumps({**manifest, "format": 0}))
    with pytest.raises(ModelLoadError, match="exported by another version of pgsbert"):
        open_exported(Model(name=str(exported), kind="bi-encoder"))


def test_a_folder_with_something_in_it_is_left_alone(bi_encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="is there and not empty"):
        export_to(str(bi_encoder), tmp_path)
    assert (tmp_path / "mine").exists()


class Builds:
    """A build that counts, and writes a manifest as an export does."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / artefact.GRAPH).write_text("a graph")
        artefact.Manifest(MINILM, None, 0, 0, False, 0.0, "nothing").write(folder)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PGSBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "onnx"


def test_two_workers_at_once_build_once(bi_encoder: Path, empty_cache: Path) -> None:
    build = Builds()
    together = threading.Barrier(4)

    def start() -> None:
        together.wait(10)
        artefact.cached(bi_encoder, build)

    workers = [threading.Thread(target=start) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert build.count == 1


@pytest.mark.parametrize("damage", ["corrupt", "missing", "half-written"])
def test_what_is_damaged_in_the_cache_is_built_anew(bi_encoder: Path, empty_cache: Path, damage: str) -> None:
    build = Builds()
    folder = artefact.cached(bi_encoder, build)
    match damage:
        case "corrupt":
            (folder / artefact.GRAPH).write_text("a grape")
        case "missing":
            (folder / artefact.GRAPH).unlink()
        case "half-written":
            (folder / artefact.MANIFEST).unlink()
    assert artefact.cached(bi_encoder, build) == folder
    assert (build.count, (folder / artefact.GRAPH).read_text()) == (2, "a graph")


def test_a_build_that_fails_leaves_nothing(bi_encoder: Path, empty_cache: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / artefact.GRAPH).write_text("half")
        raise ModelLoadError("no")

    with pytest.raises(ModelLoadError, match="no"):
        artefact.cached(bi_encoder, fail)
    assert not [path for path in empty_cache.iterdir() if path.is_dir()]


def test_another_pooling_of_the_same_weights_is_another_artefact(bi_encoder: Path, empty_cache: Path) -> None:
    before = artefact.key(bi_encoder)
    pooling = bi_encoder / "1_Pooling" / "config.json"
    pooling.write_text(pooling.read_text() + "\n")
    assert artefact.key(bi_encoder) != before


def test_a_batch_beyond_memory_is_halved(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = Graph(exported)
    run = graph._session.run
    sizes = []

    class Small:
        """A session that has memory for two texts."""

        def run(self, names: None, feed: dict[str, Any]) -> Any:
            sizes.append(len(feed["input_ids"]))
            if sizes[-1] > 2:
                raise RuntimeError("Failed to allocate memory for requested buffer")
            return run(names, feed)

    expected = OnnxEncoder(graph).encode(SENTENCES[:5])
    monkeypatch.setattr(graph, "_session", Small())
    assert np.abs(OnnxEncoder(graph).encode(SENTENCES[:5]) - expected).max() <= 1e-5
    assert max(sizes) > 2
