"""Judge models: classes of pairs, similarity, retrieval and reranking, each in figures that the field knows.

A model says something of each item (a pair, a question); figures are made of a choice of items. They are kept apart
so that ``compare`` can draw the items again and again, and tell whether one model is better than another, or luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ir_measures
import numpy as np
import torch
from ir_measures import AP, RR, R, nDCG
from scipy.stats import pearsonr, spearmanr
from sentence_transformers.base.evaluation import BaseEvaluator
from sklearn.metrics import accuracy_score, f1_score

from pgsbert.errors import DataError, UsageError
from pgsbert.models.files import detect_kind
from pgsbert.models.resolve import resolve
from pgsbert.training.base import load_for_bi_encoder, load_trained_cross_encoder
from pgsbert.training.losses import Classifier
from pgsbert.training.pairs import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from sentence_transformers import CrossEncoder, SentenceTransformer

    from pgsbert.training.collection import Collection
    from pgsbert.training.pairs import Pair

    Choice = NDArray[np.int64]  # places of items, some of them several times
    Ranking = Mapping[str, Mapping[str, float]]  # score by question and document

BATCH = 64
RETRIEVAL = {"nDCG@10": nDCG @ 10, "recall@100": R @ 100, "MRR": RR, "MAP": AP}
RERANKING = {"MAP": AP, "MRR": RR, "nDCG@10": nDCG @ 10}


@dataclass(frozen=True, slots=True)
class Judged:
    """What a model did on ``size`` items, as figures of any choice of them."""

    size: int
    figures_of: Callable[[Choice], dict[str, float]]

    @property
    def figures(self) -> dict[str, float]:
        """The figures of all items."""
        return self.figures_of(np.arange(self.size))


def judge_nli(model: str, pairs: Sequence[Pair], *, device: str | None = None) -> Judged:
    """Judge the classes that a bi-encoder with its classifier, or a cross-encoder, gives to pairs."""
    gold = np.array([int(pair.target) for pair in pairs])
    folder = resolve(model)
    if detect_kind(folder) != "bi-encoder":
        network = load_trained_cross_encoder(model, labels=len(LABELS), device=device)
        found = predict(network, pairs)[:, _order(network)].argmax(axis=1)
    elif (folder / "classifier").is_dir():
        encoder = load_for_bi_encoder(model, device=device)
        found = classify(encoder, Classifier.load(folder / "classifier"), pairs)
    else:
        raise UsageError(f"{model} has no classifier: train one with pgsbert train bi-encoder --objective softmax.")
    return Judged(len(gold), lambda chosen: class_figures(gold[chosen], found[chosen]))


def judge_sts(model: str, pairs: Sequence[Pair], *, device: str | None = None) -> Judged:
    """Judge how well the similarity of pairs follows the scores that people gave."""
    gold = np.array([pair.target for pair in pairs])
    if detect_kind(resolve(model)) != "bi-encoder":
        found = predict(load_trained_cross_encoder(model, labels=1, device=device), pairs).astype(np.float64)
    else:
        found = similarities(load_for_bi_encoder(model, device=device), pairs)
    return Judged(len(gold), lambda chosen: score_figures(gold[chosen], found[chosen]))


def judge_retrieval(model: str, collection: Collection, *, k: int = 1000, device: str | None = None) -> Judged:
    """Judge a bi-encoder by exact search of a collection's documents for its questions, in memory.

    The ``k`` nearest of those that are not left out count.
    """
    network = load_for_bi_encoder(model, device=device)
    questions = list(collection.relevant)
    near = cosines(
        network,
        [collection.questions[question] for question in questions],
        list(collection.documents.values()),
    )
    names = np.array(list(collection.documents), dtype=object)
    places = {name: place for place, name in enumerate(collection.documents)}
    ranking: dict[str, dict[str, float]] = {}
    for question, row in zip(questions, near, strict=True):
        apart = [places[document] for document in collection.left_out.get(question, ())]
        row[apart] = -np.inf
        best = np.argsort(-row, kind="stable")[: min(k, len(row) - len(apart))]
        ranking[question] = dict(zip(names[best], row[best].tolist(), strict=True))
    return judge_ranking(collection.relevant, ranking, RETRIEVAL)


def judge_rerank(model: str, collection: Collection, *, device: str | None = None) -> Judged:
    """Judge the order that a cross-encoder, or a bi-encoder, gives to each question's candidates.

    Only questions with a right and a wrong candidate count: the others are in any order right, or wrong.
    """
    judged = {
        question: candidates
        for question, candidates in collection.candidates.items()
        if len({label > 0 for label in candidates.values()}) > 1
    }
    if not judged:
        raise DataError("No question has both a right and a wrong candidate: there is nothing to order.")
    asked = [(question, document) for question, candidates in judged.items() for document in candidates]
    texts = [(collection.questions[question], collection.documents[document]) for question, document in asked]
    ranking: dict[str, dict[str, float]] = {question: {} for question in judged}
    for (question, document), score in zip(asked, _scores(model, texts, device), strict=True):
        ranking[question][document] = float(score)
    return judge_ranking(judged, ranking, RERANKING)


def judge_ranking(relevant: Mapping[str, Mapping[str, int]], ranking: Ranking, measures: Mapping[str, Any]) -> Judged:
    """Judge a ranking, question by question; a figure is the mean over the questions."""
    places = {question: place for place, question in enumerate(relevant)}
    names = {str(measure): name for name, measure in measures.items()}
    values = {name: np.zeros(len(places)) for name in measures}
    for one in ir_measures.iter_calc(list(measures.values()), relevant, ranking):
        values[names[str(one.measure)]][places[one.query_id]] = one.value
    return Judged(len(places), lambda chosen: {name: float(column[chosen].mean()) for name, column in values.items()})


def embed(model: SentenceTransformer, texts: Sequence[str], prompt: str = "") -> NDArray[np.float32]:
    """Return one embedding a text, shape (len(texts), d); a text that comes twice is encoded once."""
    distinct, places = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    vectors = model.encode(
        list(distinct), prompt=prompt, batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
    )
    found: NDArray[np.float32] = vectors[places]
    return found


def classify(model: SentenceTransformer, classifier: Classifier, pairs: Sequence[Pair]) -> NDArray[np.int64]:
    """Return the class of each pair."""
    vectors = torch.from_numpy(embed(model, [text for pair in pairs for text in (pair.first, pair.second)]))
    with torch.inference_mode():
        device = next(classifier.parameters()).device
        logits = classifier(vectors[0::2].to(device), vectors[1::2].to(device))
    classes: NDArray[np.int64] = logits.argmax(dim=1).cpu().numpy()
    return classes


def similarities(model: SentenceTransformer, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """Return the cosine similarity of each pair."""
    vectors = _unit(embed(model, [text for pair in pairs for text in (pair.first, pair.second)]))
    found: NDArray[np.float64] = (vectors[0::2] * vectors[1::2]).sum(axis=1)
    return found


def cosines(model: SentenceTransformer, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float64]:
    """Return the cosine similarity of each query with each document, with the model's own prompts."""
    prompts = model.prompts
    query = prompts.get("query") or ""
    document = next((text for name in ("document", "passage", "corpus") if (text := prompts.get(name))), "")
    near = np.matmul(_unit(embed(model, queries, query)), _unit(embed(model, documents, document)).T)
    found: NDArray[np.float64] = near
    return found


