"""The password of the loopback connection: in the role as a SCRAM verifier, in the user mapping of the owner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from pgsbert import schema
from pgsbert.database import connect, statement
from pgsbert.errors import SchemaError

if TYPE_CHECKING:
    from typing import LiteralString

ROLE = "pgsbert_gateway"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the loopback connection goes: the server itself, never a pooler."""

    host: str = "127.0.0.1"
    port: int | None = None  # the server's own
    sslmode: str | None = None  # libpq's default


def set_password(dsn: str, password: str, address: Address) -> str | None:
    """Let the gateway log in with this password; the clear text reaches no statement, and so no log of the server.

    Returns the statement that an administrator must run where this role may not alter pgsbert_gateway; it holds a
    SCRAM verifier, not the password. Otherwise the connection is tried, and SchemaError says why it fails.
    """
    with connect(dsn, application_name="pgsbert gateway") as connection:
        verifier = connection.pgconn.encrypt_password(password.encode(), ROLE.encode(), b"scram-sha-256").decode()
        alter = sql.SQL("alter role {} password {}").format(sql.Identifier(ROLE), sql.Literal(verifier))
        with connection.transaction():
            connection.execute("set local client_min_messages = warning")
            may_alter = _try(connection, alter)
            if not schema.become_owner(connection):
                raise SchemaError('Schema pgsbert is not in this database: run "pgsbert install" first.')
            _map(connection, password, address)
        if not may_alter:
            return alter.as_string(connection)
        schema.check_gateway(connection)
    return None


def _try(connection: psycopg.Connection[Any], alter: sql.Composed) -> bool:
    try:
        with connection.transaction():
            connection.execute(alter)
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def _map(connection: psycopg.Connection[Any], password: str, address: Address) -> None:
    """Make server and user mapping anew. Utility statements take no parameters and are logged; rows of COPY are not."""
    wanted: dict[LiteralString, str | int | None] = {
        "host": address.host,
        "port": address.port,
        "sslmode": address.sslmode,
        "password": password,
    }
    connection.execute(
        "create temporary table pgsbert_gateway_wanted (host text, port int, sslmode text, password text)"
        " on commit drop"
    )
    with connection.cursor().copy("copy pg_temp.pgsbert_gateway_wanted from stdin") as copy:
        copy.write_row(list(wanted.values()))
    try:
        connection.execute(statement("map_gateway"))
    except psycopg.errors.InsufficientPrivilege as error:
        raise SchemaError(
            f'{error.diag.message_primary}: have an administrator run what "pgsbert install --print-dba-sql" prints.'
        ) from error
