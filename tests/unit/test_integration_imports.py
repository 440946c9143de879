"""A web server that imports an integration loads no model library."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "sentence_transformers", "onnxruntime", "tokenizers"}


@pytest.mark.parametrize("module", ["pgsbert.sqlalchemy", "pgsbert.alembic", "pgsbert.declared"])
def test_an_integration_loads_no_model_library(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert module in loaded
    assert not HEAVY & {name.split(".")[0] for name in loaded}
