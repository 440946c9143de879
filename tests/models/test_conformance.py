"""Every kind of bi-encoder people use, on each engine, against sentence-transformers.

The models are tiny and random, in sentence-transformers' own layout: what is shown is that the files are read right,
not that such a model searches well. Two controls show that the comparison would notice a wrong pooling or mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from pgsbert.models.load import Runtime, load
from pgsbert.models.onnx.session import OnnxEncoder
from pgsbert.models.sbert import load_encoder
from pgsbert.types import Model
from tests.models.conformance import (
    ARCHITECTURES,
    SENTENCES,
    TEXTS,
    bi_encoder,
    differing,
    encoders,
    is_same,
    onnx,
    reference,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.types import Engine

KINDS = [
    *((name, "mean", ("Normalize",)) for name in ARCHITECTURES),
    ("BERT", "cls", ()),
    ("BERT", "max", ()),
    ("BERT", "lasttoken", ()),
    ("Qwen3", "lasttoken", ("Normalize",)),
    ("DistilBERT", "mean", ("Dense",)),
    ("DistilBERT", "mean", ("Dense", "Normalize")),
    ("RoBERTa", "cls", ("Dense", "Normalize")),
]


@pytest.mark.parametrize(
    ("name", "pooling", "heads"), KINDS, ids=lambda value: "-".join([value] if isinstance(value, str) else value)
)
def test_bi_encoder(name: str, pooling: str, heads: tuple[str, ...], tmp_path: Path) -> None:
    folder = bi_encoder(name, tmp_path, pooling, heads)
    expected = reference(folder)
    for encoder in encoders(folder):
        assert is_same(encoder.encode(TEXTS), expected)


def test_the_real_minilm(minilm: Path) -> None:
    network = SentenceTransformer(str(minilm), device="cpu")
    expected = differing(network.encode(SENTENCES, show_progress_bar=False))
    engines: tuple[Engine, ...] = ("onnx", "torch")
    for engine in engines:
        encoder: Any = load(Model(name="all-MiniLM-L6-v2", kind="bi-encoder"), Runtime(engine=engine, device="cpu"))
        assert encoder.engine == engine
        assert is_same(encoder.encode(SENTENCES), expected)


def test_padding_of_decoders_comes_first(tmp_path: Path) -> None:
    folder = bi_encoder("Qwen3", tmp_path, "lasttoken")
    graph = onnx(folder, tmp_path / "onnx")
    assert graph.manifest.pad_left
    fed = graph._feed(graph._tokenizer.encode_batch_fast(["one", "one and more"]))
    assert fed["attention_mask"][0].tolist()[0] == 0
    assert fed["attention_mask"][0].tolist()[-1] == 1


def test_the_comparison_notices_a_wrong_pooling(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean")
    other = bi_encoder("BERT", tmp_path / "other", "max")
    assert not is_same(load_encoder(str(other), device="cpu").encode(TEXTS), reference(folder))


@pytest.mark.parametrize(("name", "pooling"), [("BERT", "mean"), ("Qwen3", "lasttoken")])
def test_the_comparison_notices_a_wrong_mask(
    name: str, pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bi_encoder(name, tmp_path, pooling)
    graph = onnx(folder, tmp_path / "onnx")
    feed = graph._feed

    def unmasked(encodings: list[Any]) -> dict[str, Any]:
        fed = feed(encodings)
        return {**fed, "attention_mask": np.ones_like(fed["attention_mask"])}

    monkeypatch.setattr(graph, "_feed", unmasked)
    assert not is_same(OnnxEncoder(graph).encode(TEXTS), reference(folder))
