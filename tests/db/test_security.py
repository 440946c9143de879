"""Nobody gains the installer's rights: what a reader, an operator or the owner of a table can bring to run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

    Connection = psycopg.Connection[Any]

EVIL = """
    create function public.evil{arguments} returns {returns} language plpgsql as $$
    begin
        insert into public.witness values (current_user);
        return {value};
    end;
    $$
"""


@pytest.fixture
def mallory(connection: Connection, database: Database) -> Iterator[str]:
    """Give a role that may make vectorizers of its own tables, and a table that tells who ran its code."""
    name = f"mallory_{database.name}"
    connection.execute(sql.SQL("create role {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("grant create on schema public to {}").format(sql.Identifier(name)))
    connection.execute("create table witness (who text)")
    connection.execute("grant insert, select on witness to public")
    connection.execute("select pgsbert.grant_usage(%s, 'operator')", [name])
    yield name
    connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(name)))
    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@contextmanager
def acting_as(connection: Connection, role: str) -> Iterator[None]:
    connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
    try:
        yield
    finally:
        connection.execute("reset role")


def evil(connection: Connection, arguments: str, returns: str, value: str) -> None:
    connection.execute(EVIL.format(arguments=arguments, returns=returns, value=value))  # type: ignore[arg-type, unused-ignore]


def test_a_cursor_with_the_name_of_the_memo_does_not_run_with_the_rights_of_embed(
    connection: Connection, mallory: str
) -> None:
    with acting_as(connection, mallory), connection.transaction(force_rollback=True):
        evil(connection, "()", "text", "'[1]'")
        [slot] = rows(connection, "select 'pgsbert_embed_' || hashtextextended('x', hashtextextended('', 0))")
        connection.execute(
            sql.SQL(
                "declare {} scroll cursor for select 'x'::text as content, null::text as model, evil() as embedding"
            ).format(sql.Identifier(slot))
        )
        with pytest.raises(psycopg.Error, match="no worker"), connection.transaction():
            connection.execute("select pgsbert.embed('x')")
        assert rows(connection, "select who from witness") == []


@pytest.mark.parametrize("storage", ["column", "table"])
def test_a_cast_of_the_owners_type_is_not_run_by_the_triggers(
    connection: Connection, mallory: str, storage: str
) -> None:
    with acting_as(connection, mallory):
        connection.execute("create type mood as enum ('glad', 'sad')")
        evil(connection, "(mood)", "text", "'x'")
        connection.execute("create cast (mood as text) with function evil(mood)")
        connection.execute("create table t (id int primary key, mood mood)")
        connection.execute(
            "select pgsbert.create_vectorizer('t', '{mood}', model => 'fake-8', storage => %s)", [storage]
        )
    # a writer runs the owner's code with his own rights anyway: here the owner is the writer
    with acting_as(connection, mallory):
        connection.execute("insert into t values (1, 'glad')")
        connection.execute("update t set mood = 'sad'")
        connection.execute("delete from t")
    assert set(rows(connection, "select who from witness")) <= {mallory}


def test_a_trigger_on_the_side_table_runs_with_its_owners_rights(connection: Connection, mallory: str) -> None:
    with acting_as(connection, mallory):
        connection.execute("create table t (id int primary key, body text)")
        connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8', storage => 'table')")
        evil(connection, "()", "trigger", "null")
        connection.execute("create trigger z before delete on t_embedding for each statement execute function evil()")
    connection.execute("insert into t values (1, 'a')")
    connection.execute("update t set body = ''")
    connection.execute("delete from t")
    connection.execute("truncate t")
    assert set(rows(connection, "select who from witness")) == {mallory}


def test_the_owners_triggers_need_no_usage_that_can_be_revoked(connection: Connection, mallory: str) -> None:
    with acting_as(connection, mallory):
        connection.execute("create table t (id int primary key, body text)")
        connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8', storage => 'table')")
    connection.execute("select pgsbert.revoke_usage(%s)", [mallory])
    with acting_as(connection, mallory):
        connection.execute("insert into t values (1, 'a'), (2, 'b')")
        connection.execute("update t set body = '' where id = 1")
        connection.execute("delete from t where id = 2")
    assert rows(connection, "select count(*) from pgsbert.pending_1") == [1]


def test_the_table_of_another_cannot_be_registered_as_a_side_table(connection: Connection, mallory: str) -> None:
    connection.execute("create table salaries (id int primary key)")
    with acting_as(connection, mallory):
        connection.execute("create table t (id int primary key, body text)")
        connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8')")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"must be owner of table public\.salaries"):
            connection.execute("select pgsbert.register_side(1, 'salaries')")
    assert rows(connection, "select side from pgsbert.vectorizer") == [None]


def test_a_question_stays_for_an_hour_at_most_whatever_it_asks_for(connection: Connection) -> None:
    connection.execute("insert into pgsbert.worker (host, pid, version) values ('h', 1, '0')")
    connection.execute("select pgsbert.put('embed', 'fake-8', null, array['a'], '100 years')")
    assert rows(connection, "select deadline < now() + interval '61 minutes' from pgsbert.request") == [True]


def make_evil_types(connection: Connection) -> None:
    connection.execute("create type composite as (x text)")
    evil(connection, "(composite)", "text", "'x'")
    connection.execute("create cast (composite as text) with function evil(composite)")
    evil(connection, "(public.vector)", "boolean", "true")
    connection.execute("create domain checked as public.vector check (evil(value))")
    connection.execute("create table t (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('t', '{body}', model => 'fake-8')")


def test_a_type_that_a_column_is_given_later_runs_no_code_with_the_installers_rights(
    connection: Connection, mallory: str
) -> None:
    with acting_as(connection, mallory):
        make_evil_types(connection)
        connection.execute("drop trigger zzzz_pgsbert_1_empty on t")  # it refuses another type
        connection.execute("alter table t alter body type composite using row(body)::composite")
        connection.execute("insert into t values (1, row('a'))")
        connection.execute("update t set body = row('b')")
        assert rows(connection, "select pgsbert.is_synced('t')") == [False]
        connection.execute("delete from t")
    assert rows(connection, "select who from witness") == []
    assert rows(connection, "select broken_reason from pgsbert.vectorizer") == [None]


def test_our_trigger_functions_on_another_table_run_no_code_with_the_installers_rights(
    connection: Connection, mallory: str
) -> None:
    with acting_as(connection, mallory):
        make_evil_types(connection)
        connection.execute("create table other (id int primary key, body composite, embedding checked)")
        for name, event, tables in (
            ("insert", "after insert", "referencing new table as new_rows for each statement"),
            ("update", "after update", "referencing new table as new_rows old table as old_rows for each statement"),
            ("delete", "after delete", "referencing old table as old_rows for each statement"),
        ):
            connection.execute(
                f"create trigger {name} {event} on other {tables} execute function pgsbert.enqueue_1_{name}()"
            )
        connection.execute(
            "create trigger clear before update on other for each row execute function pgsbert.clear_1()"
        )
        connection.execute("insert into other values (1, row('a'))")
        connection.execute("update other set body = row('b')")
        connection.execute("delete from other")
    # the check of a domain runs with the rights of the writer, as everywhere
    assert set(rows(connection, "select who from witness")) == {mallory}
    assert rows(connection, "select k1 from pgsbert.pending_1") == []
