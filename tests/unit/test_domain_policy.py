# SPDX-License-Identifier: MIT
"""When tasks are too old, and what a client's number is dialled with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.hours import ALWAYS, DAY, DayHours, OpeningHours, Range
from fastagi.domain.policy import (
    LONGEST_CLOSED,
    CarryOver,
    ExpiryRules,
    dial_string,
)
from fastagi.domain.task import Kind

NEVER: Final = OpeningHours(week=(DayHours(),) * 7)
MONDAY: Final = datetime(2026, 11, 23, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)


def from_eight_to_twelve(*days: int) -> OpeningHours:
    """Open on some days of the week; Monday is 0."""
    return OpeningHours(
        week=tuple(
            DayHours((Range(8 * 60, 12 * 60),) if day in days else ())
            for day in range(7)
        )
    )


def rules(
    hours: OpeningHours,
    carry_over: CarryOver = CarryOver.ALL,
    missed_window: timedelta = HOUR,
) -> ExpiryRules:
    return ExpiryRules(
        request_expiry=2 * HOUR,
        missed_window=missed_window,
        hours=hours,
        carry_over=carry_over,
    )


@pytest.mark.parametrize(
    ("carry_over", "kind", "is_carried"),
    [
        (CarryOver.NONE, Kind.REQUESTED, False),
        (CarryOver.NONE, Kind.MISSED, False),
        (CarryOver.NONE, Kind.MANUAL, True),
        (CarryOver.MISSED, Kind.REQUESTED, False),
        (CarryOver.MISSED, Kind.MISSED, True),
        (CarryOver.MISSED, Kind.MANUAL, True),
        (CarryOver.ALL, Kind.REQUESTED, True),
        (CarryOver.ALL, Kind.MISSED, True),
        (CarryOver.ALL, Kind.MANUAL, True),
    ],
)
def test_a_task_that_is_carried_over_grows_no_older_while_the_queue_is_closed(
    carry_over: CarryOver, kind: Kind, is_carried: bool
) -> None:
    at = MONDAY + timedelta(hours=11, minutes=30)
    lasts = HOUR if kind is Kind.MISSED else 2 * HOUR
    closed = timedelta(hours=20) if is_carried else timedelta()
    asked = rules(from_eight_to_twelve(0, 1), carry_over)
    assert asked.expires_at(kind, at) == at + lasts + closed


@pytest.mark.parametrize(
    ("carry_over", "since"),
    [
        (CarryOver.NONE, MONDAY + timedelta(hours=7, minutes=20)),
        # 20 minutes of this morning, and 40 before it closed on Sunday.
        (CarryOver.MISSED, MONDAY - timedelta(hours=12, minutes=40)),
        (CarryOver.ALL, MONDAY - timedelta(hours=12, minutes=40)),
    ],
)
def test_a_missed_call_of_the_night_is_looked_for_in_the_morning(
    carry_over: CarryOver, since: datetime
) -> None:
    asked = rules(from_eight_to_twelve(6, 0), carry_over)
    assert asked.missed_since(MONDAY + timedelta(hours=8, minutes=20)) == since


@pytest.mark.parametrize(
    ("hours", "window", "back"),
    [
        pytest.param(ALWAYS, HOUR, HOUR, id="always open"),
        pytest.param(NEVER, HOUR, HOUR, id="never open"),
        pytest.param(
            from_eight_to_twelve(0), 5 * HOUR, LONGEST_CLOSED, id="seldom open"
        ),
        pytest.param(
            from_eight_to_twelve(0),
            timedelta(days=20),
            timedelta(days=20),
            id="long window",
        ),
    ],
)
def test_no_missed_call_is_looked_for_further_back_than_makes_sense(
    hours: OpeningHours, window: timedelta, back: timedelta
) -> None:
    now = MONDAY + timedelta(hours=20)
    assert rules(hours, missed_window=window).missed_since(now) == now - back


@given(
    st.sets(st.integers(0, 6)),
    st.integers(0, 7 * DAY),
    st.integers(1, 10 * DAY).map(lambda minutes: timedelta(minutes=minutes)),
)
def test_just_the_missed_calls_that_are_not_too_old_are_looked_for(
    days: set[int], minute: int, window: timedelta
) -> None:
    now = MONDAY + timedelta(minutes=minute)
    asked = rules(from_eight_to_twelve(*days), missed_window=window)
    since = asked.missed_since(now)
    just_after = since + timedelta(seconds=1)
    assert asked.expires_at(Kind.MISSED, just_after) > now
    if since > now - LONGEST_CLOSED:
        assert asked.expires_at(Kind.MISSED, since) <= now


def test_the_number_stands_where_the_template_says() -> None:
    assert dial_string("PJSIP/{number}@trunk", "+4930") == "PJSIP/+4930@trunk"
    assert dial_string("DAHDI/g1/9{number}", "*21#") == "DAHDI/g1/9*21#"


@pytest.mark.parametrize("number", ["", "+", "1,2", "1&2", "{number}", "1\n", "a"])
def test_only_numbers_are_dialled(number: str) -> None:
    with pytest.raises(ValueError, match="no number to dial"):
        dial_string("PJSIP/{number}@trunk", number)


def test_nothing_is_dialled_without_a_channel() -> None:
    with pytest.raises(ValueError, match="nothing to dial"):
        dial_string("", "123")
