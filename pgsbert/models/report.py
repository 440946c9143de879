"""Load quietly: no progress bars, no chatter, but never a model with parts that were not in its files."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pgsbert.errors import ModelLoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

LIBRARIES = ("transformers", "sentence_transformers")
# transformers 5 logs a table of keys, 4 a list of them; both call a random start "newly initialized"
MISSING = re.compile(r"^([\w.{},\- ]+?)\s*\|[^|\n]*MISSING|'([\w.]+)'", re.MULTILINE)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def quiet_loading(where: object, *, optional: tuple[str, ...] = ()) -> Iterator[None]:
    """Keep what the libraries log while loading from ``where`` and pass it on at DEBUG.

    Raises ModelLoadError if weights were missing and therefore random (each process would compute other
    numbers), except those whose name contains one of ``optional``.
    """
    from transformers.utils import logging as switches  # its functions carry no types

    bars = switches.is_progress_bar_enabled()
    switches.disable_progress_bar()  # type: ignore[no-untyped-call]
    collector = _Collector()
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    before = [(one, one.handlers, one.level, one.propagate) for one in loggers]
    for one in loggers:
        one.handlers, one.propagate = [collector], False
        one.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, handlers, level, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)
        if bars:
            switches.enable_progress_bar()  # type: ignore[no-untyped-call]
    _judge(collector.messages, where, optional)


def _judge(messages: list[str], where: object, optional: tuple[str, ...]) -> None:
    for message in messages:
        log.debug("while loading %s: %s", where, message)
        if "newly initialized" not in message:
            continue
        random = [one or other for one, other in MISSING.findall(message)]
        if lost := [name for name in random if not any(part in name for part in optional)]:
            raise ModelLoadError(
                f"The weights in {where} lack {', '.join(lost[:3])}: they would start at random. "
                "Fetch the model again, or give the one that was trained for this task."
            )