def predict(model: CrossEncoder, pairs: Sequence[Pair]) -> NDArray[np.float32]:
    """Return what a cross-encoder says of each pair: scores, shape (n,), or logits, shape (n, classes)."""
    return _predict(model, [(pair.first, pair.second) for pair in pairs])


class NliEvaluator(BaseEvaluator):
    """Accuracy and macro-F1 during a training; ``say`` gives the class of each pair, by the model as it is then."""

    def __init__(self, pairs: Sequence[Pair], say: Callable[[Any, Sequence[Pair]], NDArray[np.int64]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.pairs, self.say = pairs, say

    def __call__(self, model: Any, *_: Any, **__: Any) -> dict[str, float]:
        """Return the figures."""
        return class_figures(np.array([int(pair.target) for pair in self.pairs]), self.say(model, self.pairs))


def class_figures(gold: NDArray[np.int64], found: NDArray[np.int64]) -> dict[str, float]:
    """Return accuracy, and the mean of the classes' F1."""
    return {
        "accuracy": float(accuracy_score(gold, found)),
        "macro_f1": float(f1_score(gold, found, average="macro", zero_division=0)),
    }


def score_figures(gold: NDArray[np.float64], found: NDArray[Any]) -> dict[str, float]:
    """Return the correlations of Pearson and Spearman."""
    return {
        "pearson": float(pearsonr(gold, found).statistic),
        "spearman": float(spearmanr(gold, found).statistic),
    }


def _predict(model: CrossEncoder, texts: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = model.predict(
        list(texts), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True
    )
    return found


def _scores(model: str, texts: Sequence[tuple[str, str]], device: str | None) -> NDArray[Any]:
    if detect_kind(resolve(model)) != "bi-encoder":
        return _predict(load_trained_cross_encoder(model, labels=1, device=device), texts)
    network = load_for_bi_encoder(model, device=device)
    queries = {query: place for place, query in enumerate(dict.fromkeys(query for query, _ in texts))}
    documents = {document: place for place, document in enumerate(dict.fromkeys(document for _, document in texts))}
    near = cosines(network, list(queries), list(documents))
    return np.array([near[queries[query], documents[document]] for query, document in texts])


def _order(model: CrossEncoder) -> list[int]:
    """Return where a classifier has our classes: models of others have them in other orders, and say so."""
    named = (model.config.id2label if model.config else None) or {}
    theirs = {str(name).lower(): int(number) for number, name in named.items()}
    return [theirs[label] for label in LABELS] if set(theirs) == set(LABELS) else list(range(len(LABELS)))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    found: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return found
