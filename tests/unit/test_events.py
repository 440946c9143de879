from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgsbert.events import log, storable

if TYPE_CHECKING:
    import pytest


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
