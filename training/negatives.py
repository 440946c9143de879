"""Hard negatives: texts that look right and are not marked so. A cross-encoder learns most from these.

A relevant pair has score 1. What is added has score 0 and is never a text that is relevant to the same query, nor a
dev pair.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from psycopg.rows import dict_row
from sentence_transformers.util import mine_hard_negatives

from pgsbert.client import search
from pgsbert.database import connect
from pgsbert.errors import DataError
from pgsbert.training.pairs import Pair, key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sentence_transformers import SentenceTransformer

RELEVANT, IRRELEVANT = 1.0, 0.0


def mined(
    pairs: Sequence[Pair], miner: SentenceTransformer, *, number: int, apart_from: Sequence[Pair] = ()
) -> list[Pair]:
    """Return for each relevant pair the ``number`` texts that a bi-encoder finds nearest and that are not relevant."""
    relevant = _relevant(pairs)
    documents = list(dict.fromkeys(pair.second for pair in pairs))
    asked = {"query": [pair.first for pair in relevant], "document": [pair.second for pair in relevant]}
    found: Any = mine_hard_negatives(
        Dataset.from_dict(asked),
        miner,
        corpus=documents,
        num_negatives=min(number, len(documents) - 1),
        output_format="labeled-pair",
        batch_size=64,
        verbose=False,
    )
    rows = zip(found["query"], found["document"], found["label"], strict=True)
    return _new((Pair(query, text, IRRELEVANT) for query, text, label in rows if not label), pairs, apart_from)


def ranked_high(
    pairs: Sequence[Pair], dsn: str, vectorizer: str, *, number: int, apart_from: Sequence[Pair] = ()
) -> list[Pair]:
    """Return for each query the ``number`` rows ranked highest by a vectorizer's search that are not relevant.

    A worker must be running, since it is the search that applications use.
    """
    answers: dict[str, int] = {}
    for pair in _relevant(pairs):
        answers[pair.first] = answers.get(pair.first, 0) + 1
    with connect(dsn, application_name="pgsbert train") as connection:
        connection.row_factory = dict_row
        query = "select v.column_names::text[] as columns, v.template from pgsbert.find_vectorizer(%s) as v"
        made_of = connection.execute(query, (vectorizer,)).fetchone()
        assert made_of is not None
        return _new(
            (
                Pair(question, text_of(hit.item, made_of["columns"], made_of["template"]), IRRELEVANT)
                for question, known in answers.items()
                for hit in search(connection, vectorizer, question, k=number + known)
            ),
            pairs,
            apart_from,
            each=number,
        )


def text_of(item: Mapping[str, object], columns: Sequence[str], template: str | None) -> str:
    """Return the text of a row as it is embedded: its columns one a line, or filled into the template."""
    values = ["" if item.get(column) is None else str(item[column]) for column in columns]
    if template is None:
        return "\n".join(value for value in values if value)
    filled = {"{{": "{", "}}": "}", **{f"{{{place}}}": value for place, value in enumerate(values, 1)}}
    return re.sub(r"\{\{|\}\}|\{\d+\}", lambda part: filled[part[0]], template)


def _relevant(pairs: Sequence[Pair]) -> list[Pair]:
    found = [pair for pair in pairs if pair.target == RELEVANT]
    if not found:
        raise DataError("Hard negatives are looked for beside relevant pairs (label 1), and there is none.")
    return found


def _new(found: Iterator[Pair], *known: Sequence[Pair], each: int | None = None) -> list[Pair]:
    """Return what is found and not known, at most ``each`` a query."""
    seen = {key(pair.first, pair.second) for pairs in known for pair in pairs}
    kept: list[Pair] = []
    counts: dict[str, int] = {}
    for pair in found:
        name = key(pair.first, pair.second)
        if name in seen or not pair.second.strip() or (each is not None and counts.get(pair.first, 0) >= each):
            continue
        seen.add(name)
        counts[pair.first] = counts.get(pair.first, 0) + 1
        kept.append(pair)
    return kept
