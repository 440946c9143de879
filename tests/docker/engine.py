"""A Docker engine, this project's images in it, and `docker compose` as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pgsbert.models.onnx.artefact import cached
from pgsbert.models.onnx.load import export_apart
from pgsbert.models.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[2]
BRING_UP = Path("../shared/docker/up.sh")  # where a machine has no engine of its own, this starts one
MODEL = "all-MiniLM-L6-v2"
DATABASE, WORKER = "pgsbert-database", "pgsbert-worker"


def run(*command: str | Path, timeout: float = 120, **environment: str) -> str:
    """Run a command to its end and return what it printed; its own words are in the error."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


def answers() -> bool:
    """Tell whether an engine runs."""
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@contextmanager
def brought_up() -> Iterator[Mapping[str, str]]:
    """Start an engine by BRING_UP and give the environment that leads to it; it ends with its shell."""
    script = f". {BRING_UP} </dev/null >&2 && env | grep -E '^(DOCKER|TESTCONTAINERS)_' && echo && read -r _"
    with subprocess.Popen(
        ["bash", "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        try:
            lines = list(iter(lambda: shell.stdout.readline().strip(), ""))  # type: ignore[union-attr]
            assert lines, f"{BRING_UP} started no engine"
            yield dict(line.split("=", 1) for line in lines)
        finally:
            shell.stdin.close()
            shell.wait(60)


def build(folder: Path) -> None:
    """Build both images from a copy of the project in `folder`, with the default model baked in."""
    for name in ("pgsbert", "sql", "migrations", "docker"):
        ignored = shutil.ignore_patterns("__pycache__", "secrets", MODEL)
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
    for name in (".dockerignore", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    source = resolve(MODEL)
    exported = cached(source, lambda empty: export_apart(source, empty, MODEL))
    shutil.copytree(exported, folder / "docker" / "models" / MODEL)
    for image, target in ((DATABASE, "database"), (WORKER, "worker")):
        dockerfile = folder / "docker" / "Dockerfile"
        run("docker", "build", "-f", dockerfile, "--target", target, "-t", image, folder, timeout=900)
        print(image, run("docker", "image", "inspect", "--format", "{{.Size}} bytes", image), file=sys.stderr)


class Compose:
    """A project of docker/compose.yaml with a name, a port and secrets of its own."""

    def __init__(self, name: str, port: int, secrets: Path) -> None:
        self._name = name
        self._environment = {"PGSBERT_PORT": str(port), "PGSBERT_SECRETS": str(secrets)}
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        self._program = ["docker", "compose"] if has_plugin else ["docker-compose"]

    def __call__(self, *command: str, timeout: float = 120) -> str:
        """Run a command of compose."""
        options = ["--project-name", self._name, "--file", str(ROOT / "docker" / "compose.yaml")]
        return run(*self._program, *options, *command, timeout=timeout, **self._environment)

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's running containers."""
        labels = [f"label=com.docker.compose.{key}={value}" for key, value in self._labels(service).items()]
        return run("docker", "ps", "-q", *(part for label in labels for part in ("--filter", label))).split()

    def _labels(self, service: str) -> dict[str, str]:
        return {"project": self._name, "service": service}
