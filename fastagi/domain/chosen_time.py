# SPDX-License-Identifier: MIT
"""Parses times that somebody chooses for a callback, and decides whether they fit.

The current time, the zone and the opening hours are arguments. Times without a zone in
the text are local times of the queue's zone.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from fastagi.domain.hours import OpeningHours
from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.errors import CallbackError

_ONE_DAY: Final = timedelta(days=1)
_AFTER: Final = re.compile(r"\+ ?" + "".join(f"(?:([0-9]{{1,4}}){u})?" for u in "dhms"))
_LOCAL: Final = re.compile(
    r"(?:(?P<day>today|tomorrow|[0-9]{4}-[0-9]{2}-[0-9]{2})[ T]+)?"
    r"(?P<clock>[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)"
    r"(?P<offset> ?(?:Z|[+-][0-9]{2}:?[0-9]{2}))?",
    re.IGNORECASE,
)
_FORMS: Final = (
    "write 14:30, 'tomorrow 14:30', '2026-12-01 14:30', 2026-12-01T14:30+01:00, or +2h"
    " for two hours from now"
)


class BadTime(CallbackError):
    """A text is no time, or no callback can be placed at that time."""

    code = "bad-time"


def waits_for(chosen_at: datetime, cause: Reason) -> Reason:
    """Return the reason of a task that waits for a chosen time.

    Args:
        chosen_at: the time.
        cause: how the task came to this time.
    """
    return because(
        Code.WAITS_FOR_CHOSEN_TIME, cause=cause, chosen_at=utc_minute(chosen_at)
    )


def read_time(text: str, now: datetime, zone: tzinfo) -> datetime:
    """Return the time, in UTC, that a text means.

    A time without a day is one of today. A day in ``+1d`` has 24 hours.

    Raises:
        BadTime: the text is no time, or the local time occurs never or twice; the
            message says what to write.
    """
    tidy = text.strip()
    if (after := _AFTER.fullmatch(tidy)) and any(after.groups()):
        days, hours, minutes, seconds = (int(number or 0) for number in after.groups())
        span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return now.replace(microsecond=0) + span
    found = _LOCAL.fullmatch(tidy)
    if found is None:
        raise BadTime(f"{text!r} is no time: {_FORMS}")
    try:
        day = _day(found["day"], now.astimezone(zone).date())
        written = found["clock"]
        clock = time.fromisoformat(f"0{written}" if written[1] == ":" else written)
    except ValueError:
        raise BadTime(
            f"{text!r} is no time, as there is no such day or time of the day: {_FORMS}"
        ) from None
    local = datetime.combine(day, clock)
    if found["offset"]:
        return _with_offset(local, found["offset"].strip(), zone, text)
    return _of_wall_clock(local, zone, text)


def _day(word: str | None, today: date) -> date:
    match (word or "today").lower():
        case "today":
            return today
        case "tomorrow":
            return today + _ONE_DAY
        case written:
            return date.fromisoformat(written)


def _with_offset(local: datetime, offset: str, zone: tzinfo, text: str) -> datetime:
    try:
        at = datetime.strptime(
            f"{local.isoformat()}{offset.upper()}", "%Y-%m-%dT%H:%M:%S%z"
        ).astimezone(UTC)
        # Messages show it in the zone of the queue.
        at.astimezone(zone)
    except ValueError:
        raise BadTime(
            f"{text!r} is no time, because of the offset {offset}: {_FORMS}"
        ) from None
    except OverflowError:
        raise BadTime(_too_far_away(text)) from None
    return at


def _of_wall_clock(local: datetime, zone: tzinfo, text: str) -> datetime:
    """Return the moment of a local time."""
    try:
        first, second = (
            local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)
        )
        shown = first.astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        raise BadTime(_too_far_away(text)) from None
    if first == second:
        return first
    if shown != local:
        raise BadTime(
            f"{text!r} does not exist: clocks in {zone} are set forward then; choose a"
            " time an hour earlier or later"
        )
    early, late = (
        f"{at.astimezone(zone):%Y-%m-%dT%H:%M%z}" for at in sorted((first, second))
    )
    raise BadTime(
        f"{text!r} occurs twice, as clocks in {zone} are set back then: write {early}"
        f" or {late}"
    )


def _too_far_away(text: str) -> str:
    return f"{text!r} is too far away: {_FORMS}"


def why_not_at(
    at: datetime, now: datetime, hours: OpeningHours, zone: tzinfo, days_ahead: int
) -> str:
    """Return why no callback can be promised for a time, with the remedy; or "".

    Args:
        at: the time.
        now: the current time.
        hours: the opening hours of the queue.
        zone: the time zone in which the times of the queue are said.
        days_ahead: maximum number of days from today until the day of the time.
    """
    said = in_zone(at, zone)
    if at <= now:
        remedy = "choose a later time"
        if (again := at + _ONE_DAY) > now:
            remedy += f", such as {in_zone(again, zone)}"
        return f"{said} is in the past (it is {in_zone(now, zone)}): {remedy}"
    last = now.astimezone(zone).date() + days_ahead * _ONE_DAY
    if at.astimezone(zone).date() > last:
        return (
            f"{said} is too far ahead, as times until {last} can be chosen: choose an"
            " earlier time, or raise chosen_time.days_ahead in the settings"
        )
    if hours.is_open(at):
        return ""
    opening = hours.next_opening(at)
    if opening is None:
        return f"the queue is closed at {said} and not known to open again"
    return (
        f"the queue is closed at {said} and opens at {in_zone(opening, zone)}: choose a"
        " time within its opening hours"
    )


def in_zone(at: datetime, zone: tzinfo) -> str:
    """Return the local time of a zone as text, with the name of the zone."""
    local = at.astimezone(zone)
    return f"{local:%A %Y-%m-%d %H:%M} ({zone})"
