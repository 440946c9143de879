"""Models without a model: the same numbers on every machine, texts that share words are near, no torch.

Marker texts make a worker's bad days happen: ``fake:raise`` raises what may pass, ``fake:refuse`` what
will come again, ``fake:exit`` ends the process with 70, ``fake:hang`` never returns, ``fake:slow`` takes 0.2 s.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from functools import lru_cache
from itertools import accumulate, islice
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from pgsbert.batching import estimate_tokens
from pgsbert.types import Counted, Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from pgsbert.types import Probabilities, Scores, Vectors

    FakeModel: TypeAlias = "FakeEncoder | FakeReranker | FakeClassifier"

MAX_WORDS = 256  # words after these count for the whole-text part only
OWN_SHARE = 0.25  # length of the whole-text part; each word has length 1
LONG = 10_000  # characters
CHUNK = 64  # texts at a time: what is gathered stays in the cache
WORDS = re.compile(r"\w+")
LABELS = ("contradiction", "entailment", "neutral")


class FakeEncoder:
    """A bi-encoder of hashed words: the sum of one sign vector a word and a short one for the text as such.

    Everything up to the last square root and division is exact, so results do not depend on the machine.
    """

    engine = "fake"

    def __init__(self, dimensions: int = 384) -> None:
        self.model = Model(
            name=f"fake-{dimensions}",
            kind="bi-encoder",
            dimensions=dimensions,
            max_tokens=MAX_WORDS,
            similarity="cosine",
            modalities=["text", "image"],
        )
        self.calls = 0
        self.texts = 0

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 (len(texts), dimensions) of length 1; marker texts do what they say."""
        self.calls += 1
        self.texts += len(texts)
        obey(texts)
        vectors = np.empty((len(texts), self.model.dimensions or 0), dtype=np.float32)
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            vectors[start : start + CHUNK] = _encode(chunk, vectors.shape[1])
        return vectors

    def encode_counted(self, texts: Sequence[str], /) -> Counted:
        """Return the same with the number of words, which are this model's tokens."""
        tokens = np.array([sum(1 for _ in WORDS.finditer(text)) for text in texts], dtype=np.int64)
        return Counted(self.encode(texts), tokens, MAX_WORDS)

    def lengths(self, texts: Sequence[str], /) -> list[int]:
        """Return an estimate."""
        return [estimate_tokens(text) for text in texts]

    def encode_images(self, images: Sequence[bytes], /) -> Vectors:
        """Return for each "image" what ``encode`` returns for its bytes, read as a text: that text finds it."""
        return self.encode([image.decode("utf-8", "replace") for image in images])


class FakeReranker:
    """A cross-encoder that scores the share of the query's words found in the document; ties: a hash."""

    engine = "fake"

    def __init__(self) -> None:
        self.model = Model(name="fake-reranker", kind="cross-encoder")
        self.calls = 0

    def score(self, query: str, documents: Sequence[str], /) -> Scores:
        """Return float32 (len(documents),), each from 0 to 1.001; marker texts do what they say."""
        self.calls += 1
        obey([query, *documents])
        return np.array([_share(query, document) for document in documents], dtype=np.float32)


class FakeClassifier:
    """A classifier of three labels: words of the premise are entailed, unless one of the two texts says not."""

    engine = "fake"

    def __init__(self) -> None:
        self.model = Model(name="fake-classifier", kind="classifier", labels=list(LABELS))
        self.calls = 0

    def classify(self, premise: str, hypotheses: Sequence[str], /) -> Probabilities:
        """Return float32 (len(hypotheses), 3), each row with sum 1; marker texts do what they say."""
        self.calls += 1
        obey([premise, *hypotheses])
        return np.array([_judge(premise, hypothesis) for hypothesis in hypotheses], dtype=np.float32).reshape(-1, 3)


def fake(name: str) -> FakeModel | None:
    """Return ``fake-384`` (or another width), ``fake-reranker`` or ``fake-classifier``; None for any other name."""
    if name == "fake-reranker":
        return FakeReranker()
    if name == "fake-classifier":
        return FakeClassifier()
    found = re.fullmatch(r"fake-([1-9]\d{0,4})", name)
    return FakeEncoder(int(found[1])) if found else None


def obey(texts: Iterable[str]) -> None:
    """Do what marker texts say, in their order."""
    for text in texts:
        if "fake:" not in text:
            continue
        if "fake:raise" in text:
            raise RuntimeError("fake:raise was in a text")
        if "fake:refuse" in text:
            raise ValueError("fake:refuse was in a text")
        if "fake:exit" in text:
            os._exit(70)
        while "fake:hang" in text:
            time.sleep(3600)
        if "fake:slow" in text:
            time.sleep(0.2)


def _encode(texts: Sequence[str], dimensions: int) -> Vectors:
    """Sum signs as counts of one-bits: a sum of k signs is twice the ones less k."""
    size = (dimensions + 7) // 8
    words = [_words(text) for text in texts]
    starts = [0, *accumulate(map(len, words))][:-1]
    bits = _unpack([_word(word, size) for of_text in words for word in of_text], dimensions)
    sums = np.add.reduceat(bits, starts, axis=0, dtype=np.uint16).astype(np.float32) * 2
    sums -= np.array([len(of_text) for of_text in words], dtype=np.float32)[:, None]
    whole = _unpack([_digest("text:" + text, size) for text in texts], dimensions)
    sums += (whole * np.float32(2) - 1) * np.float32(OWN_SHARE)
    lengths = np.sqrt(np.einsum("ij,ij->i", sums, sums, dtype=np.float64))
    vectors: Vectors = sums / lengths.astype(np.float32)[:, None]
    return vectors


def _words(text: str) -> list[str]:
    if len(text) < LONG:
        return WORDS.findall(text.lower())[:MAX_WORDS] or [""]
    # the words of a text of many megabytes would take many times that
    return [found[0] for found in islice(WORDS.finditer(text.lower()), MAX_WORDS)] or [""]


@lru_cache(maxsize=1 << 16)
def _word(word: str, size: int) -> bytes:
    return _digest("word:" + word, size)


def _digest(text: str, size: int) -> bytes:
    return hashlib.shake_128(text.encode()).digest(size)


def _unpack(digests: list[bytes], dimensions: int) -> NDArray[np.uint8]:
    """Return uint8 (len(digests), dimensions) of 0 and 1, one a bit."""
    packed = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), -1)
    return np.unpackbits(packed, axis=1, count=dimensions)


def _share(query: str, document: str) -> float:
    asked = set(WORDS.findall(query.lower()))
    found = asked & set(WORDS.findall(document.lower()))
    digest = hashlib.blake2b(f"{query}\0{document}".encode(), digest_size=4).digest()
    return len(found) / max(len(asked), 1) + int.from_bytes(digest) / 2**32 / 1000


def _judge(premise: str, hypothesis: str) -> tuple[float, float, float]:
    """Return the probabilities of contradiction, entailment and neutral: eighths of the words, so sums are exact."""
    given, claimed = set(WORDS.findall(premise.lower())), set(WORDS.findall(hypothesis.lower()))
    shared = round(8 * len(given & claimed) / max(len(claimed), 1)) / 8
    agrees = ("not" in given) == ("not" in claimed)
    return (0.0 if agrees else shared, shared if agrees else 0.0, 1 - shared)
