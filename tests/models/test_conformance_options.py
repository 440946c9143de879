"""What a model's files may ask for beside its layers: fewer dimensions, fewer tokens, prompts; on each engine.

As in test_conformance.py the models are tiny and random, and each comparison has a control that fails it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from pgsbert.errors import ModelLoadError, ModelNotFoundError
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.models.onnx.load import describe, open_exported
from pgsbert.models.resolve import dimensions_in, resolve, untruncated
from pgsbert.models.sbert import load_encoder, load_reranker
from pgsbert.types import Model
from tests.models.conformance import (
    SENTENCES,
    TEXTS,
    bi_encoder,
    differing,
    edit_json,
    encoders,
    is_same,
    onnx,
    reference,
    transformer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.types import Engine

ENGINES: tuple[Engine, ...] = ("onnx", "torch")
PROMPTS = {"query": "what is asked: ", "document": "what is said: "}


# The first dimensions (Matryoshka representations, Kusupati and others 2022)


@pytest.mark.parametrize(
    ("pooling", "heads"), [("mean", ("Normalize",)), ("cls", ()), ("cls", ("Dense",))], ids=["unit", "cls", "dense"]
)
def test_first_dimensions_are_those_of_truncate_dim(
    pooling: str, heads: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = bi_encoder("BERT", tmp_path, pooling, heads)
    expected = reference(folder, truncate_dim=16)
    assert expected.shape == (200, 16)
    on_torch = load_encoder(f"{folder}@16", device="cpu")
    onnx(folder, tmp_path / "models" / "tiny")
    monkeypatch.setenv("PGSBERT_MODELS", str(tmp_path / "models"))
    on_onnx: Any = open_exported(Model(name="tiny@16", kind="bi-encoder", dimensions=16))
    for encoder in (on_torch, on_onnx):
        assert is_same(encoder.encode(TEXTS), expected)
        assert encoder.model.dimensions == 16
    assert (on_torch.model.name, on_onnx.model.name) == (f"{folder}@16", "tiny@16")
    assert on_torch.encode([]).shape == on_onnx.encode([]).shape == (0, 16)


def test_what_is_cut_is_not_made_of_length_one_again(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean", ("Normalize",))
    lengths = np.linalg.norm(load_encoder(f"{folder}@16", device="cpu").encode(TEXTS), axis=1)
    assert lengths.max() < 0.95
    normalized = SentenceTransformer(str(folder), device="cpu", truncate_dim=16).encode(
        TEXTS, normalize_embeddings=True
    )
    assert not is_same(load_encoder(f"{folder}@16", device="cpu").encode(TEXTS), normalized)


def test_a_model_whose_files_say_how_many_dimensions_gives_those(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean", ("Normalize",), truncate_dim=24)
    expected = reference(folder)
    assert expected.shape == (200, 24)
    for encoder in encoders(folder):
        assert is_same(encoder.encode(TEXTS), expected)
        assert encoder.model.dimensions == 24


def test_the_first_dimensions_of_the_real_minilm(minilm: Path) -> None:
    registered = inspect("all-MiniLM-L6-v2@128")
    assert (registered.name, registered.dimensions) == ("all-MiniLM-L6-v2@128", 128)
    network = SentenceTransformer(str(minilm), device="cpu", truncate_dim=128)
    expected = differing(network.encode(SENTENCES[:40], show_progress_bar=False))
    for engine in ENGINES:
        encoder: Any = load(registered, Runtime(engine=engine, device="cpu"))
        assert encoder.engine == engine
        assert is_same(encoder.encode(SENTENCES[:40]), expected)


def test_an_exported_folder_is_described_with_fewer_dimensions(tmp_path: Path) -> None:
    onnx(bi_encoder("BERT", tmp_path, "mean"), tmp_path / "tiny")
    assert describe(tmp_path / "tiny", 8).dimensions == 8
    assert inspect(f"{tmp_path / 'tiny'}@8").name == "saved@8"
    with pytest.raises(ModelLoadError, match="saved@33 asks for 33 dimensions, but the model gives 32"):
        describe(tmp_path / "tiny", 33)


def test_more_dimensions_than_there_are_are_refused(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean")
    with pytest.raises(ModelLoadError, match="@33 asks for 33 dimensions, but the model gives 32"):
        load_encoder(f"{folder}@33", device="cpu")
    onnx(folder, tmp_path / "tiny")
    with pytest.raises(ModelLoadError, match="@33 asks for 33 dimensions, but the model gives 32"):
        open_exported(Model(name=f"{tmp_path / 'tiny'}@33", kind="bi-encoder"))


def test_a_cross_encoder_has_no_dimensions_to_leave_out(tmp_path: Path) -> None:
    folder = transformer("BERT", tmp_path / "model", "ForSequenceClassification")
    with pytest.raises(ModelLoadError, match="asks for 16 dimensions, but it gives no vectors: leave @16 out"):
        load_reranker(f"{folder}@16", device="cpu")


@pytest.mark.parametrize(
    ("name", "dimensions"),
    [("a/b@256", 256), ("/models/x@8", 8), ("a@b", None), ("a@0", None), ("@5", None), ("a@256x", None), ("a", None)],
)
def test_only_a_number_after_an_at_sign_says_how_many(name: str, dimensions: int | None) -> None:
    assert dimensions_in(name) == dimensions
    assert untruncated(name) == (name if dimensions is None else name.rpartition("@")[0])


def test_an_unknown_name_is_reported_without_its_dimensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelNotFoundError, match='Model "nobody/has-this" was not found'):
        resolve("nobody/has-this@64")


# Fewer tokens than the tokenizer allows


def test_max_seq_length_of_the_files_is_where_texts_end(tmp_path: Path) -> None:
    whole = bi_encoder("BERT", tmp_path / "whole", "mean", ("Normalize",))
    short = bi_encoder("BERT", tmp_path / "short", "mean", ("Normalize",))
    edit_json(short / "sentence_bert_config.json", max_seq_length=12)
    expected = reference(short)
    assert SentenceTransformer(str(short), device="cpu").max_seq_length == 12
    for encoder in encoders(short):
        ours = encoder.encode(TEXTS)
        assert is_same(ours, expected)
        assert encoder.model.max_tokens == 12
        assert not is_same(ours, reference(whole))
        beyond = encoder.encode(["word " * 10, "word " * 10 + "and then something else"])
        assert np.array_equal(beyond[0], beyond[1])


# Prompts


def test_query_and_document_prompts_are_those_of_encode_query_and_encode_document(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "cls", ("Normalize",), prompts=PROMPTS)
    network = SentenceTransformer(str(folder), device="cpu")
    asked = differing(network.encode_query(TEXTS, show_progress_bar=False))
    said = differing(network.encode_document(TEXTS, show_progress_bar=False))
    assert not is_same(asked, said)
    for encoder in encoders(folder):
        model = encoder.model
        assert is_same(encoder.encode([model.query_prompt + text for text in TEXTS]), asked)
        assert is_same(encoder.encode([model.document_prompt + text for text in TEXTS]), said)
        assert not is_same(encoder.encode(TEXTS), asked)
