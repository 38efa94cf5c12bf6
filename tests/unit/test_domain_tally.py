# SPDX-License-Identifier: MIT
"""Days, hours and counts of the reports."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.tally import (
    BANDS,
    CountedAttempt,
    CountedTask,
    band_of,
    day_of,
    local_day,
    local_days,
    tally_of,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    "Europe/Berlin",
    "America/Havana",  # clocks skip midnight, or show it twice
    "America/Sao_Paulo",
    "Australia/Lord_Howe",  # half an hour
    "Asia/Kathmandu",
    "Pacific/Apia",  # had no 30 December 2011
    "UTC",
]
DAY = local_day(date(2026, 3, 2), BERLIN)


def task(**changes: object) -> CountedTask:
    """Return a task that was completed in the first call, after ten minutes."""
    made = CountedTask(
        kind="requested",
        status="completed",
        reason_code="talked",
        asked_at=DAY.begins_at + 9.5 * 3600,
        attempts=[CountedAttempt("ANSWERED", "PJSIP/ada", 61.5)],
        talk_at=DAY.begins_at + 9.5 * 3600 + 600,
        net_wait_s=540.0,
    )
    return attrs.evolve(made, **changes)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 10, 26), 24),
        ("America/Havana", date(2026, 3, 8), 23),
        ("America/Havana", date(2026, 11, 1), 25),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
        ("Pacific/Apia", date(2011, 12, 30), 0),
    ],
)
def test_a_day_on_which_clocks_are_changed_is_shorter_or_longer(
    zone: str, day: date, hours: float
) -> None:
    found = local_day(day, ZoneInfo(zone))
    assert (found.ends_at - found.begins_at) / 3600 == hours


@given(
    st.sampled_from(ZONES), st.datetimes(datetime(2010, 1, 1), datetime(2030, 12, 30))
)
def test_every_moment_belongs_to_the_day_that_a_calendar_shows(
    name: str, moment: datetime
) -> None:
    zone, at = ZoneInfo(name), moment.replace(tzinfo=UTC).timestamp()
    day = local_day(day_of(at, zone), zone)
    assert day.begins_at <= at < day.ends_at


def test_the_days_of_a_range_follow_each_other_without_a_gap() -> None:
    days = list(local_days(date(2026, 1, 1), date(2026, 12, 31), BERLIN))
    assert len(days) == 365
    ends = [day.ends_at for day in days]
    assert [day.begins_at for day in days][1:] == ends[:-1]


def test_an_hour_that_occurs_twice_counts_as_one() -> None:
    day = local_day(date(2026, 10, 25), BERLIN)
    hours = [2.5, 3.5]  # 02:30 summer time, 02:30 winter time
    tasks = [task(asked_at=day.begins_at + hour * 3600) for hour in hours]
    tally = tally_of(tasks, day)["requested"]
    assert tally["asked_at:6:2"] == 2
    assert tally["asked_at:6:3"] == 0


def test_a_client_counts_once_however_many_attempts_there_were() -> None:
    attempts = [
        CountedAttempt("MEMBER NO ANSWER", "", 0.0),
        CountedAttempt("BUSY", "PJSIP/bob", 0.0),
        CountedAttempt("WITHDRAWN", "", 0.0),
        CountedAttempt("ANSWERED", "PJSIP/ada", 61.5),
    ]
    tally = tally_of([task(attempts=attempts, repeats=2)], DAY)["requested"]
    assert tally["asked"] == tally["reached"] == 1
    assert tally["repeats"] == 2
    # Two calls to the client: an agent who does not answer, and what the service
    # withdraws, are none.
    assert tally["tries"] == tally["tries_of_reached"] == 2
    assert "first_try" not in tally
    assert tally["agent:PJSIP/ada"] == 1
    assert tally["talk_ms:PJSIP/ada"] == 61500
    assert "result:WITHDRAWN" not in tally


def test_a_machine_is_no_success() -> None:
    attempts = [CountedAttempt("MACHINE", "PJSIP/ada", 0.0)]
    failed = task(status="failed", attempts=attempts, talk_at=None, net_wait_s=None)
    tally = tally_of([failed], DAY)["requested"]
    assert tally["failed"] == 1
    assert not tally["reached"]
    assert not any(key.startswith(("agent:", "reached_at:")) for key in tally)


@pytest.mark.parametrize("code", ["taken_back", "same_client"])
def test_a_request_that_was_not_promised_does_not_count(code: str) -> None:
    assert tally_of([task(status="cancelled", reason_code=code)], DAY) == {}
    assert tally_of([task(status="cancelled", reason_code="text")], DAY) != {}


def test_kinds_are_counted_apart() -> None:
    tallies = tally_of([task(), task(kind="missed"), task(kind="missed")], DAY)
    assert {kind: tally["asked"] for kind, tally in tallies.items()} == {
        "requested": 1,
        "missed": 2,
    }


def test_a_wait_is_in_the_first_band_that_is_long_enough() -> None:
    assert list(BANDS) == sorted(set(BANDS))
    assert [band_of(wait_s) for wait_s in (0, 10, 10.1, 1800, 1e9)] == [
        *("10", "10", "20", "1800"),
        "longer",
    ]


@given(st.floats(0, 1e8))
def test_no_wait_is_lost(wait_s: float) -> None:
    counted = task(net_wait_s=wait_s, talk_at=DAY.begins_at + wait_s)
    tally = tally_of([counted], DAY)["requested"]
    assert tally[f"net:{band_of(wait_s)}"] == tally["net_n"] == 1
    assert sum(n for key, n in tally.items() if key.startswith("gross:")) == 1
