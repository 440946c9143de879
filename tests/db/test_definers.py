"""The list of SECURITY DEFINER functions in docs/security.md is that of the database; and owners may change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.testing import FakeEncoder
from tests.support import rows, run_worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.support import Database

    Connection = psycopg.Connection[Any]

DOCUMENT = Path(__file__).parents[2] / "docs" / "security.md"


def documented() -> set[str]:
    """Return the names in the first column of the table of definers."""
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text[text.index("## SECURITY DEFINER functions") :].split("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_each_definer_is_explained_and_nothing_else(connection: Connection) -> None:
    connection.execute("create table t (id int primary key, body text)")
    for storage in ("column", "table"):
        connection.execute(
            "select pgsbert.create_vectorizer('t', '{body}', name => %s, model => 'fake-8', storage => %s)",
            [storage, storage],
        )
    definers = rows(
        connection,
        "select distinct regexp_replace(p.proname, '_[0-9]+', '_<id>') from pg_proc as p where p.prosecdef"
        " and not exists (select from pg_depend as d where d.objid = p.oid and d.deptype = 'e')",
    )
    assert {"embed", "enqueue_<id>_insert", "clear_<id>"} <= set(definers)
    assert documented() == set(definers)


@pytest.fixture
def owners(connection: Connection, database: Database) -> Iterator[tuple[str, str]]:
    """Give two roles that may own tables here."""
    names = (f"first_{database.name}", f"second_{database.name}")
    for name in names:
        connection.execute(f"create role {name}; grant create on schema public to {name}")
        connection.execute("select pgsbert.grant_usage(%s, 'operator')", [name])
    yield names
    connection.execute("reset role")
    for name in names:
        connection.execute(f"drop owned by {name} cascade; drop role {name}")


@pytest.mark.parametrize("change", ["alter table t owner to {}", "reassign owned by {} to {}"])
@pytest.mark.parametrize("storage", ["column", "table"])
def test_writes_are_embedded_after_the_owner_changed(
    connection: Connection, database: Database, owners: tuple[str, str], storage: str, change: str
) -> None:
    first, second = owners
    connection.execute(f"set role {first}; create table t (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8', storage => %s)", [storage])
    connection.execute("insert into t values (1, 'one')")
    connection.execute("reset role")
    with connection.transaction():
        connection.execute(change.format(*([first, second] if change.startswith("reassign") else [second])))
        connection.execute("select pgsbert.judge_vectorizers()")
    connection.execute(f"set role {second}")
    for statement in (
        "insert into t values (2, 'two'), (3, 'three'), (4, 'four')",
        "update t set body = 'drei' where id = 3",
        "update t set body = '' where id = 4",
        "delete from t where id = 1",
    ):
        connection.execute(statement)
    connection.execute("reset role")
    with run_worker(database.dsn, encoder=FakeEncoder(8)):
        connection.execute("call pgsbert.wait_until_synced('t')")
        vectors = "t" if storage == "column" else "t_embedding"
        assert rows(connection, f"select id from {vectors} where embedding is not null order by id") == [2, 3]
    connection.execute(f"set role {second}")
    connection.execute("select pgsbert.drop_vectorizer('t')")
