"""Tell what is wrong with one row from what is wrong around it, and what stays wrong from what may pass.

Pure: only the error is looked at. Errors of PostgreSQL are known by their SQLSTATE, whose first two characters are
its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

TRANSIENT = {
    MemoryError: "memory may be free again",
    OSError: "a file, a device or a network may be back; a timeout is one of these",
}
PERMANENT = {
    TypeError: "the model's code cannot take this text, now or later",
    ValueError: "the same; an error of Unicode is one of these",
    LookupError: "a token that the model has no row for",
}
TRANSIENT_CLASSES = {
    "08": "the connection was lost",
    "25": "the server is read-only for now",
    "40": "the transaction met another one",
    "53": "no disk, memory or connection was left",
    "55": "somebody holds a lock",
    "57": "an operator stopped it",
    "58": "the system below PostgreSQL failed",
    "XX": "PostgreSQL itself failed, perhaps on one damaged page",
}
NOT_OF_A_ROW = {
    "08": "the connection was lost",
    "0A": "the server cannot do what was asked",
    "25": "the server is read-only for now",
    "28": "the worker's role may not come in",
    "3F": "a schema is gone",
    "40": "the transaction met another one",
    "42": "a right, a table or a column is missing",
    "53": "no disk, memory or connection was left",
    "55": "somebody holds a lock",
    "57": "an operator stopped it",
}

OUT_OF_MEMORY = ("out of memory", "allocat", "bad_alloc")  # as words of torch, ONNX Runtime and C++

HELD = {
    "40001": "another transaction changed it",
    "40P01": "each waited for the other",
    "55P03": "somebody holds a lock",
    "57014": "it took longer than it may",
}


def is_permanent(error: BaseException) -> bool:
    """Return whether the same text or row would fail in the same way again, while all others do not.

    What is not known to stay wrong may pass: torch says RuntimeError when the memory of a device is full.
    """
    sqlstate = _sqlstate(error)
    if sqlstate is not None:
        return sqlstate[:2] not in TRANSIENT_CLASSES
    # some errors are both: UnsupportedOperation is an OSError and a ValueError
    return isinstance(error, tuple(PERMANENT)) and not isinstance(error, tuple(TRANSIENT))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory did not suffice; on a CPU torch and ONNX Runtime only say so in a RuntimeError's text."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(word in text for word in OUT_OF_MEMORY)


def is_about_row(error: BaseException) -> bool:
    """Return whether an error of PostgreSQL is about the row read or written, and not about the whole table."""
    sqlstate = _sqlstate(error)
    if sqlstate is None or sqlstate in HELD:
        return False
    # with a context it is not our statement that lacks something, but a trigger or a cast of the table; or
    # pgsbert.check_names
    is_ours = _context(error) is None or _diagnosis(error, "schema_name") == "pgsbert"
    return sqlstate[:2] not in NOT_OF_A_ROW or not is_ours


def without_values(error: BaseException) -> str:
    """Return what a log may say of an error: its class, and its message where no row's text can be in it.

    Left out are DETAIL, which quotes rows; messages of functions and triggers, which are free to; messages about
    data, which quote what they refuse; and whatever is not PostgreSQL's.
    """
    sqlstate = _sqlstate(error)
    if sqlstate is None:
        return type(error).__name__
    named = f"{type(error).__name__} {sqlstate}"
    if sqlstate[:2] in ("22", "P0") or _context(error) is not None:
        return named
    return f"{named}: {_diagnosis(error, 'message_primary')}"


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error, "sqlstate", None)


def _context(error: BaseException) -> str | None:
    return _diagnosis(error, "context")


def _diagnosis(error: BaseException, part: str) -> str | None:
    found: str | None = getattr(getattr(error, "diag", None), part, None)
    return found
