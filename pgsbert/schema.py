"""Install and upgrade schema pgsbert: migrations for tables, then functions, views and grants made anew.

Everything happens in one transaction: an installation is whole or not there.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from pgsbert import dba
from pgsbert.database import connect
from pgsbert.errors import SchemaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection

EXTENSIONS = ("vector", "dblink")
VECTOR_AT_LEAST = (0, 8)
LOCK_LIMIT = "5s"  # others queue behind a lock that is waited for
LOCK = 1885827938  # the first half of pgsbert's advisory locks: 'pgsb' in ASCII, below 2^31

DEFAULT_BI_ENCODER: Mapping[str, object] = {
    "name": "all-MiniLM-L6-v2",
    "revision": None,  # the installed package that carries it names none; the hash says which it is
    "hash": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "dimensions": 384,
    "max_tokens": 256,
    "similarity": "cosine",
}


def install(dsn: str) -> str:
    """Create schema pgsbert, its roles and its default model, or bring them up to date; returns the schema version.

    The role that installs owns the schema: a superuser, or one that an administrator has prepared (pgsbert.dba).
    Raises SchemaError with the next step when an extension or a right is missing.
    """
    with connect(dsn, application_name="pgsbert install") as connection:
        _create_extensions(connection)
        _require_rights(connection)
    return upgrade(dsn, first=True)


def upgrade(dsn: str, *, first: bool = False) -> str:
    """Run the missing migrations and make functions, views and grants anew; returns the schema version."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(dsn, application_name="pgsbert upgrade", connect_timeout=10),
        poolclass=NullPool,
    )
    try:
        with _explaining_locks(), engine.begin() as bind:
            connection = cast("psycopg.Connection[Any]", bind.connection.driver_connection)
            become_owner(connection)
            if not first and installed_version(connection) is None:
                raise SchemaError('Schema pgsbert is not in this database: run "pgsbert install" first.')
            _bring_up_to_date(bind, connection)
    finally:
        engine.dispose()
    with connect(dsn, application_name="pgsbert upgrade") as connection:
        if not _needs_password(connection):
            check_gateway(connection)
    return head()


@contextmanager
def _explaining_locks() -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.LockNotAvailable, DBAPIError) as error:
        cause = getattr(error, "orig", error)
        if not isinstance(cause, psycopg.errors.LockNotAvailable):
            raise
        raise SchemaError(
            f"A transaction has held what the upgrade must change for {LOCK_LIMIT}, and nothing was changed:"
            ' end it, or run "pgsbert upgrade" again.'
        ) from error


def _bring_up_to_date(bind: Connection, connection: psycopg.Connection[Any]) -> None:
    variables = _variables(connection)
    connection.execute("set local client_min_messages = warning")
    # views and SQL functions are bound as they are made: to nothing that anybody put in the way
    connection.execute("set local search_path = pg_catalog, pg_temp")
    connection.execute("select pg_advisory_xact_lock(%s, 0)", [LOCK])
    connection.execute(f"set local lock_timeout = '{LOCK_LIMIT}'")
    _refuse_newer(connection)
    if not become_owner(connection):
        connection.execute("create schema pgsbert")
    _run_file(connection, "roles.sql", variables)
    _migrate(bind, variables)
    for name in _function_files():
        _run_file(connection, f"functions/{name}", variables)
    _run_file(connection, "views.sql", variables)
    replaced = _replaced_functions(connection)
    # what was granted on a replaced function is found there, and given on the new one
    _run_file(connection, "grants.sql", variables)
    if replaced is not None:
        # together, since they call each other; a user's object that needs one is named by the error
        connection.execute(sql.SQL("drop routine {}").format(sql.SQL(replaced)))
    connection.execute("select pgsbert.renew_vectorizers()")
    _register_default_model(connection)


@cache
def head() -> str:
    """Return the schema version this package brings."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def installed_version(connection: psycopg.Connection[Any]) -> str | None:
    """Return the schema version of a database, None where pgsbert is not installed."""
    row = connection.execute("select to_regclass('pgsbert.migration') is not null").fetchone()
    if row is None or not row[0]:
        return None
    row = connection.execute("select version_num from pgsbert.migration").fetchone()
    if row is None and _has_function(connection, "pgsbert.schema_version()"):
        # restored without its data: the tables are there, at the version that the functions tell
        row = connection.execute("select pgsbert.schema_version()").fetchone()
    return None if row is None else str(row[0])


def load_file(connection: psycopg.Connection[Any], name: str) -> None:
    """Run a file of sql/ as the installation does; the tests compare sql/schema.sql with the migrations by it."""
    _run_file(connection, name, _variables(connection))


def _create_extensions(connection: psycopg.Connection[Any]) -> None:
    for extension in EXTENSIONS:
        try:
            connection.execute(sql.SQL("create extension if not exists {}").format(sql.Identifier(extension)))
        except psycopg.errors.InsufficientPrivilege as error:
            raise SchemaError(
                f"This role may not create the extension {extension}: have an administrator run "
                f'"CREATE EXTENSION {extension}" in this database, then run "pgsbert install" again.'
            ) from error
        except psycopg.errors.FeatureNotSupported as error:
            raise SchemaError(
                f"The server does not have the extension {extension}: install its package on the server "
                "(pgvector 0.8 or newer for vector, postgresql-contrib for dblink)."
            ) from error


def _require_rights(connection: psycopg.Connection[Any]) -> None:
    missing = dba.statements(connection)
    if missing:
        raise SchemaError(
            f'This role lacks what only an administrator can give ("{missing[0]}"): have one run what '
            '"pgsbert install --print-dba-sql" prints, then run "pgsbert install" again.'
        )


def become_owner(connection: psycopg.Connection[Any]) -> bool:
    """Act as the owner of schema pgsbert until the transaction ends; False where there is none yet.

    What a superuser adds to the installation of another role must not run with a superuser's rights. Raises
    SchemaError for a role that is not a member of the owner.
    """
    row = connection.execute(
        "select pg_get_userbyid(nspowner), pg_has_role(nspowner, 'member') from pg_namespace where nspname = 'pgsbert'"
    ).fetchone()
    if row is None:
        return False
    owner, is_member = row
    if not is_member:
        raise SchemaError(f'Schema pgsbert belongs to the role "{owner}": connect as that role.')
    connection.execute("select set_config('role', %s, true) where current_user <> %s", [owner, owner])
    return True


def _variables(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Return what :"vector_schema" and :"dblink_schema" stand for in the SQL files, as quoted identifiers."""
    rows = connection.execute(
        "select e.extname, n.nspname, e.extversion from pg_extension as e"
        " join pg_namespace as n on n.oid = e.extnamespace where e.extname = any(%s)",
        [list(EXTENSIONS)],
    ).fetchall()
    found = {name: (schema, version) for name, schema, version in rows}
    for extension in EXTENSIONS:
        if extension not in found:
            raise SchemaError(f'The extension {extension} is not in this database: run "CREATE EXTENSION {extension}".')
    version = tuple(int(part) for part in found["vector"][1].split(".")[:2])
    if version < VECTOR_AT_LEAST:
        raise SchemaError(
            f'pgvector is {found["vector"][1]}, and 0.8 or newer is needed: run "ALTER EXTENSION vector UPDATE".'
        )
    return {f"{name}_schema": sql.Identifier(schema).as_string(connection) for name, (schema, _) in found.items()}


