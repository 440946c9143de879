"""Fine-tune a bi-encoder, from top to bottom: knobs, data, model, loss, evaluate, train, evaluate, save.

Objectives: ``softmax`` classifies pairs (Reimers and Gurevych 2019); ``mnrl`` finds the right text among those of the
batch, contradictions being the hard ones (Henderson et al. 2017); ``cosine`` and ``cosent`` follow graded similarity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from datasets import Dataset
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator, TripletEvaluator
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling

from pgsbert.errors import DataError, UsageError
from pgsbert.training import outputs
from pgsbert.training.base import load_for_bi_encoder
from pgsbert.training.data import Source, read
from pgsbert.training.evaluate import NliEvaluator, classify
from pgsbert.training.fit import Dev, begin_quietly, fit
from pgsbert.training.losses import ClassificationLoss, Classifier
from pgsbert.training.pairs import LABELS, Counts, Pair, check_trainable, clean, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer
    from torch import nn

    from pgsbert.training.fit import Practice
    from pgsbert.training.pairs import Target

Objective: TypeAlias = Literal["softmax", "mnrl", "cosine", "cosent"]
PoolingMode = Literal["mean", "cls", "max"]
CONCATENATIONS = ("u,v", "|u-v|", "u*v", "|u-v|,u*v", "u,v,u*v", "u,v,|u-v|", "u,v,|u-v|,u*v")


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to train, on what. ``practice`` says how. ``sample`` None takes all pairs."""

    train: Source
    dev: Source | None
    base: str
    practice: Practice
    objective: Objective = "softmax"
    concatenation: str = "u,v,|u-v|"
    hidden: tuple[int, ...] = ()
    pooling: PoolingMode | None = None
    sample: int | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    licence: str | None = None
    kind = "bi-encoder"

    def __post_init__(self) -> None:
        if self.concatenation not in CONCATENATIONS:
            raise UsageError(f"--concatenation {self.concatenation}: known are {'; '.join(CONCATENATIONS)}.")
        if self.objective not in get_args(Objective):
            raise UsageError(f"--objective {self.objective}: known are {', '.join(get_args(Objective))}.")


def train(knobs: Knobs, *, command: str, resume: bool = False) -> outputs.Metrics:
    """Train as the knobs say and leave model, card, plot and metrics.json in ``practice.out``."""
    practice = knobs.practice
    run = outputs.begin(practice, knobs, resume=resume)

    # data
    target: Target = "class" if knobs.objective in ("softmax", "mnrl") else "score"
    dev_counts, train_counts = Counts(), Counts()
    scale = knobs.score_range
    dev_rows = read(knobs.dev) if knobs.dev else ()
    entailed = "entailment" if knobs.objective == "mnrl" else None  # pairs that belong together need no label
    dev_pairs = list(clean(dev_rows, dev_counts, target=target, score_range=scale, judging=True, otherwise=entailed))
    rows = clean(
        read(knobs.train), train_counts, target=target, score_range=scale, apart_from=dev_pairs, otherwise=entailed
    )
    pairs = sample(rows, knobs.sample, seed=practice.seed)
    train_counts.used = len(pairs)
    if knobs.objective != "mnrl":  # which learns from one class; see triplets()
        check_trainable(pairs, knobs.train, target=target)
    outputs.tell(train=train_counts, dev=dev_counts if knobs.dev else None)

    # model
    begin_quietly(practice.seed)
    model = load_for_bi_encoder(knobs.base, device=practice.device)
    pool(model, knobs.pooling)
    tokens = model.max_seq_length
    model.max_seq_length = min(practice.max_length, tokens or practice.max_length)

    # loss
    classifier: Classifier | None = None
    loss: nn.Module
    match knobs.objective:
        case "softmax":
            dimensions = model.get_embedding_dimension() or 0
            unit = math.sqrt(dimensions) if any(isinstance(module, Normalize) for module in model) else 1.0
            parts = knobs.concatenation.split(",")
            classifier = Classifier(dimensions, parts=parts, hidden=knobs.hidden, scale=unit)
            loss = ClassificationLoss(model, classifier)
        case "mnrl":
            loss = MultipleNegativesRankingLoss(model)
        case "cosine":
            loss = CosineSimilarityLoss(model)
        case "cosent":
            loss = CoSENTLoss(model)

    # evaluate, train, evaluate
    dev = judge(knobs.objective, dev_pairs, classifier)
    # a classifier that begins at random says nothing of the base
    before = outputs.before(run, lambda: dev.measure(model) if dev and classifier is None else {})
    examples = triplets(pairs) if knobs.objective == "mnrl" else columns(pairs, target)
    head = r"^classifier\." if classifier is not None else None
    in_batch = knobs.objective == "mnrl"
    history = fit(model, loss, examples, practice, dev=dev, head=head, in_batch_negatives=in_batch)
    after = dev.measure(model) if dev else {}

    # save
    model.max_seq_length = tokens  # short while training, for speed; the model can still read as much as its base
    with outputs.saving(run):
        model.save_pretrained(str(practice.out), create_model_card=False)
        if classifier is not None:
            classifier.save(practice.out / "classifier")
        metrics = outputs.Metrics(before=before, after=after, train=train_counts, dev=dev_counts, history=history)
        outputs.finish(run, metrics, knobs, command=command)
    return metrics


