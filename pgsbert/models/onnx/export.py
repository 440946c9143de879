"""Export a model to ONNX with torch, in a process of its own: ``python -m ... SOURCE FOLDER NAME``.

The whole pipeline of modules becomes one graph: transformer with eager attention, pooling, dense heads, normalisation,
activation. The classic exporter is used, since ONNX Runtime's fusions know its patterns. What is exported is compared
with sentence-transformers on sentences of every kind before anybody uses it.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pgsbert.errors import ModelExportError, ModelLoadError, PgsbertError
from pgsbert.models.onnx.artefact import GRAPH, MANIFEST, TOKENIZER, Manifest
from pgsbert.models.onnx.session import Graph

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from pgsbert.types import Model

OPSET = 17
LARGE = 1_500_000_000  # bytes; a protobuf holds 2 GB
MAX_DIFFERENCE = 1e-5
LEAST_COSINE = 0.99999

# Every kind of text a tokenizer or a mask can go wrong on, short beside long in one batch.
SENTENCES = (
    "A database keeps rows.",
    "",
    " leading and trailing blanks \t\n",
    "a",
    "Reset your password from the login page, then sign in again.",
    "naïve café, Ångström, straße, ﬁne ligatures",
    "東京は日本の首都です。",
    "Москва — столица России",
    "مرحبا بالعالم",
    "emoji 🦊🍎 and a family 👩‍👩‍👧‍👦",
    "UPPER lower MiXeD snake_case camelCase kebab-case",
    "select * from t where a <> 'b' -- comment",
    "1234567890 3.14159 1e-5 0xFF",
    "[CLS] [SEP] [MASK] <s> </s> <pad> [UNK]",
    "line one\nline two\r\nline three\ttabbed",
    "zero\u200bwidth and non\u00a0breaking\u2003spaces",
    "a " * 40,
    "supercalifragilisticexpialidocious" * 8,
    "The quick brown fox jumps over the lazy dog. " * 60,
    "wörter " * 700,
)


def export(source: Path, folder: Path, name: str) -> Manifest:
    """Write the exported form of the model in ``source`` into the empty ``folder``; returns its manifest.

    Raises ModelLoadError if the model does not export, or its numbers differ from sentence-transformers'.
    """
    from pgsbert.models.files import detect_kind

    match detect_kind(source):
        case "bi-encoder":
            return _export_encoder(source, folder, name)
        case "cross-encoder":
            return _export_reranker(source, folder, name)
        case "classifier":
            return _export_classifier(source, folder, name)


def _export_encoder(source: Path, folder: Path, name: str) -> Manifest:
    from pgsbert.models.sbert import load_encoder, sentence_transformer

    encoder = load_encoder(str(source), device="cpu")
    if encoder.model.takes_images:
        raise ModelExportError(f"{name} takes images, and runs on torch alone (pgsbert[worker]).")
    expected = encoder.encode(SENTENCES)
    network = sentence_transformer(source, "cpu", attention="eager")

    def measured(graph: Graph) -> NDArray[np.float32]:
        return graph.run(list(SENTENCES), expected.shape[1])

    model = replace(encoder.model, name=name)
    return _write(network, list(SENTENCES[:5]), "sentence_embedding", folder, model, expected, measured)


def _export_reranker(source: Path, folder: Path, name: str) -> Manifest:
    from pgsbert.models.sbert import cross_encoder, load_reranker

    reranker = load_reranker(str(source), device="cpu")
    query = SENTENCES[4]
    expected = reranker.score(query, SENTENCES)[:, None]
    network = cross_encoder(source, "cpu", attention="eager")

    def measured(graph: Graph) -> NDArray[np.float32]:
        return graph.run([(query, text) for text in SENTENCES], 1)

    pairs = [(query, text) for text in SENTENCES[:5]]
    return _write(network, pairs, "scores", folder, replace(reranker.model, name=name), expected, measured)


def _export_classifier(source: Path, folder: Path, name: str) -> Manifest:
    from pgsbert.models.sbert import cross_encoder, load_classifier

    classifier = load_classifier(str(source), device="cpu")
    premise = SENTENCES[4]
    expected = classifier.classify(premise, SENTENCES)
    network = cross_encoder(source, "cpu", attention="eager")

    def measured(graph: Graph) -> NDArray[np.float32]:
        return graph.run([(premise, text) for text in SENTENCES], expected.shape[1])

    pairs = [(premise, text) for text in SENTENCES[:5]]
    return _write(network, pairs, "probabilities", folder, replace(classifier.model, name=name), expected, measured)


def _write(
    network: SentenceTransformer | CrossEncoder,
    sample: list[Any],
    output: str,
    folder: Path,
    model: Model,
    expected: NDArray[np.float32],
    measured: Callable[[Graph], NDArray[np.float32]],
) -> Manifest:
    unproved = _write_tokenizer(network, folder, model)
    reasons = []
    for fuse in (True, False):
        _write_graph(network, sample, output, folder / GRAPH, fuse=fuse)
        unproved.write(folder)
        difference = _difference(measured(Graph(folder)), expected, vectors=output == "sentence_embedding")
        if difference is not None:
            manifest = replace(unproved, parity=difference)
            manifest.write(folder)
            return manifest
        reasons.append("fused" if fuse else "not fused")
        (folder / MANIFEST).unlink()
    raise ModelLoadError(f"{model.name} gives other numbers in ONNX than in torch ({', '.join(reasons)}).")


def _write_tokenizer(network: SentenceTransformer | CrossEncoder, folder: Path, model: Model) -> Manifest:
    from tokenizers import Tokenizer

    tokenizer = network.tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelLoadError(f"{model.name} has a tokenizer without a fast form.")
    portable = Tokenizer.from_str(backend.to_str())
    portable.no_padding()
    portable.no_truncation()
    portable.save(str(folder / TOKENIZER))
    limit = network.max_seq_length or tokenizer.model_max_length
    return Manifest(
        model=model,
        truncate_at=limit if limit < 10**9 else None,
        pad_id=tokenizer.pad_token_id or 0,
        pad_type_id=getattr(tokenizer, "pad_token_type_id", 0),
        pad_left=tokenizer.padding_side == "left",
        parity=float("inf"),
        made_with=" ".join(f"{p} {importlib.metadata.version(p)}" for p in ("torch", "onnx", "onnxruntime")),
    )


def _write_graph(
    network: SentenceTransformer | CrossEncoder, sample: list[Any], output: str, path: Path, *, fuse: bool
) -> None:
    import torch

    features = network.preprocess(sample)
    names = [name for name, value in features.items() if isinstance(value, torch.Tensor)]

    class Whole(torch.nn.Module):
        """All modules of the network, as one function of tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.parts: Any = torch.nn.ModuleList(list(network))

        def forward(self, *tensors: torch.Tensor) -> Any:
            flowing: dict[str, Any] = {**dict(zip(names, tensors, strict=True)), "modality": "text"}
            for part in self.parts:
                flowing = part(flowing)
            return _result(network, flowing, output)

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, about branches that are the same for every text
        torch.onnx.export(
            Whole().eval(),
            tuple(features[name] for name in names),
            str(path),
            input_names=names,
            output_names=["result"],
            dynamic_axes={**{name: {0: "batch", 1: "tokens"} for name in names}, "result": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,
        )
    if fuse:
        _fuse(network, path)


def _result(network: SentenceTransformer | CrossEncoder, flowing: dict[str, Any], output: str) -> Any:
    if output == "sentence_embedding":
        return flowing[output]
    scores = cast("Any", network).activation_fn(flowing["scores"])
    return scores.softmax(dim=1) if output == "probabilities" else scores


def _fuse(network: SentenceTransformer | CrossEncoder, path: Path) -> None:
    """Fuse attention, layer norms and activations; what ONNX Runtime does not know stays as it is."""
    import logging

    from onnxruntime.transformers.optimizer import optimize_model

    logging.getLogger("onnxruntime.transformers").setLevel(logging.ERROR)
    config = cast("Any", network[0]).model.config
    fused = optimize_model(
        str(path),
        model_type="bert",
        num_heads=int(getattr(config, "num_attention_heads", 0) or 0),
        hidden_size=int(getattr(config, "hidden_size", 0) or 0),
        opt_level=1,
    )
    large = sum(len(tensor.raw_data) for tensor in fused.model.graph.initializer) > LARGE
    fused.save_model_to_file(str(path), use_external_data_format=large)


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32], *, vectors: bool) -> float | None:
    """Return the largest absolute difference, None if it is too large to be the same model."""
    difference = float(np.abs(found - expected).max())
    if vectors:
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        if ((found * expected).sum(axis=1) < LEAST_COSINE * lengths).any():
            return None
        # numbers of a model without a last normalisation have their own size
        difference /= max(1.0, float(np.abs(expected).max()))
    return difference if difference <= MAX_DIFFERENCE else None


def main() -> None:
    """Export for a worker: the reason why not, in one line on stderr, and exit code 1."""
    source, folder, name = sys.argv[1:]
    try:
        export(Path(source), Path(folder), name)
    except PgsbertError as error:
        sys.exit(str(error))
    except Exception as error:  # whatever torch or ONNX say of a model they cannot export
        sys.exit(f"{name} does not export: {type(error).__name__}: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
