"""pgsbert.vectorizers: what each vectorizer was made with, by the names of now."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.declared import READ_REGISTERED, Registered, VectorizerSpec
from tests.support import rows

if TYPE_CHECKING:
    import psycopg

    from tests.support import Database

    Connection = psycopg.Connection[Any]

SPECS = [
    VectorizerSpec(columns=("title", "body"), model="fake-8"),
    VectorizerSpec(columns=("body",), name="Other name"),
    VectorizerSpec(template="{{{Title!}}}: {body}{body}", name="a", model="fake-8", target="v", distance="l2"),
    VectorizerSpec(columns=("body",), name="b", model="fake-8", storage="table", target="vec", index="none"),
    VectorizerSpec(columns=("body",), name="c", model="fake-8", target="w", on_change="clear", triggers="row"),
]


@pytest.fixture
def table(connection: Connection) -> Connection:
    connection.execute(
        'create schema "My"; create table "My".t (id int primary key, title text, "Title!" text, body text)'
    )
    return connection


def create(connection: Connection, spec: VectorizerSpec) -> None:
    arguments = spec.arguments()
    given = ", ".join(f"{name} => %({name})s" for name in arguments)
    connection.execute(f"""select pgsbert.create_vectorizer('"My".t', {given})""", arguments)


def registered(connection: Connection) -> list[Registered]:
    return [Registered.from_row(row) for row in connection.execute(READ_REGISTERED).fetchall()]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name or "plain")
def test_what_was_declared_is_read_back(table: Connection, spec: VectorizerSpec) -> None:
    create(table, spec)
    (found,) = registered(table)
    assert found.spec == spec
    assert (found.schema, found.table, found.name) == ("My", "t", spec.name or "t")
    assert found.side == (("My", "t_vec") if spec.storage == "table" else None)


def test_renames_are_followed(table: Connection) -> None:
    create(table, SPECS[2])
    table.execute('alter table "My".t rename "Title!" to headline; alter table "My".t rename v to vector')
    table.execute('alter table "My".t rename to articles; alter table "My".articles set schema public')
    (found,) = registered(table)
    assert (found.schema, found.table) == ("public", "articles")
    assert (found.spec.template, found.spec.target) == ("{{{headline}}}: {body}{body}", "vector")


def test_a_partitioned_table_has_the_triggers_that_fit_it(connection: Connection) -> None:
    connection.execute("create table t (id int primary key, body text) partition by range (id)")
    connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8')")
    assert registered(connection)[0].spec.triggers is None


def test_a_dropped_table_is_not_shown(articles: Connection) -> None:
    articles.execute("drop table articles cascade")
    assert registered(articles) == []


def test_a_reader_sees_the_vectorizers_of_tables_that_it_may_read(articles: Connection, database: Database) -> None:
    reader = f"reader_{database.name}"
    articles.execute(f"create role {reader}; select pgsbert.grant_usage('{reader}')")
    try:
        articles.execute(f"set role {reader}")
        assert rows(articles, "select name from pgsbert.vectorizers") == []
        articles.execute(f"reset role; grant select (title) on articles to {reader}; set role {reader}")
        assert rows(articles, "select name from pgsbert.vectorizers") == ["articles"]
    finally:
        articles.execute(f"reset role; drop owned by {reader} cascade; drop role {reader}")


def test_every_parameter_of_create_vectorizer_can_be_declared(connection: Connection) -> None:
    (names,) = rows(connection, "select proargnames from pg_proc where proname = 'create_vectorizer'")
    declared = {field.name for field in fields(VectorizerSpec)}
    assert declared == set(names) - {"source", "if_not_exists"}
