"""What an administrator must run once, so that a role which is no superuser can install pgsbert and own it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from pgsbert.database import connect

if TYPE_CHECKING:
    import psycopg

_HEAD = """\
-- For an administrator, once, in database {database}: what role {installer} needs to install pgsbert and own it.
"""

_TAIL = """\
--
-- The loopback connection of embed() comes over TCP with a password. Before the general lines of pg_hba.conf, then
-- select pg_reload_conf():
--   host  {database}  pgsbert_gateway  127.0.0.1/32  scram-sha-256
--
-- {installer} then runs:
--   pgsbert install
--   pgsbert gateway set-password
--
-- A worker needs a login of its own; by the second grant {installer} may end an index that this login builds:
--   CREATE ROLE search_worker LOGIN PASSWORD '...';
--   GRANT pgsbert_worker TO search_worker;
--   GRANT search_worker TO {installer};
"""


def script(dsn: str) -> str:
    """Return the SQL that an administrator runs for the role of this connection, with the steps that follow."""
    with connect(dsn, application_name="pgsbert install") as connection:
        names = {name: value.as_string(connection) for name, value in _names(connection).items()}
        if _is(connection, "(select rolsuper from pg_roles where rolname = current_user)"):
            return f"-- {names['installer']} is a superuser and needs nothing: run pgsbert install.\n"
        needed = statements(connection)
    lines = [f"{statement};\n" for statement in needed] or ["-- Nothing is missing.\n"]
    return _HEAD.format(**names) + "".join(lines) + _TAIL.format(**names)


def statements(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the statements that only an administrator can run and that this role still lacks; none for a superuser."""
    if _is(connection, "(select rolsuper from pg_roles where rolname = current_user)"):
        return []
    names = _names(connection)
    wanted: list[tuple[LiteralString, LiteralString]] = [
        ("exists (select from pg_extension where extname = 'vector')", "CREATE EXTENSION vector"),
        ("exists (select from pg_extension where extname = 'dblink')", "CREATE EXTENSION dblink"),
        ("to_regrole('pgsbert_worker') is not null", "CREATE ROLE pgsbert_worker NOLOGIN"),
        ("to_regrole('pgsbert_gateway') is not null", "CREATE ROLE pgsbert_gateway LOGIN NOINHERIT"),
        # loopback sessions have one role and would read each other's questions in pg_stat_activity
        (
            "exists (select from pg_db_role_setting where setrole = to_regrole('pgsbert_gateway') and setdatabase = 0"
            " and 'track_activities=off' = any (setconfig))",
            "ALTER ROLE pgsbert_gateway SET track_activities = off",
        ),
        (
            "exists (select from pg_foreign_data_wrapper where fdwname = 'dblink_fdw'"
            " and has_foreign_data_wrapper_privilege(oid, 'usage'))",
            "GRANT USAGE ON FOREIGN DATA WRAPPER dblink_fdw TO {installer}",
        ),
        (
            "to_regnamespace('pgsbert') is not null or has_database_privilege(current_database(), 'create')",
            "GRANT CREATE ON DATABASE {database} TO {installer}",
        ),
    ]
    return [
        sql.SQL(statement).format(**names).as_string(connection)
        for present, statement in wanted
        if not _is(connection, present)
    ]


def _is(connection: psycopg.Connection[Any], condition: LiteralString) -> bool:
    row = connection.execute(sql.SQL("select {}").format(sql.SQL(condition))).fetchone()
    return row is not None and bool(row[0])


def _names(connection: psycopg.Connection[Any]) -> dict[str, sql.Identifier]:
    row = connection.execute("select current_database(), current_user").fetchone()
    assert row is not None
    return {"database": sql.Identifier(row[0]), "installer": sql.Identifier(row[1])}
