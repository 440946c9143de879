"""Searches find what an exact scan finds, leave the session as it was, and survive every rename."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PgConnection = psycopg.Connection[Any]

STORAGES = ("column", "table")


def synced(connection: PgConnection, *names: str) -> None:
    for name in names:
        connection.execute("call pgsbert.wait_until_synced(%s)", [name])


def index_scans(connection: PgConnection, table: str) -> int:
    connection.execute("select pg_stat_force_next_flush()")
    connection.execute("select 1")
    (scans,) = rows(
        connection,
        "select coalesce(sum(s.idx_scan), 0)::int"
        " from pg_stat_user_indexes as s join pg_class as c on c.oid = s.indexrelid"
        " join pg_am as a on a.oid = c.relam where a.amname = 'hnsw' and s.relid = to_regclass(%s)",
        table,
    )
    return int(scans)


def settings(connection: PgConnection) -> list[Any]:
    return rows(connection, "select current_setting('hnsw.ef_search'), current_setting('hnsw.iterative_scan')")


@pytest.fixture(scope="module")
def big(shared_database: Database) -> Iterator[PgConnection]:
    """Give docs of 3000 rows: vectors by `docs` in a column, by `side` in a table, both with an HNSW index."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        connection.execute("create table docs (id int primary key, title text, body text, half int)")
        connection.execute(
            "insert into docs"
            " select i, 'title ' || i, 'word' || i % 97 || ' word' || i % 89 || ' apple' || i % 7, i % 2"
            " from generate_series(1, 3000) as i"
        )
        for name, storage in (("docs", "column"), ("side", "table")):
            connection.execute(
                "select pgsbert.create_vectorizer('docs', '{body}',"
                " model => 'fake-8', name => %s, storage => %s, index => 'none')",
                [name, storage],
            )
        synced(connection, "docs", "side")
        for table in ("docs", "docs_embedding"):
            connection.execute(
                sql.SQL("create index on {} using hnsw (embedding vector_cosine_ops)").format(sql.Identifier(table))
            )
        connection.execute("analyze")
        yield connection


@pytest.fixture(params=STORAGES)
def one(request: pytest.FixtureRequest, big: PgConnection) -> tuple[PgConnection, str, str]:
    """Give the connection, the vectorizer's name and the table of its vectors."""
    return (big, "docs", "docs") if request.param == "column" else (big, "side", "docs_embedding")


def test_a_hundred_of_three_thousand_rows_are_a_hundred_by_the_index(one: tuple[PgConnection, str, str]) -> None:
    connection, name, table = one
    before = index_scans(connection, table)
    found = rows(connection, f"select (hit.item).id, hit.distance from {name}_search('word3 apple2', k => 100) as hit")
    assert index_scans(connection, table) == before + 1
    assert len({key for key, _ in found}) == 100
    exact = rows(connection, "select embedding <=> pgsbert.embed('word3 apple2', 'fake-8') from docs")
    assert [distance for _, distance in found] == sorted(distance for _, distance in found)
    assert sum(distance <= sorted(exact)[99] for _, distance in found) >= 95  # HNSW is approximate


@pytest.mark.parametrize(("k", "count"), [(1, 1), (10, 10), (5000, 3000), (2**31 - 1, 3000)])
def test_k_rows_are_found_or_all_there_are(one: tuple[PgConnection, str, str], k: int, count: int) -> None:
    connection, name, _ = one
    assert rows(connection, f"select count(*) from {name}_search('word3', k => %s)", k) == [count]
    assert rows(connection, "select count(*) from pgsbert.search(%s, 'word3', %s)", name, k) == [count]


