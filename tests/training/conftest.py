"""A toy language in which a word decides the class, and a tiny random encoder that can learn it within seconds."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizer

from pgsbert.training.data import Source
from pgsbert.training.fit import Practice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WHO = ("dog", "cat", "horse", "child", "man", "woman", "bird", "cook")
DOES = ("runs", "sleeps", "eats", "sings", "waits", "plays", "falls", "reads")
WHERE = ("park", "house", "street", "garden", "school", "forest")
# a cue word tells the class, as a negation does in real data
HYPOTHESES = {
    "entailment": "a {who} {does} somewhere",
    "neutral": "maybe {who} {does}",
    "contradiction": "no {who} {does}",
}


def toy_pairs(number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    pairs: dict[tuple[str, str], dict[str, Any]] = {}
    while len(pairs) < number:
        who, does, where = chance.choice(WHO), chance.choice(DOES), chance.choice(WHERE)
        for label, hypothesis in HYPOTHESES.items():
            premise, text = f"a {who} {does} in the {where}", hypothesis.format(who=who, does=does)
            pairs[premise, text] = {"premise": premise, "hypothesis": text, "label": label}
    return list(pairs.values())[:number]


def toy_scores(number: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences are as similar as they share words: 0, 1 or 2 of two."""
    chance = random.Random(seed)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    while len(rows) < number:
        one, other = (chance.choice(WHO), chance.choice(DOES)), (chance.choice(WHO), chance.choice(DOES))
        if chance.random() < 0.5:
            other = (one[0], other[1])
        first, second = f"the {one[0]} {one[1]}", f"the {other[0]} {other[1]} today"
        rows[first, second] = {
            "sentence1": first,
            "sentence2": second,
            "score": sum(a == b for a, b in zip(one, other, strict=True)),
        }
    return list(rows.values())


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def plain_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random transformer without pooling, which knows the words of the toy language."""
    folder = tmp_path_factory.mktemp("base") / "encoder"
    # not a trained vocabulary: that would be another one in each process, and another random model with it
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WHO, *DOES, *WHERE]
    words += ["a", "the", "in", "is", "where", "no", "maybe", "somewhere", "today", "house", "question"]
    tokenizer: Any = BertTokenizer(vocab={word: number for number, word in enumerate(dict.fromkeys(words))})
    tokenizer.model_max_length = 32
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=32,
        initializer_range=0.2,
    )
    torch.manual_seed(3)
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(plain_encoder: Path) -> Path:
    """A tiny random bi-encoder: mean pooling, embeddings of length 1."""
    folder = plain_encoder.with_name("bi-encoder")
    module = Transformer(str(plain_encoder))
    pooling = Pooling(module.get_embedding_dimension(), pooling_mode="mean")
    network = SentenceTransformer(modules=[module, pooling, Normalize()], device="cpu")
    network.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files of the toy language: train and dev pairs, and scores on a scale of 0 to 2."""
    folder = tmp_path_factory.mktemp("toy")
    pairs, scores = toy_pairs(480), toy_scores(400)
    return {
        "train": write_rows(folder / "train.jsonl", pairs[:360]),
        "dev": write_rows(folder / "dev.jsonl", pairs[360:]),
        "scores": write_rows(folder / "scores.jsonl", scores[:300]),
        "score_dev": write_rows(folder / "score_dev.jsonl", scores[300:]),
    }


@pytest.fixture
def practice(tmp_path: Path) -> Callable[..., Practice]:
    """Give the usual practice of these tests: fast, on the CPU."""

    def make(name: str = "model", **changed: Any) -> Practice:
        usual = {"batch_size": 16, "learning_rate": 5e-3, "head_learning_rate": 5e-3, "max_length": 24, "device": "cpu"}
        return Practice(out=tmp_path / name, **{**usual, **changed})

    return make


def file(path: str) -> Source:
    return Source(data=path)
