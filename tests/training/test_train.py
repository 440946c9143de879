"""A tiny model learns a toy language within seconds, the same way each time, and what goes wrong says how to go on."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import GPT2Config

from pgsbert.errors import DataError, ModelLoadError, TrainingError, UsageError
from pgsbert.models.load import inspect
from pgsbert.training import bi_encoder, cross_encoder, fit
from pgsbert.training.data import Source, read
from pgsbert.training.evaluate import judge_nli, judge_sts
from pgsbert.training.losses import ClassificationLoss, Classifier
from pgsbert.training.pairs import Counts, Pair, clean
from tests.support import wait_until
from tests.training.conftest import file, toy_pairs, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgsbert.training.fit import Practice

    Make: TypeAlias = Callable[..., Practice]


def knobs(toy: dict[str, str], base: Path, practice: Practice, **changed: Any) -> bi_encoder.Knobs:
    usual = {"train": file(toy["train"]), "dev": file(toy["dev"]), "base": str(base), "practice": practice}
    return bi_encoder.Knobs(**{**usual, **changed})


def test_a_bi_encoder_learns_classes_and_is_a_model_like_any_other(
    toy: dict[str, str], base: Path, practice: Make
) -> None:
    made = knobs(toy, base, practice(epochs=3))
    metrics = bi_encoder.train(made, command="pgsbert train bi-encoder --data train.jsonl")
    assert metrics.after["accuracy"] > 0.9
    out = made.practice.out
    assert metrics.history[-1]["loss"] < 0.5 < metrics.history[0]["loss"]

    known = inspect(str(out))
    assert (known.kind, known.dimensions, known.max_tokens) == ("bi-encoder", 32, 32)
    pairs = list(clean(read(made.dev), Counts(), target="class", judging=True))  # type: ignore[arg-type]
    assert judge_nli(str(out), pairs).figures["accuracy"] == metrics.after["accuracy"]
    card = (out / "README.md").read_text()
    for told in (f'base_model: "{base}"', "--data train.jsonl", "not stated: say it with --data-licence", "360 of 360"):
        assert told in card
    assert (out / "training.png").read_bytes().startswith(b"\x89PNG")
    assert not made.practice.checkpoints.exists()


def test_the_same_seed_gives_the_same_metrics_and_another_one_others(
    toy: dict[str, str], base: Path, practice: Make
) -> None:
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        bi_encoder.train(knobs(toy, base, practice(name, seed=seed), sample=64), command="")
    folder = practice("one").out.parent
    one, again, other = ((folder / name / "metrics.json").read_bytes() for name in ("one", "again", "other"))
    assert one == again
    assert json.loads(one)["history"] != json.loads(other)["history"]


@pytest.mark.parametrize("objective", ["cosine", "cosent"])
def test_a_bi_encoder_learns_graded_similarity(
    objective: bi_encoder.Objective, toy: dict[str, str], base: Path, practice: Make
) -> None:
    scores = {"train": file(toy["scores"]), "dev": file(toy["score_dev"]), "score_range": (0, 2)}
    made = knobs(toy, base, practice(epochs=8, learning_rate=1e-3), objective=objective, **scores)
    metrics = bi_encoder.train(made, command="")
    assert metrics.after["spearman_cosine"] > metrics.before["spearman_cosine"] + 0.02
    pairs = list(clean(read(file(toy["score_dev"])), Counts(), target="score", score_range=None, judging=True))
    ours = judge_sts(str(made.practice.out), pairs).figures["spearman"]
    assert ours == pytest.approx(metrics.after["spearman_cosine"], abs=1e-5)


def test_mnrl_takes_contradictions_as_hard_negatives(toy: dict[str, str], base: Path, practice: Make) -> None:
    pairs = list(clean(read(file(toy["train"])), Counts(), target="class"))
    rows = bi_encoder.triplets(pairs)
    assert rows.column_names == ["anchor", "positive", "negative"]
    for one in rows:
        assert one["positive"].endswith("somewhere")
        assert one["negative"].startswith("no ")
    metrics = bi_encoder.train(knobs(toy, base, practice(), objective="mnrl"), command="")
    assert metrics.after["cosine_accuracy"] > max(0.9, metrics.before["cosine_accuracy"] - 0.01)


def test_mnrl_without_contradictions_has_the_batch_as_negatives() -> None:
    rows = bi_encoder.triplets([Pair("a", "b", 0), Pair("c", "d", 0), Pair("c", "e", 1)])
    assert (rows.column_names, len(rows)) == (["anchor", "positive"], 2)
    with pytest.raises(DataError, match="mnrl learns from entailed pairs, and there is none"):
        bi_encoder.triplets([Pair("a", "b", 1)])


def test_mnrl_needs_no_labels(tmp_path: Path, toy: dict[str, str], base: Path, practice: Make) -> None:
    belonging = [row for row in toy_pairs(200) if row["label"] == "entailment"]
    rows = [{"query": row["premise"], "document": row["hypothesis"]} for row in belonging]
    clicks = file(write_rows(tmp_path / "clicks.jsonl", rows))
    metrics = bi_encoder.train(
        knobs(toy, base, practice(epochs=3), objective="mnrl", train=clicks, dev=None), command=""
    )
    assert (metrics.train.used, metrics.after) == (len(rows), {})
    assert metrics.history[-1]["loss"] < metrics.history[0]["loss"]
    with pytest.raises(DataError, match="and label or score; found: query, document"):
        bi_encoder.train(knobs(toy, base, practice("other"), train=clicks, dev=None), command="")


def test_a_cross_encoder_learns_classes(toy: dict[str, str], plain_encoder: Path, practice: Make) -> None:
    made = cross_encoder.Knobs(
        train=file(toy["train"]), dev=file(toy["dev"]), base=str(plain_encoder), practice=practice(epochs=3)
    )
    metrics = cross_encoder.train(made, command="")
    assert metrics.after["accuracy"] > 0.9
    pairs = list(clean(read(file(toy["dev"])), Counts(), target="class", judging=True))
    assert judge_nli(str(made.practice.out), pairs).figures == metrics.after
    # classes in another order, as other people's models have them
    config = made.practice.out / "config.json"
    names = json.loads(config.read_text())
    assert list(names["id2label"].values()) == ["entailment", "neutral", "contradiction"]


def test_early_stopping_keeps_the_best_checkpoint(toy: dict[str, str], base: Path, practice: Make) -> None:
    made = knobs(toy, base, practice(epochs=20, every=10, patience=2))
    metrics = bi_encoder.train(made, command="")
    judged = [entry["eval_accuracy"] for entry in metrics.history if "eval_accuracy" in entry]
    steps = max(entry["step"] for entry in metrics.history)
    assert steps < 20 * 23
    assert metrics.after["accuracy"] == max(judged)
    with pytest.raises(UsageError, match="--patience needs --dev"):
        bi_encoder.train(knobs(toy, base, practice("other", patience=2), dev=None), command="")


def test_a_log_tells_of_loss_and_pairs_a_second(
    toy: dict[str, str], base: Path, practice: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="pgsbert"):
        bi_encoder.train(knobs(toy, base, practice(), sample=64), command="")
    assert "read pairs=train read=360 unlabelled=0 empty=0 duplicate=0 leaked=0 used=64" in caplog.text
    assert re.search(r"trained step=4/4 loss=\d\.\d+ pairs_per_second=\d+\.\d", caplog.text)


def test_accumulated_batches_make_one_step(toy: dict[str, str], base: Path, practice: Make) -> None:
    made = knobs(toy, base, practice(batch_size=8, accumulate=4), sample=64)
    metrics = bi_encoder.train(made, command="")
    assert max(entry["step"] for entry in metrics.history) == 2


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_pooling_is_chosen(mode: bi_encoder.PoolingMode, base: Path) -> None:
    network = SentenceTransformer(str(base), device="cpu")
    bi_encoder.pool(network, mode)
    assert network[1].pooling_mode == mode
    assert network.encode(["a dog"]).shape == (1, 32)


def test_a_killed_training_goes_on_and_ends_as_if_nothing_had_been(
    toy: dict[str, str], base: Path, practice: Make
) -> None:
    options = {"epochs": 8, "every": 20}
    whole, killed = practice("whole", **options), practice("killed", **options)
    bi_encoder.train(knobs(toy, base, whole), command="")
    command = [sys.executable, "-m", "pgsbert", "train", "bi-encoder", "--data", toy["train"], "--dev", toy["dev"]]
    command += ["--base", str(base), "--out", str(killed.out), "--epochs", "8", "--every", "20", "--max-length", "24"]
    command += ["--lr", "5e-3", "--head-lr", "5e-3", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment) as process:
        wait_until(lambda: fit.last_whole(killed.checkpoints) or process.poll() is not None, timeout=120)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed.out / "metrics.json").exists()

    with pytest.raises(UsageError, match="was begun and not finished: go on with --resume"):
        bi_encoder.train(knobs(toy, base, killed), command="")
    with pytest.raises(UsageError, match="begun with another objective"):
        bi_encoder.train(knobs(toy, base, killed, objective="mnrl"), command="", resume=True)
    bi_encoder.train(knobs(toy, base, killed), command="", resume=True)
    ends = [json.loads((one.out / "metrics.json").read_text()) for one in (killed, whole)]
    assert ends[0]["history"] == ends[1]["history"]
    assert (killed.out / "metrics.json").read_bytes() == (whole.out / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match="holds a trained model"):
        bi_encoder.train(knobs(toy, base, killed), command="")


def refuse(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_the_last_good_checkpoint(
    toy: dict[str, str], base: Path, practice: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = knobs(toy, base, practice(every=5))
    write = fit._Kept._save_checkpoint
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write_on_a_small_disk(trainer: Any, *rest: Any) -> None:
        if trainer.state.global_step == 10:
            # no file may grow any more: the system's answer is like that of a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        try:
            write(trainer, *rest)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    with monkeypatch.context() as patch:
        patch.setattr(fit._Kept, "_save_checkpoint", write_on_a_small_disk)
        with pytest.raises(TrainingError, match=r"checkpoint at step 10 could not be written.*checkpoint-5 is kept"):
            bi_encoder.train(made, command="")
    assert [path.name for path in made.practice.checkpoints.glob("checkpoint-*")] == ["checkpoint-5"]
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", refuse)
        with pytest.raises(TrainingError, match=r"could not be written .*No space left.* and --resume writes it"):
            bi_encoder.train(made, command="", resume=True)
    assert bi_encoder.train(made, command="", resume=True).after["accuracy"] > 0


def test_exhausted_memory_says_which_batch_size_to_take(
    toy: dict[str, str], base: Path, practice: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def grow(*_: Any) -> torch.Tensor:
        return torch.empty(2**46)  # more than any machine has

    monkeypatch.setattr(ClassificationLoss, "forward", grow)
    told = "--batch-size 16 and --max-length 24. Next: --batch-size 8 --accumulate 2"
    with pytest.raises(TrainingError, match=told):
        bi_encoder.train(knobs(toy, base, practice()), command="")


def test_a_base_that_is_no_encoder_is_refused(
    toy: dict[str, str], base: Path, plain_encoder: Path, practice: Make, tmp_path: Path
) -> None:
    decoder = tmp_path / "decoder"
    decoder.mkdir()
    for path in plain_encoder.iterdir():
        (decoder / path.name).write_bytes(path.read_bytes())
    GPT2Config(architectures=["GPT2LMHeadModel"]).save_pretrained(decoder)
    with pytest.raises(ModelLoadError, match=r"is not an encoder \(GPT2LMHeadModel\): give a BERT-like model"):
        bi_encoder.train(knobs(toy, decoder, practice()), command="")


def test_a_class_that_nobody_learns_from_is_refused(base: Path, practice: Make, tmp_path: Path) -> None:
    rows = [row for row in toy_pairs(60) if row["label"] == "neutral"]
    one = {"train": write_rows(tmp_path / "one.jsonl", rows), "dev": write_rows(tmp_path / "dev.jsonl", toy_pairs(9))}
    with pytest.raises(DataError, match="have the label neutral: nothing can be learned"):
        bi_encoder.train(knobs(one, base, practice()), command="")


def test_the_network_on_top_learns_at_its_own_rate(base: Path) -> None:
    classifier = Classifier(32, parts=["u"])
    loss = ClassificationLoss(SentenceTransformer(str(base), device="cpu"), classifier)
    assert set(fit.own_tensors(loss)) == {f"classifier.{name}" for name, _ in classifier.named_parameters()}
    assert isinstance(loss, nn.Module)


def test_a_query_may_be_the_source(database: Any, base: Path, practice: Make) -> None:
    database.execute("create table labelled (p text, h text, l text)")
    with database.connect() as connection, connection.cursor() as cursor:
        rows = [(row["premise"], row["hypothesis"], row["label"]) for row in toy_pairs(60)]
        cursor.executemany("insert into labelled values (%s, %s, %s)", rows)
    secret = f"{database.dsn}&password=hunter2"
    source = Source(sql="select p as premise, h as hypothesis, l as label from labelled", dsn=secret)
    made = bi_encoder.Knobs(train=source, dev=None, base=str(base), practice=practice())
    assert bi_encoder.train(made, command="").train.used == 60
    for path in made.practice.out.rglob("*.*"):
        assert b"hunter2" not in path.read_bytes(), path
