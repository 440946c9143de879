"""How fast does a real model embed, answer and rerank, beside sentence-transformers?

all-MiniLM-L6-v2 in ONNX Runtime and in sentence-transformers with its defaults, by turns in one process, with the same
number of threads; then `pgsbert.embed()` in SQL with a real worker. Texts are docstrings of Python's standard library;
where ../shared/data (or PGSBERT_DATA) is present, also abstracts and short sentences mixed, and short sentences alone.
The share of the bound is that of the matrix products which torch does in the same rounds: no engine that multiplies
the same matrices is faster.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from benchmarks.bed import Figure, alternate, connect, median_ratio, say, seconds
from pgsbert.docstrings import collect
from pgsbert.models.load import Runtime, load
from pgsbert.models.resolve import resolve
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sentence_transformers import CrossEncoder, SentenceTransformer

    from benchmarks.bed import Bed
    from pgsbert.types import Encoder, Reranker

NAME = "all-MiniLM-L6-v2"
ROUNDS = max(5, int(os.environ.get("PGSBERT_BENCH_ROUNDS", "5")))
TEXTS = int(os.environ.get("PGSBERT_BENCH_TEXTS", "300"))  # a round
QUESTIONS = 20  # a round
PASSAGES = 100
THREADS = os.cpu_count() or 1
DATA = Path(os.environ.get("PGSBERT_DATA") or Path(__file__).parents[2] / "shared" / "data")
SETTLE = 0.3  # seconds: threads of one engine spin a while after its work


def run(bed: Bed) -> list[Figure]:
    """Measure bulk, questions and reranking in this process, and questions through SQL."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    folder = resolve(NAME)
    ours = cast("Encoder", load(Model(name=NAME, kind="bi-encoder"), Runtime("onnx", threads=THREADS)))
    peer = SentenceTransformer(str(folder), device="cpu")
    figures = [_bulk(what, texts, ours, peer) for what, texts in corpora()]
    questions = [text.split("\n")[0][:80] for text in docstrings(QUESTIONS * ROUNDS)]
    figures.append(_questions(questions, ours, peer))
    figures.append(_rerank(bed, folder))
    # it would hold the cores that the worker needs
    del ours
    figures.append(_in_sql(bed, questions, peer))
    return figures


def docstrings(count: int) -> list[str]:
    """Return so many docstrings of all lengths, the same ones at each run."""
    texts = [docstring.text for docstring in collect()]
    random.Random(4).shuffle(texts)
    return list(islice(texts, count))


