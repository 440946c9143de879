"""Pairs from every kind of source, and what is told about those that cannot be trained on."""

from __future__ import annotations

import csv
import gzip
import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

from pgsbert.errors import DataError, UsageError
from pgsbert.training.data import Source, read
from pgsbert.training.pairs import Counts, Pair, check_trainable, clean, sample
from tests.training.conftest import toy_pairs, write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pgsbert.training.data import Row
    from tests.support import Database

PAIRS = toy_pairs(30)


def row(premise: object = "a dog", hypothesis: object = "an animal", label: object = "entailment") -> dict[str, Any]:
    return {"premise": premise, "hypothesis": hypothesis, "label": label}


def cleaned(rows: Sequence[Row], **options: Any) -> tuple[list[Pair], Counts]:
    counts = Counts()
    return list(clean(rows, counts, **{"target": "class", **options})), counts


def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", PAIRS)
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write((tmp_path / "pairs.jsonl").read_text(encoding="utf-8"))
    for name, delimiter in (("pairs.csv", ","), ("pairs.tsv", "\t")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, PAIRS[0], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(PAIRS)
    for name in ("pairs.jsonl", "pairs.jsonl.gz", "pairs.csv", "pairs.tsv"):
        assert list(read(Source(data=str(tmp_path / name)))) == PAIRS, name


def test_a_data_set_is_read_by_the_library_of_the_hub(tmp_path: Path) -> None:
    write_rows(tmp_path / "validation.jsonl", PAIRS)
    assert list(read(Source(data=f"{tmp_path}:validation"))) == PAIRS


def test_a_data_set_that_nobody_has_is_an_error_that_says_so() -> None:
    with pytest.raises(DataError, match=r"nobody/nothing is neither a file here nor a data set"):
        list(read(Source(data="nobody/nothing:train")))


def test_a_query_gives_its_rows(database: Database) -> None:
    sql = "select 'a dog' as premise, 'a' || n as hypothesis, 1.5::numeric as score from generate_series(1, 5000) as n"
    rows = list(read(Source(sql=sql, dsn=database.dsn)))
    assert len(rows) == 5000
    assert [pair.target for pair in cleaned(rows[:2], target="score", score_range=(0, 3))[0]] == [0.5, 0.5]


def test_a_query_is_streamed(database: Database) -> None:
    # in the list of SELECT the series is made while it is read
    endless = "select 'a' as premise, generate_series(1, 9223372036854775807)::text as hypothesis, 1 as label"
    rows = read(Source(sql=endless, dsn=database.dsn))
    assert [one["hypothesis"] for one in islice(rows, 3)] == ["1", "2", "3"]
    rows.close()  # type: ignore[attr-defined] # a generator


def test_a_query_changes_nothing(database: Database) -> None:
    database.execute("create table kept (id int)")
    for sql in ("drop table kept", "with gone as (insert into kept values (1) returning id) select * from gone"):
        with pytest.raises(Exception, match=r"one SELECT|DECLARE CURSOR|read-only"):
            list(read(Source(sql=sql, dsn=database.dsn)))
    assert database.execute("select * from kept") == []


def test_columns_a_query_must_have_are_named() -> None:
    with pytest.raises(DataError, match=r"premise, hypothesis.*found: question, answer.*SELECT title AS query"):
        cleaned([{"question": "a", "answer": "b"}])


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("pairs.jsonl", '{"premise": "a"}\nno json\n', "line 2"),
        ("pairs.jsonl", "[1, 2]\n", "line 1, is no JSON object"),
        ("pairs.txt", "a b c\n", r"no file of a known kind: give a \.jsonl"),
        ("pairs.jsonl.gz", "not compressed", "cannot be read"),
        ("pairs.csv", 'premise,hypothesis,label\n"a', "cannot be read"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}.*{told}"):
        list(read(Source(data=str(tmp_path / name))))


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match=r"/nowhere/pairs\.jsonl is not there"):
        list(read(Source(data="/nowhere/pairs.jsonl")))


def test_exactly_one_source_is_needed() -> None:
    for options in ({}, {"data": "a.csv", "sql": "select"}):
        with pytest.raises(UsageError, match="either --data or --sql"):
            Source(**options)


def test_an_unknown_label_is_named_with_its_row() -> None:
    with pytest.raises(DataError, match='Row 2 has the label "maybe"; known are entailment, neutral, contradiction'):
        cleaned([row(), row("a", "b", "maybe")])


def test_labels_are_words_or_the_numbers_of_snli() -> None:
    rows = [row("a", str(n), label) for n, label in enumerate(["Entailment", "neutral ", "contradiction", 0, 1, "2"])]
    assert [pair.target for pair in cleaned(rows)[0]] == [0, 1, 2, 0, 1, 2]


def test_pairs_without_a_label_empty_and_duplicate_ones_are_left_out_and_counted() -> None:
    rows = [
        row(),
        row(label="-"),
        row(label=-1),
        row(label=None),
        row("", "b"),
        row("a", None),
        row(" A  DOG "),
        row("c"),
    ]
    pairs, counts = cleaned(rows)
    assert [pair.first for pair in pairs] == ["a dog", "c"]
    assert (counts.read, counts.unlabelled, counts.empty, counts.duplicate, counts.used) == (8, 3, 2, 1, 2)
    assert str(counts) == "2 of 8 rows used, 3 unlabelled left out, 2 empty left out, 1 duplicate left out"


def test_dev_pairs_among_the_training_pairs_are_left_out_and_counted() -> None:
    dev = [Pair("A dog", "an  animal", 0), Pair("c", "d", 1)]
    pairs, counts = cleaned([row(), row("D", "C"), row("e", "f")], apart_from=dev)
    assert ([pair.first for pair in pairs], counts.leaked) == (["e"], 2)


def test_a_benchmark_is_taken_as_it_is() -> None:
    assert cleaned([row(), row()], judging=True)[1].used == 2


def test_one_class_only_teaches_nothing() -> None:
    pairs, _ = cleaned([row(), row("b")])
    with pytest.raises(DataError, match=r"All 2 pairs from x\.csv have the label entailment: nothing can be learned"):
        check_trainable(pairs, "x.csv", target="class")
    with pytest.raises(DataError, match=r"No pair is left to train on from x\.csv"):
        check_trainable([], "x.csv", target="class")


def test_scores_outside_of_their_scale_are_named() -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "score": 4.5}]
    assert cleaned(rows, target="score", score_range=(0, 5))[0][0].target == pytest.approx(0.9)
    with pytest.raises(DataError, match=r"score 4\.5, outside of 0 to 1: say the scale with --score-range"):
        cleaned(rows, target="score")
    for wrong in ("high", float("nan"), None):
        with pytest.raises(DataError, match="Row 1 has the score"):
            cleaned([{**rows[0], "score": wrong}], target="score", score_range=None)


def test_a_sample_depends_on_the_seed_and_not_on_the_order_of_the_rows() -> None:
    pairs = [Pair(f"text {n}", "other", 0) for n in range(100)]
    drawn = sample(pairs, 10, seed=1)
    assert drawn == sample(pairs[::-1], 10, seed=1)
    assert drawn != sample(pairs, 10, seed=2)
    assert sorted(sample(pairs, None, seed=1), key=repr) == sorted(pairs, key=repr)
    assert json.dumps(len(drawn)) == "10"
