"""Which database a command talks to, and where its password comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgsbert.errors import UsageError
from pgsbert.settings import database_dsn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a file with a password, named by the variable; its mode is that of a mounted secret."""
    file = tmp_path / "secret"
    file.write_text("it's a = \\secret\nand a second line\n")
    file.chmod(0o444)
    monkeypatch.setenv("PGSBERT_PASSWORD_FILE", str(file))
    return file


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("dsn", ["", "host=database user=search_worker", "postgresql://search_worker@database/shop"])
def test_the_password_of_a_file_joins_the_connection_string(dsn: str) -> None:
    assert conninfo_to_dict(database_dsn(dsn)) == {**conninfo_to_dict(dsn), "password": "it's a = \\secret"}


@pytest.mark.usefixtures("secret")
def test_it_joins_what_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSBERT_DSN", "host=database")
    assert conninfo_to_dict(database_dsn(None)) == {"host": "database", "password": "it's a = \\secret"}


@pytest.mark.usefixtures("secret")
def test_a_password_that_was_given_counts() -> None:
    assert database_dsn("postgresql://a:given@database/shop") == "postgresql://a:given@database/shop"


def test_without_a_file_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSBERT_PASSWORD_FILE", raising=False)
    assert database_dsn("postgresql://a@database/shop") == "postgresql://a@database/shop"


@pytest.mark.parametrize(("content", "reason"), [(None, "No such file"), ("", "its first line is empty")])
def test_a_file_without_a_password_is_named(secret: Path, content: str | None, reason: str) -> None:
    secret.unlink()
    if content is not None:
        secret.write_text(content)
    with pytest.raises(UsageError, match=rf"Cannot read the password from {secret}: .*{reason}"):
        database_dsn("host=database")
