"""Measure a model on this machine, each engine in a process of its own: ``python -m pgsbert.models.bench`` is one.

A process of its own has its own memory to tell of, and threads that nobody else has set.
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never, cast

import numpy as np

from pgsbert.errors import ModelLoadError, PgsbertError
from pgsbert.models.files import detect_kind
from pgsbert.models.load import Runtime, load
from pgsbert.models.onnx.artefact import is_exported
from pgsbert.models.onnx.load import describe
from pgsbert.models.resolve import dimensions_in, resolve
from pgsbert.types import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from pgsbert.types import Classifier, Encoder, Engine, ModelKind, Reranker

ASKED = 30  # questions, of at most so many
QUESTION = 60  # characters each
COMPARED = 100  # texts, with sentence-transformers
WITHIN = 1800.0  # seconds


@dataclass(frozen=True, slots=True)
class Task:
    """What one process is to measure; ``engine`` None is sentence-transformers itself, for its numbers only."""

    name: str
    kind: ModelKind
    engine: Engine | None
    texts: list[str]
    revision: str | None = None
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one engine did: rates a second, the median milliseconds of one question, MiB, or why it could not.

    ``parity`` is the largest absolute difference from sentence-transformers, None where it is not installed.
    """

    engine: str
    error: str | None = None
    load_seconds: float | None = None
    texts_per_second: float | None = None
    tokens_per_second: float | None = None
    query_ms: float | None = None
    memory_mib: float | None = None
    parity: float | None = None


def bench(
    name: str,
    texts: Sequence[str],
    *,
    revision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
) -> list[Measurement]:
    """Return one measurement for each engine that is installed, of one bulk call and of short questions.

    Raises ModelNotFoundError, and ModelLoadError if the folder holds no model.
    """
    folder = resolve(name, revision=revision)
    kind = describe(folder).kind if is_exported(folder) else detect_kind(folder)
    task = Task(name, kind, None, list(texts), revision, threads, device)
    has_torch = find_spec("sentence_transformers") is not None and not is_exported(folder)
    engines: list[Engine] = [*(["onnx"] if find_spec("onnxruntime") else []), *(["torch"] if has_torch else [])]  # type: ignore[list-item]
    expected = _run(task) if has_torch else None
    return [_measure(task, engine, expected) for engine in engines]


def _measure(task: Task, engine: Engine, expected: dict[str, object] | None) -> Measurement:
    try:
        found = _run(Task(**{**asdict(task), "engine": engine}))
    except ModelLoadError as error:
        return Measurement(engine, error=str(error))
    numbers = np.array(found.pop("numbers"))
    parity = None if expected is None else float(np.abs(numbers - np.array(expected["numbers"])).max(initial=0.0))
    return Measurement(engine, parity=parity, **found)  # type: ignore[arg-type]


def _run(task: Task) -> dict[str, object]:
    command = [sys.executable, "-m", "pgsbert.models.bench"]
    try:
        done = subprocess.run(
            command, input=json.dumps(asdict(task)), capture_output=True, text=True, timeout=WITHIN, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ModelLoadError(f"{task.name} was not measured within {WITHIN:.0f} s: give fewer --texts.") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ModelLoadError(said[-1] if said else f"the measurement of {task.name} ended with code {done.returncode}.")
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Read a task from stdin and write what was measured, as one line of JSON."""
    task = Task(**json.load(sys.stdin))
    try:
        answer = _reference(task) if task.engine is None else _engine(task, task.engine)
    except PgsbertError as error:
        sys.exit(str(error))
    except Exception as error:  # whatever torch or ONNX Runtime raise about a model
        said = (str(error).strip().splitlines() or [""])[0]
        sys.exit(f"{task.name} cannot be measured: {type(error).__name__}: {said}")
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _reference(task: Task) -> dict[str, object]:
    from pgsbert.models.sbert import cross_encoder, sentence_transformer

    folder = resolve(task.name, revision=task.revision)
    texts = task.texts[:COMPARED]
    if task.kind == "bi-encoder":
        encoder = sentence_transformer(folder, task.device, dimensions=dimensions_in(task.name))
        # a model of images takes what looks like an address for one, unless it is called a text
        inputs: Any = [{"text": text} for text in texts] if "image" in getattr(encoder, "modalities", ()) else texts
        return {"numbers": encoder.encode(inputs, prompt="", show_progress_bar=False).tolist()}
    scorer = cross_encoder(folder, task.device)
    pairs = [(_questions(texts)[0], text) for text in texts]
    softmax = True if task.kind == "classifier" else None
    return {"numbers": scorer.predict(pairs, show_progress_bar=False, apply_softmax=softmax).tolist()}


def _engine(task: Task, engine: Engine) -> dict[str, object]:
    started = time.perf_counter()
    model = Model(name=task.name, kind=task.kind, revision=task.revision)
    loaded = load(model, Runtime(engine, device=task.device, threads=task.threads))
    seconds = time.perf_counter() - started
    match task.kind:
        case "bi-encoder":
            measured = _encoder(cast("Encoder", loaded), task.texts)
        case "cross-encoder":
            measured = _pairs(cast("Reranker", loaded).score, task.texts)
        case "classifier":
            measured = _pairs(cast("Classifier", loaded).classify, task.texts)
        case _:
            assert_never(task.kind)
    return {"load_seconds": seconds, **measured, "memory_mib": _memory()}


def _encoder(encoder: Encoder, texts: Sequence[str]) -> dict[str, object]:
    questions = _questions(texts)
    encoder.encode(questions)
    started = time.perf_counter()
    counted = encoder.encode_counted(texts)
    seconds = time.perf_counter() - started
    tokens = counted.tokens if counted.limit is None else np.minimum(counted.tokens, counted.limit)
    return {
        "texts_per_second": len(texts) / seconds,
        "tokens_per_second": int(tokens.sum()) / seconds,
        "query_ms": _median_ms(questions, lambda question: encoder.encode([question])),
        "numbers": counted.vectors[:COMPARED].tolist(),
    }


def _pairs(score: Callable[[str, Sequence[str]], NDArray[np.float32]], texts: Sequence[str]) -> dict[str, object]:
    questions = _questions(texts)
    score(questions[0], texts[:4])
    started = time.perf_counter()
    scores = score(questions[0], texts)
    seconds = time.perf_counter() - started
    return {
        "texts_per_second": len(texts) / seconds,
        "query_ms": _median_ms(questions, lambda question: score(question, texts[:1])),
        "numbers": scores[:COMPARED].tolist(),
    }


def _questions(texts: Sequence[str]) -> list[str]:
    return [text[:QUESTION] for text in texts[:ASKED]]


def _median_ms(questions: Sequence[str], ask: Callable[[str], NDArray[np.float32]]) -> float:
    taken = []
    for question in questions:
        started = time.perf_counter()
        ask(question)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def _memory() -> float:
    """Return the most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.is_file() else None
    if found:
        return int(found[1]) / 1024
    # outside Linux, where it counts in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
