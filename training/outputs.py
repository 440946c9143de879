"""What a training leaves in its folder: the model, its card, metrics.json, a plot; and how it is gone on with.

``run.json`` is written first and says what is trained; ``metrics.json`` is written last and says that it is done. It
holds no times: a resumed run ends with the same bytes as an uninterrupted one.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pgsbert.errors import TrainingError, UsageError
from pgsbert.events import log
from pgsbert.training.card import write_card
from pgsbert.training.plot import plot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pgsbert.training.fit import Practice
    from pgsbert.training.pairs import Counts

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Metrics:
    """What came out: dev's figures before and after, what became of the rows, and the history of the loss."""

    before: Figures
    after: Figures
    train: Counts
    dev: Counts
    history: list[dict[str, float]]


@dataclass(frozen=True, slots=True)
class Run:
    """One training, finished or not."""

    practice: Practice

    @property
    def settings(self) -> Path:
        """Where it says what is trained."""
        return self.practice.checkpoints / "run.json"


def begin(practice: Practice, knobs: Any, *, resume: bool) -> Run:
    """Open the folder; UsageError if it holds a model, or another training, or one to be resumed and not said so."""
    run = Run(practice)
    asked = _settings(knobs)
    if (practice.out / "metrics.json").exists():
        raise UsageError(f"{practice.out} holds a trained model: choose another --out, or remove it.")
    if not run.settings.exists():
        try:
            practice.out.mkdir(parents=True, exist_ok=True)
            if any(practice.out.iterdir()):
                raise UsageError(f"{practice.out} is not empty: choose another --out.")
            practice.checkpoints.mkdir(exist_ok=True)
            _write(run.settings, {"knobs": asked})
        except OSError as error:
            raise UsageError(f"{practice.out} cannot be written to ({error}): choose another --out.") from error
        return run
    if not resume:
        raise UsageError(
            f"{practice.out} was begun and not finished: go on with --resume, or remove {practice.checkpoints}."
        )
    begun = json.loads(run.settings.read_text(encoding="utf-8"))["knobs"]
    if changed := [name for name in asked if asked[name] != begun.get(name)]:
        raise UsageError(f"{practice.out} was begun with another {', '.join(changed)}: --resume needs the same.")
    return run


def before(run: Run, measure: Callable[[], Figures]) -> Figures:
    """Return dev's figures of the model as it was: measured once, and kept for a resumed run."""
    known = json.loads(run.settings.read_text(encoding="utf-8"))
    if "before" not in known:
        known["before"] = measure()
        _write(run.settings, known)
    figures: Figures = known["before"]
    return figures


def tell(*, train: Counts, dev: Counts | None, negatives: int = 0) -> None:
    """Say what became of the rows."""
    log("read", pairs="train", **asdict(train), **({"hard_negatives": negatives} if negatives else {}))
    if dev is not None:
        log("read", pairs="dev", **asdict(dev))


@contextmanager
def saving(run: Run) -> Iterator[None]:
    """Turn what goes wrong while the finished model is written into TrainingError; the last checkpoint is kept."""
    try:
        yield
    except Exception as error:  # torch, safetensors and the system each have their own word for a full disk
        raise TrainingError(
            f"The model could not be written to {run.practice.out} ({error}): make room, and --resume writes it."
        ) from error


def finish(run: Run, metrics: Metrics, knobs: Any, *, command: str) -> None:
    """Write plot, card and metrics.json beside the model; the checkpoints are no longer needed."""
    out = run.practice.out
    plot(metrics.history, out / "training.png")
    write_card(out / "README.md", metrics, knobs, command=command)
    _write(out / "metrics.json", {"knobs": _settings(knobs), **asdict(metrics)})
    shutil.rmtree(run.practice.checkpoints)
    figures: dict[str, Any] = {f"dev_{name}": value for name, value in metrics.after.items()}
    log("trained", out=out, **figures)


def _settings(knobs: Any) -> dict[str, Any]:
    """Return what must be the same for a run to be the same: neither its place nor a password."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(knobs), default=str))
    settings.pop("dsn", None)
    for source in ("train", "dev"):
        if settings.get(source):
            settings[source].pop("dsn")
    settings["practice"].pop("out")
    return settings


def _write(path: Path, value: object) -> None:
    """Write JSON as a whole or not at all."""
    unfinished = path.with_suffix(".part")
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
