"""The command line as scripts use it: real processes, exit codes, JSON, one line on stderr and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from pgsbert.testing import FakeEncoder, FakeReranker
from tests.models.conftest import LINES, PROMPTS, tiny_config
from tests.support import rows, run_worker, worker_process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Database

PROGRAM = str(Path(sys.executable).with_name("pgsbert"))
OURS = ("PGSBERT_DSN", "PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGSERVICE", "PGSBERT_MODELS")


def pgsbert(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing of this shell's settings."""
    clean = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        [PROGRAM, *arguments],
        env={**clean, "COLUMNS": "200", "HF_HUB_OFFLINE": "", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def read(*arguments: str, **environment: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    done = pgsbert(*arguments, "--json", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def notes(shared_database: Database) -> Iterator[Database]:
    """Give a database with a worker and the embedded table notes."""
    with run_worker(shared_database.dsn, encoder=FakeEncoder(8)), shared_database.connect() as connection:
        connection.execute(
            "update pgsbert.model set is_default = (name = 'fake-reranker') where kind = 'cross-encoder'"
        )
        connection.execute(
            "create table notes (id int primary key, body text, at timestamptz default now(), n numeric)"
        )
        connection.execute(
            "insert into notes values (1, 'red [/apple] :smile:'), (2, 'red [b]car'), (3, 'blue ''sea''')"
        )
        connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => 'fake-8', index => 'none')")
        connection.execute("call pgsbert.wait_until_synced('notes')")
        yield shared_database


def test_install_and_upgrade_say_the_version(empty_database: Database) -> None:
    refused = pgsbert("upgrade", "--dsn", empty_database.dsn)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    for command, said in (
        ("install", "pgsbert is installed, schema version"),
        ("upgrade", "Schema is at"),
        ("install", ""),
    ):
        done = pgsbert(command, "--dsn", empty_database.dsn)
        assert (done.returncode, done.stderr) == (0, "")
        assert said in done.stdout
    assert read("model", "list", "--dsn", empty_database.dsn)[0]["name"] == "all-MiniLM-L6-v2"


def test_status_is_a_table_and_json(notes: Database) -> None:
    (status,) = read("status", "--dsn", notes.dsn)
    assert (status["name"], status["state"], status["pending"], status["workers"]) == ("notes", "active", 0, 1)
    shown = pgsbert("status", "--dsn", notes.dsn)
    assert shown.returncode == 0
    assert all(word in shown.stdout for word in ("notes", "active", "pending"))


def test_embed_prints_exact_numbers(notes: Database) -> None:
    texts = ["red apple", "naïve 🍎"]
    expected = FakeEncoder(8).encode(texts)
    assert np.array_equal(
        np.array(read("embed", *texts, "--model", "fake-8", "--dsn", notes.dsn), dtype=np.float32), expected
    )
    lines = pgsbert("embed", *texts, "--model", "fake-8", "--dsn", notes.dsn).stdout.splitlines()
    assert np.array_equal(np.array([json.loads(line) for line in lines], dtype=np.float32), expected)
    assert notes.execute(
        "select array(select l::vector from unnest(%s::text[]) as l) = pgsbert.embed(%s::text[], 'fake-8')",
        lines,
        texts,
    ) == [True]


def test_search_prints_rows_with_exact_scores(notes: Database) -> None:
    hits = read("search", "notes", "red apple", "-k", "2", "--dsn", notes.dsn)
    expected = notes.execute("select distance, score from pgsbert.search('notes', 'red apple', 2)")
    assert [(hit["distance"], hit["score"]) for hit in hits] == expected
    assert [hit["item"]["id"] for hit in hits] == [1, 2]
    shown = pgsbert("search", "notes", "red apple", "--dsn", notes.dsn)
    assert shown.returncode == 0
    assert "red [/apple] :smile:" in shown.stdout  # no markup in users' texts
    (best,) = read("search", "notes", "blue", "-k", "1", "--rerank", "--candidates", "3", "--dsn", notes.dsn)
    assert (best["item"]["id"], best["score"]) == (3, float(FakeReranker().score("blue", ["blue 'sea'"])[0]))


def test_rerank_prints_documents_best_first(notes: Database) -> None:
    documents = ["a [/b] sea", "the red apple"]
    ranked = read("rerank", "red apple", *documents, "--dsn", notes.dsn)
    own = FakeReranker().score("red apple", documents)
    assert ranked == [{"ordinal": i, "document": documents[i], "score": float(own[i])} for i in (1, 0)]
    assert (
        len(read("rerank", "red apple", *documents, "--top-k", "1", "--model", "fake-reranker", "--dsn", notes.dsn))
        == 1
    )
    assert "a [/b] sea" in pgsbert("rerank", "red apple", *documents, "--dsn", notes.dsn).stdout


def test_models_are_added_listed_and_removed(database: Database) -> None:
    for name, said in (("fake-16", "bi-encoder, 16 dimensions"), ("fake-reranker", "cross-encoder")):
        done = pgsbert("model", "add", name, "--allow-fake", "--default", "--dsn", database.dsn)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{name} is registered: {said}" in done.stdout
        assert "None" not in done.stdout
    listed = {model["name"]: model for model in read("model", "list", "--dsn", database.dsn)}
    assert [name for name, model in listed.items() if model["is_default"]] == ["fake-16", "fake-reranker"]
    assert "fake-16" in pgsbert("model", "list", "--dsn", database.dsn).stdout
    database.execute("create table notes (id int primary key, body text)")
    database.execute("select pgsbert.create_vectorizer('notes', '{body}')")
    used = pgsbert("model", "remove", "fake-16", "--dsn", database.dsn)
    assert (used.returncode, used.stderr) == (
        2,
        'pgsbert: "fake-16" is used by: notes. Drop these vectorizers first.\n',
    )
    database.execute("select pgsbert.drop_vectorizer('notes')")
    assert pgsbert("model", "remove", "fake-16", "--dsn", database.dsn).returncode == 0
    assert "fake-16" not in {model["name"] for model in read("model", "list", "--dsn", database.dsn)}


def test_the_database_is_found_by_environment(notes: Database) -> None:
    settings = psycopg.conninfo.conninfo_to_dict(notes.dsn)
    libpq = {
        "PGHOST": settings["host"],
        "PGPORT": settings["port"],
        "PGUSER": settings["user"],
        "PGDATABASE": settings["dbname"],
    }
    for environment in ({"PGSBERT_DSN": notes.dsn}, libpq, {"PGSBERT_DSN": notes.dsn, "PGDATABASE": "postgres"}):
        assert read("status", **environment)[0]["name"] == "notes"
    # --dsn goes before PGSBERT_DSN
    assert read("status", "--dsn", notes.dsn, PGSBERT_DSN="host=/nowhere")[0]["name"] == "notes"


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--nothing"],
        ["nothing"],
        ["model", "nothing"],
        ["embed"],
        ["search", "notes"],
        ["search", "notes", "query", "-k", "many"],
        ["rerank", "query"],
        ["model", "remove"],
        ["model", "add"],
        ["model", "remove", "nobody/knows"],
        ["worker", "--poll", "0"],
    ],
    ids=" ".join,
)
def test_a_wrong_call_ends_with_two(notes: Database, arguments: list[str]) -> None:
    done = pgsbert(*arguments, PGSBERT_DSN=notes.dsn)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "--dsn", "host=/nowhere"], "No connection to PostgreSQL: "),
        (["status", "--dsn", "not a dsn"], "missing"),
        (["search", "nothing", "query"], 'no vectorizer is called "nothing" (There are: notes.)'),
        (["search", "notes", ""], "the query is empty"),
        (["search", "notes", "query", "-k", "0"], "k and candidates must be at least 1"),
        (
            ["embed", "text", "--model", "nothing"],
            'no model is registered as "nothing" (Register it: pgsbert model add nothing)',
        ),
        (["embed", ""], "an empty text has no embedding"),
        (
            ["embed", "fake:raise", "--model", "fake-8"],
            'the model "fake-8" failed: RuntimeError: fake:raise was in a text',
        ),
        (["rerank", "query", "text", "--model", "fake-8"], '"fake-8" is a bi-encoder'),
        (["model", "add", "fake-8"], "is a stand-in for tests"),
        (["model", "add", "/nowhere/at/all"], "was not found"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_failure_ends_with_one_and_one_line(notes: Database, arguments: list[str], said: str) -> None:
    done = pgsbert(*arguments, PGSBERT_DSN=notes.dsn)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("pgsbert: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_worker_or_without_pgsbert_the_next_step_is_said(
    database: Database, empty_database: Database
) -> None:
    done = pgsbert("embed", "text", "--dsn", database.dsn)
    assert (done.returncode, done.stderr) == (1, "pgsbert: no worker has been seen: start one with pgsbert worker\n")
    for command in (
        ["status"],
        ["embed", "text"],
        ["search", "notes", "q"],
        ["rerank", "q", "text"],
        ["model", "list"],
    ):
        done = pgsbert(*command, "--dsn", empty_database.dsn)
        assert done.returncode == 1
        assert 'run "pgsbert install" first' in done.stderr
    done = pgsbert("worker", "--dsn", empty_database.dsn)
    assert done.returncode == 1
    assert 'run "pgsbert install"' in done.stderr


def test_an_unknown_model_without_network_is_an_answer_within_seconds(database: Database) -> None:
    started = time.monotonic()
    done = pgsbert(
        "model", "add", "unknown/name", "--dsn", database.dsn, HF_ENDPOINT="http://192.0.2.1", HF_HOME="/nonexistent"
    )
    assert time.monotonic() - started < 12
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert 'Model "unknown/name" was not found.' in done.stderr
    assert "(unreachable)" in done.stderr
    assert "unknown/name" not in {model["name"] for model in read("model", "list", "--dsn", database.dsn)}


def _tokenizer() -> Any:
    from transformers import BertTokenizer

    blank: Any = BertTokenizer()
    trained = blank.train_new_from_iterator([LINES], vocab_size=120)
    trained.model_max_length = 48
    return trained


def test_a_cross_encoder_scores_as_by_itself(database: Database, tmp_path: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertForSequenceClassification

    import pgsbert as functions

    tokenizer, folder = _tokenizer(), tmp_path / "cross"
    torch.manual_seed(7)
    BertForSequenceClassification(tiny_config(tokenizer, 1)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    done = pgsbert("model", "add", str(folder), "--dsn", database.dsn)
    assert (done.returncode, done.stderr) == (0, "")
    assert database.execute("select kind, is_default from pgsbert.model where name = %s", str(folder)) == [
        ("cross-encoder", True)
    ]
    with worker_process(database.dsn), database.connect() as connection:
        connection.execute("set pgsbert.timeout = '60s'")
        ranked = functions.rerank(connection, "reset a password", LINES)
    own = CrossEncoder(str(folder)).predict([("reset a password", line) for line in LINES])
    assert [one.score for one in ranked] == pytest.approx(sorted(map(float, own), reverse=True), abs=1e-5)
    assert all(one.score == pytest.approx(float(own[one.ordinal]), abs=1e-5) for one in ranked)


def test_a_bi_encoder_folder_under_a_name_embeds_as_by_itself(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel

    import pgsbert as functions

    tokenizer, folder = _tokenizer(), tmp_path / "models" / "tiny"
    torch.manual_seed(8)
    BertModel(tiny_config(tokenizer)).save_pretrained(tmp_path / "plain")
    tokenizer.save_pretrained(tmp_path / "plain")
    module = Transformer(str(tmp_path / "plain"))
    network = SentenceTransformer(
        modules=[module, Pooling(module.get_embedding_dimension())], prompts=PROMPTS, device="cpu"
    )
    network.save_pretrained(str(folder), create_model_card=False)
    done = pgsbert("model", "add", str(folder), "--name", "tiny", "--default", "--dsn", database.dsn)
    assert (done.returncode, done.stderr) == (0, "")
    # what is registered wins over what the files say
    database.execute("update pgsbert.model set query_prompt = 'ask: ', document_prompt = 'read: ' where name = 'tiny'")
    monkeypatch.setenv("PGSBERT_MODELS", str(tmp_path / "models"))
    with worker_process(database.dsn), database.connect() as connection:
        connection.execute("set pgsbert.timeout = '60s'")
        vectors = functions.embed(connection, LINES)
        connection.execute("create table notes (id int primary key, body text)")
        connection.execute("insert into notes select i, (%s::text[])[i] from generate_series(1, 4) as i", [LINES])
        functions.create_vectorizer(connection, "notes", ["body"], index="none")
        functions.wait_until_synced(connection, "notes")
        stored = np.array(rows(connection, "select embedding::real[] from notes order by id"), dtype=np.float32)
    assert np.abs(vectors - network.encode(LINES, prompt="ask: ")).max() <= 1e-5
    assert np.abs(stored - network.encode(LINES, prompt="read: ")).max() <= 1e-5
