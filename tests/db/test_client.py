"""The Python functions: one logic for both kinds of connection, whatever its row factory and transaction."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from psycopg.rows import dict_row

import pgsbert
from pgsbert.errors import UsageError, VectorizerTimeoutError
from pgsbert.testing import FakeEncoder, FakeReranker
from tests.support import run_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support import Database

Call = Any  # call(function, *arguments, **options) on one connection


@pytest.fixture(scope="module")
def notes(shared_database: Database) -> Iterator[Database]:
    """Give a database with a worker and the embedded table notes."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        connection.execute("create table notes (id int primary key, body text)")
        connection.execute("insert into notes values (1, 'red apple'), (2, 'red car'), (3, 'blue sea')")
        pgsbert.create_vectorizer(connection, "public.notes", ["body"], model="fake-8", index="none")
        pgsbert.wait_until_synced(connection, "notes")
        yield shared_database


@asynccontextmanager
async def opened(database: Database, kind: str) -> AsyncIterator[Call]:
    """Give a function that performs an operation on a connection of that kind."""
    row_factory = dict_row if "dict" in kind else psycopg.rows.tuple_row
    settings: dict[str, Any] = {"autocommit": "autocommit" in kind, "row_factory": row_factory}
    if "async" in kind:
        async with await psycopg.AsyncConnection.connect(database.dsn, **settings) as connection:

            async def call_async(operation: Any, *arguments: Any, **options: Any) -> Any:
                return await operation(connection, *arguments, **options)

            yield call_async
    else:
        with psycopg.connect(database.dsn, **settings) as blocking:

            async def call(operation: Any, *arguments: Any, **options: Any) -> Any:
                return operation(blocking, *arguments, **options)

            yield call


@pytest.fixture(params=["sync", "sync autocommit", "sync dict", "async", "async autocommit", "async dict autocommit"])
async def call(request: pytest.FixtureRequest, notes: Database) -> AsyncIterator[Call]:
    async with opened(notes, request.param) as call:
        yield call


async def test_embed_equals_the_encoder_exactly(call: Call) -> None:
    texts = ["red apple", "naïve 🍎", "it's", "red apple"]
    vectors = await call(pgsbert.embed, texts, model="fake-8")
    assert (vectors.shape, vectors.dtype) == ((4, 8), np.float32)
    assert np.array_equal(vectors, FakeEncoder(8).encode(texts))
    assert (await call(pgsbert.embed, [], model="fake-8")).shape == (0, 8)


async def test_search_gives_hits_with_rows_distances_and_scores(call: Call) -> None:
    hits = await call(pgsbert.search, "notes", "red apple", k=2)
    assert [hit.item for hit in hits] == [{"id": 1, "body": "red apple"}, {"id": 2, "body": "red car"}]
    assert all(hit.score == 1 - hit.distance for hit in hits)
    (best,) = await call(pgsbert.search, "notes", "blue sea", k=1, rerank=True, candidates=3)
    assert (best.item["id"], best.score) == (3, float(FakeReranker().score("blue sea", ["blue sea"])[0]))


async def test_similar_to_takes_a_key_or_its_parts(call: Call) -> None:
    for key in (1, [1], ("1",), Decimal(1)):
        assert [hit.item["id"] for hit in await call(pgsbert.similar_to, "notes", key, k=1)] == [2]


async def test_rerank_counts_from_zero_in_the_documents_given(call: Call) -> None:
    documents = ["a sea", "the red apple", "red"]
    ranked = await call(pgsbert.rerank, "red apple", documents)
    assert [one.ordinal for one in ranked] == [1, 2, 0]
    assert all(documents[one.ordinal] == one.document for one in ranked)
    own = FakeReranker().score("red apple", documents)
    assert [one.score for one in ranked] == [float(own[one.ordinal]) for one in ranked]
    assert await call(pgsbert.rerank, "red apple", documents, model="fake-reranker", top_k=1) == ranked[:1]


async def test_similarity_is_a_float(call: Call) -> None:
    assert await call(pgsbert.similarity, "red", "red", model="fake-8") == pytest.approx(1)


