"""Write the model's card: what it was trained from and on, under which licence, and what that brought."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from pgsbert.training.outputs import Metrics

CARD = """---
library_name: sentence-transformers
base_model: {base}
{licence_line}tags: [pgsbert, {kind}]
---
# A {kind} made with pgsbert

| | |
|---|---|
| base | {base} |
| objective | {objective} |
| training data | {train}: {train_counts} |
| licence of the data | {licence} |
| dev data | {dev}: {dev_counts} |
| seed | {seed} |

## Dev, before and after

{table}

![loss by step](training.png)

## Made with

```sh
{command}
```
"""


def write_card(path: Path, metrics: Metrics, knobs: Any, *, command: str) -> None:
    """Write the card of a model that was trained as ``knobs`` say by ``command``."""
    rows = [f"| {name} | {_shown(metrics.before.get(name))} | {after:.4f} |" for name, after in metrics.after.items()]
    table = "\n".join(["| figure | before | after |", "|---|---|---|", *rows]) if rows else "No dev data were given."
    text = CARD.format(
        base=json.dumps(knobs.base),
        kind=knobs.kind,
        objective=knobs.objective,
        licence_line=f"license: {json.dumps(knobs.licence)}\n" if knobs.licence else "",
        licence=knobs.licence or "not stated: say it with --data-licence",
        train=knobs.train,
        train_counts=metrics.train,
        dev=knobs.dev or "none",
        dev_counts=metrics.dev,
        seed=knobs.practice.seed,
        table=table,
        command=command,
    )
    path.write_text(text, encoding="utf-8")


def _shown(figure: float | None) -> str:
    return "untrained" if figure is None else f"{figure:.4f}"
