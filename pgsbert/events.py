"""Log events, not prose: ``settled vectorizer=articles done=64 seconds=0.8``. Never the text of users' rows.

The log is one reader of the events; whoever subscribes, as the metrics do, is told of the same ones.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Observer: TypeAlias = Callable[[str, Mapping[str, object]], None]

from pgsbert.failures import without_values

_LOGGER = logging.getLogger("pgsbert")
_observers: list[Observer] = []


def subscribe(observer: Observer) -> Callable[[], None]:
    """Call ``observer(event, fields)`` for every event, whatever the log's level; returns what ends that."""
    _observers.append(observer)
    return lambda: _observers.remove(observer)


def log(event: str, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event with its fields; a value with blanks is quoted."""
    for observer in _observers:
        observer(event, fields)
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, "%s", " ".join([event, *(f"{name}={_shown(value)}" for name, value in fields.items())]))


def log_traceback(event: str, error: Exception, **fields: object) -> None:
    """Log an error that nobody expected: where it was raised, and of what it says only what quotes no row."""
    shown = RuntimeError(without_values(error)).with_traceback(error.__traceback__)
    fields_shown = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
    _LOGGER.error("%s%s", event, fields_shown, exc_info=shown)


def storable(message: str) -> str:
    """Return a message as PostgreSQL can keep it: at most 2000 characters, no NUL, no half of a surrogate pair."""
    return message[:2000].replace("\0", "").encode("utf-8", "replace").decode()


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
