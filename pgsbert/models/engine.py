"""Run a loaded network: float32 arrays equal to sentence-transformers', from any thread, never NaN."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pgsbert.batching import estimate_tokens, plan_batches
from pgsbert.errors import ModelOutputError
from pgsbert.failures import is_out_of_memory
from pgsbert.models.images import MOST_PIXELS, decode, pixels
from pgsbert.types import Counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from tokenizers import Encoding

    from pgsbert.types import Model, Probabilities, Scores, Vectors

T = TypeVar("T")

IMAGES = 16  # at a time
BATCH = 32  # texts at a time inside sentence-transformers, which sorts them by length


class TorchEncoder:
    """A bi-encoder; calls from several threads run one after the other (a tokenizer cannot be shared)."""

    def __init__(self, network: SentenceTransformer, model: Model) -> None:
        self._network = network
        self._turn = threading.RLock()
        self.model = model
        self.engine = "torch"

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 (len(texts), dimensions), equal to SentenceTransformer.encode without a prompt.

        Raises ModelOutputError if a number is not finite.
        """
        return self.encode_counted(texts).vectors

    def encode_counted(self, texts: Sequence[str], /) -> Counted:
        """Return the same with the tokens of each whole text."""
        if not texts:
            nothing = np.empty((0, self.model.dimensions or 0), dtype=np.float32)
            return Counted(nothing, np.empty(0, dtype=np.int64), self.model.max_tokens)
        with self._turn, counting(self._network) as counts:
            vectors = self._encode(self._wrapped(texts))
            tokens = np.array([counts[text] for text in texts], dtype=np.int64)
        return Counted(vectors, tokens, self.model.max_tokens)

    def lengths(self, texts: Sequence[str], /) -> list[int]:
        """Return an estimate: its tokenizer cannot be used beside inference."""
        lengths = [estimate_tokens(text) for text in texts]
        limit = self.model.max_tokens
        return lengths if limit is None else [min(length, limit) for length in lengths]

    def _wrapped(self, texts: Sequence[str]) -> Sequence[object]:
        """Return texts in the form in which the network takes each for a text."""
        return list(texts)

    def _encode(self, inputs: Sequence[Any]) -> Vectors:
        with self._turn:
            vectors = in_memory(
                lambda size: self._network.encode(
                    inputs,
                    prompt="",  # not None: that would put the model's default prompt before every text
                    batch_size=size,
                    show_progress_bar=False,
                    convert_to_numpy=True,
                )
            )
        return finite(vectors, self.model.name)


class TorchImageEncoder(TorchEncoder):
    """A bi-encoder of texts and images; a text is never opened as an address or a path."""

    def encode_images(self, images: Sequence[bytes], /) -> Vectors:
        """Return float32 (len(images), dimensions), equal to SentenceTransformer.encode of the same files.

        Raises ImageError for what cannot be read, ModelOutputError if a number is not finite.
        """
        vectors = np.empty((len(images), self.model.dimensions or 0), dtype=np.float32)
        # few at a time, however many there are: decoded, an image takes up to hundreds of times its file
        for batch in plan_batches([pixels(image) for image in images], budget=MOST_PIXELS, most=IMAGES):
            vectors[batch] = self._encode([decode(images[i]) for i in batch])
        return vectors

    def _wrapped(self, texts: Sequence[str]) -> Sequence[object]:
        # releases that take paths and addresses for images take a text for what it is if it is called one; before,
        # every string was a text
        return [{"text": text} for text in texts] if hasattr(self._network, "modalities") else list(texts)


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
            scores = in_memory(
                lambda size: self._network.predict(
                    pairs, batch_size=size, show_progress_bar=False, convert_to_numpy=True
                )
            )
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
            probabilities = in_memory(
                lambda size: self._network.predict(
                    pairs, batch_size=size, show_progress_bar=False, convert_to_numpy=True, apply_softmax=True
                )
            )
        return finite(probabilities, self.model.name)


def in_memory(call: Callable[[int], T]) -> T:
    """Return what ``call`` returns for BATCH inputs at a time; where memory does not suffice, for half as many.

    Raises what a single input raises.
    """
    size = BATCH
    while True:
        try:
            return call(size)
        except Exception as error:  # torch names no set of errors
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2


@contextmanager
def counting(network: SentenceTransformer) -> Iterator[dict[str, int]]:
    """Give the tokens of each whole text, of the tokenisation that the network makes for itself in this block."""
    counts: dict[str, int] = {}
    preprocess = network.preprocess

    def counted(inputs: Sequence[Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        features: dict[str, Any] = preprocess(inputs, *arguments, **options)
        texts = [given if isinstance(given, str) else given["text"] for given in inputs]
        counts.update(zip(texts, _tokens(network, texts, features), strict=True))
        return features

    network.preprocess = counted  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        del network.preprocess


def _tokens(network: SentenceTransformer, texts: Sequence[str], features: dict[str, Any]) -> Iterable[int]:
    encodings = getattr(features, "encodings", None)
    if encodings is not None:
        special = network.tokenizer.num_special_tokens_to_add(pair=False)
        return [count_tokens(encoding, special) for encoding in encodings]
    if "offsets" in features:  # static embeddings: all texts in one row, of any length
        ends = [*features["offsets"].tolist()[1:], len(features["input_ids"])]
        return [end - start for start, end in zip(features["offsets"].tolist(), ends, strict=True)]
    # a tokenizer in Python hides what it cut off
    return [len(network.tokenizer(text, truncation=False, verbose=False)["input_ids"]) for text in texts]


def count_tokens(encoding: Encoding, special: int) -> int:
    """Return the tokens of a whole text, padding left out, ``special`` ones counted once.

    What did not fit is in further encodings, each with special tokens of its own.
    """
    rest = sum(part.attention_mask.count(1) - special for part in encoding.overflowing)
    return encoding.attention_mask.count(1) + rest


def finite(numbers: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the numbers as a contiguous float32 array; ModelOutputError if one is NaN or infinite."""
    if not np.isfinite(numbers).all():
        raise ModelOutputError(f"{name} gave numbers that are not finite (NaN or infinity): check its weights.")
    return np.ascontiguousarray(numbers, dtype=np.float32)
