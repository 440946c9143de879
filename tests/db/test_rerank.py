"""pgsbert.rerank: the cross-encoder's own scores, best first, and nothing else under that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import FakeReranker
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def asking(shared_database: Database) -> Iterator[PgConnection]:
    """Give a connection to a database with a worker and fake-reranker as the default."""
    with run_worker(shared_database.dsn), shared_database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        yield connection


def scores(query: str, documents: list[str]) -> list[float]:
    return [float(score) for score in FakeReranker().score(query, documents)]


def test_documents_come_best_first_with_their_place_and_score(asking: PgConnection) -> None:
    documents = ["a sea", "the red apple", "red", "an apple that is red"]
    found = rows(asking, "select ordinal, document, score from pgsbert.rerank('red apple', %s)", documents)
    own = scores("red apple", documents)
    expected = sorted(zip(range(1, 5), documents, own, strict=True), key=lambda row: -row[2])
    assert found == expected


def test_equal_documents_keep_their_order(asking: PgConnection) -> None:
    found = rows(asking, "select ordinal from pgsbert.rerank('red', %s)", ["sea", "red", "red", "red", "sea"])
    assert found == [2, 3, 4, 1, 5]


def test_null_documents_are_left_out_and_counted(asking: PgConnection) -> None:
    found = rows(asking, "select ordinal, document from pgsbert.rerank('red', %s)", [None, "red", None, "blue", None])
    assert found == [(2, "red"), (4, "blue")]


@pytest.mark.parametrize("call", ["'red', '{}'", "'red', null", "'red', array[null, null]::text[]", "null, '{red}'"])
def test_without_a_query_or_documents_there_is_nothing(asking: PgConnection, call: str) -> None:
    assert rows(asking, f"select * from pgsbert.rerank({call})") == []


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (2, 2), (3, 3), (99, 3), (None, 3)])
def test_top_k_takes_the_best(asking: PgConnection, top_k: int | None, count: int) -> None:
    every = rows(asking, "select document from pgsbert.rerank('red apple', '{sea,red apple,red}')")
    assert (
        rows(asking, "select document from pgsbert.rerank('red apple', '{sea,red apple,red}', top_k => %s)", top_k)
        == every[:count]
    )


def test_two_hundred_documents_in_one_call(asking: PgConnection) -> None:
    documents = [f"word{i % 13} word{i % 7} {i}" for i in range(200)]
    found = rows(asking, "select ordinal, score from pgsbert.rerank('word3 word5', %s)", documents)
    own = scores("word3 word5", documents)
    assert [score for _, score in found] == sorted(own, reverse=True)
    assert all(score == own[ordinal - 1] for ordinal, score in found)


@pytest.mark.parametrize(
    "document",
    ["🍎 red", "x" * 2**20, "it's \\ a 'quote' $$", "", "{1,2}", "line\nbreak\ttab", "NULL", '"'],
    ids=lambda d: repr(d)[:12],
)
def test_any_text_can_be_scored(asking: PgConnection, document: str) -> None:
    ((ordinal, same, score),) = rows(
        asking, "select ordinal, document, score from pgsbert.rerank('🍎 it''s', %s)", [document]
    )
    assert (ordinal, same, score) == (1, document, scores("🍎 it's", [document])[0])


@pytest.mark.parametrize("document", ["fake:raise", "fine fake:raise"])
def test_a_model_that_raises_is_an_error_with_its_words(asking: PgConnection, document: str) -> None:
    with pytest.raises(
        psycopg.Error, match='the model "fake-reranker" failed: RuntimeError: fake:raise was in a text'
    ) as raised:
        asking.execute("select * from pgsbert.rerank('red', %s)", [["fine", document]])
    assert raised.value.sqlstate == "PB009"
    assert rows(asking, "select document from pgsbert.rerank('red', '{red}')") == [
        "red"
    ]  # and the next question is answered


def test_rerank_works_in_a_read_only_repeatable_read_transaction(asking: PgConnection) -> None:
    with asking.transaction():
        asking.execute("set transaction isolation level repeatable read, read only")
        assert rows(asking, "select document from pgsbert.rerank('red', '{sea,red}', 'fake-reranker', 1)") == ["red"]
