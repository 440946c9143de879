"""The reference names everything that a user can type or meet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import typer

from pgsbert.cli import app

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

ROOT = Path(__file__).parents[2]
SQL = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "sql").rglob("*.sql")))


def document(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def public_functions() -> set[str]:
    """Return what readers and operators may call, less what these functions call as their caller; and the grants."""
    text = SQL[SQL.index("function pgsbert.functions_of(") :]
    lists = re.findall(r"array\[(.*?)\]", text[: text.index("$$;") if "$$;" in text else None], re.DOTALL)[:2]
    public = (re.sub(r"--.*", "\0", names).split("\0")[0] for names in lists)
    found = {name for names in public for name in re.findall(r"'(\w+)'", names)}
    # what callers need, and users may call as well
    return found | {"is_synced", "wait_until_synced", "grant_usage", "revoke_usage"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Yield every command with its words, such as "model add"."""

    def walk(words: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
        subcommands = getattr(command, "commands", None)
        if subcommands is None:
            yield words, command
        for name, subcommand in (subcommands or {}).items():
            yield from walk(f"{words} {name}", subcommand)

    yield from walk("pgsbert", cast("click.Command", typer.main.get_command(app)))


def section(command: str) -> str:
    """Return the row of docs/cli.md that is about a command."""
    rows = [line for line in document("cli.md").splitlines() if re.match(rf"\| `{re.escape(command)}[ `]", line)]
    assert rows, f"docs/cli.md has no row for {command}"
    return rows[0]


def test_the_lists_are_not_empty() -> None:
    assert {"embed", "search", "create_vectorizer", "retry_failures", "grant_usage"} <= public_functions()
    assert "check_search" not in public_functions()
    assert {"pgsbert status", "pgsbert model add"} <= {words for words, _ in commands()}


@pytest.mark.parametrize("name", sorted(public_functions()))
def test_every_public_function_is_in_the_reference(name: str) -> None:
    assert re.search(rf"`(CALL )?(pgsbert\.)?{name}\(|\n### `{name}`", document("sql.md"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"create or replace view pgsbert\.(\w+)", SQL))))
def test_every_view_is_in_the_reference(name: str) -> None:
    assert f"`pgsbert.{name}`" in document("sql.md")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"current_setting\('(pgsbert\.\w+)'", SQL))))
def test_every_setting_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in document("sql.md")


@pytest.mark.parametrize("code", sorted(set(re.findall(r"errcode = '(PB\d+)'", SQL)) | {"PB009"}))
def test_every_sqlstate_is_in_the_reference(code: str) -> None:
    assert f"| `{code}` |" in document("sql.md")


@pytest.mark.parametrize("words", [words for words, _ in commands()])
def test_every_command_and_option_is_in_the_reference(words: str) -> None:
    command = dict(commands())[words]
    for parameter in command.params:
        # --dsn is said once, for all; --help is click's own
        if (
            parameter.param_type_name != "option"
            or getattr(parameter, "hidden", False)
            or parameter.name in ("dsn", "help")
        ):
            continue
        assert f"`{parameter.opts[0]}" in section(words), f"{words}: {parameter.opts[0]}"
    assert section(words)
    assert "`--dsn`" in document("cli.md")
