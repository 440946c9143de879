"""Draw how a training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def plot(history: Sequence[dict[str, float]], path: Path) -> None:
    """Write a PNG: loss by step, and beside it each figure that dev was judged by on the way."""
    from matplotlib.figure import Figure  # not pyplot: no display, and nothing global

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    losses = [(entry["step"], entry["loss"]) for entry in history if "loss" in entry]
    axes.plot(*zip(*losses, strict=True), alpha=0.3, color="tab:blue")
    axes.plot(*zip(*_smooth(losses), strict=True), color="tab:blue")
    axes.set(xlabel="step", ylabel="training loss", ylim=(0, None))
    judged = {name for entry in history for name in entry if name.startswith("eval_")} - {
        "eval_runtime",
        "eval_samples_per_second",
        "eval_steps_per_second",
    }
    if judged:
        right = axes.twinx()
        for name in sorted(judged):
            points = [(entry["step"], entry[name]) for entry in history if name in entry]
            right.plot(*zip(*points, strict=True), marker="o", label=f"dev {name.removeprefix('eval_')}")
        right.legend(loc="lower right")
    figure.savefig(path, dpi=100)


def _smooth(points: Sequence[tuple[float, float]], weight: float = 0.95) -> list[tuple[float, float]]:
    smooth, mean = [], points[0][1]
    for step, value in points:
        mean = weight * mean + (1 - weight) * value
        smooth.append((step, mean))
    return smooth
