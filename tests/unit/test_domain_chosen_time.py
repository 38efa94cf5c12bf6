# SPDX-License-Identifier: MIT
"""Times that somebody chooses: how they are read, and which can be promised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.chosen_time import BadTime, in_zone, read_time, why_not_at
from fastagi.domain.hours import ALWAYS, CLOSED, DayHours, OpeningHours, Range

BERLIN = ZoneInfo("Europe/Berlin")
#: 10:00 on a Friday in Berlin.
NOW = datetime(2026, 11, 27, 9, 0, 0, 250_000, tzinfo=UTC)
#: From Monday to Friday, 09:00 to 17:00.
OFFICE = OpeningHours(
    week=(DayHours((Range(540, 1020),)),) * 5 + (CLOSED,) * 2, zone=BERLIN
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("14:30", "2026-11-27T14:30+01:00"),
        ("9:05", "2026-11-27T09:05+01:00"),
        ("14:30:15", "2026-11-27T14:30:15+01:00"),
        ("today 14:30", "2026-11-27T14:30+01:00"),
        (" Tomorrow  8:00 ", "2026-11-28T08:00+01:00"),
        ("2026-12-01 14:30", "2026-12-01T14:30+01:00"),
        ("2026-12-01T14:30", "2026-12-01T14:30+01:00"),
        ("2026-12-01T14:30Z", "2026-12-01T14:30+00:00"),
        ("2026-12-01T14:30+03:00", "2026-12-01T14:30+03:00"),
        ("2026-12-01 14:30:00 -0500", "2026-12-01T14:30-05:00"),
        ("+2h", "2026-11-27T12:00+01:00"),
        ("+1h30m", "2026-11-27T11:30+01:00"),
        ("+1d", "2026-11-28T10:00+01:00"),
        ("+ 45s", "2026-11-27T10:00:45+01:00"),
    ],
)
def test_time_is_read_in_the_time_zone_of_the_queue(text: str, meant: str) -> None:
    assert read_time(text, NOW, BERLIN) == utc(meant)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
@pytest.mark.parametrize(
    "text",
    [
        "9999-12-31T23:59Z",
        "9999-12-31 23:59",
        "9999-12-31T23:59-01:00",
        "0001-01-01T00:00Z",
        "0001-01-01T00:00",
        "0001-01-01T00:00+01:00",
    ],
)
def test_time_at_the_end_of_the_calendar_is_refused(text: str, zone: str) -> None:
    with pytest.raises(BadTime):
        if why_not := why_not_at(
            read_time(text, NOW, ZoneInfo(zone)), NOW, ALWAYS, ZoneInfo(zone), 7
        ):
            raise BadTime(why_not)


@pytest.mark.parametrize(
    "text",
    [
        "half past two",
        "14",
        "25:00",
        "14:60",
        "2026-02-30 14:30",
        "2026-12-01",
        "+",
        "+2",
        "-2h",
        "2h",
        "2026-12-01T14:30+25:00",
        "0001-01-01 00:00",
        "9999-12-31T23:59-12:00",
        "monday 14:30",
    ],
)
def test_text_that_is_no_time_is_refused_with_the_text_and_what_to_write(
    text: str,
) -> None:
    with pytest.raises(BadTime) as refused:
        read_time(text, NOW, ZoneInfo("Asia/Tokyo"))
    assert repr(text) in str(refused.value)
    assert "14:30" in str(refused.value)


@given(st.text(max_size=30) | st.from_regex(r"[0-9T:+\-Zdhms ]{1,25}", fullmatch=True))
def test_any_text_is_a_time_or_refused(text: str) -> None:
    try:
        at = read_time(text, NOW, BERLIN)
    except BadTime:
        return
    assert at.utcoffset() == timedelta(0)
    assert why_not_at(at, NOW, OFFICE, BERLIN, 7) is not None


def test_time_in_the_hour_that_clocks_skip_is_refused() -> None:
    with pytest.raises(BadTime, match=r"does not exist.*an hour earlier or later"):
        read_time("2027-03-28 02:30", NOW, BERLIN)


def test_time_in_the_hour_that_comes_twice_must_say_which_one() -> None:
    with pytest.raises(BadTime) as refused:
        read_time("2027-10-31 02:30", NOW, BERLIN)
    words = str(refused.value)
    for written in ("2027-10-31T02:30+0200", "2027-10-31T02:30+0100"):
        assert written in words
        assert read_time(written, NOW, BERLIN) == utc(written)


def test_same_clock_is_another_time_after_clocks_are_changed() -> None:
    before = read_time("2027-03-27 12:00", NOW, BERLIN)
    after = read_time("2027-03-28 12:00", NOW, BERLIN)
    assert after - before == timedelta(hours=23)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "9:30",
            "is in the past (it is Friday 2026-11-27 10:00 (Europe/Berlin)): choose"
            " a later time, such as Saturday 2026-11-28 09:30",
        ),
        ("2026-11-20 12:00", "choose a later time"),
        (
            "18:00",
            "is closed at Friday 2026-11-27 18:00 (Europe/Berlin) and opens at"
            " Monday 2026-11-30 09:00",
        ),
        ("tomorrow 12:00", "choose a time within its opening hours"),
        ("17:00", "is closed"),
        ("2026-12-05 12:00", "as times until 2026-12-04 can be chosen"),
        ("+9000d", "raise chosen_time.days_ahead"),
        ("14:30", ""),
        ("16:59", ""),
        ("2026-12-04 16:59", ""),
    ],
)
def test_time_that_can_not_be_promised_is_refused_with_the_remedy(
    text: str, says: str
) -> None:
    at = read_time(text, NOW, BERLIN)
    words = why_not_at(at, NOW, OFFICE, BERLIN, 7)
    assert says in words
    assert bool(says) == bool(words)


def test_queue_that_never_opens_takes_no_time() -> None:
    never = OpeningHours(week=(CLOSED,) * 7, zone=BERLIN)
    at = NOW + timedelta(hours=1)
    assert "not known to open" in why_not_at(at, NOW, never, BERLIN, 7)
    assert not why_not_at(at, NOW, ALWAYS, BERLIN, 7)


def test_time_is_said_with_its_zone() -> None:
    assert in_zone(NOW, BERLIN) == "Friday 2026-11-27 10:00 (Europe/Berlin)"