def _function_files() -> Iterator[str]:
    folder = files("pgsbert.sql").joinpath("functions")
    yield from sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))


def _run_file(connection: psycopg.Connection[Any], name: str, variables: Mapping[str, str]) -> None:
    text = files("pgsbert.sql").joinpath(name).read_text(encoding="utf-8")
    for variable, value in variables.items():
        text = text.replace(f':"{variable}"', value)
    connection.execute(text)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "pgsbert:migrations")
    return config


def _migrate(bind: Connection, variables: Mapping[str, str]) -> None:
    config = _config()
    config.attributes["connection"] = bind
    config.attributes["variables"] = variables
    connection = cast("psycopg.Connection[Any]", bind.connection.driver_connection)
    version = installed_version(connection)
    if version is not None:
        connection.execute(
            "insert into pgsbert.migration select %s where not exists (select from pgsbert.migration)", [version]
        )
    command.upgrade(config, "head")


def _refuse_newer(connection: psycopg.Connection[Any]) -> None:
    version = installed_version(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if version is not None and version not in known:
        raise SchemaError(f"The schema is at {version}, this pgsbert knows {head()}: upgrade the package.")


def _has_function(connection: psycopg.Connection[Any], signature: str) -> bool:
    row = connection.execute("select to_regprocedure(%s) is not null", [signature]).fetchone()
    return row is not None and bool(row[0])


def _replaced_functions(connection: psycopg.Connection[Any]) -> str | None:
    """Return the functions that this version has no more, or with other parameters: calls would be ambiguous.

    What this transaction has not written is not of this version, but for the trigger functions of the vectorizers.
    """
    row = connection.execute(
        "select string_agg(p.oid::regprocedure::text, ', ') from pg_proc as p"
        " join pg_namespace as n on n.oid = p.pronamespace and n.nspname = 'pgsbert' and n.nspowner = p.proowner"
        " where p.xmin <> pg_current_xact_id()::xid and p.proname !~ '^(enqueue|clear)_[0-9]'"
    ).fetchone()
    return None if row is None else row[0]


def _register_default_model(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "insert into pgsbert.model (name, kind, revision, hash, dimensions, max_tokens, similarity, is_default)"
        " values (%(name)s, 'bi-encoder', %(revision)s, %(hash)s, %(dimensions)s, %(max_tokens)s, %(similarity)s,"
        " not exists (select from pgsbert.model where is_default and kind = 'bi-encoder'))"
        " on conflict (name) do nothing",
        DEFAULT_BI_ENCODER,
    )


def needs_password(dsn: str) -> bool:
    """Tell whether the gateway has no way to log in yet: the owner is no superuser and has set no password."""
    with connect(dsn, application_name="pgsbert install") as connection:
        return _needs_password(connection)


def _needs_password(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute(
        "select not r.rolsuper and not exists (select from pg_foreign_server where srvname = 'pgsbert_loopback')"
        " from pg_namespace as n join pg_roles as r on r.oid = n.nspowner where n.nspname = 'pgsbert'"
    ).fetchone()
    return row is not None and bool(row[0])


def check_gateway(connection: psycopg.Connection[Any]) -> None:
    """Open the loopback connection as embed() will; raises SchemaError with the reason and the next step."""
    try:
        with connection.transaction():
            become_owner(connection)
            connection.execute("select pgsbert.connect_gateway()")
    except psycopg.Error as error:
        raise SchemaError(
            "pgsbert is installed, but its loopback connection could not log in as pgsbert_gateway, so embed() will"
            f" not work: {_reason(error.diag)}."
        ) from error


def _reason(diagnostic: psycopg.errors.Diagnostic) -> str:
    # before PostgreSQL 17 the reason is in the detail, and there is no hint
    reason = diagnostic.message_detail or diagnostic.message_primary or "no reason given"
    hint = diagnostic.message_hint or "Allow that role in pg_hba.conf for the server's socket."
    return f"{reason.rstrip('.?')}. {hint}".rstrip(".")
