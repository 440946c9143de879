from __future__ import annotations

import io
from types import SimpleNamespace

import psycopg
import pytest
from psycopg import errors

from pgsbert.errors import ModelOutputError
from pgsbert.failures import is_about_row, is_out_of_memory, is_permanent


class DeviceMemoryError(RuntimeError):
    """As torch.OutOfMemoryError, which is a RuntimeError too."""


class InTrigger(psycopg.Error):
    """An error of PostgreSQL that was raised by a trigger's function."""

    diag = SimpleNamespace(context="PL/pgSQL function audit() line 1 at RAISE")  # type: ignore[assignment]

    def __init__(self, sqlstate: str) -> None:
        super().__init__()
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    "error",
    [
        TypeError(),
        ValueError(),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        IndexError("index out of range in self"),
        KeyError("token"),
    ],
)
def test_what_the_model_cannot_take_is_permanent(error: Exception) -> None:
    assert is_permanent(error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(28, "No space left on device"),
        TimeoutError(),
        RuntimeError("something of the device"),
        DeviceMemoryError(),
        FloatingPointError("NaN"),
        ModelOutputError("NaN"),
        SystemExit(1),
        io.UnsupportedOperation("both an OSError and a ValueError"),
    ],
)
def test_what_may_pass_is_tried_again(error: BaseException) -> None:
    assert not is_permanent(error)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_exhausted_memory_is_known_by_its_words(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"))


@pytest.mark.parametrize(
    ("sqlstate", "permanent", "about_row"),
    [
        ("22001", True, True),  # value too long
        ("23514", True, True),  # a CHECK
        ("23505", True, True),  # a UNIQUE key
        ("54000", True, True),  # the row with its vector is too big
        ("P0001", True, True),  # RAISE EXCEPTION
        ("40P01", False, False),  # deadlock
        ("55P03", False, False),  # lock not available
        ("57014", False, False),  # query canceled
        ("58030", False, True),  # input/output error, perhaps of one block
        ("XX001", False, True),  # a damaged page
        ("53100", False, False),  # disk full
        ("25006", False, False),  # read-only
        ("42501", True, False),  # the worker lost its right: so it is for every row
        ("42P01", True, False),  # the table was renamed
    ],
)
def test_an_error_of_postgresql_is_told_by_its_class(sqlstate: str, permanent: bool, about_row: bool) -> None:
    error = errors.lookup(sqlstate)()
    assert (is_permanent(error), is_about_row(error)) == (permanent, about_row)


def test_what_a_trigger_lacks_is_about_the_row_that_it_refused() -> None:
    assert not is_about_row(errors.UndefinedTable())
    assert is_about_row(InTrigger("42P01"))
    assert is_permanent(InTrigger("42P01"))
    assert is_about_row(InTrigger("53100"))
    # a wait for a lock has a context too: the index tuple that it was about
    assert not is_about_row(InTrigger("55P03"))


def test_an_error_of_the_driver_alone_is_no_rows() -> None:
    assert not is_about_row(psycopg.OperationalError("the connection is closed"))
    assert not is_permanent(psycopg.OperationalError("the connection is closed"))
