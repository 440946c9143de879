"""Token counts are those of the model's own tokenizer, on each engine, and no character is ever split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

from pgsbert.models.engine import TorchEncoder, counting
from pgsbert.models.load import Runtime, load
from pgsbert.models.onnx.export import SENTENCES
from pgsbert.testing import FakeEncoder
from pgsbert.types import Model
from tests.models.test_sbert import sentences

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.types import Encoder, Engine

LIMIT = 256
MULTIBYTE = [
    "👩‍👩‍👧‍👦 family " * 200,
    "🦊 " * 600,
    "e\u0301a\u0308 " * 300,
    "東京は日本の首都です。" * 60,
    "مرحبا بالعالم " * 150,
    "\U0001d518\U0001d52b " * 200,
]
AROUND = [*(f"{'word ' * count}" for count in (0, 1, 253, 254, 255, 600)), "a", " \t\n"]
TEXTS = [*SENTENCES, *MULTIBYTE, *AROUND]


@pytest.fixture(scope="module", params=["onnx", "torch"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    engine: Engine = request.param
    loaded = load(Model(name="all-MiniLM-L6-v2", kind="bi-encoder"), Runtime(engine=engine))
    assert loaded.engine == engine
    return cast("Encoder", loaded)


def whole(folder: Path, texts: list[str]) -> list[int]:
    """Return what the model's tokenizer counts when nothing is cut off."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


def test_each_engine_counts_as_the_tokenizer_does(encoder: Encoder, minilm: Path) -> None:
    texts = [*TEXTS, *sentences()[:80]]
    counted = encoder.encode_counted(texts)
    assert counted.tokens.tolist() == whole(minilm, texts)
    assert counted.limit == encoder.model.max_tokens == LIMIT
    # some fit exactly, some are one too long
    assert {LIMIT, LIMIT + 1} <= set(counted.tokens.tolist())


def test_the_vectors_beside_the_counts_are_the_same(encoder: Encoder) -> None:
    assert np.abs(encoder.encode_counted(SENTENCES).vectors - encoder.encode(SENTENCES)).max() <= 1e-6
    assert encoder.encode_counted([]).tokens.shape == (0,)


def test_a_text_of_many_bytes_is_cut_where_sentence_transformers_cuts_it(encoder: Encoder, minilm: Path) -> None:
    # cut by us, before or within a character, it would have other tokens and another vector
    network = SentenceTransformer(str(minilm), device="cpu")
    assert (encoder.encode_counted(MULTIBYTE).tokens > LIMIT).sum() >= 4
    assert np.abs(encoder.encode(MULTIBYTE) - network.encode(MULTIBYTE, show_progress_bar=False)).max() <= 1e-5


def test_static_embeddings_are_counted_and_never_truncated(minilm: Path) -> None:
    tokenizer = Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_truncation()
    network = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=16)], device="cpu")
    encoder = TorchEncoder(network, Model(name="static", kind="bi-encoder", dimensions=16))
    counted = encoder.encode_counted(TEXTS)
    assert counted.limit is None
    # no special tokens
    assert counted.tokens.tolist() == [count - 2 for count in whole(minilm, TEXTS)]


def test_a_tokenizer_in_python_is_asked_again_for_the_whole(minilm: Path) -> None:
    network = SentenceTransformer(str(minilm), device="cpu")
    first: Any = network[0]
    preprocess = first.preprocess
    # what a slow tokenizer hands back is a plain dictionary
    first.preprocess = lambda *given, **options: dict(preprocess(*given, **options))
    with counting(network) as counts:
        network.encode(AROUND, show_progress_bar=False)
    assert counts == dict(zip(AROUND, whole(minilm, AROUND), strict=True))


def test_the_tokens_of_the_fake_model_are_words() -> None:
    counted = FakeEncoder(8).encode_counted(["", "two words", "word " * 300, "日本 語"])
    assert (counted.tokens.tolist(), counted.limit) == ([0, 2, 300, 2], 256)
