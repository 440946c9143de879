"""The SQL of the README does what the README shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import worker_process

if TYPE_CHECKING:
    from pgsbert.embedded import EmbeddedServer
    from tests.support import Database

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_sql_of_the_readme_gives_the_output_it_shows(database: Database, server: EmbeddedServer) -> None:
    blocks = BLOCK.findall(README.read_text(encoding="utf-8"))
    first = next(i for i, (_, text) in enumerate(blocks) if "CREATE TABLE articles" in text)
    statements = "".join(text for language, text in blocks[first:] if language == "sql")
    shown = "".join(text for language, text in blocks[first:] if language == "text")
    # the database of the tests has a reranker registered, a new installation has none
    database.execute("delete from pgsbert.model where name = 'fake-reranker'")
    with worker_process(database.dsn):
        result = subprocess.run(
            [server.psql, "-X", "-v", "VERBOSITY=terse", database.dsn],
            input=statements,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PSQL_PAGER": "", "PGOPTIONS": "-c pgsbert.timeout=60s"},
        )
    printed = iter([*result.stdout.splitlines()])
    # in their order; what the README leaves out, such as command tags, may stand between
    assert [line for line in shown.splitlines() if not line.startswith("ERROR:") and line not in printed] == []
    assert [line for line in shown.splitlines() if line.startswith("ERROR:")] == [
        re.sub(r"^psql:.*?: ", "", line) for line in result.stderr.splitlines()
    ]
