"""Judge a bi-encoder through the product: rows embedded by triggers and worker, questions asked in SQL.

``exact`` reads every vector, ``by index`` only what HNSW finds, ``reranked`` lets a cross-encoder order the best of
``exact``. Each figure is that of searches for as many rows as it looks at: HNSW looks the closer the more are wanted,
so a search for 1000 rows would say nothing of one for 10.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from psycopg import sql

from pgsbert.client import embed, rerank
from pgsbert.database import connect
from pgsbert.errors import DataError
from pgsbert.training import scratch
from pgsbert.training.evaluate import RETRIEVAL, Judged, judge_ranking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import timedelta

    import psycopg

    from pgsbert.training.collection import Collection, Judgements
    from pgsbert.training.evaluate import Choice
    from pgsbert.training.scratch import Scratch, Show

    Found = dict[str, list[str]]  # documents by question, best first
    Plan = Literal["exact", "by index"]

DEPTHS = {10: ["nDCG@10"], 100: ["recall@100"], 1000: ["MRR", "MAP"]}
DEEPEST = max(DEPTHS)
# left to itself the planner reads all rows of a small table, and of a large one the index
PLANS: dict[Plan, dict[str, str]] = {
    "exact": {"enable_indexscan": "off", "enable_seqscan": "on", "enable_sort": "on"},
    "by index": {"enable_indexscan": "on", "enable_seqscan": "off", "enable_sort": "off"},
}
TIMEOUT = "60s"  # the worker may be loading its model


def judge_through_database(
    dsn: str,
    model: str,
    collection: Collection,
    *,
    reranker: str | None = None,
    candidates: int = 50,
    show: Show,
    patience: timedelta = scratch.PATIENCE,
) -> dict[str, Judged]:
    """Return what each way of searching did: exact, by index, and reranked where a ``reranker`` is named.

    ``model`` and ``reranker`` are registered, and a worker runs; otherwise psycopg.Error with an SQLSTATE of class PB
    comes before anything is made. Raises DataError for texts that cannot be stored or asked.
    """
    questions = {question: collection.questions[question] for question in collection.relevant}
    check_texts(collection.documents, questions)
    with connect(dsn, application_name="pgsbert evaluate") as connection:
        _check_answers(connection, model, reranker, next(iter(questions.values())))
    with (
        scratch.embedded(dsn, model, collection.documents, show=show, patience=patience) as table,
        connect(dsn, application_name="pgsbert evaluate") as connection,
    ):

        def ask(plan: Plan, depth: int) -> Found:
            found: Found = {}
            for question, text in _counted(questions, f"{plan}, {depth} rows", show):
                apart = collection.left_out.get(question, frozenset())
                rows = _search(connection, table, plan, text, depth + len(apart))
                found[question] = leave_out(rows, apart)[:depth]
            return found

        near = ask("exact", DEEPEST)
        judged = {
            "exact": judge_found(collection.relevant, cut(near)),
            "by index": judge_found(collection.relevant, {depth: ask("by index", depth) for depth in DEPTHS}),
        }
        if reranker is not None:
            ordered: Found = {}
            for question, text in _counted(questions, "reranked", show):
                best = [collection.documents[document] for document in near[question][:candidates]]
                ordered[question] = reorder(near[question], _rerank(connection, reranker, text, best))
            judged["reranked"] = judge_found(collection.relevant, cut(ordered))
    return judged


def check_texts(documents: Mapping[str, str], questions: Mapping[str, str]) -> None:
    """Raise DataError for a text that PostgreSQL cannot hold, and for an empty question: a search refuses it."""
    for kind, texts in (("document", documents), ("question", questions)):
        for name, text in texts.items():
            if not _storable(name) or not _storable(text):
                raise DataError(f"{kind} {name!r} holds a NUL or half of a surrogate pair: PostgreSQL cannot store it.")
            if kind == "question" and not text:
                raise DataError(f"question {name!r} is empty: a search refuses it. Take it out of the qrels.")


def leave_out(found: Sequence[str], apart: AbstractSet[str]) -> list[str]:
    """Return what was found, in its order, without what stands apart."""
    return [document for document in found if document not in apart]


def reorder(found: Sequence[str], places: Sequence[int]) -> list[str]:
    """Return the first documents in the order of ``places``, each of them once, and the others behind as they were."""
    return [*(found[place] for place in places), *found[len(places) :]]


def cut(found: Found) -> dict[int, Found]:
    """Return what searches for fewer rows would have found, by depth: of an order without an index, its beginning."""
    return {depth: {question: order[:depth] for question, order in found.items()} for depth in DEPTHS}


def judge_found(relevant: Judgements, found: Mapping[int, Found]) -> Judged:
    """Judge orders of documents, each figure by those of its depth."""
    parts = [
        judge_ranking(
            relevant,
            {
                # the order counts, not the scores: equal ones would be put in another order
                question: {document: -float(place) for place, document in enumerate(order)}
                for question, order in found[depth].items()
            },
            {name: RETRIEVAL[name] for name in names},
        )
        for depth, names in DEPTHS.items()
    ]

    def figures_of(chosen: Choice) -> dict[str, float]:
        return {name: value for part in parts for name, value in part.figures_of(chosen).items()}

    return Judged(parts[0].size, figures_of)


def _check_answers(connection: psycopg.Connection[Any], model: str, reranker: str | None, question: str) -> None:
    with connection.transaction():
        _set(connection, "pgsbert.timeout", TIMEOUT)
        embed(connection, [question], model=model)
    if reranker is not None:
        _rerank(connection, reranker, question, [question])


def _search(connection: psycopg.Connection[Any], table: Scratch, plan: Plan, text: str, k: int) -> list[str]:
    with connection.transaction():
        _set(connection, "pgsbert.timeout", TIMEOUT)
        for setting, value in PLANS[plan].items():
            _set(connection, setting, value)
        query = sql.SQL("select (hit.item).id from {}(%s, k => %s) as hit").format(table.search)
        return [document for (document,) in connection.execute(query, [text, k])]


def _rerank(connection: psycopg.Connection[Any], reranker: str, text: str, documents: Sequence[str]) -> list[int]:
    with connection.transaction():
        _set(connection, "pgsbert.timeout", TIMEOUT)
        return [one.ordinal for one in rerank(connection, text, documents, model=reranker)]


def _set(connection: psycopg.Connection[Any], setting: str, value: str) -> None:
    """Until the transaction ends, so that a pooler gives no such session to anybody else."""
    connection.execute("select set_config(%s, %s, true)", [setting, value])


def _counted(questions: Mapping[str, str], what: str, show: Show) -> Iterator[tuple[str, str]]:
    for number, item in enumerate(questions.items(), 1):
        yield item
        show(what, number, len(questions))


def _storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False
