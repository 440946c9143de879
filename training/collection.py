"""A retrieval collection in BEIR's layout: documents, questions, and which answers are right."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgsbert.errors import DataError
from pgsbert.training.data import Source, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet
    from pathlib import Path

Judgements = dict[str, dict[str, int]]  # label by question and document


@dataclass(frozen=True, slots=True)
class Collection:
    """``corpus.jsonl`` and ``queries.jsonl`` (each also .gz), ``qrels/NAME.tsv``, ``candidates/NAME.tsv``.

    A document is its title and text; ``relevant`` holds the questions that have a relevant document, ``left_out`` the
    documents that count for a question neither as found nor as relevant.
    """

    documents: dict[str, str]
    questions: dict[str, str]
    relevant: Judgements = field(default_factory=dict)
    candidates: Judgements = field(default_factory=dict)
    left_out: Mapping[str, AbstractSet[str]] = field(default_factory=dict)


def read_collection(
    folder: Path, *, qrels: str | None = None, candidates: str | None = None, exclude: Path | None = None
) -> Collection:
    """Read what is asked for; DataError names the file that is missing or does not fit the others.

    ``exclude`` lists the pairs to leave out, in the shape of qrels: each question's own source, for example.
    """
    documents = {
        str(row["_id"]): f"{row.get('title') or ''} {row.get('text') or ''}".strip() for row in _rows(folder, "corpus")
    }
    questions = {str(row["_id"]): str(row["text"]) for row in _rows(folder, "queries")}
    relevant = _judgements(folder / "qrels" / f"{qrels}.tsv") if qrels else {}
    judged = _judgements(folder / "candidates" / f"{candidates}.tsv") if candidates else {}
    left_out = {question: set(labels) for question, labels in (_judgements(exclude) if exclude else {}).items()}
    for name, judgements in (("qrels", relevant), ("candidates", judged), ("the pairs to leave out", left_out)):
        for question, labels in judgements.items():
            if lost := [one for one in labels if one not in documents] or [
                q for q in (question,) if q not in questions
            ]:
                raise DataError(f"{folder}: {name} name {lost[0]}, which is in neither corpus nor queries.")
    counted = {
        question: {document: label for document, label in labels.items() if document not in left_out.get(question, ())}
        for question, labels in relevant.items()
    }
    found = {question: labels for question, labels in counted.items() if any(label > 0 for label in labels.values())}
    if qrels and not found:
        raise DataError(f"{folder}: no question of the qrels {qrels} has a relevant document.")
    return Collection(documents=documents, questions=questions, relevant=found, candidates=judged, left_out=left_out)


def _rows(folder: Path, name: str) -> Iterator[dict[str, object]]:
    path = next((p for p in (folder / f"{name}.jsonl", folder / f"{name}.jsonl.gz") if p.exists()), None)
    if path is None:
        raise DataError(f"{folder} holds no {name}.jsonl or {name}.jsonl.gz: give a folder in BEIR's layout.")
    for row in read(Source(data=str(path))):
        if "_id" not in row or "text" not in row:
            raise DataError(f"{path}: each line needs _id and text; found: {', '.join(map(str, row))}.")
        yield dict(row)


def _judgements(path: Path) -> Judgements:
    found: Judgements = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file, delimiter="\t")
            next(rows, None)  # query-id, corpus-id, score
            for question, document, label in rows:
                found.setdefault(question, {})[document] = int(label)
    except FileNotFoundError as error:
        there = ", ".join(sorted(other.stem for other in path.parent.glob("*.tsv"))) or "none"
        raise DataError(f"{path} is not there; in this folder are: {there}.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: each line is a question, a document and a whole number ({error}).") from error
    return found
