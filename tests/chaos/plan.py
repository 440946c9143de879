"""What users do and which faults happen: a pure function of the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator

Table: TypeAlias = Literal["notes", "cards"]
TABLES: tuple[Table, ...] = get_args(Table)

Work: TypeAlias = Literal[
    "insert", "update", "untracked", "no_text", "delete", "rekey", "rollback", "bulk", "ask", "truncate"
]
WEIGHTS: dict[Work, float] = {
    "insert": 30,
    "update": 30,
    "untracked": 8,
    "no_text": 4,
    "delete": 8,
    "rekey": 5,
    "rollback": 5,
    "bulk": 3,
    "ask": 6,
    "truncate": 0.02,
}

Trouble: TypeAlias = Literal[
    "kill", "stop", "terminate", "restart fast", "restart immediate", "long transaction", "old snapshot",
    "raise", "exit", "hang",
]  # fmt: skip
TROUBLES: tuple[Trouble, ...] = get_args(Trouble)
BACKENDS = ("pgsbert rows", "pgsbert questions", "pgsbert listener", "pgsbert index")

SLOW = 0.03  # of the edits keep the model for 0.2 s
KEYS = 2000  # of each session; nobody else writes them, so that users never wait for or fail each other
WORDS = [
    "river",
    "stone",
    "window",
    "paper",
    "garden",
    "engine",
    "letter",
    "winter",
    "copper",
    "signal",
    "harbour",
    "candle",
    "market",
    "thunder",
    "silver",
]


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a user does; ``key`` and ``other`` are of the session's own."""

    kind: Work
    table: Table
    key: int
    other: int
    text: str
    rows: int
    pause: float  # seconds until the next


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, at so many seconds after the start, on one worker or backend."""

    at: float
    kind: Trouble
    worker: int
    backend: str
    lasts: float
    table: Table


def operations(seed: int, session: int) -> Iterator[Operation]:
    """Yield what one session does, without end."""
    chance = random.Random(f"{seed} session {session}")
    for number in count():
        kind = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        slow = ["fake:slow"] * (kind == "update" and chance.random() < SLOW)
        yield Operation(
            kind=kind,
            table=chance.choice(TABLES),
            key=int(KEYS * chance.random() ** 3),  # some rows are edited again and again, also while in the model
            other=chance.randrange(KEYS),
            text=" ".join([*slow, *chance.sample(WORDS, 4), str(number)]),
            rows=chance.randint(50, 300),
            pause=chance.expovariate(50),
        )


def faults(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of a run: each kind once before any comes again, none in the last sixth."""
    chance = random.Random(f"{seed} faults")
    planned: list[Fault] = []
    deck: list[Trouble] = []
    at = 2.0
    while (at := at + chance.uniform(1.0, 4.0)) < seconds * 5 / 6:
        deck = deck or chance.sample(TROUBLES, len(TROUBLES))
        planned.append(
            Fault(
                at=at,
                kind=deck.pop(),
                worker=chance.randrange(2),
                backend=chance.choice(BACKENDS),
                lasts=chance.uniform(0.5, 6.0),
                table=chance.choice(TABLES),
            )
        )
    return planned