def test_the_score_is_one_minus_the_distance(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    found = rows(connection, f"select distance, score, (item).id from {name}_search('word5 apple1', k => 20)")
    assert all(score == 1 - distance for distance, score, _ in found)
    true = dict(rows(connection, "select id, embedding <=> pgsbert.embed('word5 apple1', 'fake-8') from docs"))
    assert all(true[key] == distance for distance, _, key in found)


def test_the_settings_are_as_before_after_a_search(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    with connection.transaction():
        connection.execute("set local hnsw.ef_search = 55")
        connection.execute("set local hnsw.iterative_scan = 'off'")
        for query in (
            f"select count(*) from {name}_search('word3', k => 300)",
            f"select count(*) from pgsbert.search('{name}', 'word3', 300)",
            f"select count(*) from pgsbert.similar_to('{name}', '{{7}}', 300)",
        ):
            assert rows(connection, query) == [300]
            assert settings(connection) == [("55", "off")]
    assert settings(connection) == [("40", "off")]


def test_the_settings_are_as_before_after_a_search_that_failed(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    with connection.transaction():
        before = settings(connection)
        with pytest.raises(psycopg.Error) as raised, connection.transaction():
            connection.execute(f"select * from {name}_search('fake:raise', k => 300)")
        assert raised.value.sqlstate == "PB009"
        assert settings(connection) == before
    assert settings(connection) == before


@pytest.mark.parametrize(
    "mode", ["read only", "isolation level repeatable read", "isolation level serializable read only"]
)
def test_a_search_works_in_every_kind_of_transaction(one: tuple[PgConnection, str, str], mode: str) -> None:
    connection, name, _ = one
    with connection.transaction():
        connection.execute("set transaction " + mode)
        assert rows(connection, f"select count(*) from {name}_search('word8', k => 100)") == [100]
        assert rows(connection, "select count(*) from pgsbert.similar_to(%s, '{3}', 100)", name) == [100]
        assert rows(connection, f"select count(*) from {name}_search('word8', k => 7, rerank => true)") == [7]


def test_hits_can_be_filtered_joined_and_opened(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    assert (
        rows(
            connection,
            f"select (hit.item).title = d.title and (hit.item).half = 1 and hit.item = d"
            f" from {name}_search('word3 word3', k => 50) as hit join docs as d on d.id = (hit.item).id"
            " where (hit.item).half = 1 limit 5",
        )
        == [True] * 5
    )


def test_rerank_orders_the_candidates_by_the_cross_encoder(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    for candidates, k in ((20, 5), (3, 5), (200, 200)):
        taken = max(candidates, k)
        expected = rows(
            connection,
            "with c as materialized (select hit.*, row_number() over () as n"
            f" from {name}_search('word3 apple2', k => %s) as hit)"
            " select (c.item).id, c.distance, r.score from c join pgsbert.rerank('word3 apple2',"
            " array(select (item).body from c order by n)) as r on r.ordinal = c.n order by r.score desc, c.n limit %s",
            taken,
            k,
        )
        found = rows(
            connection,
            "select (item).id, distance, score"
            f" from {name}_search('word3 apple2', k => %s, rerank => true, candidates => %s)",
            k,
            candidates,
        )
        assert [score for *_, score in found] == [score for *_, score in expected]
        assert len(found) == k
        assert {key for key, *_ in found} == {key for key, *_ in expected}
        by_name = rows(
            connection, "select score from pgsbert.search(%s, 'word3 apple2', %s, true, %s)", name, k, candidates
        )
        assert by_name == [score for *_, score in found]


@pytest.mark.parametrize("storage", STORAGES)
def test_rerank_without_a_reranker_says_what_to_run(connection: PgConnection, storage: str) -> None:
    connection.execute("delete from pgsbert.model where kind = 'cross-encoder'")
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [storage]
    )
    for query in (
        "select * from docs_search('a question', rerank => true)",
        "select * from pgsbert.search('docs', 'a question', rerank => true)",
        "select * from pgsbert.rerank('a question', '{one,two}')",
        "select * from pgsbert.rerank('a question', '{}')",
    ):
        with pytest.raises(psycopg.Error) as raised:
            connection.execute(query)
        assert raised.value.sqlstate == "PB005"
        assert raised.value.diag.message_primary == (
            "no reranker: run pgsbert model add cross-encoder/ms-marco-MiniLM-L6-v2"
        )


def test_neighbors_are_the_ten_nearest_others_by_the_index(one: tuple[PgConnection, str, str]) -> None:
    connection, name, table = one
    before = index_scans(connection, table)
    found = rows(connection, f"select * from {name}_neighbors where id = 42")
    assert index_scans(connection, table) == before + 1
    assert len(found) == 10
    assert all(key == 42 and neighbor != 42 for key, neighbor, _ in found)
    true = rows(
        connection,
        "select d.embedding <=> o.embedding from docs as d, docs as o"
        " where o.id = 42 and d.id <> 42 order by 1 limit 10",
    )
    assert sorted(distance for *_, distance in found) == pytest.approx(true)


def test_similar_rows_are_nearest_first_without_the_row_itself(one: tuple[PgConnection, str, str]) -> None:
    connection, name, table = one
    before = index_scans(connection, table)
    found = rows(connection, "select item, distance, score from pgsbert.similar_to(%s, '{42}', 12)", name)
    assert index_scans(connection, table) == before + 1
    true = rows(
        connection,
        "select d.embedding <=> o.embedding from docs as d, docs as o"
        " where o.id = 42 and d.id <> 42 order by 1 limit 12",
    )
    assert [distance for _, distance, _ in found] == pytest.approx(true)
    assert all(score == 1 - distance for _, distance, score in found)
    assert all(set(item) == {"id", "title", "body", "half"} and item["id"] != 42 for item, *_ in found)


@pytest.mark.parametrize("storage", STORAGES)
def test_a_row_without_a_vector_and_a_row_that_is_not_there_are_near_to_nothing(
    connection: PgConnection, storage: str
) -> None:
    connection.execute("create table docs (id int primary key, body text)")
    connection.execute(
        "select pgsbert.create_vectorizer('docs', '{body}', model => 'fake-8', storage => %s)", [storage]
    )
    connection.execute("insert into docs values (1, 'one'), (2, 'two'), (3, null)")
    with run_worker(connection.info.dsn, encoder=FakeEncoder(8)):
        synced(connection, "docs")
        connection.execute("set enable_seqscan = off")
        for key in ("3", "99", None):
            assert rows(connection, "select * from pgsbert.similar_to('docs', %s::text[])", [key]) == []
        assert rows(connection, "select count(*) from pgsbert.similar_to('docs', '{1}')") == [1]
        assert rows(connection, "select * from docs_neighbors where id = 3") == []


def test_search_by_name_gives_rows_without_vectors(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    by_name = rows(connection, "select item from pgsbert.search(%s, 'word3 word4', 15)", name)
    typed = rows(connection, f"select to_jsonb(item) - 'embedding' from {name}_search('word3 word4', 15)")
    assert by_name == typed
    assert set(by_name[0]) == {"id", "title", "body", "half"}


def test_similarity_is_the_cosine_and_null_for_null(big: PgConnection) -> None:
    import numpy as np

    a, b = FakeEncoder(8).encode(["one two", "one three"])
    (cosine,) = rows(big, "select pgsbert.similarity('one two', 'one three', 'fake-8')")
    assert isinstance(cosine, float)
    assert cosine == pytest.approx(float(np.dot(a.astype(float), b.astype(float))), abs=1e-6)
    assert rows(big, "select pgsbert.similarity('one', 'one', 'fake-8')") == [pytest.approx(1)]
    assert rows(big, "select pgsbert.similarity(null, 'x'), pgsbert.similarity('x', null)") == [(None, None)]


def test_embed_for_embeds_by_the_vectorizers_model(one: tuple[PgConnection, str, str]) -> None:
    connection, name, _ = one
    assert rows(
        connection,
        "select pgsbert.embed_for(%s, 'word3') = pgsbert.embed('word3', 'fake-8'), pgsbert.embed_for(%s, null)",
        name,
        name,
    ) == [(True, None)]


@pytest.fixture(params=STORAGES)
def small(request: pytest.FixtureRequest, database: Database) -> Iterator[tuple[PgConnection, str]]:
    """Give notes (id, body, extra) with four rows, embedded; and the storage."""
    with run_worker(database.dsn, encoder=FakeEncoder(8)), database.connect() as connection:
        connection.execute("create schema home")
        connection.execute("set search_path = home, public")
        connection.execute("create table notes (id int primary key, body text, extra text)")
        connection.execute(
            "insert into notes values (1, 'red apple'), (2, 'green apple'), (3, 'blue sea'), (4, 'deep blue')"
        )
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', storage => %s, index => 'none')",
            [request.param],
        )
        synced(connection, "notes")
        yield connection, request.param


def assert_finds(connection: PgConnection, schema: str = "home", key: str = "id") -> None:
    """Check that a search, similar_to and neighbors find what they should, and new rows are embedded."""
    where = sql.Identifier(schema)
    found = connection.execute(
        sql.SQL("select to_jsonb(item) from {}.notes_search('red apple')").format(where)
    ).fetchall()
    assert len(found) == 5
    assert found[0][0][key] == 1
    assert rows(connection, "select item ->> %s from pgsbert.search('notes', 'red apple', 1)", key) == ["1"]
    assert rows(connection, "select item ->> %s from pgsbert.similar_to('notes', '{1}', 1)", key) == ["5"]
    view = connection.execute(sql.SQL("select * from {}.notes_neighbors").format(where)).fetchall()
    assert next(row[1] for row in view if row[0] == 1) == 5


@pytest.mark.parametrize(
    ("changes", "schema", "key"),
    [
        ("alter table notes rename to letters", "home", "id"),
        ('alter table notes rename body to "the Body"', "home", "id"),
        ('alter table notes rename id to "Id"""', "home", 'Id"'),
        ("alter table {vectors} rename embedding to vec", "home", "id"),
        ('create schema "Far away"; alter table notes set schema "Far away"', "home", "id"),
        ('alter schema home rename to "Old one"', "Old one", "id"),
        ('alter table {vectors} rename to "new Home"', "home", "id"),
        ("alter table notes add more int default 7, drop extra", "home", "id"),
        ("alter table notes rename extra to other", "home", "id"),
    ],
)
def test_searches_stay_right_after(small: tuple[PgConnection, str], changes: str, schema: str, key: str) -> None:
    connection, storage = small
    connection.execute(changes.format(vectors="notes" if storage == "column" else "notes_embedding"))
    (table,) = rows(connection, "select source::text from pgsbert.vectorizer")
    connection.execute(f"insert into {table} values (5, 'red apple')")
    synced(connection, "notes")
    assert_finds(connection, schema, key)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(
    "theirs",
    [
        "create function notes_search(text, int, bool, int) returns int language sql return 1",
        "create function notes_search(text) returns int language sql return 1",
        "create view notes_neighbors as select 1 as one",
        "create table notes_neighbors ()",
    ],
)
def test_what_is_not_ours_is_never_replaced(connection: PgConnection, storage: str, theirs: str) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute(theirs)
    before = rows(
        connection, "select oid from pg_class union all select oid from pg_proc union all select oid from pg_trigger"
    )
    with pytest.raises(psycopg.Error, match="exists and is not this vectorizer's") as raised:
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', storage => %s)", [storage]
        )
    assert raised.value.sqlstate == "PB007"
    after = rows(
        connection, "select oid from pg_class union all select oid from pg_proc union all select oid from pg_trigger"
    )
    assert sorted(after) == sorted(before)
    assert rows(connection, "select count(*) from pgsbert.vectorizer") == [0]
    assert rows(
        connection, "select attname::text from pg_attribute where attrelid = 'notes'::regclass and attnum > 0"
    ) == ["id", "body"]


def test_dropping_a_vectorizer_leaves_what_others_made(connection: PgConnection) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    for name in ("a_c", "abc", "a%"):
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', name => %s, target => %s)",
            [name, "v" + name],
        )
    (number,) = rows(connection, "select id from pgsbert.vectorizer where name = 'a_c'")
    connection.execute(
        f"create function mine() returns text language sql as $$ select pgsbert.search_sql({number}, 'row', false) $$"
    )
    for name in ("a_c", "a%"):
        connection.execute("select pgsbert.drop_vectorizer(%s)", [name])
    assert rows(
        connection, "select relname::text from pg_class where relkind = 'v' and relnamespace = 'public'::regnamespace"
    ) == ["abc_neighbors"]
    assert rows(
        connection,
        "select proname::text from pg_proc where pronamespace = 'public'::regnamespace"
        " and (proname like '%\\_search' or proname = 'mine') order by 1",
    ) == ["abc_search", "mine"]


HOSTILE = (
    "s",
    "t",
    "n",
    "o",
    "item",
    "distance",
    "score",
    "query",
    "k",
    "document",
    "embedding",
    'a"b\\c',
    "naïve 中文",
    "%I",
)


@pytest.mark.parametrize("storage", STORAGES)
def test_hostile_names_do_no_harm(database: Database, storage: str) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)), database.connect() as connection:
        table, schema = sql.Identifier('We "are"; \\ %s', "Table's 中"), sql.Identifier('We "are"; \\ %s')
        columns = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(name)) for name in HOSTILE)
        connection.execute(sql.SQL("create schema {}").format(schema))
        connection.execute(
            sql.SQL("create table {} ({}, primary key ({}))").format(
                table, columns, sql.SQL(", ").join(map(sql.Identifier, ("distance", 'a"b\\c', "embedding", "%I")))
            )
        )
        connection.execute(
            sql.SQL("insert into {} values ({})").format(table, sql.SQL(", ").join(sql.Literal(n) for n in HOSTILE))
        )
        connection.execute(
            sql.SQL("insert into {} values ({})").format(
                table, sql.SQL(", ").join(sql.Literal(n + "!") for n in HOSTILE)
            )
        )
        name = 'x"; drop %I \\'
        connection.execute(
            "select pgsbert.create_vectorizer(%s::regclass, %s,"
            " model => 'fake-8', name => %s, storage => %s, target => %s)",
            [table.as_string(connection), ["s", "naïve 中文"], name, storage, 'the "vector"'],
        )
        synced(connection, name)
        search = sql.Identifier('We "are"; \\ %s', name + "_search")
        (hit,) = connection.execute(
            sql.SQL("select (item).s, (item).embedding from {}('s', 1)").format(search)
        ).fetchall()
        assert hit == ("s", "embedding")
        keys = [["distance", 'a"b\\c', "embedding", "%I"], ["distance!", 'a"b\\c!', "embedding!", "%I!"]]
        assert rows(connection, "select item ->> 's' from pgsbert.similar_to(%s, %s)", name, keys[0]) == ["s!"]
        neighbors = sql.SQL("select * from {}").format(sql.Identifier('We "are"; \\ %s', name + "_neighbors"))
        assert sorted([list(row[:4]), list(row[4:8])] for row in connection.execute(neighbors).fetchall()) == [
            keys,
            keys[::-1],
        ]
        connection.execute("select pgsbert.drop_vectorizer(%s, drop_vectors => true)", [name])
        assert rows(
            connection,
            "select count(*) from pg_class where relnamespace = %s::regnamespace and relkind in ('r', 'v')",
            schema.as_string(connection),
        ) == [1]


