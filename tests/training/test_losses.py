"""Losses against what one computes by hand, on tensors made by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn

from pgsbert.training.base import load_for_cross_encoder
from pgsbert.training.bi_encoder import CONCATENATIONS
from pgsbert.training.losses import ClassificationLoss, Classifier, concatenate

if TYPE_CHECKING:
    from pathlib import Path

U = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
V = torch.tensor([[3.0, 4.0], [0.5, -1.0]])


class Given(nn.Module):
    """An encoder whose embeddings are given."""

    def forward(self, tokens: dict[str, Any]) -> dict[str, Any]:
        return tokens


def given(*embeddings: Tensor) -> list[dict[str, Tensor]]:
    return [{"sentence_embedding": one} for one in embeddings]


@pytest.mark.parametrize(
    ("parts", "first_row"),
    [
        ("u,v", [1, -2, 3, 4]),
        ("|u-v|", [2, 6]),
        ("u*v", [3, -8]),
        ("|u-v|,u*v", [2, 6, 3, -8]),
        ("u,v,u*v", [1, -2, 3, 4, 3, -8]),
        ("u,v,|u-v|", [1, -2, 3, 4, 2, 6]),
        ("u,v,|u-v|,u*v", [1, -2, 3, 4, 2, 6, 3, -8]),
    ],
)
def test_each_concatenation_is_what_its_name_says(parts: str, first_row: list[float]) -> None:
    assert parts in CONCATENATIONS
    joined = concatenate(U, V, parts.split(","))
    assert joined.shape == (2, len(first_row))
    assert joined[0].tolist() == first_row


def test_every_known_concatenation_was_checked() -> None:
    assert len(CONCATENATIONS) == 7


def test_softmax_loss_of_a_classifier_that_knows_nothing_is_the_logarithm_of_three() -> None:
    classifier = Classifier(2, parts=["u", "v", "|u-v|"])
    for parameter in classifier.parameters():
        nn.init.zeros_(parameter)
    loss = ClassificationLoss(Given(), classifier)  # type: ignore[arg-type] # what encodes is no matter
    assert loss(given(U, V), torch.tensor([0, 2])).item() == pytest.approx(math.log(3))


def test_softmax_loss_with_known_weights_is_the_cross_entropy_by_hand() -> None:
    classifier = Classifier(2, parts=["|u-v|"])
    [layer] = [module for module in classifier.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        layer.bias.copy_(torch.tensor([0.0, 0.0, 1.0]))
    # |u-v| = (2, 6) and (0, 4): logits (2, 6, 1) and (0, 4, 1)
    by_hand = [
        -6 + math.log(math.exp(2) + math.exp(6) + math.exp(1)),
        -0 + math.log(math.exp(0) + math.exp(4) + math.exp(1)),
    ]
    loss = ClassificationLoss(Given(), classifier)  # type: ignore[arg-type]
    assert loss(given(U, V), torch.tensor([1, 0])).item() == pytest.approx(sum(by_hand) / 2)


def test_hidden_layers_have_the_sizes_asked_for_and_the_scale_is_applied() -> None:
    classifier = Classifier(4, parts=["u", "v"], hidden=[6, 5], scale=2.0)
    sizes = [(one.in_features, one.out_features) for one in classifier.modules() if isinstance(one, nn.Linear)]
    assert sizes == [(8, 6), (6, 5), (5, 3)]
    u, v = torch.rand(3, 4), torch.rand(3, 4)
    unscaled = Classifier(4, parts=["u", "v"], hidden=[6, 5])
    unscaled.load_state_dict(classifier.state_dict())
    assert torch.equal(classifier(u, v), unscaled(2 * u, 2 * v))


def test_a_saved_classifier_says_the_same(tmp_path: Path) -> None:
    classifier = Classifier(2, parts=["u", "v", "u*v"], hidden=[3], scale=1.5)
    classifier.save(tmp_path / "classifier")
    assert torch.equal(Classifier.load(tmp_path / "classifier")(U, V), classifier(U, V))


def test_mnrl_is_the_cross_entropy_of_scaled_cosines_in_the_batch() -> None:
    anchors, positives = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    negatives = torch.tensor([[0.8, 0.6], [0.0, 1.0]])
    # cosines of each anchor with the two positives and the two negatives
    rows = [[1.0, 0.6, 0.8, 0.0], [0.0, 0.8, 0.6, 1.0]]
    by_hand = [math.log(sum(math.exp(20 * c) for c in row)) - 20 * row[place] for place, row in enumerate(rows)]
    loss = MultipleNegativesRankingLoss(Given())  # type: ignore[arg-type]
    assert loss(given(anchors, positives, negatives), None).item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)


def test_cosine_is_the_squared_error_of_the_cosine() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    loss = CosineSimilarityLoss(Given())  # type: ignore[arg-type]
    by_hand = ((0.6 - 1.0) ** 2 + (1.0 - 0.5) ** 2) / 2
    assert loss(given(first, second), torch.tensor([1.0, 0.5])).item() == pytest.approx(by_hand)


def test_cosent_counts_pairs_in_the_wrong_order() -> None:
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    second = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]])  # cosines 0.6, 1.0, 0.8
    loss = CoSENTLoss(Given())  # type: ignore[arg-type]
    # scores 1.0, 0.0, 0.0: only the first pair is above others; those of equal score are not compared
    by_hand = math.log(1 + math.exp(20 * (1.0 - 0.6)) + math.exp(20 * (0.8 - 0.6)))
    assert loss(given(first, second), torch.tensor([1.0, 0.0, 0.0])).item() == pytest.approx(by_hand, rel=1e-5)


def test_losses_of_cross_encoders_are_those_of_their_logits(plain_encoder: Path) -> None:
    texts = [["a dog runs", "no cat"], ["a dog", "maybe cat runs"]]
    network = load_for_cross_encoder(str(plain_encoder), labels=3, device="cpu").eval()
    logits = network(network.preprocess(list(zip(*texts, strict=True))))["scores"]
    expected = nn.functional.cross_entropy(logits, torch.tensor([2, 0]))
    assert CrossEntropyLoss(network)(texts, torch.tensor([2, 0])).item() == pytest.approx(expected.item())

    network = load_for_cross_encoder(str(plain_encoder), labels=1, device="cpu").eval()
    logits = network(network.preprocess(list(zip(*texts, strict=True))))["scores"].view(-1)
    scores = [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]
    targets = torch.tensor([1.0, 0.25])
    bce = -(math.log(scores[0]) + 0.25 * math.log(scores[1]) + 0.75 * math.log(1 - scores[1])) / 2
    assert BinaryCrossEntropyLoss(network)(texts, targets).item() == pytest.approx(bce, rel=1e-5)
    mse = ((scores[0] - 1) ** 2 + (scores[1] - 0.25) ** 2) / 2
    assert MSELoss(network, activation_fn=nn.Sigmoid())(texts, targets).item() == pytest.approx(mse, rel=1e-5)
