"""All vectors of a vectorizer at once, and the commands over them."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from pgsbert.cli import app
from pgsbert.errors import UsageError
from pgsbert.testing import FakeEncoder
from pgsbert.vectors import read_vectors
from tests.support import Database, rows, run_worker

if TYPE_CHECKING:
    from pathlib import Path

Connection = psycopg.Connection[Any]
TEXTS = ["red apple", "red apple", "blue sea", "green hill", ""]


@pytest.fixture(params=["column", "table"])
def page(connection: Connection, database: Database, request: pytest.FixtureRequest) -> Connection:
    """Give an embedded table with a key of two columns, one of mixed case."""
    connection.execute('create table page ("Nr" int, lang text, body text, primary key (lang, "Nr"))')
    for nr, text in enumerate(TEXTS):
        connection.execute("insert into page values (%s, 'en', %s)", [nr, text])
    connection.execute(
        "select pgsbert.create_vectorizer('page', '{body}', model => 'fake-8', index => 'none', storage => %s)",
        [request.param],
    )
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('page')")
    return connection


def test_vectors_are_those_of_the_rows_that_have_one(page: Connection) -> None:
    found = read_vectors(page, "page")
    assert sorted(found.keys) == [["en", str(nr)] for nr in range(4)]
    wanted = FakeEncoder(8).encode([TEXTS[int(nr)] for _, nr in found.keys])
    assert np.array_equal(found.vectors, wanted)


def test_row_security_and_grants_decide_which_vectors_a_role_reads(page: Connection, database: Database) -> None:
    page.execute("create role vectors_reader login")
    try:
        page.execute("select pgsbert.grant_usage('vectors_reader')")
        with database.connect(user="vectors_reader") as reader:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                read_vectors(reader, "page")
            page.execute("grant select on all tables in schema public to vectors_reader")
            page.execute("alter table page enable row level security")
            page.execute("""create policy visible on page to vectors_reader using ("Nr" = 2)""")
            assert read_vectors(reader, "page").keys == [["en", "2"]]
    finally:
        page.execute("drop owned by vectors_reader")
        page.execute("drop role vectors_reader")


def test_an_unknown_vectorizer_is_named(connection: Connection) -> None:
    with pytest.raises(psycopg.Error, match='"nothing"') as caught:
        read_vectors(connection, "nothing")
    assert caught.value.sqlstate == "PB006"


def pgsbert(database: Database, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--dsn", database.dsn], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_cluster_makes_a_table_that_joins_by_key_and_a_file(
    page: Connection, database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "clusters.csv"
    shown = pgsbert(database, "cluster", "page", "-k", "3", "--table", "public.topics", "--csv", str(file))
    assert "(en, 0), (en, 1)" in shown
    joined = """select p."Nr", t.cluster from page p join topics t on t.key = array[p.lang, p."Nr"::text] order by 1"""
    labels = dict(rows(page, joined))
    assert labels[0] == labels[1] == 0
    assert sorted(labels.values()) == [0, 0, 1, 2]
    written = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
    assert {int(row["key2"]): int(row["cluster"]) for row in written} == labels
    with pytest.raises(UsageError, match="topics exists"):
        pgsbert(database, "cluster", "page", "-k", "2", "--table", "topics")


def test_duplicates_shows_the_rows_that_say_the_same(page: Connection, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    shown = pgsbert(database, "duplicates", "page", "--threshold", "0.99", "--csv", str(file))
    assert "1 pair(s) of 4 rows" in shown
    [pair] = csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))
    assert {pair["key2_a"], pair["key2_b"]} == {"0", "1"}
