"""The pytest plugin, in projects that are not ours: what a user gets from it, and what a run without it pays."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgsbert import embedded

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Give a fresh project whose tests have the plugin, and no model anywhere."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PGSBERT_MODELS", str(pytester.path / "none"))
    # as the entry point would load it: the installed distribution may be another
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:pgsbert -p pgsbert.testing.plugin -p no:cacheprovider")
    return pytester


@pytest.fixture
def on_our_server(project: pytest.Pytester, server: embedded.EmbeddedServer) -> pytest.Pytester:
    """Give a project that uses the server of this run, which a user may do as well: it saves the start of one."""
    project.makeconftest(
        f"""
        import pytest

        class Server:
            def dsn(self, database="postgres"):
                return {server.dsn("DATABASE")!r}.replace("DATABASE", database)

        @pytest.fixture(scope="session")
        def pgsbert_server():
            return Server()
        """
    )
    return project


def block(name: str) -> str:
    """Return the code block of docs/testing.md whose first line is a comment with that file name."""
    [code] = re.findall(rf"```(?:python|ini)\n(# {re.escape(name)}\n.*?)```", DOCUMENT, re.DOTALL)
    return str(code)


def test_the_entry_point_names_the_plugin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name = project["entry-points"]["pytest11"]["pgsbert"]
    assert import_module(name).pgsbert_database


def test_the_project_of_the_documentation_passes(project: pytest.Pytester) -> None:
    for name in ("conftest.py", "test_articles.py"):
        (project.path / name).write_text(block(name))
    result = project.runpytest_subprocess("-v")
    result.assert_outcomes(passed=3)
    shown = re.findall(r"test_articles.py::\w+ PASSED", result.stdout.str())
    assert shown == re.findall(r"test_articles.py::\w+ PASSED", DOCUMENT)


def test_each_test_has_a_copy_of_what_the_setup_made(on_our_server: pytest.Pytester) -> None:
    on_our_server.makepyfile(
        """
        import psycopg, pytest

        @pytest.fixture(scope="session")
        def pgsbert_setup():
            def make(dsn):
                connection = psycopg.connect(dsn, autocommit=True)  # left open, as a pool may be
                connection.execute("create table note (id int primary key, body text)")
                connection.execute("select pgsbert.create_vectorizer('note', '{body}')")
                make.kept = connection
            return make

        @pytest.mark.parametrize("turn", range(3))
        def test_note(pgsbert_database, pgsbert_worker, turn):
            assert pgsbert_database.execute("select count(*) from note") == [0]
            pgsbert_database.execute("insert into note values (1, 'a text')")
            pgsbert_database.wait_until_synced("note")
            assert pgsbert_database.execute("select count(embedding) from note") == [1]
            assert pgsbert_worker.encoder.texts == 1
        """
    )
    on_our_server.runpytest_subprocess().assert_outcomes(passed=3)


def test_a_search_finds_by_words_and_reranks_without_a_model(on_our_server: pytest.Pytester) -> None:
    on_our_server.makepyfile(
        """
        import pgsbert

        def test_search(pgsbert_database, pgsbert_worker):
            with pgsbert_database.connect() as connection:
                pgsbert_add = "insert into pgsbert.model (name, kind, is_default) values ('any', 'cross-encoder', true)"
                connection.execute(pgsbert_add)
                connection.execute("create table note (id int primary key, body text)")
                pgsbert.create_vectorizer(connection, "note", ["body"])
                connection.execute("insert into note values (1, 'reset a password'), (2, 'shipping times')")
                pgsbert_database.wait_until_synced()
                [hit] = pgsbert.search(connection, "note", "how to reset my password", k=1)
                assert hit.item["id"] == 1
                [hit] = pgsbert.search(connection, "note", "shipping", k=1, rerank=True)
                assert hit.item["id"] == 2
        """
    )
    on_our_server.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_wait_without_a_worker_ends_and_says_why(on_our_server: pytest.Pytester) -> None:
    on_our_server.makepyfile(
        """
        from datetime import timedelta

        def test_wait(pgsbert_database):
            pgsbert_database.execute("create table note (id int primary key, body text)")
            pgsbert_database.execute("select pgsbert.create_vectorizer('note', '{body}')")
            pgsbert_database.execute("insert into note values (1, 'a text')")
            pgsbert_database.wait_until_synced(timeout=timedelta(seconds=0.2))
        """
    )
    result = on_our_server.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(['*Vectorizer "note" was not in sync after 0.2 s: *, 1 rows are pending, 0 workers*'])


def test_a_worker_that_cannot_serve_fails_the_test_with_its_reason(on_our_server: pytest.Pytester) -> None:
    on_our_server.makepyfile(
        """
        from pgsbert.testing import new_database, run_worker

        def test_worker(pgsbert_server):
            with new_database(pgsbert_server) as empty, run_worker(empty.dsn):
                pass
        """
    )
    result = on_our_server.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*SchemaError: *pgsbert install*"])


def test_sqlalchemy_takes_the_url(on_our_server: pytest.Pytester) -> None:
    on_our_server.makepyfile(
        """
        from sqlalchemy import create_engine, text

        def test_url(pgsbert_database):
            engine = create_engine(pgsbert_database.sqlalchemy_url)
            with engine.connect() as connection:
                assert connection.scalar(text("select current_database()")) == pgsbert_database.name
            engine.dispose()
        """
    )
    on_our_server.runpytest_subprocess().assert_outcomes(passed=1)


def test_a_run_that_asks_for_no_fixture_starts_and_imports_nothing(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        HEAVY = {"numpy", "psycopg", "sqlalchemy", "torch", "onnxruntime", "testcontainers", "pgsbert.client"}

        def test_nothing_was_imported():
            assert "pgsbert.testing.plugin" in sys.modules
            assert HEAVY & set(sys.modules) == set()
        """
    )
    project.runpytest_subprocess("-p", "no:asyncio").assert_outcomes(passed=1)


def test_the_worker_and_its_stand_ins_need_no_model_library() -> None:
    script = (
        "import sys, pgsbert.testing.worker, pgsbert.testing.database, pgsbert.testing.container\n"
        "print({'torch', 'transformers', 'onnxruntime', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_without_the_plugin_pytest_knows_none_of_its_fixtures(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:pgsbert -p no:cacheprovider")
    project.makepyfile("def test_nothing(): pass")
    result = project.runpytest_subprocess("--fixtures")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*pgsbert_*")
    project.runpytest_subprocess().assert_outcomes(passed=1)


def test_its_fixtures_say_what_they_give(project: pytest.Pytester) -> None:
    project.makepyfile("def test_nothing(): pass")
    result = project.runpytest_subprocess("--fixtures")
    for name in ("pgsbert_server", "pgsbert_setup", "pgsbert_template", "pgsbert_database", "pgsbert_worker"):
        result.stdout.re_match_lines([rf"{name}\b.*", r"    \w.*"])
        assert f"`{name}`" in DOCUMENT
