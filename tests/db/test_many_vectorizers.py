"""Several vectorizers on one table: made, at work and dropped one by one, none disturbs another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.testing import FakeEncoder
from tests.support import rows, wait_until, worker_process

if TYPE_CHECKING:
    from tests.support import Database

PgConnection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Kind:
    """A vectorizer of the table, the relation with its vectors, and the text that it embeds."""

    arguments: str
    relation: str
    target: str
    text: str
    dimensions: int


KINDS = {
    "both": Kind("columns => '{title,body}'", "note", "embedding", "concat_ws(E'\\n', title, body)", 8),
    "title": Kind("columns => '{title}', target => 'title_vector'", "note", "title_vector", "title", 8),
    "large": Kind(
        "template => '{title}: {body}', model => 'fake-16', target => 'large'",
        "note",
        "large",
        "title || ': ' || body",
        16,
    ),
    "beside": Kind(
        "columns => '{body}', storage => 'table', target => 'beside', on_change => 'clear', distance => 'l2'",
        "note_beside join note using (id)",
        "note_beside.embedding",
        "body",
        8,
    ),
}


def make(connection: PgConnection, name: str) -> None:
    arguments = KINDS[name].arguments
    if "model =>" not in arguments:
        arguments += ", model => 'fake-8'"
    connection.execute(f"select pgsbert.create_vectorizer('note', name => '{name}', {arguments})")


def sync(connection: PgConnection, *names: str) -> None:
    for name in names:
        connection.execute("call pgsbert.wait_until_synced(%s, '30 s')", [name])


def are_true(connection: PgConnection, name: str, *, count: int) -> bool:
    """Whether all rows have the vector of their text by that vectorizer."""
    kind = KINDS[name]
    found = connection.execute(f"select {kind.text}, {kind.target}::real[] from {kind.relation}").fetchall()
    encoded = FakeEncoder(kind.dimensions).encode([text for text, _ in found])
    stored = np.array([vector for _, vector in found], dtype=np.float32)
    return stored.shape == (count, kind.dimensions) and bool((stored == encoded).all())


def index_of(connection: PgConnection, name: str) -> list[Any]:
    table = KINDS[name].relation.split()[0]
    return rows(
        connection,
        "select x.indexrelid from pg_index as x join pg_class as c on c.oid = x.indexrelid"
        " join pg_am as m on m.oid = c.relam"
        " join pg_attribute as a on a.attrelid = x.indrelid and a.attnum = x.indkey[0]"
        " where m.amname = 'hnsw' and x.indisvalid and x.indrelid = %s::regclass and a.attname = %s",
        table,
        KINDS[name].target.split(".")[-1],
    )


@pytest.fixture
def note(connection: PgConnection) -> PgConnection:
    """Give a table with three rows, and models of two sizes."""
    connection.execute("insert into pgsbert.model (name, kind, dimensions) values ('fake-16', 'bi-encoder', 16)")
    connection.execute("create table note (id int primary key, title text, body text, views int default 0)")
    connection.execute("insert into note select i, 'title ' || i, 'body ' || i from generate_series(1, 3) as i")
    return connection


def state(connection: PgConnection) -> list[Any]:
    return rows(connection, "select name, state from pgsbert.status")


def test_vectorizers_are_made_used_and_dropped_one_by_one(note: PgConnection, database: Database) -> None:
    count = 3
    with worker_process(database.dsn, "--allow-fake"):
        for number, name in enumerate(KINDS):
            make(note, name)
            # the others are at work meanwhile
            note.execute("update note set body = body || '!', title = title || '?' where id = 2")
            note.execute("insert into note values (%s, %s, 'new')", [10 + number, f"with {name}"])
            count += 1
            made = list(KINDS)[: number + 1]
            sync(note, *made)
            assert [are_true(note, each, count=count) for each in made] == [True] * len(made)
        wait_until(lambda: all(index_of(note, name) for name in KINDS))
        assert len({tuple(index_of(note, name)) for name in KINDS}) == len(KINDS)
        left = list(KINDS)
        while left:
            # the one that was made first goes first: the others' columns have moved by then
            gone = left.pop(0)
            note.execute("select pgsbert.drop_vectorizer(%s, drop_vectors => true)", [gone])
            assert state(note) == [(name, "active") for name in sorted(left)]
            note.execute("update note set body = body || '.', title = title || ';'")
            sync(note, *left)
            assert [are_true(note, name, count=count) for name in left] == [True] * len(left)
            assert all(index_of(note, name) for name in left)
            for name in left:
                found = note.execute(f"select (item).id from {name}_search('with both', k => 100)").fetchall()
                assert len(found) == count
                assert note.execute(f"select count(distinct id) from {name}_neighbors").fetchall() == [(count,)]
    assert rows(note, "select tgname from pg_trigger where tgrelid = 'note'::regclass") == []
    assert rows(note, "select relname from pg_class where relname ~ '^(pending|lease|fill)_'") == []
    assert rows(note, "select attname from pg_attribute where attrelid = 'note'::regclass and attacl is not null") == []


def test_dropping_one_keeps_the_workers_rights_to_what_another_needs(note: PgConnection) -> None:
    for name in KINDS:
        make(note, name)
    allowed = (
        "select attname from pg_attribute where attrelid = 'note'::regclass and attnum > 0"
        " and has_column_privilege('pgsbert_worker', attrelid, attnum, %s) order by attnum"
    )
    note.execute("select pgsbert.drop_vectorizer('both')")
    assert rows(note, allowed, "select") == ["id", "title", "body", "title_vector", "large"]
    assert rows(note, allowed, "update") == ["title_vector", "large"]
    note.execute("select pgsbert.drop_vectorizer('large')")
    note.execute("select pgsbert.drop_vectorizer('beside')")
    assert rows(note, allowed, "select") == ["id", "title", "title_vector"]
    note.execute("select pgsbert.drop_vectorizer('title')")
    assert rows(note, allowed, "select") == []


def test_pause_failures_and_refresh_are_each_vectorizers_own(note: PgConnection, database: Database) -> None:
    make(note, "both")
    make(note, "title")
    note.execute("select pgsbert.pause_vectorizer('title')")
    with worker_process(database.dsn, "--allow-fake"):
        note.execute("update note set title = 'paused' where id = 1")
        note.execute("update note set body = 'fake:raise' where id = 3")
        failing = "select failed_at is null and error is not null from pgsbert.lease_1 where k1 = 3"
        wait_until(lambda: rows(note, failing) == [True])
        pending = "select name, pending from pgsbert.status"
        wait_until(lambda: rows(note, pending) == [("both", 1), ("title", 1)])
        note.execute("select pgsbert.resume_vectorizer('title')")
        sync(note, "title")
        # row 3 fails for one, and is no concern of the other
        assert are_true(note, "title", count=3)
        assert rows(note, pending) == [("both", 1), ("title", 0)]
        note.execute("update note set body = 'mended' where id = 3")
        sync(note, "both")
        assert are_true(note, "both", count=3)
        note.execute("update note set embedding = null, title_vector = null")
        note.execute("select pgsbert.refresh('title')")
        sync(note, "title")
        assert rows(note, "select count(embedding), count(title_vector) from note") == [(0, 3)]
