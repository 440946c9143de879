"""What the conformance tests share: tiny random models of every kind in sentence-transformers' layout, and the check.

The texts are docstrings of the standard library. Weights have a standard deviation of at least 0.3, so that different
texts have different vectors; with the libraries' own, 0.02, all would be nearly equal and equality would say nothing.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer

from pgsbert import docstrings
from pgsbert.models.onnx.export import export
from pgsbert.models.onnx.session import Graph, OnnxEncoder
from pgsbert.models.sbert import load_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from pgsbert.types import Encoder

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
# what differs between texts; positions and kinds of tokens are the same in all
WORDS = ("word_embeddings", "tok_embeddings", "embed_tokens")
# decoders: what a token sees is left of it, so the last one stands for the text, and padding comes first
QWEN3 = Architecture("Qwen3", "Qwen2Tokenizer", {**BERT, "num_key_value_heads": 2, "head_dim": 8})


Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.float32]]"


def sentences() -> list[str]:
    """Two hundred texts that people wrote, of all lengths, beyond what the models take too."""
    found = list(dict.fromkeys(entry.text for entry in islice(docstrings.collect(), 400)))[:200]
    assert len(found) == 200
    return found


TEXTS = sentences()
# for a real model, which takes long: most of them short, some beyond its limit
SENTENCES = [text if place % 20 == 0 else text.split("\n\n")[0] for place, text in enumerate(TEXTS)]


def transformer(name: str, folder: Path, head: str = "Model", **settings: Any) -> Path:
    """Save a random transformer with a tokenizer trained on the texts; std 0.3, or all texts would be alike."""
    architecture = {**ARCHITECTURES, "Qwen3": QWEN3}[name]
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
                parameter.normal_(0.0, 1.0 if any(word in parameter_name for word in WORDS) else 0.3)
            elif "bias" in parameter_name:
                parameter.normal_(0.0, 0.05)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if name == "Qwen3":
        edit_json(folder / "tokenizer_config.json", padding_side="left")
    return folder


def edit_json(path: Path, **values: object) -> None:
    """Change some values of a file with a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def bi_encoder(name: str, folder: Path, pooling: str, heads: Sequence[str] = (), **settings: Any) -> Path:
    module = Transformer(str(transformer(name, folder / "transformer")))
    modules: list[Any] = [module, Pooling(SIZE, pooling_mode=pooling)]
    torch.manual_seed(12)
    modules += [
        Normalize() if head == "Normalize" else Dense(SIZE, 24, activation_function=torch.nn.Tanh()) for head in heads
    ]
    network = SentenceTransformer(modules=modules, device="cpu", **settings)
    network.save_pretrained(str(folder / "saved"), create_model_card=False)
    return folder / "saved"


def reference(folder: Path, **settings: Any) -> Numbers:
    """What sentence-transformers gives for the texts; ``settings`` are those of SentenceTransformer."""
    network = SentenceTransformer(str(folder), device="cpu", **settings)
    return differing(network.encode(TEXTS, show_progress_bar=False))


def differing(expected: Numbers) -> Numbers:
    unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert (unit @ unit.T).mean() < 0.9  # the texts differ, so equality says something
    return expected


def is_same(ours: Numbers, expected: Numbers) -> bool:
    """Cosine at least 0.99999 for each text, and no number differs by more than 1e-5, of vectors not of length 1 in
    units of their largest number."""
    cosine = (ours * expected).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(expected, axis=1)
    scale = max(1.0, float(np.abs(expected).max()))
    return bool(cosine.min() >= 0.99999 and np.abs(ours - expected).max() <= 1e-5 * scale)


def onnx(folder: Path, target: Path) -> Graph:
    """Export the model as a worker does, in this process, and open it."""
    target.mkdir(parents=True)
    export(folder, target, folder.name)
    return Graph(target)


def encoders(folder: Path) -> Iterator[Encoder]:
    """The bi-encoder on each engine."""
    yield load_encoder(str(folder), device="cpu")
    yield OnnxEncoder(onnx(folder, folder.with_name("onnx")))