@pytest.mark.parametrize("storage", STORAGES)
def test_vector_may_live_in_another_schema(pgsbert_template: str, storage: str, empty_database: Database) -> None:
    from pgsbert import schema

    with empty_database.connect() as connection:
        connection.execute('create schema "Ext x"; create extension vector schema "Ext x"')
        schema.install(empty_database.dsn)
        connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8)")
        connection.execute("create table notes (id int primary key, body text, extra text)")
        connection.execute(
            "insert into notes values (1, 'red apple'), (2, 'green apple'), (3, 'blue sea'), (4, 'deep blue'),"
            " (5, 'red apple')"
        )
        with run_worker(empty_database.dsn, encoder=FakeEncoder(8)):
            connection.execute(
                "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', storage => %s)", [storage]
            )
            synced(connection, "notes")
            assert_finds(connection, "public")
        connection.execute("create schema other; alter extension vector set schema other")
        schema.upgrade(empty_database.dsn)
        with run_worker(empty_database.dsn, encoder=FakeEncoder(8)), empty_database.connect() as fresh:
            assert_finds(fresh, "public")


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("distance", "operator"), [("l2", "<->"), ("inner_product", "<#>")])
def test_other_distances_order_by_their_operator(
    database: Database, storage: str, distance: str, operator: str
) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)), database.connect() as connection:
        connection.execute("create table notes (id int primary key, body text)")
        connection.execute(
            "insert into notes select i, 'word' || i || ' word' || i % 3 from generate_series(1, 30) as i"
        )
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{body}',"
            " model => 'fake-8', storage => %s, distance => %s, index => 'none')",
            [storage, distance],
        )
        synced(connection, "notes")
        vectors = "notes" if storage == "column" else "notes_embedding"
        expected = rows(
            connection,
            f"select embedding {operator} pgsbert.embed('word1', 'fake-8') from {vectors} order by 1 limit 7",
        )
        assert rows(connection, "select distance from notes_search('word1', 7)") == expected
        assert rows(connection, "select 1 - score from notes_search('word1', 7)") == pytest.approx(expected)
        origin = f"(select embedding from {vectors} where id = 4)"
        near = rows(
            connection, f"select embedding {operator} {origin} from {vectors} where id <> 4 order by 1 limit 10"
        )
        assert rows(connection, "select distance from notes_neighbors where id = 4") == near
        assert rows(connection, "select distance from pgsbert.similar_to('notes', '{4}')") == near


