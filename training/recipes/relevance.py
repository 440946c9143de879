"""Write pairs of a query and the text that answers it, one JSON object a line, from what may be redistributed.

Summary line and body of the docstrings of Python's library, heading and section of its language reference, title and
abstract of SciFact's corpus, and its claims with the abstracts that bear them out:
python training/recipes/relevance.py DATA > pairs.jsonl
"""

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

from pgsbert.docstrings import collect

SHORTEST = 40  # characters: below that a text answers nothing


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the summary of each docstring and what follows it."""
    for docstring in collect():
        summary, _, body = docstring.text.partition("\n\n")
        yield " ".join(summary.split()), body


def sections() -> Iterator[tuple[str, str]]:
    """Yield the heading of each topic of the reference and its text."""
    for text in topics.values():
        heading, _, body = text.partition("\n***")
        yield " ".join(heading.split()), body.lstrip("*\n")


def scifact(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield titles and claims with their abstracts."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        documents = {row["_id"]: row for row in map(json.loads, file)}
    yield from ((row["title"], row["text"]) for row in documents.values())
    with (folder / "queries.jsonl").open(encoding="utf-8") as file:
        claims = {row["_id"]: row["text"] for row in map(json.loads, file)}
    with (folder / "qrels" / "train.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            document = documents[row["corpus-id"]]
            yield claims[row["query-id"]], f"{document['title']} {document['text']}"


for source in (docstrings(), sections(), scifact(Path(sys.argv[1]) / "scifact")):
    for query, text in source:
        if len(query) >= SHORTEST // 2 and len(text) >= SHORTEST:
            sys.stdout.write(json.dumps({"query": query, "document": text, "label": 1}) + "\n")
