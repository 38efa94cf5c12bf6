# SPDX-License-Identifier: MIT
"""The slots of a queue: the times that a caller may choose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.hours import ALWAYS, CLOSED, DayHours, OpeningHours, Range
from fastagi.domain.slots import Slot, SlotRules

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name)
    for name in (
        "UTC",
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
    )
]
MINUTE = timedelta(minutes=1)
LENGTHS = [10, 15, 20, 30, 60, 90, 120, 180, 240]


def shown(found: list[Slot], zone: ZoneInfo = BERLIN) -> list[str]:
    return [f"{slot.begins_at.astimezone(zone):%a %H:%M}" for slot in found]


def rules(
    hours: OpeningHours,
    zone: ZoneInfo = BERLIN,
    length_min: int = 30,
    days_ahead: int = 0,
    per_slot: int = 1,
) -> SlotRules:
    return SlotRules(
        hours=hours,
        zone=zone,
        length=length_min * MINUTE,
        per_slot=per_slot,
        days_ahead=days_ahead,
    )


def utc(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def of(hours: str, now: str, length_min: int = 30, days_ahead: int = 0) -> list[str]:
    """Return the slots of a queue with these hours on each day, in Berlin."""
    ranges = []
    for text in hours.split():
        begin, end = (60 * int(clock[:2]) + int(clock[3:]) for clock in text.split("-"))
        ranges.append(Range(begin, end))
    week = (DayHours(tuple(ranges)),) * 7
    chosen = rules(
        OpeningHours(week=week, zone=BERLIN),
        length_min=length_min,
        days_ahead=days_ahead,
    )
    return shown(list(chosen.slots(utc(now))))


@pytest.mark.parametrize(
    ("hours", "now", "expected"),
    [
        ("09:00-10:30", "2026-11-24 08:00", ["Tue 09:00", "Tue 09:30", "Tue 10:00"]),
        # A slot that has begun is over for callers.
        ("09:00-10:30", "2026-11-24 09:30", ["Tue 10:00"]),
        # Neither a slot that begins before the opening, nor one that ends too late.
        ("09:10-10:20", "2026-11-24 08:00", ["Tue 09:30"]),
        # Nor one over a break.
        ("09:00-09:45 09:50-10:30", "2026-11-24 08:00", ["Tue 09:00", "Tue 10:00"]),
        ("09:00-10:30", "2026-11-24 10:15", []),
    ],
)
def test_slots_are_within_the_opening_hours(
    hours: str, now: str, expected: list[str]
) -> None:
    assert of(hours, now) == expected


def test_last_day_is_counted_from_today() -> None:
    found = of("09:00-10:00", "2026-11-24 09:40", 60, days_ahead=2)
    assert found == ["Wed 09:00", "Thu 09:00"]


def test_skipped_hour_has_no_slots() -> None:
    found = of("01:00-04:00", "2027-03-28 00:30", 30)
    assert found == ["Sun 01:00", "Sun 01:30", "Sun 03:00", "Sun 03:30"]


@pytest.mark.parametrize(
    ("length_min", "expected"),
    [
        # 03:00 is two hours after midnight.
        (180, ["00:00 for 2:00:00", "03:00 for 3:00:00"]),
        (240, ["00:00 for 3:00:00", "04:00 for 4:00:00"]),
        # There is no 02:15.
        (45, ["01:30 for 0:30:00", "03:00 for 0:45:00"]),
        # There is no 02:00.
        (120, ["00:00 for 2:00:00", "04:00 for 2:00:00"]),
    ],
)
def test_slot_over_the_skipped_hour_ends_when_the_next_one_begins(
    length_min: int, expected: list[str]
) -> None:
    now = utc("2027-03-27 23:59") if length_min > 45 else utc("2027-03-28 01:29")
    found = list(rules(ALWAYS, length_min=length_min, days_ahead=1).slots(now))
    assert [
        f"{slot.begins_at.astimezone(BERLIN):%H:%M} for {slot.ends_at - slot.begins_at}"
        for slot in found[:2]
    ] == expected


def test_repeated_hour_has_slots_once() -> None:
    found = of("01:30-03:30", "2027-10-31 00:30", 30)
    assert found == ["Sun 01:30", "Sun 02:00", "Sun 02:30", "Sun 03:00"]


@given(
    now=st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)),
    zone=st.sampled_from(ZONES),
    length_min=st.sampled_from(LENGTHS),
    begin=st.integers(0, 1439),
    lasts=st.integers(1, 1440),
    closed_day=st.integers(0, 6),
    days_ahead=st.integers(0, 2),
)
def test_any_slot_is_open_ahead_in_order_and_shown_by_a_clock(
    now: datetime,
    zone: ZoneInfo,
    length_min: int,
    begin: int,
    lasts: int,
    closed_day: int,
    days_ahead: int,
) -> None:
    now = now.replace(tzinfo=UTC)
    day = DayHours((Range(begin, begin + lasts),))
    week = tuple(CLOSED if number == closed_day else day for number in range(7))
    hours = OpeningHours(week=week, zone=zone)
    chosen = rules(hours, zone, length_min, days_ahead)
    found = list(chosen.slots(now))
    today = now.astimezone(zone).date()
    for slot in found:
        local = slot.begins_at.astimezone(zone)
        assert now < slot.begins_at
        assert chosen.may_begin(slot, now)
        assert not chosen.may_begin(slot, slot.begins_at)
        lasts = slot.ends_at - slot.begins_at
        skipped = slot.ends_at.astimezone(zone).utcoffset() != local.utcoffset()
        assert lasts == length_min * MINUTE or (skipped and lasts < length_min * MINUTE)
        assert (60 * local.hour + local.minute) % length_min == local.second == 0
        assert 0 <= (local.date() - today).days <= days_ahead
        assert all(
            hours.is_open(slot.begins_at + minute * MINUTE)
            for minute in range(lasts // MINUTE)
        )
    assert all(a.ends_at <= b.begins_at for a, b in pairwise(found))
    readings = [slot.begins_at.astimezone(zone).replace(tzinfo=None) for slot in found]
    assert len(set(readings)) == len(readings)


def test_queue_that_is_always_open_has_slots_all_day() -> None:
    now = utc("2026-11-24 00:00")
    found = list(rules(ALWAYS, length_min=60, days_ahead=1).slots(now))
    assert len(found) == 47


def test_slot_is_free_for_as_many_clients_as_may_choose_it() -> None:
    begin = utc("2026-11-24 09:00")
    chosen = [begin - MINUTE, begin, begin + 29 * MINUTE, begin + 30 * MINUTE]
    now = begin - MINUTE
    slots = rules(ALWAYS, per_slot=2)
    assert shown(slots.free(now, chosen))[:2] == ["Tue 09:30", "Tue 10:00"]
    slots = rules(ALWAYS, per_slot=3)
    assert shown(slots.free(now, chosen))[:2] == ["Tue 09:00", "Tue 09:30"]


def test_slot_ends_with_the_opening_hours_that_have_changed_since() -> None:
    begin = utc("2026-11-24 09:00")
    slot = Slot(begin, begin + 30 * MINUTE)
    week = (DayHours((Range(9 * 60, 9 * 60 + 29),)),) * 7
    hours = OpeningHours(week=week, zone=BERLIN)
    assert not rules(hours).may_begin(slot, begin - MINUTE)
    assert rules(ALWAYS).may_begin(slot, begin - MINUTE)
