# SPDX-License-Identifier: MIT
"""Lengths of time as people write them in the settings: ``30s``, ``5m``, ``1h30m``.

Parses and formats this notation, for any setting.

A duration is a ``timedelta``, not a number of seconds: the domain adds it to datetimes,
the attribute has the name of the setting without a unit, and a timer needs an explicit
``total_seconds()``.
"""

from __future__ import annotations

import re
from datetime import timedelta

from fastagi.config.errors import BadValue, shown

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NOTATION = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit in _SECONDS))
_NEARLY = re.compile(
    r"([0-9]{1,9}) *(?:(s)(?:ec(?:ond)?s?)?|(m)(?:in(?:ute)?s?)?"
    r"|(h)(?:(?:ou)?rs?)?|(d)(?:ays?)?)",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(?:([0-9]{1,2}):)?([0-9]{1,3}):([0-5][0-9])")
_LONGEST = timedelta(days=36_500)
_FORM = "must be a time such as 30s, 5m, 2h or 1h30m"


def parse_duration(value: object) -> timedelta:
    """Parse a duration: days, hours, minutes and seconds, in that order, or plain 0.

    Args:
        value: the text, or the number 0. Another number without a unit is refused: it
            may mean seconds or minutes.

    Raises:
        BadValue: it is not a duration, or longer than a century.
    """
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return timedelta(0)
    if isinstance(value, int) and not isinstance(value, bool):
        remedy = f"write {value}s if seconds are meant" if value > 0 else ""
        raise BadValue(f"{_FORM} (got {value})", remedy)
    if not isinstance(value, str):
        raise BadValue(f"{_FORM} (got {shown(value)})")
    if value == "0":
        return timedelta(0)
    found = _NOTATION.fullmatch(value)
    if not found or not value:
        raise BadValue(f"{_FORM} (got {shown(value)})", _correction(value))
    seconds = sum(
        int(count) * unit
        for count, unit in zip(found.groups("0"), _SECONDS.values(), strict=True)
    )
    if seconds > _LONGEST.total_seconds():
        raise BadValue(f"is longer than a hundred years (got {shown(value)})")
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """Format a duration of whole seconds so that ``parse_duration`` can read it."""
    rest = int(duration.total_seconds())
    words = []
    for unit, length in _SECONDS.items():
        count, rest = divmod(rest, length)
        if count:
            words.append(f"{count}{unit}")
    return "".join(words) or "0"


def _correction(text: str) -> str:
    """Return what to write in place of a length of time in another notation."""
    if clock := _CLOCK.fullmatch(text):
        hours, *rest = clock.groups("0")
        first, second = map(int, rest)
        if clock[1] is not None:
            length = timedelta(hours=int(hours), minutes=first, seconds=second)
            return f"write {format_duration(length)}"
        in_minutes = format_duration(timedelta(minutes=first, seconds=second))
        in_hours = format_duration(timedelta(hours=first, minutes=second))
        return f"write {in_minutes} or {in_hours}" if first + second else "write 0"
    found = _NEARLY.fullmatch(text)
    return f"write {found[1]}{found[found.lastindex or 0].lower()}" if found else ""
