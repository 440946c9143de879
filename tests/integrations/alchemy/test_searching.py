"""Search in the ORM: mapped objects with distance and score, filtered, eagerly loaded, in few statements."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, Engine, Select, event, func, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session, aliased, joinedload, selectinload

import pgsbert
from pgsbert.errors import UsageError
from pgsbert.sqlalchemy import Hit, embed, embed_for, rerank, search, similarity
from tests.integrations.alchemy.blog import Article, Author
from tests.integrations.alchemy.shop import Catalog, Machine, Product, Tool
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database, RunningWorker

SUBJECTS = ["apples", "pears", "plums", "cherries", "figs"]


@pytest.fixture
def blog(tables: Engine, database: Database, small_worker: RunningWorker) -> Engine:
    """Give an engine on a database with sixty embedded articles by three authors."""
    database.execute("update pgsbert.model set is_default = true where name = 'fake-reranker'")
    with Session(tables) as session:
        authors = [Author(id=i, name=f"author {i}") for i in range(3)]
        session.add_all(
            Article(id=i, title=f"{SUBJECTS[i % 5]} {i}", body="fruit", views=i, author=authors[i % 3])
            for i in range(60)
        )
        session.commit()
    database.execute("call pgsbert.wait_until_synced('articles')")
    return tables


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """Give the statements that the engine runs in the block."""
    statements: list[str] = []

    def note(_: Connection, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


def test_a_search_returns_what_sql_finds(blog: Engine, database: Database) -> None:
    with Session(blog) as session:
        hits = search(session, Article, "figs 4 fruit", k=5)
        assert hits[0].item.title == "figs 4"
        in_sql = session.execute(
            text("select item, distance, score from articles_search('figs 4 fruit', k => 5)")
        ).all()
        by_name = pgsbert.search(session.connection().connection.driver_connection, "articles", "figs 4 fruit", k=5)  # type: ignore[arg-type]
    assert len(in_sql) == 5
    assert [(hit.item.id, hit.distance, hit.score) for hit in hits] == [
        (hit.item["id"], hit.distance, hit.score) for hit in by_name
    ]
    assert hits == sorted(hits, key=lambda hit: hit.distance)
    assert all(hit.score == 1 - hit.distance for hit in hits)


@pytest.mark.parametrize("reranked", [False, True])
def test_ten_hits_with_their_authors_cost_four_statements(blog: Engine, reranked: bool) -> None:
    statement = select(Article).options(selectinload(Article.author))
    with Session(blog) as session, counted(blog) as statements:
        hits = search(session, statement, "figs", k=10, rerank=reranked)
        assert {hit.item.author.name for hit in hits if hit.item.author} == {"author 0", "author 1", "author 2"}
    assert len(hits) == 10
    assert len(statements) == 4


@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize(
    "statement",
    [
        select(Article).where(Article.views >= 55),
        select(Article).join(Article.author).where(Author.name == "author 1", Article.views > 45),
        select(Article).where(Article.views >= 55).order_by(Article.id).options(joinedload(Article.author)),
    ],
    ids=["where", "join", "joinedload"],
)
def test_filters_choose_before_the_nearest_are_taken(
    blog: Engine, statement: Select[tuple[Article]], reranked: bool
) -> None:
    with Session(blog) as session:
        wanted = set(session.scalars(statement.order_by(None)).unique())
        hits = search(session, statement, "apples 0 fruit", k=5, rerank=reranked, candidates=7)
        assert {hit.item for hit in hits} <= wanted
        assert len(hits) == 5


def test_a_collection_is_loaded_once_for_each_object(blog: Engine) -> None:
    statement = select(Article).options(joinedload(Article.author).joinedload(Author.articles))
    with Session(blog) as session:
        hits = search(session, statement, "figs", k=7)
        assert len({hit.item.id for hit in hits}) == len(hits) == 7
        assert all(hit.item.author and len(hit.item.author.articles) == 20 for hit in hits)


def test_reranked_hits_have_the_scores_of_sql(blog: Engine) -> None:
    query = "plums 12"
    with Session(blog) as session:
        hits = search(session, Article, query, k=10, rerank=True)
        connection: Any = session.connection().connection.driver_connection
        expected = pgsbert.search(connection, "articles", query, k=10, rerank=True)
    assert [(hit.item.id, hit.distance, hit.score) for hit in hits] == [
        (hit.item["id"], hit.distance, hit.score) for hit in expected
    ]
    assert hits[0].item.title == "plums 12"


def test_a_rare_filter_still_finds_k_in_an_index(blog: Engine, database: Database) -> None:
    insert = (
        "insert into articles (id, title, body, views) select i, {}, 'x ' || i, {} from generate_series({}, {}) as i"
    )
    database.execute(insert.format("'apples'", 0, 100, 700))
    database.execute(insert.format("'walnuts'", 1000, 701, 712))
    database.execute("call pgsbert.wait_until_synced('articles')")
    database.execute("analyze articles")
    with Session(blog) as session:
        session.execute(text("set local enable_seqscan = off"))
        session.execute(text("set local enable_sort = off"))
        found = search(session, select(Article).where(Article.views == 1000), "apples x 300", k=12)
        assert len(found) == 12
        assert session.scalar(text("select current_setting('hnsw.iterative_scan')")) == "off"


def test_a_session_in_autocommit_searches(blog: Engine) -> None:
    with Session(blog.execution_options(isolation_level="AUTOCOMMIT")) as session:
        assert search(session, Article, "figs 4", k=1, rerank=True)[0].item.title == "figs 4"
        assert len(search(session, Article, "figs", k=20)) == 20


async def test_an_async_session_searches(blog: Engine, async_tables: AsyncEngine) -> None:
    async with AsyncSession(async_tables) as session:
        hits = await search(session, select(Article).options(selectinload(Article.author)), "figs 4 fruit", k=3)
        assert hits[0].item.title == "figs 4"
        assert hits[0].item.author
        assert len(await search(session, Article, "plums", k=3, rerank=True)) == 3


def test_a_distance_asks_the_model_once(blog: Engine, small_worker: RunningWorker) -> None:
    asked = small_worker.encoder.calls
    distance = Article.embedding.cosine_distance(embed("figs 4\nfruit", "fake-8"))
    with Session(blog) as session:
        found = session.execute(select(Article.title, distance.label("d")).order_by(distance).limit(10)).all()
    assert found[0].title == "figs 4"
    assert found[0].d == pytest.approx(0, abs=1e-6)
    assert small_worker.encoder.calls == asked + 1


@pytest.mark.parametrize("query", [embed("figs", "fake-8"), embed_for("articles", "figs")], ids=["embed", "embed_for"])
def test_the_index_serves_a_distance(blog: Engine, database: Database, query: Any) -> None:
    # the worker builds it when the first fill is done
    wait_until(
        lambda: database.execute("select from pg_indexes where tablename = 'articles' and indexdef like '%%hnsw%%'")
    )
    statement = select(Article.id).order_by(Article.embedding.cosine_distance(query)).limit(5)
    with Session(blog) as session:
        session.execute(text("set local enable_seqscan = off"))
        compiled = statement.compile(blog)
        plan = "\n".join(
            row[0] for row in session.connection().exec_driver_sql(f"explain {compiled}", compiled.params).all()
        )
    assert "Index Scan using articles_embedding" in plan
    assert "InitPlan" in plan
    assert "Sort" not in plan


def test_a_search_is_served_by_the_index_too(blog: Engine) -> None:
    with Session(blog) as session, counted(blog) as statements:
        search(session, Article, "figs", k=3)
    assert "ORDER BY articles.embedding <=> (SELECT pgsbert.embed_for(" in statements[1]


def test_similarity_and_rerank_are_typed_functions(blog: Engine) -> None:
    with Session(blog) as session:
        assert session.scalar(select(similarity("a cat", "a cat", "fake-8"))) == pytest.approx(1)
        best = rerank("plums", ["apples", "plums"], model="fake-reranker", top_k=1)
        assert [tuple(row)[:2] for row in session.execute(select(best)).all()] == [(2, "plums")]
        titles = select(func.array_agg(Article.title)).scalar_subquery()
        every = rerank("plums 12", titles)
        top = session.execute(select(every.c.document).order_by(every.c.score.desc()).limit(1)).scalar_one()
        assert top == "plums 12"
        nearest = session.scalars(
            select(Article.title).order_by(similarity(Article.title, "figs 9", "fake-8").desc()).limit(1)
        ).one()
        assert nearest == "figs 9"


@pytest.fixture
def shop(engine: Engine, database: Database, small_worker: RunningWorker) -> Engine:
    """Give products with composite keys, of a class with a single-table and a joined-table subclass."""
    database.execute('create schema "My shop"')
    database.execute("update pgsbert.model set is_default = true where name = 'fake-reranker'")
    Catalog.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Product(shop=1, number=f"p{i}", title=f"box {i}", body="of wood") for i in range(5))
        session.add_all(Tool(shop=1, number=f"t{i}", title=f"saw {i}", body="of steel") for i in range(5))
        session.add_all(Machine(shop=1, number=f"m{i}", title=f"drill {i}", body="loud", watts=i) for i in range(5))
        session.commit()
    for name in ("products", "bodies"):
        database.execute(f"call pgsbert.wait_until_synced('{name}')")
    return engine


@pytest.mark.parametrize("reranked", [False, True])
@pytest.mark.parametrize("vectorizer", ["products", "bodies"])
def test_inheritance_composite_keys_and_side_tables(shop: Engine, vectorizer: str, reranked: bool) -> None:
    query = "saw 3: of steel" if vectorizer == "products" else "of steel"
    with Session(shop) as session:

        def found(cls: type[Product]) -> list[Hit[Product]]:
            return search(session, cls, query, k=20, rerank=reranked, vectorizer=vectorizer)

        assert {type(hit.item) for hit in found(Product)} == {Product, Tool, Machine}
        assert [type(hit.item) for hit in found(Tool)] == [Tool] * 5
        assert [type(hit.item) for hit in found(Machine)] == [Machine] * 5
        assert found(Product)[0].item.body == "of steel"
        connection: Any = session.connection().connection.driver_connection
        expected = pgsbert.search(connection, vectorizer, query, k=20, rerank=reranked)
        assert sorted((hit.item.number, hit.distance, hit.score) for hit in found(Product)) == sorted(
            (hit.item["No."], hit.distance, hit.score) for hit in expected
        )


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (Author, {}, "Author has no vectorizer: declare an embedded_column"),
        (Product, {}, "Product has several vectorizers: pass vectorizer= one of products, bodies"),
        (Product, {"vectorizer": "x"}, "Product has no vectorizer 'x'"),
        (select(Article.id), {}, "search takes a mapped class"),
        (select(Article, Author), {}, "search takes a mapped class"),
        (aliased(Article), {}, "search takes a mapped class"),
    ],
)
def test_what_cannot_be_searched_is_said(tables: Engine, source: Any, options: dict[str, Any], message: str) -> None:
    with Session(tables) as session, pytest.raises(UsageError, match=message):
        search(session, source, "query", **options)


@pytest.mark.parametrize(
    "given", [{"query": ""}, {"query": "q", "k": 0}, {"query": "q", "rerank": True, "candidates": 0}]
)
def test_arguments_that_find_nothing_are_refused(tables: Engine, given: dict[str, Any]) -> None:
    with Session(tables) as session, pytest.raises(DBAPIError) as raised:
        search(session, Article, **given)
    assert getattr(raised.value.orig, "sqlstate", None) == "PB007"


def test_a_search_asks_the_model_once(blog: Engine, small_worker: RunningWorker) -> None:
    asked = small_worker.encoder.calls
    with Session(blog) as session:
        search(session, Article, "a question", k=3, rerank=True)
    assert small_worker.encoder.calls == asked + 1


def test_without_a_worker_a_search_says_so(tables: Engine) -> None:
    with Session(tables) as session, pytest.raises(DBAPIError, match="pgsbert worker") as raised:
        search(session, Article, "query")
    assert getattr(raised.value.orig, "sqlstate", None) == "PB001"


def test_a_composite_key_of_an_orm_update_is_embedded_anew(blog: Engine, database: Database) -> None:
    with Session(blog) as session:
        session.execute(update(Article).where(Article.id == 3).values(title="walnuts"))
        session.commit()
        database.execute("call pgsbert.wait_until_synced('articles')")
        assert search(session, Article, "walnuts fruit", k=1)[0].item.id == 3
