"""Real model files in a worker, asked from SQL: sentence-transformers' numbers, or a sentence that says why not."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import AutoTokenizer

import pgsbert
from pgsbert import registry
from pgsbert.models.load import Runtime, inspect, load
from tests.models.conformance import TEXTS, bi_encoder, edit_json, is_same, onnx, transformer
from tests.support import rows, run_worker, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgsbert.types import Engine, Model
    from tests.support import Database

    Connection = psycopg.Connection[Any]

PROMPTS = {"query": "what is asked: ", "document": "what is said: "}
ENGINES = pytest.mark.parametrize("engine", ["onnx", "torch"])
NLI = {0: "contradiction", 1: "entailment", 2: "neutral"}
SOME = TEXTS[:12]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder of sound models: with prompts, without, a cross-encoder and a classifier."""
    folder = tmp_path_factory.mktemp("sound")
    prompted = bi_encoder("BERT", folder / "made" / "prompted", "mean", ("Normalize",), prompts=PROMPTS)
    plain = bi_encoder("BERT", folder / "made" / "plain", "mean", ("Normalize",))
    for name, made in {"prompted": prompted, "plain": plain}.items():
        shutil.copytree(made, folder / name)
    transformer("BERT", folder / "reranker", "ForSequenceClassification")
    transformer("BERT", folder / "classifier", "ForSequenceClassification", num_labels=3)
    edit_json(folder / "classifier" / "config.json", id2label=NLI, label2id={v: k for k, v in NLI.items()})
    return folder


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the folder of this worker's models, empty."""
    monkeypatch.setenv("PGSBERT_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def add(connection: Connection, folder: Path, name: str) -> Model:
    """Register a model of the folder PGSBERT_MODELS as `pgsbert model add` does."""
    found = inspect(str(folder / name))
    registered = replace(found, name=name)
    registry.add(connection, registered, default=False)
    return registered


def provide(models: Path, source: Path, engine: Engine) -> None:
    """Put a model where the worker looks: as it is for torch, exported for ONNX Runtime."""
    if engine == "onnx":
        onnx(source, models / source.name)
    else:
        shutil.copytree(source, models / source.name)


@contextmanager
def working(database: Database, engine: Engine) -> Iterator[Connection]:
    """Run a worker with real models; give a session that waits for their loading."""
    runtime = Runtime(engine=engine, device="cpu")
    with run_worker(database.dsn, load=partial(load, runtime=runtime)), database.connect() as connection:
        connection.execute("set pgsbert.timeout = '60s'")
        yield connection


def make_table(connection: Connection, model: str, texts: list[str]) -> None:
    connection.execute("create table notes (id int primary key, body text)")
    connection.execute("select pgsbert.create_vectorizer('notes', '{body}', model => %s, index => 'none')", [model])
    with connection.cursor() as cursor:
        cursor.executemany("insert into notes values (%s, %s)", list(enumerate(texts)))


def stored(connection: Connection) -> Any:
    return np.array(
        rows(connection, "select embedding::real[] from notes where embedding is not null order by id"),
        dtype=np.float32,
    )


# The numbers of sentence-transformers


@ENGINES
def test_rows_have_the_document_prompt_and_questions_the_query_prompt(
    database: Database, sound: Path, models: Path, engine: Engine
) -> None:
    provide(models, sound / "prompted", engine)
    network = SentenceTransformer(str(sound / "prompted"), device="cpu")
    with working(database, engine) as connection:
        add(connection, sound, "prompted")
        make_table(connection, "prompted", SOME)
        connection.execute("call pgsbert.wait_until_synced('notes')")
        assert is_same(stored(connection), network.encode_document(SOME, show_progress_bar=False))
        asked = pgsbert.embed(connection, SOME, model="prompted")
    assert is_same(asked, network.encode_query(SOME, show_progress_bar=False))
    assert not is_same(asked, network.encode_document(SOME, show_progress_bar=False))


@ENGINES
def test_a_model_of_fewer_dimensions_is_one_of_its_own(
    database: Database, sound: Path, models: Path, engine: Engine
) -> None:
    provide(models, sound / "plain", engine)
    with working(database, engine) as connection:
        add(connection, sound, "plain")
        assert add(connection, sound, "plain@16").dimensions == 16
        make_table(connection, "plain@16", SOME)
        connection.execute("call pgsbert.wait_until_synced('notes')")
        cut, whole = (pgsbert.embed(connection, SOME, model=name) for name in ("plain@16", "plain"))
        assert np.abs(stored(connection) - cut).max() <= 1e-6
        assert rows(connection, "select vector_dims(embedding) from notes where id = 1") == [16]
    network = SentenceTransformer(str(sound / "plain"), device="cpu", truncate_dim=16)
    assert is_same(cut, network.encode(SOME, show_progress_bar=False))
    assert whole.shape == (len(SOME), 32)


@ENGINES
def test_classes_are_those_of_predict_with_softmax(
    database: Database, sound: Path, models: Path, engine: Engine
) -> None:
    provide(models, sound / "classifier", engine)
    expected: Any = CrossEncoder(str(sound / "classifier"), device="cpu").predict(
        [("a module", text) for text in SOME], apply_softmax=True
    )
    with working(database, engine) as connection:
        add(connection, sound, "classifier")
        assert rows(connection, "select labels from pgsbert.models where name = 'classifier'") == [list(NLI.values())]
        for text, probabilities in zip(SOME, expected, strict=True):
            found = pgsbert.classify(connection, "a module", text)
            assert found[0].label == NLI[int(probabilities.argmax())]
            assert [one.probability for one in found] == sorted((one.probability for one in found), reverse=True)
            for one in found:
                assert one.probability == pytest.approx(probabilities[list(NLI.values()).index(one.label)], abs=1e-5)


@ENGINES
def test_white_space_is_a_text_and_nothing_is_none(
    database: Database, sound: Path, models: Path, engine: Engine
) -> None:
    provide(models, sound / "plain", engine)
    blank = " \n\t "
    with working(database, engine) as connection:
        add(connection, sound, "plain")
        make_table(connection, "plain", [blank, "", "a text"])
        connection.execute("insert into notes values (9, null)")
        connection.execute("call pgsbert.wait_until_synced('notes')")
        assert rows(connection, "select id from notes where embedding is not null order by id") == [0, 2]
        asked = pgsbert.embed(connection, [blank], model="plain")
        network = SentenceTransformer(str(sound / "plain"), device="cpu")
        assert is_same(asked, network.encode([blank]))
        assert is_same(stored(connection)[:1], asked)
        with pytest.raises(psycopg.Error, match="an empty text has no embedding") as raised:
            connection.execute("select pgsbert.embed('', 'plain')")
        assert raised.value.sqlstate == "PB007"
        assert rows(connection, "select * from pgsbert.failures") == []


# Files that are not what was registered


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def lose_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("tokenizer.json"), *folder.glob("vocab.*")]:
        path.unlink()


