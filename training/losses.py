"""The classification objective of SBERT (Reimers and Gurevych 2019, figure 1), in the open.

Two texts go through the same encoder. Their embeddings u and v are put side by side in one of several ways, a small
feed-forward net turns that into one logit a class, and the loss is the cross-entropy of their softmax. At search time
the net is thrown away and only the encoder is used. The other objectives are sentence-transformers' own.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pgsbert.training.pairs import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

PARTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "u": lambda u, _v: u,
    "v": lambda _u, v: v,
    "|u-v|": lambda u, v: (u - v).abs(),
    "u*v": lambda u, v: u * v,
}


def concatenate(u: Tensor, v: Tensor, parts: Sequence[str]) -> Tensor:
    """Put the named parts of u and v side by side: (batch, d) twice becomes (batch, len(parts) * d)."""
    return torch.cat([PARTS[part](u, v) for part in parts], dim=1)


class Classifier(nn.Module):
    """The net on top of u and v: ``hidden`` layers with ReLU, none for the paper's single linear layer.

    u and v are multiplied by ``scale`` first: sqrt(dimensions) for an encoder whose embeddings have length 1, so that
    a component is about 1, as it is in the paper's models, and not 0.05, from which a linear layer learns little.
    """

    def __init__(
        self,
        dimensions: int,
        *,
        parts: Sequence[str],
        hidden: Sequence[int] = (),
        classes: int = len(LABELS),
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.shape = {
            "dimensions": dimensions,
            "parts": list(parts),
            "hidden": list(hidden),
            "classes": classes,
            "scale": scale,
        }
        self.parts, self.scale = tuple(parts), scale
        sizes = [len(parts) * dimensions, *hidden]
        layers = [nn.Sequential(nn.Linear(n, m), nn.ReLU()) for n, m in pairwise(sizes)]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], classes))

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """Return logits, shape (batch, classes)."""
        logits: Tensor = self.net(concatenate(u * self.scale, v * self.scale, self.parts))
        return logits

    def save(self, folder: Path) -> None:
        """Write the net to a folder of its own beside the encoder: a search does not need it, ``evaluate nli`` does."""
        folder.mkdir(exist_ok=True)
        save_file(self.state_dict(), folder / "model.safetensors")
        (folder / "shape.json").write_text(json.dumps(self.shape) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read what ``save`` wrote."""
        shape = json.loads((folder / "shape.json").read_text(encoding="utf-8"))
        dimensions = shape.pop("dimensions")
        classifier = cls(dimensions, **shape)
        classifier.load_state_dict(load_file(folder / "model.safetensors"))
        return classifier.eval()


class ClassificationLoss(nn.Module):
    """Cross-entropy of the classes of pairs, through the encoder and the classifier both."""

    def __init__(self, model: SentenceTransformer, classifier: Classifier) -> None:
        super().__init__()
        self.model = model
        self.classifier = classifier

    def forward(self, features: Sequence[dict[str, Any]], labels: Tensor) -> Tensor:
        """Return the mean loss of a batch; ``features`` are the tokens of first and second texts, labels (batch,)."""
        u, v = (self.model(tokens)["sentence_embedding"] for tokens in features)  # each (batch, d)
        return nn.functional.cross_entropy(self.classifier(u, v), labels)
