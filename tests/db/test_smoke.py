from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import rows

if TYPE_CHECKING:
    import psycopg

    from tests.support import RunningWorker


def test_an_inserted_row_is_embedded(connection: psycopg.Connection, worker: RunningWorker) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('notes', columns => '{body}', model => 'fake-384')")
    connection.execute("insert into notes values (1, 'hello')")
    connection.execute("call pgsbert.wait_until_synced('notes')")
    assert rows(
        connection, "select (1 - (embedding <=> pgsbert.embed('hello', 'fake-384')))::numeric(5, 4) from notes"
    ) == [1]
