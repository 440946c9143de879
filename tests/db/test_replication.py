"""What a subscription applies is embedded: row triggers always fire. One cluster replicates to itself here."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgsbert import embedded, schema
from pgsbert.models.fake import FakeEncoder
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PgConnection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def logical_server() -> Iterator[embedded.EmbeddedServer]:
    """Give a server with wal_level = logical, which the one of the other tests does not need."""
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    settings = {"fsync": "off", "wal_level": "logical", "log_min_messages": "fatal"}
    try:
        with embedded.start(folder / "postgres", settings=settings) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("partitioned", [False, True], ids=["plain", "partitioned"])
def test_rows_that_a_subscription_applies_are_embedded(
    logical_server: embedded.EmbeddedServer, partitioned: bool
) -> None:
    here, there = f"subscriber_{partitioned}".lower(), f"publisher_{partitioned}".lower()
    for name in (here, there):
        embedded.create_database(logical_server, name)
    schema.install(logical_server.dsn(here))
    table = "create table note (id int primary key, body text)"
    with (
        psycopg.connect(logical_server.dsn(there), autocommit=True) as publisher,
        psycopg.connect(logical_server.dsn(here), autocommit=True) as subscriber,
    ):
        publisher.execute(table)
        publisher.execute("create publication notes for table note")
        publisher.execute("insert into note values (1, 'copied'), (2, 'copied too')")
        # in one cluster CREATE SUBSCRIPTION would wait for itself to make the slot
        publisher.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [here])
        if partitioned:
            subscriber.execute(f"{table} partition by hash (id)")
            for remainder in (0, 1):
                subscriber.execute(
                    f"create table note_{remainder} partition of note"
                    f" for values with (modulus 2, remainder {remainder})"
                )
        else:
            subscriber.execute(table)
        subscriber.execute("insert into pgsbert.model (name, kind, dimensions) values ('fake-8', 'bi-encoder', 8)")
        subscriber.execute(
            "select pgsbert.create_vectorizer('note', '{body}', model => 'fake-8', index => 'none', triggers => 'row')"
        )
        with run_worker(logical_server.dsn(here), encoder=FakeEncoder(8)):
            subscriber.execute(
                psycopg.sql.SQL(
                    "create subscription notes connection {} publication notes"
                    " with (create_slot = false, slot_name = {})"
                ).format(psycopg.sql.Literal(logical_server.dsn(there)), psycopg.sql.Identifier(here))
            )
            wait_until(lambda: embedded_texts(subscriber) == ["copied", "copied too"])
            publisher.execute("insert into note values (3, 'inserted'); update note set body = 'updated' where id = 1")
            wait_until(lambda: embedded_texts(subscriber) == ["copied too", "inserted", "updated"])
            publisher.execute("update note set body = '' where id = 3; delete from note where id = 2")
            wait_until(lambda: embedded_texts(subscriber) == ["updated"])
        subscriber.execute("alter subscription notes disable")
        subscriber.execute("alter subscription notes set (slot_name = none)")
        subscriber.execute("drop subscription notes")
        wait_until(lambda: drop_slot(publisher, here))


def embedded_texts(connection: PgConnection) -> list[str]:
    """Return the texts whose rows have the very vector of that text."""
    found = connection.execute("select body, embedding::real[] from note where embedding is not null order by 1")
    return [
        body
        for body, vector in found.fetchall()
        if vector == pytest.approx([float(x) for x in FakeEncoder(8).encode([body])[0]], abs=1e-6)
    ]


def drop_slot(connection: PgConnection, name: str) -> bool:
    """Drop a replication slot as soon as nobody uses it."""
    return (
        rows(
            connection,
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s and not active",
            name,
        )
        != []
    )
