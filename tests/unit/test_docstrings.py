"""The demo's corpus: complete, clean, in a fixed order, with the answers among its first entries."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pgsbert import docstrings
from pgsbert.docstrings import QUESTIONS, SHORTEST, Docstring, collect

if TYPE_CHECKING:
    from pathlib import Path

# The first hit of all-MiniLM-L6-v2 over name, signature and text: among the first 500 entries and among all.
ANSWERS = dict(
    zip(
        QUESTIONS,
        [
            "shutil.disk_usage",
            "calendar.weekday",
            "logging.handlers.RotatingFileHandler",
            "os.cpu_count",
            "random.Random.sample",
        ],
        strict=True,
    )
)
SMALL_WORDS = re.compile(r"\b(a|are|by|do|does|for|from|how|i|in|is|it|my|of|on|or|that|the|there|to|was|what|when)\b")


@pytest.fixture(scope="module")
def corpus() -> list[Docstring]:
    return list(collect())


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", SMALL_WORDS.sub("", text.lower())))


def test_corpus_is_thousands_of_texts_of_every_kind(corpus: list[Docstring]) -> None:
    assert 5500 < len(corpus) < 9000
    kinds = Counter(entry.kind for entry in corpus)
    assert set(kinds) == {"module", "class", "function", "method"}
    assert min(kinds.values()) > 250


def test_names_and_texts_are_unique(corpus: list[Docstring]) -> None:
    assert len({entry.name for entry in corpus}) == len(corpus)
    assert len({entry.text for entry in corpus}) == len(corpus)


def test_texts_can_be_stored_in_postgresql(corpus: list[Docstring]) -> None:
    for entry in corpus:
        assert len(entry.text) >= SHORTEST
        for value in (entry.module, entry.name, entry.signature, entry.text):
            assert "\0" not in value
            assert value.encode("utf-8").decode("utf-8") == value


def test_private_names_and_test_suites_are_left_out(corpus: list[Docstring]) -> None:
    for entry in corpus:
        within = entry.name.removeprefix(entry.module)
        assert not any(part.startswith("_") for part in within.split("."))
        assert not {"test", "tests", "idlelib", "lib2to3", "turtledemo"} & set(entry.module.split("."))


def test_private_modules_come_last(corpus: list[Docstring]) -> None:
    private = [any(part.startswith("_") for part in entry.module.split(".")) for entry in corpus]
    assert any(private)
    assert private == sorted(private)


def test_another_process_reads_the_same_in_the_same_order_and_imports_little(corpus: list[Docstring]) -> None:
    command = """
import hashlib, sys
from pgsbert.docstrings import collect
entries = [entry for entry in collect() if "hook" not in entry.name]
print(hashlib.sha256(repr(entries).encode()).hexdigest())
print({"antigravity", "this", "tkinter", "turtle", "torch"} & set(sys.modules))
"""
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    output = subprocess.check_output([sys.executable, "-c", command], env=environment, text=True)
    here = [entry for entry in corpus if "hook" not in entry.name]  # pytest puts its own in sys
    assert output.splitlines() == [hashlib.sha256(repr(here).encode()).hexdigest(), "set()"]


@pytest.mark.parametrize(
    ("name", "kind", "module"),
    [
        ("len", "function", "builtins"),
        ("str.split", "method", "builtins"),
        ("os.listdir", "function", "os"),
        ("os.path.join", "function", "os.path"),
        ("json.dumps", "function", "json"),
        ("collections.deque", "class", "collections"),
        ("asyncio.run", "function", "asyncio"),
        ("unittest.TestCase.assertEqual", "method", "unittest"),
        ("math.gcd", "function", "math"),
        ("sqlite3.Connection.commit", "method", "sqlite3"),
        ("urllib.request", "module", "urllib.request"),
    ],
)
def test_first_entries_cover_well_known_things(name: str, kind: str, module: str, corpus: list[Docstring]) -> None:
    first = {entry.name: entry for entry in corpus[:500]}
    assert (first[name].kind, first[name].module) == (kind, module)


def test_signatures_read_as_a_call(corpus: list[Docstring]) -> None:
    entries = {entry.name: entry for entry in corpus}
    assert entries["json.dumps"].signature.startswith("(obj, *, skipkeys=False, ")
    assert entries["str.join"].signature == "(iterable, /)"
    assert entries["threading.Thread.join"].signature == "(timeout=None)"
    assert entries["json.JSONDecoder"].signature.startswith("(*, object_hook=None, ")
    assert entries["json"].signature == ""
    assert not [entry for entry in corpus if re.search(r"0x[0-9a-f]{6}", entry.signature)]


def test_everyday_names_are_real_names(corpus: list[Docstring]) -> None:
    wanted = [name for names in docstrings._everyday_names().values() for name in names]
    assert len(wanted) == len(set(wanted)) <= 500
    missing = set(wanted) - {entry.name for entry in corpus}
    assert len(missing) < 20  # some modules have no docstring of their own, and versions of Python differ


@pytest.mark.parametrize("source", [b"def broken(:", b"\0", b"\xff\xfe", b"x = " + b"(" * 5000])
def test_unreadable_sources_are_left_out(source: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_bytes(source)
    (tmp_path / "csv.py").write_text('"""A module whose text is long enough."""')
    monkeypatch.setattr(docstrings, "_library", lambda: tmp_path)
    names = {entry.name for entry in collect()}
    assert "csv" in names
    assert "json" not in names


def test_branches_and_submodules_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "json"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import *\n")
    (package / "inner.py").write_text(
        '__all__ = ("shared",)\n'
        "try:\n"
        '    async def shared(a, *, b: int = 1) -> str:\n        """Offered by the package as its own."""\n'
        "except ImportError:\n    pass\n"
        'def kept():\n    """Only to be found in the module itself.\\0"""\n'
        'def _private():\n    """Not for the eyes of anyone else."""\n'
    )
    monkeypatch.setattr(docstrings, "_library", lambda: tmp_path)
    found = [entry for entry in collect() if entry.module.startswith("json")]
    assert found == [
        Docstring("json", "json.shared", "function", "(a, *, b: int=1) -> str", "Offered by the package as its own."),
        Docstring("json.inner", "json.inner.kept", "function", "()", "Only to be found in the module itself."),
    ]


@pytest.mark.parametrize(("question", "answer"), ANSWERS.items())
def test_questions_are_answered_early_and_in_other_words(question: str, answer: str, corpus: list[Docstring]) -> None:
    first = {entry.name: entry for entry in corpus[:500]}
    assert len(words(question) & words(f"{answer} {first[answer].text}")) <= 1
