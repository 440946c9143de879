"""A server that demands SCRAM over TCP, as one in production does, with all its statements in its log."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import psycopg
from psycopg.conninfo import make_conninfo

from pgsbert import embedded
from pgsbert.cli import main
from tests.support import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

HBA = """
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""
SETTINGS = {"fsync": "off", "log_statement": "all", "log_min_messages": "notice", "max_connections": "60"}


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it wrote."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class SecuredServer:
    """The server, its port, and how to reach it as its superuser or as a role with a password."""

    server: embedded.EmbeddedServer
    port: int

    @property
    def log(self) -> str:
        """All that the server has logged."""
        return self.server.log.read_text(encoding="utf-8", errors="replace")

    def admin(self, database: str = "postgres") -> psycopg.Connection[Any]:
        """Open a connection of the superuser, over the socket."""
        return psycopg.connect(self.server.dsn(database), autocommit=True)

    def execute(self, query: str, *parameters: object, database: str = "postgres") -> list[Any]:
        """Run a statement as the superuser."""
        with self.admin(database) as connection:
            return rows(connection, query, *parameters)

    def psql(self, script: str, database: str) -> None:
        """Run a script as the superuser, as an administrator would paste it."""
        subprocess.run(
            [str(self.server.psql), "-qX", "-v", "ON_ERROR_STOP=1", self.server.dsn(database)],
            input=script, text=True, check=True, capture_output=True,
        )  # fmt: skip

    def dsn(self, database: str, user: str, password: str) -> str:
        """Return how a role with a password comes in: by TCP."""
        return make_conninfo(
            "", host="127.0.0.1", port=self.port, dbname=database, user=user, password=password, connect_timeout=10
        )


@contextmanager
def secured_server() -> Iterator[SecuredServer]:
    """Run such a server until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with embedded.start(folder / "postgres", settings=SETTINGS) as server:
            (server.folder / "pg_hba.conf").write_text(HBA)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            options = f"-h 127.0.0.1 -p {port} -k {server.folder}"
            done = server._pg_ctl("restart", "-m", "fast", "-l", str(server.log), "-o", options)
            assert done.returncode == 0, done.stdout + done.stderr
            yield SecuredServer(server, port)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pgsbert(*arguments: str, **environment: str) -> Finished:
    """Run a command in this process, which saves the start of another, with no terminal."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PGSBERT_", "PGPASS"))}
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {**kept, **environment}, clear=True),
        mock.patch.object(sys, "argv", ["pgsbert", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            return Finished(int(end.code or 0), out.getvalue(), err.getvalue())
    return Finished(0, out.getvalue(), err.getvalue())
