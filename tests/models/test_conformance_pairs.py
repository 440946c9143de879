"""Cross-encoders with one label and with three, on each engine, against sentence-transformers' CrossEncoder.

As in test_conformance.py the models are tiny and random. Three controls show what the comparison would notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from pgsbert.models.files import detect_kind
from pgsbert.models.onnx.session import OnnxClassifier, OnnxReranker
from pgsbert.models.sbert import load_classifier, load_reranker
from tests.models.conformance import ARCHITECTURES, TEXTS, edit_json, onnx, transformer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pgsbert.types import Classifier, Reranker
    from tests.models.conformance import Numbers

HEAD = "ForSequenceClassification"
NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
QUERY = min(TEXTS, key=len)  # a long one would fill every pair up to the limit, and nothing would be padded
PAIRS = [(QUERY, text) for text in TEXTS]


def rerankers(folder: Path) -> Iterator[Reranker]:
    yield load_reranker(str(folder), device="cpu")
    yield OnnxReranker(onnx(folder, folder.with_name("onnx")))


def classifier(name: str, folder: Path) -> Path:
    transformer(name, folder, HEAD, num_labels=3)
    edit_json(folder / "config.json", id2label=NLI, label2id={label: place for place, label in NLI.items()})
    return folder


def classifiers(folder: Path) -> Iterator[Classifier]:
    yield load_classifier(str(folder), device="cpu")
    yield OnnxClassifier(onnx(folder, folder.with_name("onnx")))


def probabilities(folder: Path, pairs: list[tuple[str, str]] = PAIRS, *, softmax: bool = True) -> Numbers:
    expected: Any = CrossEncoder(str(folder), device="cpu").predict(pairs, apply_softmax=softmax)
    assert len(set(expected.argmax(axis=1).tolist())) > 1  # the texts differ, so equality says something
    return np.asarray(expected)


def is_same(ours: Numbers, expected: Numbers) -> bool:
    return bool(np.abs(ours - expected).max() <= 1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reranker(name: str, tmp_path: Path) -> None:
    folder = transformer(name, tmp_path / "model", HEAD)
    expected = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    assert np.ptp(expected) > 0.01
    for reranker in rerankers(folder):
        assert is_same(reranker.score(QUERY, TEXTS), expected)


@pytest.mark.parametrize("where", ["sentence_transformers", "sbert_ce_default_activation_function"])
def test_reranker_whose_activation_the_configuration_names(where: str, tmp_path: Path) -> None:
    folder = transformer("BERT", tmp_path / "model", HEAD)
    identity = "torch.nn.modules.linear.Identity"
    edit_json(folder / "config.json", **{where: {"activation_fn": identity} if where[1] == "e" else identity})
    expected = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    assert expected.max() > 1.5  # no sigmoid
    for reranker in rerankers(folder):
        scores = reranker.score(QUERY, TEXTS)
        assert np.abs(scores - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_classifier_of_three_labels(name: str, tmp_path: Path) -> None:
    folder = classifier(name, tmp_path / "model")
    assert detect_kind(folder) == "classifier"
    expected = probabilities(folder)
    for loaded in classifiers(folder):
        found = loaded.classify(QUERY, TEXTS)
        assert is_same(found, expected)
        assert np.abs(found.sum(axis=1) - 1).max() <= 1e-6
        assert loaded.model.labels == ["contradiction", "entailment", "neutral"]
        assert loaded.classify(QUERY, []).shape == (0, 3)


def test_classifier_saved_by_a_newer_release_with_modules(tmp_path: Path) -> None:
    folder = classifier("BERT", tmp_path / "transformer")
    network = CrossEncoder(str(folder), device="cpu")
    network.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert (tmp_path / "saved" / "modules.json").exists()
    assert detect_kind(tmp_path / "saved") == "classifier"
    expected = probabilities(folder)
    for loaded in classifiers(tmp_path / "saved"):
        assert is_same(loaded.classify(QUERY, TEXTS), expected)


def test_a_head_without_named_labels_has_the_names_that_transformers_gives(tmp_path: Path) -> None:
    folder = transformer("BERT", tmp_path / "model", HEAD, num_labels=2)
    assert detect_kind(folder) == "classifier"
    assert load_classifier(str(folder), device="cpu").model.labels == ["LABEL_0", "LABEL_1"]


def test_the_comparison_notices_swapped_texts(tmp_path: Path) -> None:
    folder = classifier("BERT", tmp_path / "model")
    found = load_classifier(str(folder), device="cpu").classify(QUERY, TEXTS)
    assert not is_same(found, probabilities(folder, [(text, QUERY) for text in TEXTS]))


def test_the_comparison_notices_a_missing_softmax(tmp_path: Path) -> None:
    folder = classifier("BERT", tmp_path / "model")
    found = load_classifier(str(folder), device="cpu").classify(QUERY, TEXTS)
    assert not is_same(found, probabilities(folder, softmax=False))


def test_the_comparison_notices_a_wrong_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = classifier("BERT", tmp_path / "model")
    graph = onnx(folder, tmp_path / "onnx")
    feed = graph._feed

    def unmasked(encodings: list[Any]) -> dict[str, Any]:
        fed = feed(encodings)
        return {**fed, "attention_mask": np.ones_like(fed["attention_mask"])}

    monkeypatch.setattr(graph, "_feed", unmasked)
    assert not is_same(OnnxClassifier(graph).classify(QUERY, TEXTS), probabilities(folder))
