"""Hard negatives: found near the query, and never a text that is marked relevant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sentence_transformers import SentenceTransformer

from pgsbert.errors import DataError
from pgsbert.testing import FakeEncoder
from pgsbert.training import cross_encoder
from pgsbert.training.negatives import mined, ranked_high, text_of
from pgsbert.training.pairs import Pair
from tests.support import run_worker
from tests.training.conftest import file, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psycopg

    from pgsbert.training.fit import Practice
    from tests.support import Database

QUERIES = [Pair(f"where is the {who}", f"the {who} is in the {where}", 1.0) for who, where in (
    ("dog", "park"), ("cat", "house"), ("bird", "garden"), ("cook", "street"), ("child", "school")
)]  # fmt: skip


def test_a_bi_encoder_finds_texts_that_are_not_relevant(base: Path) -> None:
    twice = [*QUERIES, Pair(QUERIES[0].first, QUERIES[1].second, 1.0)]  # two answers to one question
    found = mined(twice, SentenceTransformer(str(base), device="cpu"), number=2)
    assert {pair.target for pair in found} == {0.0}
    assert {pair.first for pair in found} == {pair.first for pair in QUERIES}
    assert not {(pair.first, pair.second) for pair in found} & {(pair.first, pair.second) for pair in twice}
    assert all(sum(one.first == pair.first for one in found) <= 2 for pair in QUERIES)


def test_more_negatives_than_documents_are_as_many_as_there_are(base: Path) -> None:
    found = mined(QUERIES, SentenceTransformer(str(base), device="cpu"), number=50)
    assert len(found) == len(QUERIES) * (len(QUERIES) - 1)


def test_dev_pairs_are_never_negatives(base: Path) -> None:
    network = SentenceTransformer(str(base), device="cpu")
    found = mined(QUERIES, network, number=4)
    kept = mined(QUERIES, network, number=4, apart_from=[Pair(found[0].first, found[0].second, 1.0)])
    assert kept == found[1:]


def test_negatives_need_relevant_pairs(base: Path) -> None:
    with pytest.raises(DataError, match=r"beside relevant pairs \(label 1\), and there is none"):
        mined([Pair("a", "b", 0.0)], SentenceTransformer(str(base), device="cpu"), number=1)


def test_rows_that_a_vectorizer_ranks_high_are_negatives_unless_relevant(
    database: Database, articles: psycopg.Connection[Any]
) -> None:
    for number in range(6):
        articles.execute(
            "insert into articles (title, body) values (%s, %s)", (f"title {number}", None if number else "b")
        )
    relevant = [Pair("a question", "title 0\nb", 1.0), Pair("a question", "title 1", 1.0)]
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        articles.execute("call pgsbert.wait_until_synced('articles')")
        found = ranked_high(relevant, database.dsn, "articles", number=3)
    assert [pair.first for pair in found] == ["a question"] * 3
    assert {pair.second for pair in found} < {f"title {number}" for number in range(2, 6)}


def test_the_text_of_a_row_is_what_was_embedded() -> None:
    item = {"title": "A", "body": None, "year": 1999}
    assert text_of(item, ["title", "body", "year"], None) == "A\n1999"
    assert text_of(item, ["title", "year"], "{{{1}}}: {2}") == "{A}: 1999"


def test_a_cross_encoder_is_trained_on_relevance_with_mined_negatives(
    plain_encoder: Path, base: Path, practice: Callable[..., Practice], tmp_path: Path
) -> None:
    rows = [{"query": pair.first, "document": pair.second, "label": 1} for pair in QUERIES]
    made = cross_encoder.Knobs(
        train=file(write_rows(tmp_path / "relevant.jsonl", rows)),
        dev=None,
        base=str(plain_encoder),
        practice=practice(),
        objective="bce",
        negatives=2,
        miner=str(base),
    )
    metrics = cross_encoder.train(made, command="")
    assert metrics.train.used == len(QUERIES)
    from pgsbert.models.load import inspect

    assert inspect(str(made.practice.out)).kind == "cross-encoder"  # with one label: rerank can use it
