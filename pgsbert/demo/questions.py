"""Questions to the demo's table, in the SQL that anybody would type."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

SEARCH = sql.SQL(
    """
SELECT name, signature, text,
       1 - (embedding <=> (SELECT pgsbert.embed({question}))) AS score
FROM docstrings
ORDER BY embedding <=> (SELECT pgsbert.embed({question}))
LIMIT {limit};
""".strip()
)
RERANK = "select ordinal, score from pgsbert.rerank(%s, %s, top_k => %s)"
SHOWN = 3
RERANKED = 20
PATIENCE = "60s"  # the worker may still be loading its model


@dataclass(frozen=True)
class Hit:
    """One row found; the score is 1 - cosine distance, or the cross-encoder's."""

    name: str
    signature: str
    text: str
    score: float


def statement(question: str, connection: psycopg.Connection[Any], *, limit: int = SHOWN) -> str:
    """Return the SQL that answers, as it can be pasted into psql."""
    return SEARCH.format(question=sql.Literal(question), limit=sql.Literal(limit)).as_string(connection)


def answer(question: str, connection: psycopg.Connection[Any], *, limit: int = SHOWN) -> Sequence[Hit]:
    """Return the rows nearest in meaning, best first."""
    connection.execute("select set_config('pgsbert.timeout', %s, false)", [PATIENCE])
    with connection.cursor(row_factory=class_row(Hit)) as cursor:
        # encoded here: a str for execute() must be a literal, and this one is what was shown
        return cursor.execute(statement(question, connection, limit=limit).encode()).fetchall()


def rerank(question: str, connection: psycopg.Connection[Any]) -> Sequence[Hit]:
    """Return the best of the nearest rows by the cross-encoder; raises PB005 if none is registered."""
    nearest = answer(question, connection, limit=RERANKED)
    documents = [f"{hit.name}{hit.signature}\n{hit.text}" for hit in nearest]
    ranked = connection.execute(RERANK, [question, documents, SHOWN]).fetchall()
    hits = [nearest[ordinal - 1] for ordinal, _ in ranked]
    return [Hit(hit.name, hit.signature, hit.text, score) for hit, (_, score) in zip(hits, ranked, strict=True)]


def reason(error: psycopg.Error) -> str:
    """Return an error of the database in one line, with its next step."""
    message = (error.diag.message_primary or str(error)).strip().splitlines()[0]
    return f"{message} ({error.diag.message_hint})" if error.diag.message_hint else message
