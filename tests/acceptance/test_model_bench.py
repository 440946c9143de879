"""`pgsbert model bench` measures each engine, compares it with sentence-transformers, and fails in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgsbert.models.onnx.load import export_to
from tests.models.conftest import bi_encoder, make_cross_encoder, tokenizer, transformer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["bi_encoder", "make_cross_encoder", "tokenizer", "transformer"]  # fixtures


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(Path(sys.executable).with_name("pgsbert"))
    command = [program, "model", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)


def test_each_engine_is_measured_and_compared(bi_encoder: Path) -> None:
    done = bench(str(bi_encoder), "--texts", "12", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    onnx, torch = json.loads(done.stdout)
    assert (onnx["engine"], torch["engine"]) == ("onnx", "torch")
    for found in (onnx, torch):
        assert found["error"] is None
        assert 0 <= found["parity"] <= 1e-5
        # each text has some tokens
        assert found["tokens_per_second"] > found["texts_per_second"] > 0
        assert found["query_ms"] > 0
        assert found["load_seconds"] > 0
    # it never loaded torch
    assert 20 < onnx["memory_mib"] < torch["memory_mib"]


def test_a_classifier_is_measured_in_pairs_and_shown_as_a_table(make_cross_encoder: Callable[..., Path]) -> None:
    done = bench(str(make_cross_encoder(labels=3)), "--texts", "8")
    assert done.returncode == 0, done.stderr
    assert "texts/s" in done.stdout
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("│")] == ["onnx", "torch"]


def test_an_exported_model_is_measured_without_torch(bi_encoder: Path, tmp_path: Path) -> None:
    export_to(str(bi_encoder), tmp_path / "exported")
    done = bench(str(tmp_path / "exported"), "--texts", "8", "--json")
    assert done.returncode == 0, done.stderr
    (onnx,) = json.loads(done.stdout)
    assert (onnx["engine"], onnx["error"], onnx["parity"]) == ("onnx", None, None)


@pytest.mark.parametrize(("damage", "said"), [("absent", "was not found"), ("empty", "config.json")])
def test_what_cannot_be_measured_is_said_in_one_sentence(tmp_path: Path, damage: str, said: str) -> None:
    if damage == "empty":
        (tmp_path / damage).mkdir()
    done = bench(str(tmp_path / damage), "--texts", "2")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
