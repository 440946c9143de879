"""pgsbert.classify: a probability for each label of a classifier, and nothing else under that name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

import pgsbert
from pgsbert import Label
from pgsbert.testing import FakeClassifier, FakeReranker
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pgsbert.types import Model, Probabilities
    from tests.support import Database

PgConnection = psycopg.Connection[Any]

CAT = "a cat sleeps on the sofa"


@pytest.fixture(scope="module")
def asking(shared_database: Database) -> Iterator[PgConnection]:
    """Give a connection to a database with a worker and fake-classifier as the default."""
    with run_worker(shared_database.dsn), shared_database.connect() as connection:
        connection.execute("update pgsbert.model set is_default = true where name = 'fake-classifier'")
        yield connection


def expected(premise: str, hypothesis: str) -> list[tuple[str, float]]:
    classifier = FakeClassifier()
    [probabilities] = classifier.classify(premise, [hypothesis]).tolist()
    return sorted(zip(classifier.model.labels or [], probabilities, strict=True), key=lambda row: -row[1])


def test_the_stand_in_knows_three_kinds_of_pairs() -> None:
    found = FakeClassifier().classify(CAT, ["a cat sleeps", "a cat sleeps not", "two dogs run"])
    assert np.argmax(found, axis=1).tolist() == [1, 0, 2]
    assert found.sum(axis=1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("hypothesis", ["a cat sleeps", "a cat sleeps not", "two dogs run", "a cat runs fast"])
def test_labels_come_best_first_with_their_probabilities(asking: PgConnection, hypothesis: str) -> None:
    found = rows(asking, "select label, probability from pgsbert.classify(%s, %s)", CAT, hypothesis)
    assert found == expected(CAT, hypothesis)
    assert sum(probability for _, probability in found) == 1


def test_a_table_of_pairs_is_classified_row_by_row(asking: PgConnection) -> None:
    asking.execute("create temp table pairs as select * from (values (1, 'a cat sleeps'), (2, 'a cat sleeps not'),"
                   " (3, 'two dogs run'), (4, null)) as p (id, hypothesis)")  # fmt: skip
    found = rows(
        asking,
        "select p.id, (select c.label from pgsbert.classify(%s, p.hypothesis) as c limit 1) from pairs as p order by 1",
        CAT,
    )
    assert found == [(1, "entailment"), (2, "contradiction"), (3, "neutral"), (4, None)]


@pytest.mark.parametrize("call", ["null, 'a cat'", "'a cat', null", "null, null"])
def test_without_both_texts_there_is_nothing(asking: PgConnection, call: str) -> None:
    assert rows(asking, f"select * from pgsbert.classify({call})") == []


@pytest.mark.parametrize(("call", "which"), [("'', 'a'", "premise"), ("'a', ''", "hypothesis"), ("'', ''", "premise")])
def test_an_empty_text_is_refused(asking: PgConnection, call: str, which: str) -> None:
    with pytest.raises(psycopg.Error, match=f"the {which} is empty") as raised:
        asking.execute(f"select * from pgsbert.classify({call})")
    assert raised.value.sqlstate == "PB007"


@pytest.mark.parametrize("text", ["🍎 not red", "x" * 2**20, "it's \\ a 'quote' $$", " \n\t ", "{1,2}", "NULL", '"'])
def test_any_other_text_can_be_classified(asking: PgConnection, text: str) -> None:
    found = rows(asking, "select label, probability from pgsbert.classify(%s, %s)", text, text)
    assert found == expected(text, text)


WRONG = {
    "a classifier for a rerank": (
        "select * from pgsbert.rerank('a', '{b}', 'fake-classifier')",
        "PB004",
        '"fake-classifier" is a classifier: to rerank, a cross-encoder is needed',
        "It says which of contradiction, entailment, neutral holds for two texts: pgsbert.classify.",
    ),
    "a classifier for an embedding": (
        "select pgsbert.embed('a', 'fake-classifier')",
        "PB004",
        '"fake-classifier" is a classifier: to embed, a bi-encoder is needed',
        "pgsbert.classify",
    ),
    "a reranker for a class": (
        "select * from pgsbert.classify('a', 'b', 'fake-reranker')",
        "PB004",
        '"fake-reranker" is a cross-encoder: to classify, a classifier is needed',
        "It scores documents against a query: pgsbert.rerank.",
    ),
    "a bi-encoder for a class": (
        "select * from pgsbert.classify('a', 'b', 'fake-8')",
        "PB004",
        '"fake-8" is a bi-encoder: to classify, a classifier is needed',
        "It embeds one text: pgsbert.embed.",
    ),
    "an unknown model": (
        "select * from pgsbert.classify('a', 'b', 'nothing')",
        "PB003",
        'no model is registered as "nothing"',
        "pgsbert model add nothing",
    ),
    "a classifier for a vectorizer": (
        "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-classifier')",
        "PB004",
        '"fake-classifier" is a classifier: an embedding needs a bi-encoder',
        "",
    ),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_the_wrong_kind_of_model_is_refused_by_a_sentence_that_helps(
    asking: PgConnection, case: tuple[str, str, str, str]
) -> None:
    call, state, message, hint = case
    asking.execute("create table if not exists notes (id int primary key, body text)")
    with pytest.raises(psycopg.Error) as raised:
        asking.execute(call)
    assert (raised.value.sqlstate, raised.value.diag.message_primary) == (state, message)
    assert hint in (raised.value.diag.message_hint or "")


def test_without_a_classifier_the_next_step_is_said(connection: PgConnection) -> None:
    with pytest.raises(psycopg.Error, match="no default classifier is registered") as raised:
        connection.execute("select * from pgsbert.classify('a', 'b')")
    assert raised.value.sqlstate == "PB003"
    assert "pgsbert model add cross-encoder/nli-" in str(raised.value.diag.message_hint)


def test_a_model_that_raises_is_an_error_with_its_words(asking: PgConnection) -> None:
    with pytest.raises(psycopg.Error, match="failed: RuntimeError: fake:raise was in a text") as raised:
        asking.execute("select * from pgsbert.classify('a', 'fake:raise')")
    assert raised.value.sqlstate == "PB009"
    assert rows(asking, "select label from pgsbert.classify('a', 'a') limit 1") == ["entailment"]


class Infinite(FakeClassifier):
    """A classifier whose numbers are none."""

    def classify(self, premise: str, hypotheses: Sequence[str], /) -> Probabilities:
        return super().classify(premise, hypotheses) * np.float32("nan")


class InfiniteReranker(FakeReranker):
    """A reranker whose scores are none."""

    def score(self, query: str, documents: Sequence[str], /) -> Any:
        return super().score(query, documents) * np.float32("nan")


@pytest.mark.parametrize(
    "question", ["pgsbert.classify('a', 'b', 'fake-classifier')", "pgsbert.rerank('a', '{b}', 'fake-reranker')"]
)
def test_numbers_that_are_not_finite_are_no_answer(database: Database, connection: PgConnection, question: str) -> None:
    def load(model: Model) -> Any:
        return Infinite() if model.kind == "classifier" else InfiniteReranker()

    with run_worker(database.dsn, load=load), pytest.raises(psycopg.Error, match="NaN or infinity") as raised:
        connection.execute(f"select * from {question}")
    assert raised.value.sqlstate == "PB009"


def test_models_shows_the_kind_and_the_labels(asking: PgConnection) -> None:
    rows(asking, "select * from pgsbert.classify('a', 'b')")
    [shown] = rows(
        asking, "select row(kind, is_default, labels)::text from pgsbert.models where name = 'fake-classifier'"
    )
    assert shown == '(classifier,t,"{contradiction,entailment,neutral}")'


def test_classify_works_in_a_read_only_repeatable_read_transaction(asking: PgConnection) -> None:
    with asking.transaction():
        asking.execute("set transaction isolation level repeatable read, read only")
        assert rows(asking, "select label from pgsbert.classify('a', 'a', 'fake-classifier') limit 1") == ["entailment"]


def test_python_gives_labels_with_probabilities(asking: PgConnection) -> None:
    found = pgsbert.classify(asking, CAT, "a cat sleeps not")
    assert found == [Label(*row) for row in expected(CAT, "a cat sleeps not")]
    assert found[0].label == "contradiction"


async def test_python_waits_for_an_async_connection(asking: PgConnection, shared_database: Database) -> None:
    async with await psycopg.AsyncConnection.connect(shared_database.dsn) as connection:
        found = await pgsbert.classify(connection, CAT, "a cat sleeps", model="fake-classifier")
    assert found == [Label(*row) for row in expected(CAT, "a cat sleeps")]


@pytest.mark.parametrize(("kind", "labels"), [("classifier", None), ("cross-encoder", ["a", "b"])])
def test_labels_belong_to_classifiers(connection: PgConnection, kind: str, labels: list[str] | None) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="model_labels_fit_kind"):
        connection.execute("insert into pgsbert.model (name, kind, labels) values ('x', %s, %s)", [kind, labels])
