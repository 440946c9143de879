"""The built package is whole: its SQL, migrations and types are inside, and it works away from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgsbert.models.onnx.artefact import cached
from pgsbert.models.onnx.load import export_apart
from pgsbert.models.resolve import resolve

if TYPE_CHECKING:
    from tests.support import Database

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    return next(folder.glob("pgsbert-*.whl"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(wheel.parent / "unpacked")
    return wheel.parent / "unpacked"


@pytest.fixture(scope="module")
def light(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the programs of an environment with the wheel and what its extra "onnx" asks for: no torch."""
    folder = tmp_path_factory.mktemp("light") / "environment"
    venv.create(folder, with_pip=True)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", f"{wheel}[onnx]"]
    subprocess.run(install, check=True, timeout=280)
    return folder / "bin"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the exported default model."""
    folder = tmp_path_factory.mktemp("models")
    name = "all-MiniLM-L6-v2"
    source = resolve(name)
    shutil.copytree(cached(source, lambda empty: export_apart(source, empty, name)), folder / name)
    return folder


def test_the_wheel_in_an_empty_environment_embeds_and_searches_without_torch(
    light: Path, models: Path, empty_database: Database, tmp_path: Path
) -> None:
    environment = {"PATH": "/usr/bin:/bin", "PGSBERT_MODELS": str(models), "PGSBERT_DSN": empty_database.dsn}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(light / command[0]), *command[1:]],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    found = run("python", "-c", "from importlib.util import find_spec as f; print(f('torch'), f('transformers'))")
    assert found == "None None\n"
    assert "pgsbert is installed" in run("pgsbert", "install")
    worker = [str(light / "pgsbert"), "worker", "--engine", "onnx"]
    with subprocess.Popen(worker, env=environment, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            with empty_database.connect() as connection:
                connection.execute("create table articles (id int primary key, title text)")
                connection.execute("select pgsbert.create_vectorizer('articles', '{title}')")
                connection.execute(
                    "insert into articles values (1, 'Changing your credentials'), (2, 'Shipping times')"
                )
                connection.execute("call pgsbert.wait_until_synced('articles')")
            [hit] = json.loads(run("pgsbert", "search", "articles", "reset a password", "-k", "1", "--json"))
            assert hit["item"]["id"] == 1
        finally:
            process.terminate()
        assert process.wait(20) == 0


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
    assert (unpacked / "pgsbert" / "training" / "losses.py").exists()
