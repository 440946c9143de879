"""The walks over a table by key: the first fill, and the sweep that finds what no trigger saw; a range at a time."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from pgsbert.batching import Pace
from pgsbert.events import log
from pgsbert.worker.settling import HELD_BY_OTHERS

if TYPE_CHECKING:
    from pgsbert.queue import Queue

LOOK_AGAIN_AFTER = 1.0  # seconds until a row that somebody edits is passed, or looked at again
SWEEP_LOOK_EVERY = 5.0  # seconds between looks whether a sweep is due
FILL_FIRST = 2048  # rows
SWEEP = Pace(size=256, least=1, most=8192, target=timedelta(milliseconds=20))


class Walks:
    """The walks of one vectorizer: how many rows they take at once, and when they go on."""

    def __init__(self, *, sweep_every: timedelta) -> None:
        self._fill_limit = FILL_FIRST
        self._sweep_every = sweep_every
        self._sweep_pace = SWEEP
        self._swept = 0  # rows that the sweep under way has queued
        self._fill_after = self._sweep_after = -1e9

    @property
    def fill_in(self) -> float:
        """In how many seconds the first fill may go on; it comes to a row that somebody edits a little later."""
        return max(self._fill_after - time.monotonic(), 0.0)

    def look_for_sweep(self) -> None:
        """Look at the next turn whether a sweep was asked for."""
        self._sweep_after = -1e9

    async def fill(self, queue: Queue, *, most: int) -> int:
        """Queue the next existing rows, ``most`` at once; returns how many were passed, or 1 to be called again."""
        if self._fill_after > time.monotonic():
            return 0
        limit = min(self._fill_limit, most)
        try:
            passed = await queue.fill(limit)
        except HELD_BY_OTHERS:
            # somebody edits a row of this range in an open transaction: come up to that row, then go on behind it
            self._fill_limit = max(limit // 2, 1)
            if limit > 1:
                return 1
            # not at once: a transaction may hold a million of them
            self._fill_after = time.monotonic() + LOOK_AGAIN_AFTER
            with suppress(*HELD_BY_OTHERS):  # the whole table may be locked
                if await queue.pass_held():
                    log("fill_passed_held_row", vectorizer=queue.vectorizer.name)
            return 0
        self._fill_limit = limit * 2
        if passed is not None and passed < limit:
            log("filled", vectorizer=queue.vectorizer.name)
        return passed or 0

    async def sweep(self, queue: Queue) -> int:
        """Look through the next rows for what no trigger saw, if a sweep is due; returns how many were passed."""
        started = time.monotonic()
        if self._sweep_after > started:
            return 0
        limit = self._sweep_pace.size
        try:
            swept = await queue.sweep(limit, every=self._sweep_every)
        except HELD_BY_OTHERS:
            # somebody edits a row of this range in an open transaction: take fewer at a time, a little later
            self._sweep_pace = replace(self._sweep_pace, size=max(limit // 2, 1))
            self._sweep_after = started + LOOK_AGAIN_AFTER
            return 0
        if swept is None:
            self._sweep_after = started + min(SWEEP_LOOK_EVERY, self._sweep_every.total_seconds())
            return 0
        self._sweep_pace = self._sweep_pace.after(rows=swept.passed, took=timedelta(seconds=time.monotonic() - started))
        self._swept += swept.queued
        if swept.passed < limit:
            log("swept", vectorizer=queue.vectorizer.name, queued=self._swept)
            self._swept = 0
        return swept.passed