def corpora() -> Iterator[tuple[str, list[str]]]:
    """Give what is embedded: its name, and the texts of all rounds."""
    yield "docstrings", docstrings(TEXTS * ROUNDS)
    if (DATA / "scifact").is_dir() and (DATA / "sick").is_dir():
        with gzip.open(DATA / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
            abstracts = [json.loads(line)["text"] for line in islice(file, TEXTS * ROUNDS // 4)]
        with (DATA / "sick" / "train.jsonl").open(encoding="utf-8") as file:
            pairs = [json.loads(line) for line in islice(file, TEXTS * ROUNDS)]
        sentences = list(dict.fromkeys(text for pair in pairs for text in _sentences(pair)))
        mixed = abstracts + sentences[: 3 * len(abstracts)]
        random.Random(5).shuffle(mixed)
        yield "abstracts and short sentences mixed", mixed
        yield "short sentences", sentences
    else:
        say(f"no {DATA}: docstrings only")


def _sentences(pair: dict[str, Any]) -> list[str]:
    return [value for value in pair.values() if isinstance(value, str) and " " in value]


def _bulk(what: str, texts: Sequence[str], ours: Encoder, peer: SentenceTransformer) -> Figure:
    """Embed other texts in each round, the same ones on both sides."""
    size = len(texts) // ROUNDS
    parts = [list(texts[i * size : (i + 1) * size]) for i in range(ROUNDS)]
    tokens = [_taken(ours, part) for part in parts]
    turns = {name: iter(parts) for name in ("ours", "peer")}

    def encode(name: str, call: Callable[[list[str]], object]) -> float:
        part = next(turns[name])
        time.sleep(SETTLE)
        return len(part) / seconds(lambda: call(part))

    rates = alternate(
        ROUNDS,
        {
            "ours": lambda: encode("ours", ours.encode),
            "peer": lambda: encode("peer", lambda part: peer.encode(part, show_progress_bar=False)),
            "bound": _products,
        },
    )
    each = sum(tokens) / sum(map(len, parts))
    ratio = median_ratio(rates["ours"], rates["peer"])
    flops = _flops_of_a_token(peer)
    share = median_ratio([rate * each * flops for rate in rates["ours"]], rates["bound"])
    say(
        f"{what}, {ROUNDS} rounds of {size} texts of {each:.0f} tokens: {median(rates['ours']):.1f} texts/s"
        f" ({median(rates['ours']) * each:.0f} tokens/s), sentence-transformers {median(rates['peer']):.1f};"
        f" ratio {ratio:.2f} ({_each(rates['ours'], rates['peer'])}); {share:.0%} of the matrix products' own rate"
        f" ({median(rates['bound']) / 1e9:.0f} GFLOP/s), so the ratio could be {ratio / share:.2f}"
    )
    baseline = f"{median(rates['peer']):.1f} texts/s by sentence-transformers"
    return Figure("inference", f"bulk, {what}", ratio, "x", baseline, ratio, passes=1.3, goal=1.5, more_is_better=True)


def _taken(encoder: Encoder, texts: Sequence[str]) -> int:
    """Return how many tokens the model takes of these texts together."""
    counted = encoder.encode_counted(texts)
    return sum(min(int(tokens), counted.limit or int(tokens)) for tokens in counted.tokens)


def _products() -> float:
    """Return the floating-point operations a second of a product with the shapes of this model."""
    import torch

    left, right = torch.randn(2048, 384), torch.randn(384, 1536)
    torch.mm(left, right)
    times = 40
    return 2 * 2048 * 384 * 1536 * times / seconds(lambda: [torch.mm(left, right) for _ in range(times)])


def _flops_of_a_token(peer: SentenceTransformer) -> float:
    """Return the operations of the matrices alone: two for each weight of a linear layer."""
    import torch

    linear = (module for module in peer.modules() if isinstance(module, torch.nn.Linear))
    # the pooler, which no embedding is made of, is the one that reads a whole text once
    network = cast("Any", peer[0]).model
    pooler = sum(p.numel() for p in network.pooler.parameters()) if getattr(network, "pooler", None) else 0
    return 2.0 * (sum(module.weight.numel() for module in linear) - pooler)


def _questions(questions: Sequence[str], ours: Encoder, peer: SentenceTransformer) -> Figure:
    taken = _alternating_ms(
        questions,
        {
            "ours": lambda question: ours.encode([question]),
            "peer": lambda question: peer.encode(question, show_progress_bar=False),
        },
    )
    ratio = median_ratio(taken["ours"], taken["peer"])
    p50, beside = median(taken["ours"]), median(taken["peer"])
    say(f"one question, p50 of {ROUNDS} rounds: {p50:.1f} ms, sentence-transformers {beside:.1f} ms; ratio {ratio:.2f}")
    baseline = f"{beside:.1f} ms by sentence-transformers"
    return Figure("inference", "one question in the engine, p50", ratio, "x", baseline, ratio, passes=0.35, goal=0.25)


def _in_sql(bed: Bed, questions: Sequence[str], peer: SentenceTransformer) -> Figure:
    with bed.database("inference") as dsn, connect(dsn) as user, bed.worker(dsn):
        user.execute("set pgsbert.timeout = '60s'")
        user.execute("select pgsbert.embed('the first question loads the model', %s)", [NAME])
        taken = _alternating_ms(
            questions,
            {
                "sql": lambda question: user.execute("select pgsbert.embed(%s, %s)", [question, NAME]),
                "peer": lambda question: peer.encode(question, show_progress_bar=False),
            },
        )
    ratio = median_ratio(taken["sql"], taken["peer"])
    p50, beside = median(taken["sql"]), median(taken["peer"])
    say(f"embed() in SQL, p50: {p50:.1f} ms, sentence-transformers in process {beside:.1f} ms; ratio {ratio:.2f}")
    baseline = f"{beside:.1f} ms by sentence-transformers in process"
    return Figure("inference", "embed() in SQL, real model, p50", ratio, "x", baseline, ratio, passes=1.0, goal=0.5)


def _alternating_ms(questions: Sequence[str], sides: dict[str, Callable[[str], object]]) -> dict[str, list[float]]:
    """Return the median of each round and side, in milliseconds; no question is asked twice of a side."""
    turns = {name: iter(questions) for name in sides}

    def ask(name: str) -> float:
        time.sleep(SETTLE)
        sides[name]("a question to warm up")
        return 1000 * median(seconds(partial(sides[name], question)) for question in islice(turns[name], QUESTIONS))

    return alternate(ROUNDS, {name: partial(ask, name) for name in sides})


def _rerank(bed: Bed, folder: Path) -> Figure:
    """Time a cross-encoder of the shape of ms-marco-MiniLM-L6: these weights, and a head of random ones."""
    from sentence_transformers import CrossEncoder

    made = _make_cross_encoder(folder, bed.folder / "cross-encoder")
    ours = cast("Reranker", load(Model(name=str(made), kind="cross-encoder"), Runtime("onnx", threads=THREADS)))
    peer: CrossEncoder = CrossEncoder(str(made), device="cpu")
    passages = [text for text in docstrings(5000) if len(text) > 200][:PASSAGES]
    query = "How do I read a file line by line?"
    pairs = [(query, passage) for passage in passages]

    def score(call: Callable[[], object]) -> float:
        time.sleep(SETTLE)
        return len(pairs) / seconds(call)

    rates = alternate(
        ROUNDS,
        {
            "ours": lambda: score(lambda: ours.score(query, passages)),
            "peer": lambda: score(lambda: peer.predict(pairs, show_progress_bar=False)),
        },
    )
    ratio = median_ratio(rates["ours"], rates["peer"])
    say(
        f"rerank of {PASSAGES} passages, {ROUNDS} rounds: {median(rates['ours']):.1f} pairs/s, CrossEncoder.predict"
        f" {median(rates['peer']):.1f}; ratio {ratio:.2f} ({_each(rates['ours'], rates['peer'])})"
    )
    baseline = f"{median(rates['peer']):.1f} pairs/s by CrossEncoder.predict"
    question = f"rerank of {PASSAGES} passages"
    return Figure("inference", question, ratio, "x", baseline, ratio, passes=1.05, goal=1.2, more_is_better=True)


def _make_cross_encoder(folder: Path, made: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    torch.manual_seed(6)
    BertForSequenceClassification.from_pretrained(folder, num_labels=1).save_pretrained(made)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 512
    tokenizer.save_pretrained(made)
    return made


def _each(above: Sequence[float], below: Sequence[float]) -> str:
    return ", ".join(f"{a / b:.2f}" for a, b in zip(above, below, strict=True))
