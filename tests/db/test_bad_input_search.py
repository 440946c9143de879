"""Bad calls of search, rerank, similarity, failures and grants: the SQLSTATE and the message of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

EMPTY_QUERY = "the query is empty"
K = "k and candidates must be at least 1, not {} and {}"
NO_VECTORIZER = 'no vectorizer is called "nothing"'
NO_MODEL = 'no model is registered as "nothing"'
EMPTY_TEXT = "an empty text has no embedding"

CASES = [
    ("notes_search", "notes_search(null)", "PB007", EMPTY_QUERY),
    ("notes_search", "notes_search('')", "PB007", EMPTY_QUERY),
    ("notes_search", "notes_search('q', 0)", "PB007", K.format(0, 50)),
    ("notes_search", "notes_search('q', -1)", "PB007", K.format(-1, 50)),
    ("notes_search", "notes_search('q', null)", "PB007", K.format("NULL", 50)),
    ("notes_search", "notes_search('q', candidates => 0)", "PB007", K.format(10, 0)),
    ("notes_search", "notes_search('q', candidates => null)", "PB007", K.format(10, "NULL")),
    ("notes_search", "notes_search('q', rerank => null)", "PB007", "rerank must be true or false, not NULL"),
    ("search", "pgsbert.search('nothing', 'q')", "PB006", NO_VECTORIZER),
    ("search", "pgsbert.search(null, 'q')", "PB006", 'no vectorizer is called ""'),
    ("search", "pgsbert.search('notes', '')", "PB007", EMPTY_QUERY),
    ("search", "pgsbert.search('notes', null)", "PB007", EMPTY_QUERY),
    ("search", "pgsbert.search('notes', 'q', 0)", "PB007", K.format(0, 50)),
    ("search", "pgsbert.search('notes', 'q', 1, null)", "PB007", "rerank must be true or false, not NULL"),
    ("search", "pgsbert.search('notes', 'q', 1, true, 0)", "PB007", K.format(1, 0)),
    (
        "search",
        "pgsbert.search('notes', 'fake:raise')",
        "PB009",
        'the model "fake-8" failed: RuntimeError: fake:raise was in a text',
    ),
    ("similar_to", "pgsbert.similar_to('nothing', '{1}')", "PB006", NO_VECTORIZER),
    ("similar_to", "pgsbert.similar_to('notes', '{}')", "PB007", 'the key of "notes" has 1 column(s): id'),
    ("similar_to", "pgsbert.similar_to('notes', null)", "PB007", 'the key of "notes" has 1 column(s): id'),
    ("similar_to", "pgsbert.similar_to('notes', '{1,2}')", "PB007", 'the key of "notes" has 1 column(s): id'),
    ("similar_to", "pgsbert.similar_to('notes', '{1}', 0)", "PB007", "k must be at least 1, not 0"),
    ("similar_to", "pgsbert.similar_to('notes', '{1}', null)", "PB007", "k must be at least 1, not NULL"),
    ("similar_to", "pgsbert.similar_to('notes', '{one}')", "22P02", 'invalid input syntax for type integer: "one"'),
    ("similarity", "pgsbert.similarity('', 'a', 'fake-8')", "PB007", EMPTY_TEXT),
    ("similarity", "pgsbert.similarity('a', '', 'fake-8')", "PB007", EMPTY_TEXT),
    ("similarity", "pgsbert.similarity('a', 'b', 'nothing')", "PB003", NO_MODEL),
    (
        "similarity",
        "pgsbert.similarity('a', 'b', 'fake-reranker')",
        "PB004",
        '"fake-reranker" is a cross-encoder: to embed, a bi-encoder is needed',
    ),
    ("rerank", "pgsbert.rerank('', '{a}', 'fake-reranker')", "PB007", EMPTY_QUERY),
    ("rerank", "pgsbert.rerank('', '{}', 'fake-reranker')", "PB007", EMPTY_QUERY),
    ("rerank", "pgsbert.rerank('q', '{a}', 'fake-reranker', 0)", "PB007", "top_k must be at least 1, not 0"),
    ("rerank", "pgsbert.rerank('q', '{a}', 'fake-reranker', -3)", "PB007", "top_k must be at least 1, not -3"),
    (
        "rerank",
        "pgsbert.rerank('q', '{a}', 'fake-8')",
        "PB004",
        '"fake-8" is a bi-encoder: to rerank, a cross-encoder is needed',
    ),
    ("rerank", "pgsbert.rerank('q', '{a}', 'nothing')", "PB003", NO_MODEL),
    (
        "rerank",
        "pgsbert.rerank('q', '{a}')",
        "PB005",
        "no reranker: run pgsbert model add cross-encoder/ms-marco-MiniLM-L6-v2",
    ),
    ("embed_for", "pgsbert.embed_for('nothing', 'a')", "PB006", NO_VECTORIZER),
    ("embed_for", "pgsbert.embed_for('nothing', null)", "PB006", NO_VECTORIZER),
    ("embed_for", "pgsbert.embed_for('notes', '')", "PB007", EMPTY_TEXT),
    ("grant_usage", "pgsbert.grant_usage('nobody here')", "PB007", 'role "nobody here" does not exist'),
    ("grant_usage", "pgsbert.grant_usage(null)", "PB007", 'role "NULL" does not exist'),
    ("grant_usage", "pgsbert.grant_usage('postgres', 'king')", "PB007", "level => 'king' is not known"),
    ("grant_usage", "pgsbert.grant_usage('postgres', null)", "PB007", "level => NULL is not known"),
    (
        "grant_usage",
        "pgsbert.grant_usage('pgsbert_worker')",
        "PB007",
        'role "pgsbert_worker" has its rights from the installation',
    ),
    ("revoke_usage", "pgsbert.revoke_usage('nobody here')", "PB007", 'role "nobody here" does not exist'),
    ("revoke_usage", "pgsbert.revoke_usage(null)", "PB007", 'role "NULL" does not exist'),
    (
        "revoke_usage",
        "pgsbert.revoke_usage('pgsbert_gateway')",
        "PB007",
        'role "pgsbert_gateway" has its rights from the installation',
    ),
    ("retry_failures", "pgsbert.retry_failures('nothing')", "PB006", NO_VECTORIZER),
    ("discard_failures", "pgsbert.discard_failures('nothing')", "PB006", NO_VECTORIZER),
]


@pytest.fixture(scope="module")
def notes(shared_database: Database) -> Iterator[PgConnection]:
    """Give a connection to a database with a worker and notes, a vectorizer of fake-8."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        connection.execute("create table notes (id int primary key, body text)")
        connection.execute("insert into notes values (1, 'one'), (2, 'two')")
        connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', index => 'none')")
        connection.execute("call pgsbert.wait_until_synced('notes')")
        yield connection


@pytest.mark.parametrize(("function", "call", "sqlstate", "message"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES])
def test_a_bad_call_says_what_is_wrong(
    notes: PgConnection, function: str, call: str, sqlstate: str, message: str
) -> None:
    with pytest.raises(psycopg.Error) as raised:
        notes.execute(f"select * from {call}")
    assert (raised.value.sqlstate, raised.value.diag.message_primary) == (sqlstate, message)


@pytest.mark.parametrize(
    "query",
    ["🍎" * 100, "x" * 2**20, "it's \\ $$ {a} %s %I", " ", "\n"],
    ids=["emoji", "1 MB", "quotes", "space", "line"],
)
def test_any_text_that_is_not_empty_is_a_query(notes: PgConnection, query: str) -> None:
    assert rows(notes, "select count(*) from notes_search(%s)", query) == [2]
    assert rows(notes, "select count(*) from pgsbert.search('notes', %s)", query) == [2]
    assert rows(
        notes,
        "select pgsbert.embed_for('notes', %s) is not null, pgsbert.similarity(%s, 'a', 'fake-8') between -1 and 1",
        query,
        query,
    ) == [(True, True)]
