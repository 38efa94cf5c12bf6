# SPDX-License-Identifier: MIT
"""Hiding digits of numbers in logs, and everywhere by one rule."""

from __future__ import annotations

import io
import logging
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted.logger import LogLevel

from fastagi.masking import hide_in_log
from fastagi.runtime.logs import LineObserver
from fastagi.web.logs import Lines
from fastagi.web.masking import mask, masked
from fastagi.web.settings import WebLogSettings


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("callback to +49 (30) 123456", "callback to +49 (3*) ******"),
        ("missed: 0301234567, again", "missed: 030*******, again"),
        ("12345", "12***"),
        ("1234 is an extension", "1234 is an extension"),
        ("channel 1764424980.17", "channel 1764424980.17"),
        ("callback-1764424980-ab12", "callback-1764424980-ab12"),
    ],
)
def test_log_shows_the_first_digits_of_a_number_at_most(text: str, shown: str) -> None:
    assert hide_in_log(text) == shown


@given(st.from_regex(r"\+?[0-9]([ /-]?[0-9]){4,20}", fullmatch=True))
def test_log_and_console_never_show_the_whole_number_together(number: str) -> None:
    for console in (mask(number), masked(f"to {number}")[len("to ") :]):
        pairs = list(zip(hide_in_log(number), console, number, strict=True))
        digits = [pair for pair in pairs if pair[2].isdigit()]
        hidden = [not (log.isdigit() or shown.isdigit()) for log, shown, _ in digits]
        assert hidden[-3:] == [True] * 3


def test_log_of_the_service_and_of_the_web_process_hide_the_same_digits() -> None:
    out = io.StringIO()
    observer = LineObserver(out, as_json=False, mask_numbers=True)
    event = {"log_format": "to {number}", "number": "+4930123456"}
    observer({**event, "log_time": time.time(), "log_level": LogLevel.info})
    record = logging.makeLogRecord({"msg": "to +4930123456"})
    line = Lines(WebLogSettings(mask_numbers=True)).format(record)
    assert out.getvalue().split()[-2:] == line.split()[-2:] == ["to", "+493*******"]


def test_log_that_hides_digits_shows_times_as_the_message_formats_them() -> None:
    out = io.StringIO()
    event = {
        "log_format": "{number} was erased by {at:%Y-%m-%d %H:%M} UTC",
        "log_time": time.time(),
        "log_level": LogLevel.warn,
        "number": "+4930123456",
        "at": datetime(2026, 11, 30, 9, 5, tzinfo=UTC),
    }
    LineObserver(out, as_json=False, mask_numbers=True)(event)
    assert out.getvalue().endswith("+493******* was erased by 2026-11-30 09:05 UTC\n")
