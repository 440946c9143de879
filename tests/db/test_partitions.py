"""A partitioned table is embedded as a whole: filled, kept true however its rows are written, searched, dropped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from pgsbert.database import statement
from pgsbert.models.fake import FakeEncoder
from pgsbert.work import Embedded, embed
from tests.support import Database, rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pgsbert.queue import Queue

PgConnection = psycopg.Connection[Any]

# the attnums of the partitions are not those of the table, and the middle one is partitioned itself
TABLE = """
create schema test;
set search_path = test, public;
create table note (id int, region text, body text, views int default 0, primary key (region, id))
    partition by list (region);
create table north (views int default 0, body text, id int not null, region text not null);
alter table note attach partition north for values in ('north');
create table south partition of note for values in ('south') partition by range (id);
create table south_low partition of south for values from (0) to (100);
create table south_high partition of south for values from (100) to (1000);
create table rest partition of note default;
"""


@pytest.fixture(scope="module")
def worked_on(shared_database: Database) -> Iterator[Database]:
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)):
        yield shared_database


@pytest.fixture
def note(worked_on: Database) -> Iterator[PgConnection]:
    """Give a partitioned table with rows in each partition, and a worker that waits for a vectorizer."""
    with worked_on.connect() as connection:
        connection.execute(TABLE)
        connection.execute(
            "insert into note select i, (array['north', 'south', 'east'])[i % 3 + 1], 'text ' || i"
            " from generate_series(1, 200) as i"
        )
        yield connection
        for name in rows(connection, "select name from pgsbert.vectorizer"):
            connection.execute("select pgsbert.drop_vectorizer(%s)", [name])
        connection.execute("drop schema test cascade")


STORAGES = pytest.mark.parametrize("storage", ["column", "table"])


def create(connection: PgConnection, storage: str = "column", **options: str) -> None:
    options = {"storage": storage, "index": "none", **options}
    arguments = "".join(f", {name} => %({name})s" for name in options)
    connection.execute(f"select pgsbert.create_vectorizer('note', '{{body}}', model => 'fake-8'{arguments})", options)


def sync(connection: PgConnection) -> None:
    connection.execute("call pgsbert.wait_until_synced('note', '30 s')")


def vectors(connection: PgConnection) -> dict[tuple[str, int], list[float]]:
    """Return the vector of each key, wherever it is stored."""
    (side,) = rows(connection, "select side::text from pgsbert.vectorizer")
    found = connection.execute(
        f"select region, id, embedding::real[] from {side or 'note'} where embedding is not null"
    ).fetchall()
    return {(region, id_): vector for region, id_, vector in found}


def assert_true(connection: PgConnection) -> None:
    """Every row with text has the vector of its text, and nothing else has one."""
    bodies = connection.execute("select region, id, body from note where body <> ''").fetchall()
    right = FakeEncoder(8).encode([body for *_, body in bodies])
    expected = {(region, id_): list(vector) for (region, id_, _), vector in zip(bodies, right, strict=True)}
    found = vectors(connection)
    assert found.keys() == expected.keys()
    for key, vector in expected.items():
        assert found[key] == pytest.approx(vector, abs=1e-6)


@STORAGES
def test_existing_rows_of_every_partition_are_filled(note: PgConnection, storage: str) -> None:
    create(note, storage)
    sync(note)
    assert len(vectors(note)) == 200
    assert_true(note)


WRITES = {
    "an insert into the table": "insert into note values (201, 'north', 'new'), (201, 'west', 'new')",
    "an insert into a partition": "insert into north (id, region, body) values (201, 'north', 'new')",
    "an update of a partition": "update south_low set body = body || '!' where id < 50",
    "a delete from a partition": "delete from south_high",
    "a row that moves": "update note set region = 'north' where region = 'south' and id < 120",
    "a row that moves in its part": "update note set id = 500 + id where region = 'south' and id < 20",
    "a row that moves with another text": "update note set region = 'north', body = 'moved' where region = 'east'",
    "a row that moves and loses its text": "update note set region = 'south', body = null where region = 'north'",
    "a merge that moves rows": (
        "merge into note as n using (select i as id from generate_series(1, 230) as i) as s"
        " on n.id = s.id and n.region = 'south' when matched then update set region = 'west', body = n.body || '?'"
        " when not matched and s.id > 200 then insert (id, region, body) values (s.id, 'north', 'merged')"
    ),
    "an upsert": (
        "insert into note values (2, 'east', 'changed'), (901, 'south', 'new')"
        " on conflict (region, id) do update set body = excluded.body"
    ),
    "texts that go": "update note set body = '' where id % 2 = 0",
    "a truncate": "truncate note; insert into note values (1, 'north', 'alone')",
    "an untracked update": "update note set views = views + 1",
}


@STORAGES
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_vectors_stay_true_after(note: PgConnection, write: str, storage: str) -> None:
    create(note, storage)
    sync(note)
    note.execute(write)
    sync(note)
    assert_true(note)


@STORAGES
@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_writers_of_any_isolation_level_write_partitions(note: PgConnection, storage: str, level: str) -> None:
    create(note, storage)
    sync(note)
    with note.transaction():
        note.execute(f"set transaction isolation level {level}")
        note.execute("delete from north where id < 50; update note set body = '' where region = 'east' and id < 90")
        note.execute("update note set region = 'north', body = 'moved' where region = 'south' and id > 150")
    sync(note)
    assert_true(note)


@pytest.mark.parametrize(
    "write", ["delete from north", "update north set body = ''", "update note set region = 'west'"]
)
async def test_a_strict_writer_of_a_row_whose_vector_was_stored_after_its_snapshot_does_not_fail(
    connection: PgConnection, database: Database, open_queue: Callable[..., Awaitable[Queue]], write: str
) -> None:
    connection.execute(TABLE)
    create(connection, "table")
    connection.execute("insert into note values (1, 'north', 'one'), (2, 'north', 'two')")
    queue = await open_queue("note")
    with psycopg.connect(database.dsn) as strict:
        strict.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        strict.execute("set search_path = test, public")
        assert rows(strict, "select count(*) from note") == [2]
        await settle_all(queue)
        assert len(vectors(connection)) == 2
        strict.execute(write)
    await settle_all(queue)
    assert_true(connection)
    assert rows(connection, "select count(*) from pgsbert.pending_1") == [0]


async def settle_all(queue: Queue) -> None:
    """Claim and settle until nothing is left to claim."""
    while True:
        changes = await queue.claim(100)
        if not queue.claimed:
            return
        await queue.settle([o for o in embed(changes, FakeEncoder(8).encode_counted) if isinstance(o, Embedded)])


def test_clear_clears_in_the_writers_own_transaction(note: PgConnection) -> None:
    create(note, on_change="clear")
    sync(note)
    with note.transaction(force_rollback=True):
        note.execute("update north set body = 'other'; update note set views = 1")
        assert rows(note, "select distinct region from note where embedding is null") == ["north"]


def test_clear_takes_rows_of_a_side_table_in_the_writers_own_transaction(note: PgConnection) -> None:
    create(note, "table", on_change="clear")
    sync(note)
    with note.transaction(force_rollback=True):
        note.execute("update north set body = 'other'")
        assert rows(note, "select distinct region from note_embedding order by 1") == ["east", "south"]


def test_columns_may_be_renamed_and_dropped(note: PgConnection) -> None:
    create(note)
    sync(note)
    note.execute("alter table note rename body to text; alter table note rename id to number")
    note.execute("alter table note drop views; alter table note rename embedding to vector")
    note.execute("update north set text = 'other'; insert into note values (500, 'south', 'new')")
    note.execute("update south set text = '' where number = 1; delete from south where number = 4")
    sync(note)
    note.execute("alter table note rename text to body; alter table note rename number to id")
    note.execute("alter table note rename vector to embedding")
    assert_true(note)


@STORAGES
def test_searches_return_rows_of_the_table(note: PgConnection, storage: str) -> None:
    create(note, storage)
    sync(note)
    hits = note.execute(
        "select (hit.item).region, (hit.item).body from note_search('text 7', k => 2) as hit order by hit.distance"
    ).fetchall()
    assert hits[0] == ("south", "text 7")
    assert rows(note, "select item ->> 'body' from pgsbert.search('note', 'text 8', k => 1)") == ["text 8"]
    assert rows(note, "select count(*) from note_neighbors where region = 'south' and id = 7") == [10]
    assert rows(note, "select count(*) from pgsbert.similar_to('note', '{south,7}', k => 5)") == [5]


def test_status_counts_the_rows_of_all_partitions(note: PgConnection) -> None:
    create(note)
    note.execute("analyze north, south_low, south_high, rest")
    assert rows(note, "select rows from pgsbert.status") == [200]


@STORAGES
def test_a_dropped_vectorizer_leaves_no_trigger_on_any_partition(note: PgConnection, storage: str) -> None:
    create(note, storage)
    triggers = "select count(*) from pg_trigger where not tgisinternal or tgparentid <> 0"
    assert rows(note, triggers)[0] > 12
    note.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    assert rows(note, triggers) == [0]
    assert rows(note, "select attname from pg_attribute where attname = 'embedding' and not attisdropped") == []


@pytest.mark.parametrize("name", ["texts", "settle_column", "fill_range"])
async def test_rows_are_found_by_key_in_the_partition_they_belong_to(
    connection: PgConnection, open_queue: Callable[..., Awaitable[Queue]], name: str
) -> None:
    connection.execute(TABLE)
    create(connection)
    connection.execute("insert into note select i, 'north', 'text' from generate_series(1, 20000) as i")
    queue = await open_queue("note")
    claimed = [change.revision for change in await queue.claim(64)]
    parts = {**queue._names.parts, "beyond_last": sql.SQL("(s.region, s.id) > ('south', 7)")}
    cursor = await queue._connection.execute(
        sql.SQL("explain (analyze, costs off, timing off, summary off) {}").format(statement(name, **parts)),
        {"revisions": claimed, "vectors": [None] * 64, "tokens": [None] * 64, "limit": 100, "bytes": 2**20},
    )
    plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert not re.search(r"Seq Scan on (north|south|rest|pending|lease)", plan)
    if name != "fill_range":  # which merges the partitions by key
        assert "on south_low" in plan
        assert re.search(r"on south_low .*never executed", plan)


@STORAGES
def test_a_plain_owner_needs_no_more_than_the_operators_functions_and_a_writer_nothing(
    note: PgConnection, storage: str
) -> None:
    note.execute("create role parts_owner; create role parts_writer")
    try:
        note.execute("select pgsbert.grant_usage('parts_owner', 'operator')")
        note.execute("alter schema test owner to parts_owner; grant usage on schema test to parts_writer")
        for table in ("note", "north", "south", "south_low", "south_high", "rest"):
            note.execute(f"alter table {table} owner to parts_owner; grant all on {table} to parts_writer")
        note.execute("set role parts_owner")
        create(note, storage)
        note.execute("set role parts_writer")
        note.execute("update north set body = 'written'; insert into note values (300, 'west', 'new')")
        note.execute("update note set region = 'north', body = '' where region = 'south' and id < 50")
        with note.transaction():
            note.execute("set transaction isolation level repeatable read")
            note.execute("delete from note where id % 10 = 0")
        note.execute("reset role")
        sync(note)
        assert_true(note)
        note.execute("set role parts_owner")
        note.execute("select pgsbert.sweep('note'); select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    finally:
        note.execute("reset role; drop schema test cascade; create schema test")
        note.execute("drop owned by parts_owner, parts_writer; drop role parts_owner, parts_writer")


# The index: one for each partition, built CONCURRENTLY and attached


INDEXES = (
    "select i.indrelid::regclass::text, i.indisvalid from pg_index as i join pg_class as c on c.oid = i.indexrelid"
    " join pg_am as a on a.oid = c.relam where a.amname = 'hnsw' order by 1"
)
ALL_PARTS = ["north", "note", "rest", "south", "south_high", "south_low"]


def sync_and_build(connection: PgConnection) -> None:
    """Wait for the first fill; then the worker looks at the catalog at once, and not when it would by itself."""
    sync(connection)
    connection.execute("select pgsbert.announce()")


def test_every_partition_gets_its_index_and_the_whole_is_valid(note: PgConnection) -> None:
    create(note, index="hnsw")
    sync_and_build(note)
    wait_until(lambda: rows(note, INDEXES) == [(part, True) for part in ALL_PARTS])
    assert rows(note, "select reason from pgsbert.status") == [None]
    note.execute("create table west partition of note for values in ('west')")
    assert len(rows(note, INDEXES)) == 7
    note.execute("set enable_seqscan = off; set enable_sort = off")
    nearest = "select id from note order by embedding <=> (select embedding from note where id = 7) limit 5"
    assert "using north_embedding_idx" in "\n".join(rows(note, f"explain {nearest}"))
    note.execute("select pgsbert.drop_vectorizer('note', drop_vectors => true)")
    assert rows(note, INDEXES) == []


def test_a_build_goes_on_where_another_was_ended(note: PgConnection) -> None:
    note.execute("alter table note add embedding vector(8)")
    note.execute("create index on only note using hnsw (embedding vector_cosine_ops)")
    note.execute("create index on north using hnsw (embedding vector_cosine_ops)")
    note.execute("create index half on south_low using hnsw (embedding vector_cosine_ops)")
    note.execute("update pg_index set indisvalid = false where indexrelid = 'half'::regclass")
    note.execute(
        'alter table rest rename to "100 %"; create index "5 %" on "100 %" using hnsw (embedding vector_cosine_ops)'
    )
    create(note, index="hnsw")
    sync_and_build(note)
    parts = {'"100 %"', *ALL_PARTS} - {"rest"}
    wait_until(lambda: sorted(rows(note, INDEXES)) == sorted((part, True) for part in parts))


def test_writers_do_not_queue_behind_a_build_that_is_held_up(note: PgConnection, worked_on: Database) -> None:
    with worked_on.connect() as user, user.transaction():
        with note.transaction():
            create(note, index="hnsw")
            note.execute("select pgsbert.pause_vectorizer('note')")
        user.execute("lock table test.note in row exclusive mode")  # as any write of it does
        note.execute("select pgsbert.resume_vectorizer('note')")
        sync_and_build(note)
        waiting = (
            "select l.pid from pg_locks as l join pg_stat_activity as a using (pid)"
            " where not l.granted and l.relation = 'note'::regclass and a.application_name = 'pgsbert index'"
        )
        wait_until(lambda: rows(note, waiting))
        note.execute("set statement_timeout = '10s'")
        note.execute("insert into note values (1000, 'east', 'written meanwhile')")
    note.execute("reset statement_timeout")
    wait_until(lambda: rows(note, INDEXES) == [(part, True) for part in ALL_PARTS])
