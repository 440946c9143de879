"""The built package is whole: its SQL, migrations and types are inside, and it works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support import Database

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # a copy, since building writes beside the sources
    source = folder / "source"
    listed = subprocess.check_output(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], text=True
    )
    for name in filter(None, listed.split("\0")):
        if not (ROOT / name).exists():
            continue
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            target.symlink_to((ROOT / name).readlink())
        else:
            target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(folder)]
    subprocess.run([*build, str(source)], check=True, timeout=120)
    with zipfile.ZipFile(next(folder.glob("pgsbert-*.whl"))) as wheel:
        wheel.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_the_wheel_installs_the_schema_from_another_folder(
    unpacked: Path, empty_database: Database, tmp_path: Path
) -> None:
    script = (
        "import pgsbert, sys; from pgsbert import schema; print(pgsbert.__file__); print(schema.install(sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, empty_database.dsn],
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    where, version = result.stdout.splitlines()
    assert Path(where).is_relative_to(unpacked)
    assert empty_database.execute("select version_num from pgsbert.migration") == [version]


def test_the_wheel_holds_no_second_copy_of_a_linked_folder(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"} == {"pgsbert"}
    assert (unpacked / "pgsbert" / "py.typed").exists()
