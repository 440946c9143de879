"""Who may do what in schema pgsbert, object by object, as one text that a change of grants cannot pass unseen.

role_matrix.txt is that text. After a wanted change: PGSBERT_GOLDEN=write pytest tests/db/test_role_matrix.py
and read the difference before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

    Connection = psycopg.Connection[Any]

GOLDEN = Path(__file__).with_name("role_matrix.txt")
HEAD = """\
# Each object of schema pgsbert, with what each role may do to it. Written by test_role_matrix.py, which says how.
# stranger: a login without any grant; owner: an operator with a vectorizer of each storage (1: column, 2: table).
"""
FUNCTIONS = """
    select case p.prokind when 'p' then 'procedure ' else 'function ' end || p.oid::regprocedure
           || case when p.prosecdef then ' [definer]' else '' end,
           array(select label
                 from unnest(%(labels)s::text[], %(roles)s::text[]) with ordinality as r (label, role, place)
                 where has_function_privilege(role, p.oid, 'execute') order by place)
    from pg_proc as p
    where p.pronamespace = 'pgsbert'::regnamespace
    order by 1
"""
RELATIONS = """
    select case c.relkind when 'S' then 'sequence ' when 'v' then 'view ' else 'table ' end || c.oid::regclass,
           array(
               select label || ':' || string_agg(
                   privilege || coalesce('(' || columns || ')', ''), ',' order by privilege)
               from unnest(%(labels)s::text[], %(roles)s::text[]) with ordinality as r (label, role, place),
                    unnest(array['delete', 'insert', 'references', 'select', 'trigger', 'truncate', 'update', 'usage'])
                        as u (privilege),
                    lateral (
                        select string_agg(a.attname, ',' order by a.attname)
                        from pg_attribute as a
                        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and c.relkind <> 'S'
                          and privilege in ('insert', 'references', 'select', 'update')
                          and not has_table_privilege(role, c.oid, privilege)
                          and has_column_privilege(role, c.oid, a.attnum, privilege)
                    ) as partly (columns)
               where case
                   when c.relkind = 'S' then privilege in ('select', 'update', 'usage')
                       and has_sequence_privilege(role, c.oid, privilege)
                   else privilege <> 'usage' and (columns is not null or has_table_privilege(role, c.oid, privilege))
               end
               group by label, place
               order by place
           )
    from pg_class as c
    where c.relnamespace = 'pgsbert'::regnamespace and c.relkind in ('r', 'v', 'S', 'm', 'p')
    order by 1
"""
SCHEMA = """
    select 'schema pgsbert',
           array(select label || ':' || string_agg(privilege, ',' order by privilege)
                 from unnest(%(labels)s::text[], %(roles)s::text[]) with ordinality as r (label, role, place),
                      unnest(array['create', 'usage']) as u (privilege)
                 where has_schema_privilege(role, 'pgsbert', privilege) group by label, place order by place)
"""


@pytest.fixture
def roles(connection: Connection, database: Database) -> Iterator[dict[str, str]]:
    """Give every kind of role there is, by what it is called in the matrix."""
    made = {label: f"{label} of {database.name}" for label in ("stranger", "reader", "operator", "owner")}
    for name in made.values():
        connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    for label, level in (("reader", "reader"), ("operator", "operator"), ("owner", "operator")):
        connection.execute("select pgsbert.grant_usage(%s, %s)", [made[label], level])
    connection.execute(sql.SQL("grant create on schema public to {}").format(sql.Identifier(made["owner"])))
    yield {"gateway": "pgsbert_gateway", "worker": "pgsbert_worker", **made}
    connection.execute("reset role")
    for name in made.values():
        connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
        connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def matrix(connection: Connection, roles: dict[str, str]) -> str:
    """Give the text for this database, where the owner has a vectorizer of each storage."""
    connection.execute("select set_config('role', %s, false)", [roles["owner"]])
    for number, storage in enumerate(("column", "table")):
        connection.execute(f"create table t{number} (id int primary key, body text)")
        connection.execute(
            "select pgsbert.create_vectorizer(%s, '{body}', model => 'fake-8', storage => %s)", [f"t{number}", storage]
        )
    connection.execute("reset role")
    connection.execute("set search_path = pg_catalog")  # so that every type is written with its schema
    parameters = {"labels": list(roles), "roles": list(roles.values())}
    lines = [
        f"{thing}: {' '.join(may) or '-'}"
        for query in (SCHEMA, RELATIONS, FUNCTIONS)
        for thing, may in connection.execute(query, parameters).fetchall()
    ]
    return HEAD + "\n".join(lines) + "\n"


def test_every_role_may_do_what_the_matrix_says_and_no_more(matrix: str) -> None:
    if os.environ.get("PGSBERT_GOLDEN") == "write":
        GOLDEN.write_text(matrix, encoding="utf-8")
    assert matrix.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_the_matrix_is_sound_in_itself(matrix: str) -> None:
    """What must hold whatever is written into the file."""
    lines = dict(line.rsplit(": ", 1) for line in matrix.splitlines() if not line.startswith("#"))
    may = {thing: {cell.partition(":")[0] for cell in cells.split()} for thing, cells in lines.items()}
    assert not [thing for thing, labels in may.items() if "stranger" in labels]
    assert {thing for thing, labels in may.items() if "gateway" in labels} == {
        "schema pgsbert",
        "function pgsbert.put(text,text,text,text[],interval) [definer]",
        "function pgsbert.await(uuid,interval) [definer]",
    }
    assert "create" not in lines["schema pgsbert"]
    for thing, labels in may.items():
        # a reader's rights are an operator's as well, and an operator's are an owner's
        assert "reader" not in labels or "operator" in labels, thing
        assert "operator" not in labels or "owner" in labels, thing
        if thing.startswith("table "):
            assert labels <= {"worker", "owner", "-"}, thing
    # the owner of a side table fills the queue of that one, and no other
    assert {
        thing for thing, labels in may.items() if thing.startswith(("table", "sequence")) and "owner" in labels
    } == {
        "table pgsbert.pending_2",
        "sequence pgsbert.revision",
    }


def test_nothing_is_left_of_a_role_whose_usage_and_tables_are_gone(
    connection: Connection, roles: dict[str, str], matrix: str
) -> None:
    connection.execute("select pgsbert.drop_vectorizer(name, drop_vectors => true) from pgsbert.vectorizer")
    connection.execute("select pgsbert.revoke_usage(%s)", [roles["owner"]])
    held = (
        "select p.oid::regprocedure::text from pg_proc as p, aclexplode(p.proacl) as a"
        " where p.pronamespace = 'pgsbert'::regnamespace and a.grantee = %(role)s::regrole union all"
        " select c.oid::regclass::text from pg_class as c, aclexplode(c.relacl) as a"
        " where c.relnamespace = 'pgsbert'::regnamespace and a.grantee = %(role)s::regrole union all"
        " select 'schema' from pg_namespace as n, aclexplode(n.nspacl) as a"
        " where n.nspname = 'pgsbert' and a.grantee = %(role)s::regrole"
    )
    role = sql.Identifier(roles["owner"]).as_string(None)
    assert connection.execute(held, {"role": role}).fetchall() == []
    assert rows(connection, "select count(*) from pgsbert.vectorizer") == [0]
