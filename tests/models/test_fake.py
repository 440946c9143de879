"""The stand-ins: the same numbers everywhere, near where words are shared, bad when told to be."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from pgsbert.testing import FakeEncoder, FakeReranker

GOLDEN = [0.699999988079071, 0.699999988079071, 0.10000000149011612, -0.10000000149011612]


def in_new_process(code: str, **limits: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=limits.get("timeout", 60),
    )


def test_numbers_are_the_same_on_every_machine() -> None:
    vector = FakeEncoder(4).encode(["The quick brown fox"])[0]
    assert vector.tolist() == GOLDEN


def test_vectors_have_length_one_and_the_asked_width() -> None:
    vectors = FakeEncoder(100).encode(["", "one", "two words", "three " * 1000])
    assert vectors.shape == (4, 100)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert FakeEncoder().encode([]).shape == (0, 384)


def test_texts_that_share_words_are_near_and_no_two_are_equal() -> None:
    texts = ["reset my password", "password reset my", "reset the password", "rows of a table"]
    vectors = FakeEncoder().encode(texts)
    cosine = vectors @ vectors.T
    assert 0.9 < cosine[0, 1] < 1
    assert 0.5 < cosine[0, 2] < 0.9
    assert cosine[0, 3] < 0.3


def test_a_batch_gives_what_its_texts_give_alone() -> None:
    texts = [f"text {n} of {n % 7}" for n in range(200)]
    alone = np.vstack([FakeEncoder().encode([text]) for text in texts])
    assert np.array_equal(FakeEncoder().encode(texts), alone)


def test_calls_and_texts_are_counted() -> None:
    encoder, reranker = FakeEncoder(8), FakeReranker()
    encoder.encode(["a", "b"])
    encoder.encode(["c"])
    reranker.score("a", ["b", "c"])
    assert (encoder.calls, encoder.texts, reranker.calls) == (2, 3, 1)


def test_reranker_puts_the_document_with_more_words_first() -> None:
    scores = FakeReranker().score("reset a password", ["a table", "reset a password", "none", "none at all"])
    assert np.argmax(scores) == 1
    assert len(set(scores.tolist())) == 4
    assert np.array_equal(
        scores,
        FakeReranker().score("reset a password", ["a table", "reset a password", "none", "none at all"]),
    )


def test_marked_text_raises() -> None:
    with pytest.raises(RuntimeError, match="fake:raise"):
        FakeEncoder().encode(["good", "bad fake:raise"])
    with pytest.raises(RuntimeError, match="fake:raise"):
        FakeReranker().score("query", ["fake:raise"])


def test_marked_text_is_slow() -> None:
    started = time.monotonic()
    FakeEncoder().encode(["fake:slow"])
    assert time.monotonic() - started >= 0.2


def test_marked_text_ends_the_process() -> None:
    ended = in_new_process("from pgsbert.testing import FakeEncoder; FakeEncoder().encode(['fake:exit'])")
    assert ended.returncode == 70


def test_marked_text_hangs() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        in_new_process("from pgsbert.testing import FakeEncoder; FakeEncoder().encode(['fake:hang'])", timeout=2)


def test_importing_loads_no_model_library() -> None:
    ended = in_new_process(
        "import sys, pgsbert, pgsbert.models.fake, pgsbert.models.load, pgsbert.testing\n"
        "print({'torch', 'transformers', 'sentence_transformers', 'huggingface_hub'} & set(sys.modules))"
    )
    assert ended.stdout.strip() == "set()", ended.stderr
