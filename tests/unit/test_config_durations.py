# SPDX-License-Identifier: MIT
from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.config.durations import format_duration, parse_duration
from fastagi.config.errors import BadValue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5s", 5),
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86400),
        ("1h30m", 5400),
        ("1d1h1m1s", 90061),
        ("90m", 5400),
        ("0s", 0),
        ("0", 0),
        (0, 0),
        ("007s", 7),
    ],
)
def test_duration_is_read(text: object, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "5", "5S", "-5s", "5 s", " 5s", "5s ", "5s\n", "1.5h", "30m1h"),
        *("5s5s", "\N{ARABIC-INDIC DIGIT FIVE}s", "5w", "1e3s", "0x5s", "10:00"),
        "9" * 5000 + "s",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        parse_duration(text)


@pytest.mark.parametrize("value", [5, -1, True, False, None, 1.5, [], {}, b"5s"])
def test_only_text_and_zero_are_durations(value: object) -> None:
    with pytest.raises(BadValue):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("10 seconds", "write 10s"),
        ("10sec", "write 10s"),
        ("5 Min", "write 5m"),
        ("2 hours", "write 2h"),
        ("1 day", "write 1d"),
        ("1 month", ""),
        ("1mo", ""),
        ("500ms", ""),
    ],
)
def test_remedy_is_given_when_the_meaning_is_plain(text: str, remedy: str) -> None:
    with pytest.raises(BadValue) as raised:
        parse_duration(text)
    assert raised.value.problem.remedy == remedy


def test_more_than_a_century_is_refused() -> None:
    assert parse_duration("36500d") == timedelta(days=36500)
    with pytest.raises(BadValue, match="hundred years"):
        parse_duration("36500d1s")


@given(st.integers(min_value=0, max_value=36_500 * 86_400))
def test_what_is_written_is_read_back(seconds: int) -> None:
    duration = timedelta(seconds=seconds)
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0"), (1, "1s"), (60, "1m"), (90, "1m30s"), (5400, "1h30m"), (86400, "1d")],
)
def test_duration_is_written(seconds: int, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text
