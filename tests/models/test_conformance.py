"""Every kind of bi-encoder and cross-encoder people use, on each engine, against sentence-transformers.

The models are tiny and random, in sentence-transformers' own layout: what is shown is that the files are read right,
not that such a model searches well. Two controls show that the comparison would notice a wrong pooling or mask.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from pgsbert import docstrings
from pgsbert.models.onnx.export import export
from pgsbert.models.onnx.session import Graph, OnnxEncoder, OnnxReranker
from pgsbert.models.sbert import load_encoder, load_reranker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZE = 32


class Architecture(NamedTuple):
    """Names of transformers' classes, and what their configuration needs beside the usual."""

    model: str
    tokenizer: str
    config: dict[str, Any]


BERT = {"hidden_size": SIZE, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
ARCHITECTURES = {
    "BERT": Architecture("Bert", "BertTokenizer", BERT),
    "RoBERTa": Architecture("Roberta", "RobertaTokenizer", BERT),
    "DistilBERT": Architecture(
        "DistilBert", "DistilBertTokenizer", {"dim": SIZE, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    ),
    "MPNet": Architecture("MPNet", "MPNetTokenizer", BERT),
    "XLM-RoBERTa": Architecture("XLMRoberta", "XLMRobertaTokenizer", BERT),
    "ModernBERT": Architecture("ModernBert", "RobertaTokenizer", {**BERT, "global_attn_every_n_layers": 2}),
}


def sentences() -> list[str]:
    """Two hundred texts that people wrote, of all lengths, beyond what the models take too."""
    found = list(dict.fromkeys(entry.text for entry in islice(docstrings.collect(), 400)))[:200]
    assert len(found) == 200
    return found


TEXTS = sentences()


def transformer(name: str, folder: Path, head: str = "Model", **settings: Any) -> Path:
    """Save a random transformer with a tokenizer trained on the texts; std 0.3, or all texts would be alike."""
    architecture = ARCHITECTURES[name]
    blank: Any = getattr(transformers, architecture.tokenizer)()
    tokenizer = blank.train_new_from_iterator([TEXTS], vocab_size=3000)
    tokenizer.model_max_length = 32
    config = getattr(transformers, f"{architecture.model}Config")(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        max_position_embeddings=80,
        **architecture.config,
    )
    config.num_labels = settings.pop("num_labels", 1)
    torch.manual_seed(11)
    network = getattr(transformers, f"{architecture.model}{head}")(config).eval()
    with torch.no_grad():
        for parameter_name, parameter in network.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.8 if "embeddings" in parameter_name else 0.3)
            elif "bias" in parameter_name:
                parameter.normal_(0.0, 0.05)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def bi_encoder(name: str, folder: Path, pooling: str, heads: Sequence[str] = ()) -> Path:
    module = Transformer(str(transformer(name, folder / "transformer")))
    modules: list[Any] = [module, Pooling(SIZE, pooling_mode=pooling)]
    torch.manual_seed(12)
    modules += [
        Normalize() if head == "Normalize" else Dense(SIZE, 24, activation_function=torch.nn.Tanh()) for head in heads
    ]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def reference(folder: Path) -> np.ndarray[Any, Any]:
    network = SentenceTransformer(str(folder), device="cpu")
    expected: np.ndarray[Any, Any] = network.encode(TEXTS, show_progress_bar=False)
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert (unit @ unit.T).mean() < 0.9  # the texts differ, so equality says something
    return expected


def is_same(ours: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> bool:
    cosine = (ours * expected).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    scale = max(1.0, float(np.abs(expected).max()))
    return bool(cosine.min() >= 0.99999 and np.abs(ours - expected).max() <= 1e-5 * scale)


def onnx(folder: Path, target: Path) -> Graph:
    target.mkdir()
    export(folder, target, folder.name)
    return Graph(target)


KINDS = [
    *((name, "mean", ("Normalize",)) for name in ARCHITECTURES),
    ("BERT", "cls", ()),
    ("BERT", "max", ()),
    ("BERT", "lasttoken", ()),
    ("DistilBERT", "mean", ("Dense",)),
    ("RoBERTa", "cls", ("Dense", "Normalize")),
]


@pytest.mark.parametrize(
    ("name", "pooling", "heads"), KINDS, ids=lambda value: "-".join([value] if isinstance(value, str) else value)
)
def test_bi_encoder(name: str, pooling: str, heads: tuple[str, ...], tmp_path: Path) -> None:
    folder = bi_encoder(name, tmp_path, pooling, heads)
    expected = reference(folder)
    assert is_same(load_encoder(str(folder), device="cpu").encode(TEXTS), expected)
    assert is_same(OnnxEncoder(onnx(folder, tmp_path / "onnx")).encode(TEXTS), expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_reranker(name: str, tmp_path: Path) -> None:
    folder = transformer(name, tmp_path / "model", "ForSequenceClassification")
    query = TEXTS[7]
    expected = CrossEncoder(str(folder), device="cpu").predict([(query, text) for text in TEXTS])
    assert np.ptp(expected) > 0.01
    for reranker in (load_reranker(str(folder), device="cpu"), OnnxReranker(onnx(folder, tmp_path / "onnx"))):
        assert np.abs(reranker.score(query, TEXTS) - expected).max() <= 1e-5


def test_the_comparison_notices_a_wrong_pooling(tmp_path: Path) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean")
    other = bi_encoder("BERT", tmp_path / "other", "max")
    assert not is_same(load_encoder(str(other), device="cpu").encode(TEXTS), reference(folder))


def test_the_comparison_notices_a_wrong_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bi_encoder("BERT", tmp_path, "mean")
    graph = onnx(folder, tmp_path / "onnx")
    feed = graph._feed

    def unmasked(encodings: list[Any]) -> dict[str, Any]:
        fed = feed(encodings)
        return {**fed, "attention_mask": np.ones_like(fed["attention_mask"])}

    monkeypatch.setattr(graph, "_feed", unmasked)
    assert not is_same(OnnxEncoder(graph).encode(TEXTS), reference(folder))
