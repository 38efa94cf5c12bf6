# SPDX-License-Identifier: MIT
"""Checks for opening hours that are valid but probably not intended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import evolve

from fastagi.checks.finding import Notes
from fastagi.config.durations import format_duration
from fastagi.config.queue_layers import DAYS_OF_WEEK, QueueSettings
from fastagi.config.sections import Settings
from fastagi.domain.hours import DAY, HORIZON, Range
from fastagi.domain.task import Kind

#: Every night and weekend of an ordinary week is within it.
_SOME_NIGHTS: Final = timedelta(days=8)
#: The days in which there must be a slot.
_SLOT_DAYS: Final = 14


def have_hours(settings: Settings) -> bool:
    """Whether any queue ever closes."""
    return any(queue.opening_hours.in_use for queue in settings.queues.values())


def check_hours(settings: Settings, now: datetime) -> Notes:
    """Check the hours of each queue from now on."""
    notes = Notes("opening hours")
    for queue in settings.queues.values():
        if not queue.opening_hours.in_use:
            continue
        if queue.hours.next_opening(now) is None:
            notes.fault(
                _place(queue),
                f"the queue is not open within {HORIZON.days} days: nobody is called"
                " back",
                "give it hours, or write enabled: false if it is always open",
            )
            continue
        if not _lasts(queue, now):
            notes.warn(
                f"queues.{queue.name}.request_expiry",
                "a request that is not called back before the queue closes is too old"
                " when it opens again",
                "write carry_over: all under opening_hours, or a longer request_expiry",
            )
        _check_slots(queue, now, notes)
        _check_nights(queue, notes)
        _check_days(queue, now, notes)
        if queue.opening_hours.time_zone is None and _is_utc(queue):
            notes.warn(
                _place(queue),
                "the hours are in UTC, the time zone of this machine",
                "write time_zone, e.g. time_zone: Europe/Berlin",
            )
    return notes


def _place(queue: QueueSettings) -> str:
    return f"queues.{queue.name}.opening_hours"


def _lasts(queue: QueueSettings, now: datetime) -> bool:
    """Whether a request can survive at least one of the coming nights."""
    hours, end = queue.hours, now + _SOME_NIGHTS
    closes, found = hours.next_closing(now), False
    while closes is not None and closes < end:
        found = True
        opens = hours.next_opening(closes)
        if opens is None:
            break
        if queue.expiry_rules.expires_at(Kind.REQUESTED, closes) > opens:
            return True
        closes = hours.next_closing(opens)
    return not found


def _check_slots(queue: QueueSettings, now: datetime, notes: Notes) -> None:
    """Check that the hours are long enough for callers to choose a time."""
    choices = queue.choices
    rules = evolve(queue.slot_rules, days_ahead=_SLOT_DAYS)
    if choices.times and next(rules.slots(now), None) is None:
        length = format_duration(choices.slot_length)
        notes.warn(
            f"queues.{queue.name}.choices.slot_length",
            f"callers can choose no time: in the next {_SLOT_DAYS} days the queue is"
            f" never open for a whole slot of {length}",
            "write a shorter slot_length, such as 10m, or longer opening_hours",
        )


def _check_nights(queue: QueueSettings, notes: Notes) -> None:
    """Look for ranges whose times are probably the wrong way round.

    Such a range begins after noon and passes midnight, and is longer than half a day.
    """
    names = dict(zip(DAYS_OF_WEEK, queue.hours.week, strict=True))
    names |= {str(day): hours for day, hours in queue.hours.days.items()}
    days: dict[Range, list[str]] = {}
    for name, hours in names.items():
        for one in hours.ranges:
            if one.begin >= DAY // 2 and one.end > max(DAY, one.begin + DAY // 2):
                days.setdefault(one, []).append(name)
    for one, found in days.items():
        begin, _, end = str(one).partition("-")
        notes.warn(
            _place(queue),
            f"{one} ({', '.join(found)}) closes on the next day at {end}: is that"
            " meant?",
            f"if not, write {end}-{begin}; if so, {begin}-24:00, and 00:00-{end} on"
            " the next day, is the same without this warning",
        )


def _check_days(queue: QueueSettings, now: datetime, notes: Notes) -> None:
    of_one_year = [str(day) for day in queue.opening_hours.days if day.year]
    today = now.astimezone(queue.hours.zone).date().isoformat()
    if of_one_year and max(of_one_year) < today:
        notes.warn(
            f"{_place(queue)}.days",
            f"the last day of a single year, {max(of_one_year)}, is over",
            "add those to come, such as holidays that move; or delete the old ones",
        )


def _is_utc(queue: QueueSettings) -> bool:
    zone = queue.hours.zone
    summer, winter = (datetime(2026, month, 1, tzinfo=UTC) for month in (7, 1))
    return not any(at.astimezone(zone).utcoffset() for at in (summer, winter))
