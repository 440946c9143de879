from __future__ import annotations

import logging

import psycopg
import pytest

from pgsbert.events import log, log_traceback, storable


def test_an_event_is_one_line_of_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pgsbert"):
        log("settled", vectorizer="articles", done=64, seconds=0.81234)
    assert caplog.messages == ["settled vectorizer=articles done=64 seconds=0.812"]


def test_a_value_with_blanks_quotes_or_nothing_in_it_is_quoted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pgsbert"):
        log("failed", name="my table", empty="", both="a='b'", lines="a\nb")
    assert caplog.messages == ["failed name='my table' empty='' both=\"a='b'\" lines='a\\nb'"]


def test_an_event_below_the_level_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "pgsbert"):
        log("settled", done=1)
    assert caplog.messages == []


def test_a_message_is_stored_without_what_postgresql_refuses() -> None:
    assert storable("a\0b\ud800c") == "ab?c"
    assert len(storable("x" * 5000)) == 2000


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RuntimeError("a secret"), "RuntimeError"),
        (psycopg.errors.InvalidTextRepresentation("a secret"), "InvalidTextRepresentation 22P02"),
        (psycopg.errors.RaiseException("a secret"), "RaiseException P0001"),
    ],
)
def test_a_traceback_says_where_and_what_and_quotes_no_row(
    caplog: pytest.LogCaptureFixture, error: Exception, shown: str
) -> None:
    try:
        raise error from ValueError("a secret")
    except Exception as raised:
        log_traceback("turn_failed", raised, vectorizer="my table")
    assert caplog.messages == ["turn_failed vectorizer='my table'"]
    assert f"in {test_a_traceback_says_where_and_what_and_quotes_no_row.__name__}" in caplog.text
    assert caplog.text.rstrip().endswith(shown)
    # the line that raised it is shown, and what stands there is no row's
    assert "secret" not in caplog.text.replace('ValueError("a secret")', "")
