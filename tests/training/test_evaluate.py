"""Figures against what one computes by hand, and against the libraries that define them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ir_measures import RR, nDCG
from typer.testing import CliRunner

from pgsbert.cli import app
from pgsbert.cli.train import command_line
from pgsbert.errors import DataError, ModelLoadError, PgsbertError, UsageError
from pgsbert.training.base import load_for_cross_encoder
from pgsbert.training.collection import read_collection
from pgsbert.training.compare import compare
from pgsbert.training.evaluate import (
    Judged,
    class_figures,
    judge_nli,
    judge_ranking,
    judge_rerank,
    judge_retrieval,
    score_figures,
)
from pgsbert.training.pairs import LABELS, Pair
from tests.training.conftest import write_rows

DATA = Path(os.environ.get("PGSBERT_DATA") or Path(__file__).parents[3] / "shared" / "data")


def test_accuracy_and_macro_f1_by_hand() -> None:
    gold, found = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    figures = class_figures(gold, found)
    # F1: entailment 2/3 (precision 1, recall 1/2), neutral 1/2 (precision 1/3, recall 1), contradiction 0
    assert figures == pytest.approx({"accuracy": 0.5, "macro_f1": (2 / 3 + 1 / 2 + 0) / 3})


def test_correlations_by_hand() -> None:
    figures = score_figures(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 30.0]))
    assert figures["spearman"] == pytest.approx(1.0)
    assert 0.8 < figures["pearson"] < 0.95


def test_ranking_figures_are_means_over_the_questions() -> None:
    relevant = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}
    ranking = {"q1": {"a": 0.9, "b": 0.1}, "q2": {"a": 0.9, "b": 0.1}}  # q3 found nothing
    judged = judge_ranking(relevant, ranking, {"MRR": RR, "nDCG@10": nDCG @ 10})
    assert judged.figures["MRR"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert judged.figures["nDCG@10"] == pytest.approx((1 + 1 / np.log2(3) + 0) / 3)
    assert judged.figures_of(np.array([0, 0]))["MRR"] == 1


def constant(values: list[float]) -> Judged:
    column = np.array(values)
    return Judged(len(values), lambda chosen: {"mean": float(column[chosen].mean())})


def test_a_real_difference_has_an_interval_above_zero_and_luck_has_not() -> None:
    chance = np.random.default_rng(0)
    values = chance.random(200)
    better = compare(constant(list(values)), constant(list(values + 0.1)))["mean"]
    assert (better.low, better.high) == pytest.approx((0.1, 0.1))  # paired: what both share cancels out
    luck = compare(constant(list(values)), constant(list(values + chance.normal(0, 1, 200) * 0.5)))["mean"]
    assert luck.low < 0 < luck.high
    assert luck.low < luck.value < luck.high
    # the textbook's: 1.96 standard errors
    assert luck.high - luck.low == pytest.approx(2 * 1.96 * 0.5 / 200**0.5, rel=0.2)
    with pytest.raises(DataError, match="judged on 1 and 2 items"):
        compare(constant([1]), constant([1, 2]))


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    write_rows(
        tmp_path / "corpus.jsonl",
        [
            {"_id": f"d{n}", "title": "", "text": text}
            for n, text in enumerate(("a dog runs", "a cat", "the house", "a cook"))
        ],
    )
    write_rows(tmp_path / "queries.jsonl", [{"_id": "q", "text": "a dog runs"}, {"_id": "all right", "text": "a cat"}])
    for kind, column in (("qrels", "score"), ("candidates", "label")):
        (tmp_path / kind).mkdir()
        rows = ["q\td0\t1", "q\td2\t0", "all right\td1\t1"]
        (tmp_path / kind / "dev.tsv").write_text("\n".join([f"query-id\tcorpus-id\t{column}", *rows]) + "\n")
    return tmp_path


def test_exact_search_finds_the_same_text_first(collection: Path, base: Path) -> None:
    judged = judge_retrieval(str(base), read_collection(collection, qrels="dev"))
    assert (judged.size, judged.figures["MRR"], judged.figures["recall@100"]) == (2, 1.0, 1.0)


def test_only_questions_with_right_and_wrong_candidates_are_reranked(
    collection: Path, base: Path, plain_encoder: Path, tmp_path: Path
) -> None:
    read = read_collection(collection, candidates="dev")
    judged = judge_rerank(str(base), read)
    assert (judged.size, judged.figures["MAP"]) == (1, 1.0)
    network = load_for_cross_encoder(str(plain_encoder), labels=1, device="cpu")
    network.save_pretrained(str(tmp_path / "cross"), create_model_card=False)
    assert judge_rerank(str(tmp_path / "cross"), read).figures["MRR"] in (0.5, 1.0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"qrels": "test"}, r"test\.tsv is not there; in this folder are: dev"),
        ({"qrels": "odd"}, "name d9, which is in neither corpus nor queries"),
    ],
)
def test_a_collection_that_does_not_fit_is_refused(collection: Path, wrong: dict[str, Any], told: str) -> None:
    (collection / "qrels" / "odd.tsv").write_text("query-id\tcorpus-id\tscore\nq\td9\t1\n")
    with pytest.raises(DataError, match=told):
        read_collection(collection, **wrong)


def test_a_folder_without_a_corpus_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no corpus\.jsonl"):
        read_collection(tmp_path, qrels="test")


def test_models_that_cannot_do_the_task_are_refused(base: Path, plain_encoder: Path, tmp_path: Path) -> None:
    pairs = [Pair("a dog", "a cat", 0), Pair("a dog runs", "no dog", 2)]
    with pytest.raises(UsageError, match="has no classifier: train one with"):
        judge_nli(str(base), pairs)
    network = load_for_cross_encoder(str(plain_encoder), labels=1, device="cpu")
    network.save_pretrained(str(tmp_path / "one"), create_model_card=False)
    with pytest.raises(ModelLoadError, match="a cross-encoder with 1 labels; 3 needed here"):
        judge_nli(str(tmp_path / "one"), pairs)


def test_classes_in_another_order_are_understood(plain_encoder: Path, tmp_path: Path) -> None:
    network = load_for_cross_encoder(str(plain_encoder), labels=3, device="cpu")
    texts = [(f"a {who} runs", "no dog") for who in ("dog", "cat", "man", "bird", "cook")]
    places = network.predict(texts).argmax(axis=1)
    assert network.config is not None
    for order in (["entailment", "neutral", "contradiction"], ["contradiction", "entailment", "neutral"]):
        network.config.id2label = dict(enumerate(order))
        network.config.label2id = {label: number for number, label in enumerate(order)}
        folder = tmp_path / order[0]
        network.save_pretrained(str(folder), create_model_card=False)
        meant = [Pair(*text, LABELS.index(order[place])) for text, place in zip(texts, places, strict=True)]
        assert judge_nli(str(folder), meant).figures["accuracy"] == 1


def test_the_command_compares_two_models(collection: Path, base: Path) -> None:
    command = ["evaluate", "retrieval", str(base), str(base), "--data", str(collection), "--qrels", "dev", "--json"]
    told = json.loads(CliRunner().invoke(app, command, catch_exceptions=False).stdout)
    assert [one["model"] for one in told["models"]] == [str(base)] * 2
    assert told["difference"]["nDCG@10"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    with pytest.raises(PgsbertError, match="One model is judged, or two are compared"):
        CliRunner().invoke(app, [*command[:3], *[str(base)] * 3, *command[4:]], catch_exceptions=False)


def test_the_command_line_on_a_card_holds_no_connection_string() -> None:
    typed = [
        "/bin/pgsbert",
        "train",
        "bi-encoder",
        "--dsn",
        "host=x password=y",
        "--sql",
        "select 1",
        "--dsn=z",
        "--seed",
        "1",
    ]
    assert command_line(typed) == "pgsbert train bi-encoder --sql 'select 1' --seed 1"


def test_the_command_line_starts_without_the_model_libraries() -> None:
    heavy = (
        "torch",
        "transformers",
        "sentence_transformers",
        "datasets",
        "sklearn",
        "scipy",
        "matplotlib",
        "ir_measures",
    )
    script = f"import sys, pgsbert.cli, pgsbert.training; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "[]\n"


@pytest.mark.skipif(not (DATA / "adi").is_dir(), reason="needs the collection adi: PGSBERT_DATA or ../shared/data")
def test_the_real_model_reaches_its_reference_on_a_real_collection() -> None:
    judged = judge_retrieval("all-MiniLM-L6-v2", read_collection(DATA / "adi", qrels="test"))
    assert judged.figures["nDCG@10"] == pytest.approx(0.4975, abs=0.002)
    assert judged.figures["recall@100"] == 1.0
