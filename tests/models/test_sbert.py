"""The same numbers as sentence-transformers, and nothing loaded that is of another kind."""

from __future__ import annotations

import inspect
import statistics
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers.models.bert.modeling_bert import BertEmbeddings

from pgsbert.errors import ModelLoadError, ModelOutputError
from pgsbert.models.sbert import detect_kind, load_encoder, load_reranker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgsbert.types import Encoder

MINILM_HASH = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DOCUMENTS = ["A database keeps rows.", "the lazy dog", "sign in again " * 20, ""]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("all-MiniLM-L6-v2", device="cpu")


def sentences() -> list[str]:
    """Fifty texts that people wrote, from nothing to far beyond 256 tokens."""
    docstrings = [inspect.getdoc(member) for _, member in sorted(vars(statistics).items()) if callable(member)]
    texts = [*DOCUMENTS, "naïve café, 東京 🦊", str(statistics.__doc__), *filter(None, docstrings)][:50]
    assert len(texts) == 50
    assert max(len(text.split()) for text in texts) > 256
    return texts


def test_minilm_gives_the_numbers_of_sentence_transformers(encoder: Encoder, minilm: Path) -> None:
    texts = sentences()
    reference = SentenceTransformer(str(minilm), device="cpu").encode(texts, show_progress_bar=False)
    ours = encoder.encode(texts)
    cosine = (ours * reference).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(reference, axis=1)
    assert ours.dtype == np.float32
    assert ours.flags.c_contiguous
    assert cosine.min() >= 0.99999
    assert np.abs(ours - reference).max() <= 1e-5


def test_minilm_says_what_to_register(encoder: Encoder) -> None:
    model = encoder.model
    assert (model.name, model.kind, model.hash) == ("all-MiniLM-L6-v2", "bi-encoder", MINILM_HASH)
    assert (model.dimensions, model.max_tokens, model.similarity) == (384, 256, "cosine")
    assert (model.query_prompt, model.document_prompt) == ("", "")


def test_no_texts_give_no_vectors_of_the_right_width(encoder: Encoder) -> None:
    assert encoder.encode([]).shape == (0, 384)


def test_loading_prints_nothing(minilm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load_encoder(str(minilm), device="cpu")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_cls_pooling_and_prompts_come_from_the_files(bi_encoder: Path) -> None:
    encoder = load_encoder(str(bi_encoder), device="cpu")
    reference = SentenceTransformer(str(bi_encoder), device="cpu").encode(DOCUMENTS, prompt="", show_progress_bar=False)
    assert encoder.model.query_prompt == "question: "
    assert encoder.model.document_prompt == "text: "
    assert encoder.model.similarity == "dot"
    assert encoder.model.max_tokens == 48
    assert np.ptp(reference, axis=0).max() > 0.1  # the texts differ, so equality says something
    assert np.abs(encoder.encode(DOCUMENTS) - reference).max() <= 1e-5


def test_default_prompt_is_not_put_before_texts(bi_encoder: Path) -> None:
    prompted = SentenceTransformer(str(bi_encoder), device="cpu").encode("the lazy dog", prompt="question: ")
    encoder = load_encoder(str(bi_encoder), device="cpu")
    given, by_caller = encoder.encode(["the lazy dog", "question: the lazy dog"])
    assert np.abs(given - prompted).max() > 0.01
    assert np.abs(by_caller - prompted).max() <= 1e-5


def test_plain_transformer_becomes_a_bi_encoder_by_mean_pooling(transformer: Path) -> None:
    assert detect_kind(transformer) == "bi-encoder"
    reference = SentenceTransformer(str(transformer), device="cpu").encode(DOCUMENTS)
    assert np.abs(load_encoder(str(transformer), device="cpu").encode(DOCUMENTS) - reference).max() <= 1e-5


@pytest.mark.parametrize("sigmoid", [False, True])
def test_reranker_gives_the_scores_of_the_cross_encoder(make_cross_encoder: Callable[..., Path], sigmoid: bool) -> None:
    folder = make_cross_encoder(labels=1, sigmoid=sigmoid)
    reference = CrossEncoder(str(folder), device="cpu").predict([("the fox", text) for text in DOCUMENTS])
    reranker = load_reranker(str(folder), device="cpu")
    scores = reranker.score("the fox", DOCUMENTS)
    assert reranker.model.kind == "cross-encoder"
    assert scores.dtype == np.float32
    assert scores.shape == (len(DOCUMENTS),)
    assert np.ptp(reference) > 0.01
    assert np.abs(scores - reference).max() <= 1e-5
    assert (scores.min() >= 0 and scores.max() <= 1) or not sigmoid
    assert reranker.score("the fox", []).shape == (0,)


def test_cross_encoder_saved_with_modules_is_still_one(make_cross_encoder: Callable[..., Path], tmp_path: Path) -> None:
    network = CrossEncoder(str(make_cross_encoder(labels=1)), device="cpu")
    network.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    assert (tmp_path / "saved" / "modules.json").exists()
    assert detect_kind(tmp_path / "saved") == "cross-encoder"
    scores = load_reranker(str(tmp_path / "saved"), device="cpu").score("the fox", DOCUMENTS)
    assert np.abs(scores - network.predict([("the fox", text) for text in DOCUMENTS])).max() <= 1e-5


def test_batches_beyond_memory_are_halved(
    bi_encoder: Path, make_cross_encoder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, reranker = load_encoder(str(bi_encoder), device="cpu"), load_reranker(str(make_cross_encoder(labels=1)))
    texts = sentences()[:9]
    vectors, scores = encoder.encode(texts), reranker.score("query", texts)
    sizes: list[int] = []
    forward = BertEmbeddings.forward

    def forward_in_little_memory(self: Any, input_ids: Any, *rest: Any, **options: Any) -> torch.Tensor:
        sizes.append(len(input_ids))
        if sizes[-1] > 2:
            return torch.empty(2**46)  # more than any machine has
        found: torch.Tensor = forward(self, input_ids, *rest, **options)
        return found

    monkeypatch.setattr(BertEmbeddings, "forward", forward_in_little_memory)
    assert np.abs(encoder.encode(texts) - vectors).max() <= 1e-5
    assert np.abs(reranker.score("query", texts) - scores).max() <= 1e-5
    assert max(sizes) > 2


def test_classifier_is_no_reranker(make_cross_encoder: Callable[..., Path]) -> None:
    with pytest.raises(ModelLoadError, match="is a classifier, a cross-encoder is needed here"):
        load_reranker(str(make_cross_encoder(labels=3)), device="cpu")


def test_cross_encoder_is_no_encoder(make_cross_encoder: Callable[..., Path]) -> None:
    with pytest.raises(ModelLoadError, match="is a cross-encoder, a bi-encoder is needed here"):
        load_encoder(str(make_cross_encoder(labels=1)))


def test_bi_encoder_is_no_reranker() -> None:
    with pytest.raises(ModelLoadError, match="is a bi-encoder, a cross-encoder is needed here"):
        load_reranker("all-MiniLM-L6-v2")


def test_numbers_that_are_not_finite_are_an_error(bi_encoder: Path) -> None:
    encoder = load_encoder(str(bi_encoder), device="cpu")
    network: SentenceTransformer = encoder._network  # break what was sound when loaded
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(ModelOutputError, match="not finite"):
        encoder.encode(["a text"])
