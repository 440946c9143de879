"""Run a loaded network: float32 arrays equal to sentence-transformers', from any thread, never NaN."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from pgsbert.errors import ModelOutputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from pgsbert.types import Model, Probabilities, Scores, Vectors

BATCH = 32  # texts at a time inside sentence-transformers, which sorts them by length


class TorchEncoder:
    """A bi-encoder; calls from several threads run one after the other (a tokenizer cannot be shared)."""

    def __init__(self, network: SentenceTransformer, model: Model) -> None:
        self._network = network
        self._turn = threading.Lock()
        self.model = model
        self.engine = "torch"

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 (len(texts), dimensions), equal to SentenceTransformer.encode without a prompt.

        Raises ModelOutputError if a number is not finite.
        """
        if not texts:
            return np.empty((0, self.model.dimensions or 0), dtype=np.float32)
        with self._turn:
            vectors = self._network.encode(
                list(texts),
                prompt="",  # not None: that would put the model's default prompt before every text
                batch_size=BATCH,
                show_progress_bar=False,
                convert_to_numpy=True,
            )
        return finite(vectors, self.model.name)


class TorchReranker:
    """A cross-encoder with one label; calls from several threads run one after the other."""

    def __init__(self, network: CrossEncoder, model: Model) -> None:
        self._network = network
        self._turn = threading.Lock()
        self.model = model
        self.engine = "torch"

    def score(self, query: str, documents: Sequence[str], /) -> Scores:
        """Return float32 (len(documents),), equal to CrossEncoder.predict (own activation, own prompt).

        Raises ModelOutputError if a score is not finite.
        """
        if not documents:
            return np.empty(0, dtype=np.float32)
        pairs = [(query, document) for document in documents]
        with self._turn:
            scores = self._network.predict(pairs, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
        return finite(scores, self.model.name)


class TorchClassifier:
    """A cross-encoder with several labels; calls from several threads run one after the other."""

    def __init__(self, network: CrossEncoder, model: Model) -> None:
        self._network = network
        self._turn = threading.Lock()
        self.model = model
        self.engine = "torch"

    def classify(self, premise: str, hypotheses: Sequence[str], /) -> Probabilities:
        """Return float32 (len(hypotheses), labels), equal to CrossEncoder.predict with apply_softmax.

        Raises ModelOutputError if a probability is not finite.
        """
        if not hypotheses:
            return np.empty((0, len(self.model.labels or [])), dtype=np.float32)
        pairs = [(premise, hypothesis) for hypothesis in hypotheses]
        with self._turn:
            probabilities = self._network.predict(
                pairs, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True, apply_softmax=True
            )
        return finite(probabilities, self.model.name)


def finite(numbers: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the numbers as a contiguous float32 array; ModelOutputError if one is NaN or infinite."""
    if not np.isfinite(numbers).all():
        raise ModelOutputError(f"{name} gave numbers that are not finite (NaN or infinity): check its weights.")
    return np.ascontiguousarray(numbers, dtype=np.float32)
