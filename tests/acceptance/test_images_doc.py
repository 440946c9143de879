"""The SQL of docs/images.md does what the page shows, with a tiny model of random weights."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import worker_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.embedded import EmbeddedServer
    from tests.support import Database

pytest.importorskip("sentence_transformers")

from tests import clip

PAGE = Path(__file__).parents[2] / "docs" / "images.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def photos() -> Iterator[Path]:
    """Write photographs where the server reads them, and two files that are none."""
    folder = Path(tempfile.mkdtemp(prefix="pgsbert-photos-", dir="/var/tmp"))
    boat, other = clip.picture(31), clip.encoded(clip.picture(34), "JPEG")
    files = {
        "bicycle.png": clip.encoded(clip.picture(32), "PNG"),
        "boat.jpeg": clip.encoded(boat, "JPEG"),
        "boat-by-phone.jpeg": clip.encoded(boat.rotate(90, expand=True), "JPEG", orientation=6),
        "cat.webp": clip.encoded(clip.picture(33), "WEBP"),
        "cut-off.jpeg": other[: len(other) // 2],
        "notes.txt": b"no image at all",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_the_sql_of_the_page_gives_the_output_it_shows(
    database: Database, server: EmbeddedServer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = clip.make(tmp_path / "clip", "hub").rename(tmp_path / "clip-ViT-B-32")
    monkeypatch.setenv("PGSBERT_MODELS", str(model.parent))
    pgsbert = Path(sys.executable).with_name("pgsbert")
    subprocess.run([pgsbert, "model", "add", "clip-ViT-B-32", "--dsn", database.dsn], check=True, capture_output=True)
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    statements = "".join(text for language, text in blocks if language == "sql").replace("/srv/photos", str(photos))
    with worker_process(database.dsn, "--threads", "1"):
        result = subprocess.run(
            [server.psql, "-X", "-v", "VERBOSITY=terse", database.dsn],
            input=statements,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={"PSQL_PAGER": "", "PGOPTIONS": "-c pgsbert.timeout=60s"},
        )
    shown = [line for language, text in blocks if language == "text" for line in text.splitlines()]
    printed = iter(result.stdout.splitlines())
    assert [line for line in shown if not line.startswith("ERROR:") and line not in printed] == [], result.stdout
    errors = [re.sub(r"^psql:.*?: ", "", line) for line in result.stderr.splitlines()]
    assert [line for line in shown if line.startswith("ERROR:")] == errors