async def test_wait_until_synced_returns_or_raises_its_own_error(call: Call, notes: Database) -> None:
    await call(pgsbert.wait_until_synced, "notes")
    notes.execute("select pgsbert.pause_vectorizer('notes'); update notes set body = 'blue sea.' where id = 3")
    try:
        with pytest.raises(VectorizerTimeoutError, match=r"was not in sync after 0:00:00\.05"):
            await call(pgsbert.wait_until_synced, "notes", timeout=timedelta(milliseconds=50))
    finally:
        notes.execute("update notes set body = 'blue sea' where id = 3; select pgsbert.resume_vectorizer('notes')")
    await call(pgsbert.wait_until_synced, "notes")


@pytest.mark.parametrize(
    ("operation", "arguments", "sqlstate"),
    [
        (pgsbert.search, ("nothing", "query"), "PB006"),
        (pgsbert.search, ("notes", ""), "PB007"),
        (pgsbert.similar_to, ("notes", [1, 2]), "PB007"),
        (pgsbert.similar_to, ("notes", "not a number"), "22P02"),
        (pgsbert.embed, (["fake:raise"],), "PB009"),
        (pgsbert.rerank, ("", ["text"]), "PB007"),
        (pgsbert.create_vectorizer, ("notes", ["nothing"]), "PB007"),
        (pgsbert.create_vectorizer, ("nowhere", ["body"]), "42P01"),
        (pgsbert.wait_until_synced, ("nothing",), "PB006"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_errors_are_psycopgs_with_their_sqlstate(
    notes: Database, operation: Callable[..., Any], arguments: tuple[Any, ...], sqlstate: str
) -> None:
    for kind in ("sync", "async autocommit"):
        async with opened(notes, kind) as call:
            with pytest.raises(psycopg.Error) as raised:
                await call(operation, *arguments)
            assert raised.value.sqlstate == sqlstate


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (pgsbert.embed, ("one text",)),
        (pgsbert.embed, (["text", None],)),
        (pgsbert.rerank, ("query", "one document")),
        (pgsbert.create_vectorizer, ("notes", "body")),
    ],
    ids=["text", "None", "document", "column"],
)
async def test_one_text_is_not_taken_for_a_sequence_of_letters(
    notes: Database, operation: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    async with opened(notes, "sync") as call:
        with pytest.raises(UsageError):
            await call(operation, *arguments)


async def test_create_vectorizer_takes_all_options_and_any_table_name(notes: Database) -> None:
    async with opened(notes, "async autocommit") as call:
        notes.execute('create table "My ""docs" (a uuid primary key, body text)')
        options: dict[str, Any] = {"name": "mine", "model": "fake-8", "storage": "table", "target": "vec"}
        more: dict[str, Any] = {"distance": "l2", "index": "none", "on_change": "clear", "if_not_exists": True}
        for _ in range(2):
            assert await call(pgsbert.create_vectorizer, '"My ""docs"', ["body"], **options, **more) == "mine"
        keys = [UUID(int=1), UUID(int=2)]
        notes.execute('insert into "My ""docs" select unnest(%s::uuid[]), \'text\'', keys)
        await call(pgsbert.wait_until_synced, "mine")
        (other,) = await call(pgsbert.similar_to, "mine", keys[0])
        assert other.item["a"] == str(keys[1])


async def test_an_operation_is_part_of_the_callers_transaction(notes: Database) -> None:
    with psycopg.connect(notes.dsn) as connection:
        connection.execute("create table undone (id int primary key, body text)")
        pgsbert.create_vectorizer(connection, "undone", ["body"], model="fake-8")
        connection.rollback()
    assert notes.execute("select to_regclass('undone')") == [None]
    assert notes.execute("select count(*) from pgsbert.vectorizer where name = 'undone'") == [0]


def test_importing_pgsbert_loads_no_model_library() -> None:
    script = (
        "import sys, pgsbert, pgsbert.cli;"
        " heavy = {'torch', 'transformers', 'onnxruntime', 'sentence_transformers', 'tokenizers'};"
        " print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
