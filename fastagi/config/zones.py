# SPDX-License-Identifier: MIT
"""The time zone of this machine, and suggestions for wrong names of zones."""

from __future__ import annotations

import re
import warnings
from difflib import get_close_matches
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import tzlocal


@cache
def machine_zone() -> ZoneInfo | None:
    """Return the machine's time zone from TZ or /etc; None if it cannot be found out.

    The result is cached for the life of the process.
    """
    try:
        with warnings.catch_warnings():
            # Without any setting, the machine's time zone is UTC.
            warnings.simplefilter("error")
            return tzlocal.get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError, UserWarning):
        return None


#: Minimum similarity of a city's name: more than that of germany and Guernsey.
_NEAR_CITY: Final = 0.82
_A_CITY: Final = "write a city of your zone, which has its summer time too"
#: A name, signed hours, and perhaps minutes: UTC+1, CET-1, GMT+05:30.
_OFFSET: Final = re.compile(r"([A-Za-z]*)\s*([+-])0?([0-9]{1,2})(?::?([0-9]{2}))?")
#: Maximum hours west and east of UTC of the zones Etc/GMT+12 to Etc/GMT-14.
_WEST, _EAST = 12, 14


def zone_meant(name: str) -> str:
    """Return a suggestion for a name that is no time zone."""
    tidy = name.strip()
    if found := _OFFSET.fullmatch(tidy):
        return _offset_meant(found)
    # The machine's list may contain other names, too, such as localtime.
    known = {zone.lower(): zone for zone in available_timezones() if "/" in zone}
    cities = {zone.rpartition("/")[2]: zone for zone in sorted(known, reverse=True)}
    lower = tidy.lower().replace(" ", "_")
    if tidy.isupper() and len(tidy) <= 5 and lower not in cities:
        # For CEST or MSK a similar name would be another zone.
        return _A_CITY
    near = get_close_matches(lower, known, n=1) or [
        cities[city]
        for city in get_close_matches(lower, cities, n=1, cutoff=_NEAR_CITY)
    ]
    return f"did you mean {known[near[0]]}?" if near else _A_CITY


def _offset_meant(found: re.Match[str]) -> str:
    """Return a suggestion for an offset; the sign of Etc/GMT-1 is inverted (east)."""
    base, sign, hours, minutes = found[1].upper(), found[2], int(found[3]), found[4]
    most = _EAST if sign == "+" else _WEST
    if (
        base not in ("", "GMT", "UTC", "Z")
        or int(minutes or 0)
        or not 0 < hours <= most
    ):
        return _A_CITY
    side = "ahead of" if sign == "+" else "behind"
    turned = "-" if sign == "+" else "+"
    return f"{_A_CITY}; always {hours} h {side} UTC is Etc/GMT{turned}{hours}"
