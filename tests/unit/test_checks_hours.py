# SPDX-License-Identifier: MIT
"""Findings of ``check`` about opening hours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from fastagi.checks.hours import check_hours, have_hours
from fastagi.config import queue_layers
from tests.harness.checking import only, settings, told

_NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
_WORKDAYS = dict.fromkeys(
    ("monday", "tuesday", "wednesday", "thursday", "friday"), "09:00-17:00"
)


def found(home: Path, hours: dict[str, Any], **queue: Any) -> list[str]:
    """Return the findings about a queue with these hours."""
    hours = {"time_zone": "Europe/Berlin", **hours}
    given = settings(home, queues={"support": {"opening_hours": hours, **queue}})
    assert have_hours(given)
    return told(check_hours(given, _NOW))


def test_usual_hours_are_right(tmp_path: Path) -> None:
    assert found(tmp_path, {**_WORKDAYS, "carry_over": "all"}) == ["ok"]
    assert found(tmp_path, _WORKDAYS, request_expiry="17h") == ["ok"]


def test_a_queue_that_is_always_open_is_not_looked_at(tmp_path: Path) -> None:
    given = settings(tmp_path)
    assert not have_hours(given)
    assert told(check_hours(given, _NOW)) == ["ok"]


def test_hours_over_midnight_that_are_longer_than_half_a_day(tmp_path: Path) -> None:
    hours = dict.fromkeys(("monday", "friday"), "17:00-08:30")
    hours["sunday"] = "10:00-11:00, 13:00-09:00"
    first, second = found(
        tmp_path, {**hours, "days": {"12-24": "17:00-08:30"}, "carry_over": "all"}
    )
    assert first == (
        "warning: queues.support.opening_hours: 17:00-08:30 (monday, friday, 12-24)"
        " closes on the next day at 08:30: is that meant? - if not, write 08:30-17:00;"
        " if so, 17:00-24:00, and 00:00-08:30 on the next day, is the same without"
        " this warning"
    )
    assert "13:00-09:00 (sunday) closes on the next day at 09:00" in second


@pytest.mark.parametrize(
    "hours", ["22:00-06:00", "20:00-08:00", "10:00-02:00", "17:00-24:00"]
)
def test_hours_over_midnight_that_people_mean(hours: str, tmp_path: Path) -> None:
    assert found(tmp_path, {"monday": hours, "carry_over": "all"}) == ["ok"]


def test_hours_over_midnight_that_are_split(tmp_path: Path) -> None:
    split = {"monday": "17:00-24:00", "tuesday": "00:00-08:30", "carry_over": "all"}
    assert found(tmp_path, split) == ["ok"]


@pytest.mark.parametrize(
    "hours",
    [
        {"monday": "closed"},
        {"monday": "closed", "days": {"2026-01-05": "09:00-17:00"}},
    ],
    ids=["at all", "again"],
)
def test_a_queue_that_never_opens(hours: dict[str, Any], tmp_path: Path) -> None:
    (finding,) = found(tmp_path, hours)
    assert finding == (
        "fault: queues.support.opening_hours: the queue is not open within 400 days:"
        " nobody is called back - give it hours, or write enabled: false if it is"
        " always open"
    )


def test_requests_that_last_over_no_night(tmp_path: Path) -> None:
    (finding,) = found(tmp_path, _WORKDAYS, request_expiry="16h")
    assert finding.startswith(
        "warning: queues.support.request_expiry: a request that is not called back"
        " before the queue closes is too old when it opens again - write"
    )


def test_requests_that_last_over_a_break_at_noon(tmp_path: Path) -> None:
    hours = {**_WORKDAYS, "monday": "09:00-12:00, 13:00-17:00"}
    assert found(tmp_path, hours, request_expiry="2h") == ["ok"]


def test_holidays_of_a_year_that_is_over(tmp_path: Path) -> None:
    days = {"2026-04-03": "closed", "2026-11-24": "closed", "12-25": "closed"}
    (finding,) = found(tmp_path, {**_WORKDAYS, "days": days, "carry_over": "all"})
    assert finding.startswith(
        "warning: queues.support.opening_hours.days: the last day of a single year,"
        " 2026-11-24, is over - add"
    )
    days["2026-11-25"] = "closed"
    assert found(tmp_path, {**_WORKDAYS, "days": days, "carry_over": "all"}) == ["ok"]


def test_hours_in_utc_that_nobody_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = {**_WORKDAYS, "carry_over": "all"}
    monkeypatch.setattr(queue_layers, "machine_zone", lambda: ZoneInfo("UTC"))
    queue_layers._opening_hours.cache_clear()
    queues = {"support": {"opening_hours": hours}}
    finding = only(check_hours(settings(tmp_path, queues=queues), _NOW))
    assert finding.startswith(
        "warning: queues.support.opening_hours: the hours are in UTC, the time zone of"
        " this machine - write time_zone"
    )
    assert found(tmp_path, {**hours, "time_zone": "UTC"}) == ["ok"]
