"""What a worker holds does not depend on how long the texts of its queue are together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pgsbert.testing import FakeEncoder
from tests.support import rows, wait_until, worker_process

if TYPE_CHECKING:
    import psycopg

    from tests.support import Database

    Connection = psycopg.Connection[Any]

MB = 2**20
LONG = "(select string_agg(md5(n::text || %s), ' ') from generate_series(1, %s) as n)"  # 33 bytes a word


def peak(pid: int) -> int:
    """Return the most bytes of memory that the process ever held."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def insert_long(connection: Connection, count: int, *, megabytes: int) -> None:
    for number in range(count):
        connection.execute(f"insert into articles (title) select {LONG}", [str(number), megabytes * MB // 33])


def wait_for_all(connection: Connection, count: int) -> None:
    wait_until(
        lambda: rows(connection, "select count(*) from articles where embedding is not null") == [count], timeout=90
    )


def test_many_long_texts_are_not_held_together_and_none_is_lost(articles: Connection, database: Database) -> None:
    with worker_process(database.dsn, "--allow-fake") as process:
        articles.execute("insert into articles (title) select 'row ' || i from generate_series(1, 500) as i")
        wait_for_all(articles, 500)
        before = peak(process.pid)
        with articles.transaction():
            insert_long(articles, 64, megabytes=1)
        wait_for_all(articles, 564)
        assert peak(process.pid) - before < 50 * MB
        before = peak(process.pid)
        with articles.transaction():
            insert_long(articles, 5, megabytes=1)
            insert_long(articles, 1, megabytes=50)
            insert_long(articles, 5, megabytes=1)
        wait_for_all(articles, 575)
        # one text is held whole: as bytes, as a string, and by the model
        assert peak(process.pid) - before < 6 * 50 * MB
    assert rows(articles, "select count(*) from pgsbert.lease_1") == [0]
    [(title, vector)] = rows(
        articles, "select title, embedding::text from articles order by octet_length(title) desc limit 1"
    )
    assert len(title) > 49 * MB
    # the whole text was encoded, not its beginning
    assert np.allclose(np.fromstring(vector[1:-1], sep=","), FakeEncoder(8).encode([title])[0])
