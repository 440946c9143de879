"""Encode and score with ONNX Runtime: batches of nearly equal length, no torch, no transformers."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from pgsbert.batching import cheapest_batches
from pgsbert.errors import ModelExportError
from pgsbert.failures import is_out_of_memory
from pgsbert.models.engine import count_tokens, finite
from pgsbert.models.onnx.artefact import GRAPH, TOKENIZER, Manifest, read
from pgsbert.types import Counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnxruntime
    from numpy.typing import NDArray
    from tokenizers import Encoding, Tokenizer

    from pgsbert.types import Model, Probabilities, Scores, Vectors

# padded size of a batch: with two threads, 512 tokens were as fast as 2048 and took 30 MB less; more threads are used
# well by larger ones only, until those leave the processor's cache
TOKENS_A_THREAD = 256
LEAST_TOKENS, MOST_TOKENS = 512, 2048
MOST = 64  # texts a batch
# what a batch costs beside its tokens, in tokens: 13 were measured with MiniLM on two cores; more cores are used less
# well by small batches
OVERHEAD = 32


class OnnxEncoder:
    """A bi-encoder whose pooling and normalisation are in the graph; threads may share it."""

    engine = "onnx"

    def __init__(self, graph: Graph, model: Model | None = None) -> None:
        self._graph = graph
        self.model: Model = model or graph.manifest.model

    def encode(self, texts: Sequence[str], /) -> Vectors:
        """Return float32 (len(texts), dimensions), equal to SentenceTransformer.encode without a prompt.

        A model with fewer dimensions than the graph gives the first of them, as truncate_dim does.

        Raises ModelOutputError if a number is not finite.
        """
        return self.encode_counted(texts).vectors

    def encode_counted(self, texts: Sequence[str], /) -> Counted:
        """Return the same with the tokens of each whole text."""
        encodings = self._graph.tokenize(list(texts))
        vectors = finite(self._graph.run_tokenized(encodings, self.model.dimensions or 0), self.model.name)
        return Counted(vectors, self._graph.count(encodings), self._graph.manifest.truncate_at)

    def lengths(self, texts: Sequence[str], /) -> list[int]:
        """Return how many tokens of each text the network computes."""
        # few at a time: what a tokenizer returns is many times as large as the texts
        parts = (list(texts[start : start + MOST]) for start in range(0, len(texts), MOST))
        return [len(encoding.ids) for part in parts for encoding in self._graph.tokenize(part)]


class OnnxReranker:
    """A cross-encoder with one label, its activation in the graph; threads may share it."""

    engine = "onnx"

    def __init__(self, graph: Graph, model: Model | None = None) -> None:
        self._graph = graph
        self.model: Model = model or graph.manifest.model

    def score(self, query: str, documents: Sequence[str], /) -> Scores:
        """Return float32 (len(documents),), equal to CrossEncoder.predict.

        Raises ModelOutputError if a score is not finite.
        """
        return finite(self._graph.run([(query, document) for document in documents], 1)[:, 0], self.model.name)


class OnnxClassifier:
    """A cross-encoder with several labels, activation and softmax in the graph; threads may share it."""

    engine = "onnx"

    def __init__(self, graph: Graph, model: Model | None = None) -> None:
        self._graph = graph
        self.model: Model = model or graph.manifest.model

    def classify(self, premise: str, hypotheses: Sequence[str], /) -> Probabilities:
        """Return float32 (len(hypotheses), labels), equal to CrossEncoder.predict with apply_softmax.

        Raises ModelOutputError if a probability is not finite.
        """
        pairs = [(premise, hypothesis) for hypothesis in hypotheses]
        return finite(self._graph.run(pairs, len(self.model.labels or [])), self.model.name)


class Graph:
    """One exported network with its tokenizer."""

    def __init__(self, folder: Path, *, threads: int | None = None, is_checked: bool = False) -> None:
        self.manifest: Manifest = read(folder, is_checked=is_checked)
        try:
            self._tokenizer = _tokenizer(str(folder / TOKENIZER), self.manifest.truncate_at)
            self._session = _session(str(folder / GRAPH), threads)
        except ImportError as error:
            raise ModelExportError(f'{folder} needs ONNX Runtime ({error}): pip install "pgsbert[onnx]".') from error
        except Exception as error:  # ONNX Runtime names no set of errors
            raise ModelExportError(f"{folder / GRAPH} cannot be loaded: {error}. Export the model again.") from error
        self._budget = min(max(TOKENS_A_THREAD * (threads or os.cpu_count() or 1), LEAST_TOKENS), MOST_TOKENS)
        self._inputs = [wanted.name for wanted in self._session.get_inputs()]

    @property
    def width(self) -> int:
        """How many numbers the network gives for a text or pair."""
        return int(self._run_halving(self._tokenizer.encode_batch_fast(["text"])).shape[1])

    def run(self, inputs: list[str] | list[tuple[str, str]], width: int) -> NDArray[np.float32]:
        """Return float32 (len(inputs), width), the first numbers of each text or pair, in their order."""
        return self.run_tokenized(self.tokenize(inputs), width)

    def tokenize(self, inputs: list[str] | list[tuple[str, str]]) -> list[Encoding]:
        """Return the tokens of each text or pair, as many as the network takes."""
        return self._tokenizer.encode_batch_fast(inputs)

    def count(self, encodings: Sequence[Encoding]) -> NDArray[np.int64]:
        """Return int64 (len(encodings),): the tokens of each whole text, special ones once."""
        special = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        return np.array([count_tokens(encoding, special) for encoding in encodings], dtype=np.int64)

    def run_tokenized(self, encodings: Sequence[Encoding], width: int) -> NDArray[np.float32]:
        """Return float32 (len(encodings), width) for what was tokenized, in its order."""
        found = np.empty((len(encodings), width), dtype=np.float32)
        lengths = [len(encoding.ids) for encoding in encodings]
        for batch in cheapest_batches(lengths, budget=self._budget, most=MOST, overhead=OVERHEAD):
            found[batch] = self._run_halving([encodings[i] for i in batch])[:, :width]
        return found

    def _run_halving(self, encodings: list[Encoding]) -> NDArray[np.float32]:
        """Run one batch; where memory does not suffice, its halves."""
        feed = self._feed(encodings)
        try:
            [rows] = self._session.run(None, feed)
        except Exception as error:  # ONNX Runtime raises RuntimeException for a failed allocation
            if len(encodings) == 1 or not is_out_of_memory(error):
                raise
            middle = len(encodings) // 2
            return np.concatenate([self._run_halving(encodings[:middle]), self._run_halving(encodings[middle:])])
        return np.asarray(rows, dtype=np.float32)

    def _feed(self, encodings: list[Encoding]) -> dict[str, NDArray[np.int64]]:
        longest = max(len(encoding.ids) for encoding in encodings)
        shape = (len(encodings), longest)
        columns = {
            "input_ids": np.full(shape, self.manifest.pad_id, dtype=np.int64),
            "attention_mask": np.zeros(shape, dtype=np.int64),
            "token_type_ids": np.full(shape, self.manifest.pad_type_id, dtype=np.int64),
        }
        for row, encoding in enumerate(encodings):
            length = len(encoding.ids)
            where = slice(longest - length, None) if self.manifest.pad_left else slice(length)
            columns["input_ids"][row, where] = encoding.ids
            columns["attention_mask"][row, where] = 1
            columns["token_type_ids"][row, where] = encoding.type_ids
        return {name: columns[name] for name in self._inputs}


def _tokenizer(path: str, truncate_at: int | None) -> Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(path)
    if truncate_at is not None:
        tokenizer.enable_truncation(truncate_at, strategy="longest_first")
    return tokenizer


def _session(graph: str, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    # a thread that spins between two batches takes the core from tokenizer and database
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
