"""Fine-tune a cross-encoder, from top to bottom: knobs, data, model, loss, evaluate, train, evaluate, save.

Both texts go through the encoder together, as one sequence (Nogueira and Cho 2019). Objectives: ``nli`` gives the three
classes (cross-entropy); ``bce`` and ``mse`` give one score from 0 to 1, relevance or similarity, by the binary
cross-entropy or the squared error. A model with one score is what ``rerank`` needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sentence_transformers.cross_encoder.evaluation import (
    CrossEncoderClassificationEvaluator,
    CrossEncoderCorrelationEvaluator,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss
from torch import nn

from pgsbert.training import outputs
from pgsbert.training.base import load_for_bi_encoder, load_for_cross_encoder
from pgsbert.training.bi_encoder import columns
from pgsbert.training.data import Source, read
from pgsbert.training.evaluate import NliEvaluator, predict
from pgsbert.training.fit import Dev, begin_quietly, fit
from pgsbert.training.negatives import mined, ranked_high
from pgsbert.training.pairs import LABELS, Counts, Pair, check_trainable, clean, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgsbert.training.fit import Practice
    from pgsbert.training.pairs import Target

Objective: TypeAlias = Literal["nli", "bce", "mse"]

HEAD = r"\.(classifier|pooler|head|pre_classifier)\."  # what begins at random, and learns at a rate of its own


@dataclass(frozen=True, slots=True)
class Knobs:
    """What to train, on what. ``practice`` says how. ``sample`` None takes all pairs.

    ``negatives`` are added for each relevant pair (of score 1): texts that the bi-encoder ``miner``, or the search of
    ``vectorizer``, finds near and that are not marked relevant.
    """

    train: Source
    dev: Source | None
    base: str
    practice: Practice
    objective: Objective = "nli"
    sample: int | None = None
    score_range: tuple[float, float] = (0.0, 1.0)
    negatives: int = 0
    miner: str | None = None
    vectorizer: str | None = None
    dsn: str | None = None
    licence: str | None = None
    kind = "cross-encoder"


def train(knobs: Knobs, *, command: str, resume: bool = False) -> outputs.Metrics:
    """Train as the knobs say and leave model, card, plot and metrics.json in ``practice.out``."""
    practice = knobs.practice
    run = outputs.begin(practice, knobs, resume=resume)

    # data
    target: Target = "class" if knobs.objective == "nli" else "score"
    dev_counts, train_counts = Counts(), Counts()
    scale = knobs.score_range
    dev_rows = read(knobs.dev) if knobs.dev else ()
    dev_pairs = list(clean(dev_rows, dev_counts, target=target, score_range=scale, judging=True))
    rows = clean(read(knobs.train), train_counts, target=target, score_range=scale, apart_from=dev_pairs)
    pairs = sample(rows, knobs.sample, seed=practice.seed)
    train_counts.used = len(pairs)
    pairs += hard_negatives(knobs, pairs, apart_from=dev_pairs)
    check_trainable(pairs, knobs.train, target=target)
    outputs.tell(train=train_counts, dev=dev_counts if knobs.dev else None, negatives=len(pairs) - train_counts.used)

    # model
    begin_quietly(practice.seed)
    labels = len(LABELS) if knobs.objective == "nli" else 1
    model = load_for_cross_encoder(knobs.base, labels=labels, device=practice.device)
    tokens = model.max_seq_length
    model.max_seq_length = min(practice.max_length, tokens or practice.max_length)

    # loss
    loss: nn.Module
    match knobs.objective:
        case "nli":
            loss = CrossEntropyLoss(model)
        case "bce":
            loss = BinaryCrossEntropyLoss(model)
        case "mse":
            loss = MSELoss(model, activation_fn=nn.Sigmoid())  # as predict() gives it: from 0 to 1

    # evaluate, train, evaluate
    dev = judge(knobs.objective, dev_pairs)
    # a head that begins at random says nothing of the base
    before: outputs.Figures = {}
    history = fit(model, loss, columns(pairs, target), practice, dev=dev, head=HEAD)
    after = dev.measure(model) if dev else {}

    # save
    model.max_seq_length = tokens  # short while training, for speed; the model can still read as much as its base
    if knobs.objective == "nli":
        assert model.config is not None  # it was loaded from one
        model.config.id2label = dict(enumerate(LABELS))
        model.config.label2id = {label: number for number, label in enumerate(LABELS)}
    with outputs.saving(run):
        model.save_pretrained(str(practice.out), create_model_card=False)
        metrics = outputs.Metrics(before=before, after=after, train=train_counts, dev=dev_counts, history=history)
        outputs.finish(run, metrics, knobs, command=command)
    return metrics


def hard_negatives(knobs: Knobs, pairs: Sequence[Pair], *, apart_from: Sequence[Pair]) -> list[Pair]:
    """Return what the knobs ask to be added to the pairs."""
    if not knobs.negatives:
        return []
    if knobs.vectorizer is not None:
        return ranked_high(pairs, knobs.dsn or "", knobs.vectorizer, number=knobs.negatives, apart_from=apart_from)
    miner = load_for_bi_encoder(knobs.miner or "all-MiniLM-L6-v2", device=knobs.practice.device)
    return mined(pairs, miner, number=knobs.negatives, apart_from=apart_from)


def judge(objective: Objective, pairs: Sequence[Pair]) -> Dev | None:
    """Return how dev is judged: accuracy of classes, average precision of relevance, or Spearman's correlation."""
    if not pairs:
        return None
    texts, targets = [[pair.first, pair.second] for pair in pairs], [pair.target for pair in pairs]
    if objective == "nli":
        return Dev(NliEvaluator(pairs, lambda model, texts: predict(model, texts).argmax(axis=1)), "accuracy")
    if set(targets) <= {0.0, 1.0}:
        labels = [int(target) for target in targets]
        evaluator = CrossEncoderClassificationEvaluator(texts, labels, show_progress_bar=False, write_csv=False)
        return Dev(evaluator, "average_precision")
    correlation = CrossEncoderCorrelationEvaluator(texts, targets, show_progress_bar=False, write_csv=False)
    return Dev(correlation, "spearman")