@pytest.mark.parametrize("storage", STORAGES)
def test_a_search_of_what_was_dropped_says_that_the_vectorizer_is_broken(database: Database, storage: str) -> None:
    with run_worker(database.dsn, encoder=FakeEncoder(8)), database.connect() as connection:
        connection.execute("create table notes (id int primary key, body text)")
        connection.execute(
            "select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', storage => %s)", [storage]
        )
        connection.execute("insert into notes values (1, 'one')")
        synced(connection, "notes")
        if storage == "column":
            connection.execute("alter table notes drop embedding cascade")
        else:
            connection.execute("drop table notes_embedding cascade")
        for query in (
            "select * from notes_search('one')",
            "select * from pgsbert.search('notes', 'one')",
            "select * from pgsbert.similar_to('notes', '{1}')",
        ):
            with pytest.raises(psycopg.Error, match='"notes" is broken') as raised:
                connection.execute(query)
            assert raised.value.sqlstate == "PB008"
        # and its writers go on
        connection.execute(
            "insert into notes values (2, 'two'); update notes set body = null where id = 1; delete from notes"
        )
        connection.execute("insert into notes values (2, 'two'); truncate notes")
        wait_until(lambda: rows(connection, "select state from pgsbert.status") == ["broken"])
        connection.execute("select pgsbert.drop_vectorizer('notes', drop_vectors => true)")


def test_a_document_is_the_text_of_a_row_as_it_is_embedded(articles: psycopg.Connection[Any]) -> None:
    articles.execute(
        "select pgsbert.create_vectorizer('articles', template => '{{{title}}}: {body}', name => 'b',"
        " model => 'fake-8', target => 'b')"
    )
    articles.execute("insert into articles (title, body) values ('t', null), (null, ''), ('a', 'b')")
    query = "select pgsbert.document(%s, a) from articles as a order by id"
    assert rows(articles, query, "articles") == ["t", "", "a\nb"]
    assert rows(articles, query, "b") == ["{t}: ", "", "{a}: b"]


def test_a_document_of_another_table_is_refused(articles: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.Error, match=r"item is text, and \"articles\" embeds rows of public.articles") as raised:
        articles.execute("select pgsbert.document('articles', 'text'::text)")
    assert raised.value.sqlstate == "PB007"