def change_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file({name: weight + 0.01 for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def become_cross_encoder(folder: Path) -> None:
    (folder / "modules.json").unlink()
    edit_json(folder / "config.json", architectures=["BertForSequenceClassification"], id2label={0: "relevant"})


def become_pickle(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "weights cut short": (cut_short, r"model\.safetensors in .*plain is corrupt or cut short .*fetch the model again"),
    "no tokenizer": (lose_tokenizer, r"The tokenizer is missing in .*plain .*fetch the model again"),
    "other weights": (
        change_weights,
        r"The weights of plain differ from the registered ones: registered \w{64}, found \w{64}\."
        r" Give this worker the registered files, or register the new ones as another model\.",
    ),
    "another kind": (
        become_cross_encoder,
        "plain is a cross-encoder, (it is registered as a bi-encoder|a bi-encoder is needed here)",
    ),
    "a pickle": (become_pickle, r"holds pytorch_model\.bin and no \.safetensors: a pickle .*is never read"),
    "no folder": (
        lambda folder: shutil.rmtree(folder),
        r'Model "plain" was not found\. Looked at: .*plain \(no such folder\)',
    ),
}


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_wrong_with_the_files_is_said_where_it_is_asked_for(
    database: Database,
    sound: Path,
    models: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: tuple[Callable[[Path], None], str],
    engine: Engine,
) -> None:
    break_it, sentence = damage
    shutil.copytree(sound / "plain", models / "plain")
    monkeypatch.setenv("PGSBERT_CACHE", str(models.parent / "cache"))
    with database.connect() as connection:
        add(connection, sound, "plain")
        make_table(connection, "plain", ["a text"])
    break_it(models / "plain")
    with working(database, engine) as connection:
        with pytest.raises(psycopg.Error, match=sentence) as raised:
            connection.execute("select pgsbert.embed('a text', 'plain')")
        assert raised.value.sqlstate == "PB009"
        shown = "select w.value from pgsbert.models as m, jsonb_each_text(m.workers) as w where m.name = 'plain'"
        assert wait_until(lambda: rows(connection, shown))[0] in str(raised.value)
        # nothing is wrong with the row: it waits
        assert rows(connection, "select pending, failed from pgsbert.status") == [(1, 0)]
    assert list((models.parent / "cache").rglob("*.onnx")) == []  # nothing is exported in vain
    shutil.rmtree(models / "plain", ignore_errors=True)
    shutil.copytree(sound / "plain", models / "plain")
    with working(database, "torch") as connection:
        connection.execute("call pgsbert.wait_until_synced('notes')")
        assert len(stored(connection)) == 1


def test_other_labels_than_registered_are_refused(database: Database, sound: Path, models: Path) -> None:
    shutil.copytree(sound / "classifier", models / "classifier")
    edit_json(models / "classifier" / "config.json", id2label={0: "no", 1: "yes", 2: "maybe"})
    with working(database, "torch") as connection:
        add(connection, sound, "classifier")
        sentence = "registered with the labels contradiction, entailment, neutral, but has no, yes, maybe"
        with pytest.raises(psycopg.Error, match=sentence):
            connection.execute("select * from pgsbert.classify('a', 'b')")


# Numbers that are none


def poison(folder: Path, word: str) -> None:
    """Make the embedding of one word NaN; whoever does not say it gets sound numbers."""
    number = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(word)
    weights = load_file(folder / "model.safetensors")
    [name] = [name for name in weights if name.endswith("word_embeddings.weight")]
    weights[name][number] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@ENGINES
def test_a_text_whose_numbers_are_nan_fails_alone_and_nothing_is_stored_for_it(
    database: Database, sound: Path, models: Path, tmp_path: Path, engine: Engine
) -> None:
    shutil.copytree(sound / "plain", tmp_path / "plain")
    poison(tmp_path / "plain", "dictionary")
    provide(models, tmp_path / "plain", engine)
    with working(database, engine) as connection:
        add(connection, tmp_path, "plain")
        make_table(connection, "plain", ["one", "two", "a dictionary", "three", "four"])

        def given_up() -> list[Any]:
            # end the waits between attempts
            connection.execute("update pgsbert.lease_1 set claimed_until = now() where failed_at is null")
            return rows(connection, "select key, error_class, error from pgsbert.failures")

        [(key, error_class, error)] = wait_until(given_up)
        assert (key, error_class) == (["2"], "ModelOutputError")
        assert "not finite" in error
        connection.execute("call pgsbert.wait_until_synced('notes')")
        assert rows(connection, "select id from notes where embedding is null") == [2]
        with pytest.raises(psycopg.Error, match="numbers that are not finite") as raised:
            connection.execute("select pgsbert.embed('dictionary', 'plain')")
        assert raised.value.sqlstate == "PB009"
        assert rows(connection, "select vector_dims(pgsbert.embed('one', 'plain'))") == [32]


@pytest.mark.parametrize("kind", ["reranker", "classifier"])
def test_a_pair_whose_numbers_are_nan_is_an_error(database: Database, sound: Path, models: Path, kind: str) -> None:
    shutil.copytree(sound / kind, models / kind)
    poison(models / kind, "dictionary")
    question = {"reranker": "rerank('a text', array[%s])", "classifier": "classify('a text', %s)"}[kind]
    with working(database, "torch") as connection:
        add(connection, models, kind)
        with pytest.raises(psycopg.Error, match="numbers that are not finite") as raised:
            connection.execute(f"select * from pgsbert.{question}", ["a dictionary"])
        assert raised.value.sqlstate == "PB009"
        assert rows(connection, f"select * from pgsbert.{question}", "a text")