def pool(model: SentenceTransformer, mode: PoolingMode | None) -> None:
    """Pool tokens in another way than the base does; None leaves it as it is."""
    if mode is None:
        return
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            model._modules[name] = Pooling(module.embedding_dimension, pooling_mode=mode)
            return
    raise UsageError("The base has no pooling that --pooling could change: leave it out.")


def columns(pairs: Sequence[Pair], target: Target) -> Dataset:
    """Return pairs as the trainer wants them; classes are whole numbers."""
    values = [int(pair.target) if target == "class" else pair.target for pair in pairs]
    firsts, seconds = [pair.first for pair in pairs], [pair.second for pair in pairs]
    return Dataset.from_dict({"sentence1": firsts, "sentence2": seconds, "label": values})


def triplets(pairs: Sequence[Pair]) -> Dataset:
    """Return (premise, entailed, contradicting) for each entailed pair whose premise has a contradiction too.

    Where no premise has one, (premise, entailed): the other texts of the batch are the negatives.
    """
    contradicting: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.target == LABELS.index("contradiction"):
            contradicting.setdefault(pair.first, []).append(pair.second)
    entailed = [pair for pair in pairs if pair.target == LABELS.index("entailment")]
    found = [(pair.first, pair.second, text) for pair in entailed for text in contradicting.get(pair.first, ())[:1]]
    rows: Sequence[tuple[str, ...]] = found or [(pair.first, pair.second) for pair in entailed]
    if not rows:
        raise DataError("mnrl learns from entailed pairs, and there is none.")
    names = ("anchor", "positive", "negative")
    return Dataset.from_dict({name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=False)})


def judge(objective: Objective, pairs: Sequence[Pair], classifier: Classifier | None) -> Dev | None:
    """Return how dev is judged: accuracy of classes or of triplets, or Spearman's correlation."""
    if not pairs:
        return None
    firsts, seconds = [pair.first for pair in pairs], [pair.second for pair in pairs]
    if classifier is not None:
        return Dev(NliEvaluator(pairs, lambda model, texts: classify(model, classifier, texts)), "accuracy")
    if objective == "mnrl":
        found = triplets(pairs)
        if "negative" not in found.column_names:
            raise DataError("The dev pairs for mnrl need contradictions of the premises that have entailments.")
        return Dev(
            TripletEvaluator(found["anchor"], found["positive"], found["negative"], write_csv=False), "cosine_accuracy"
        )
    scores = [pair.target for pair in pairs]
    return Dev(
        EmbeddingSimilarityEvaluator(firsts, seconds, scores, similarity_fn_names=["cosine"], write_csv=False),
        "spearman_cosine",
    )
