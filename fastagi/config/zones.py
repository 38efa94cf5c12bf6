# SPDX-License-Identifier: MIT
"""The time zone of this machine, and what people write for one."""

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
    """Return what TZ or /etc says it is; None if they say nothing that makes sense.

    Looks once, in the life of a process.
    """
    try:
        with warnings.catch_warnings():
            # A machine that says nothing has UTC, whatever its clock on the wall shows.
            warnings.simplefilter("error")
            return tzlocal.get_localzone()
    except (ZoneInfoNotFoundError, ValueError, OSError, UserWarning):
        return None


#: How near a city's name must be: closer than germany is to Guernsey.
_NEAR_CITY: Final = 0.82
_A_CITY: Final = "write a city of your zone, which has its summer time too"
#: A name, hours with their sign, and perhaps minutes: UTC+1, CET-1, GMT+05:30.
_OFFSET: Final = re.compile(r"([A-Za-z]*)\s*([+-])0?([0-9]{1,2})(?::?([0-9]{2}))?")
#: How far west and east the zones Etc/GMT+12 to Etc/GMT-14 lie.
_WEST, _EAST = 12, 14


def zone_meant(name: str) -> str:
    """Say what to write in place of a name that is no time zone."""
    tidy = name.strip()
    if found := _OFFSET.fullmatch(tidy):
        return _offset_meant(found)
    # The machine's list may hold names such as localtime, too.
    known = {zone.lower(): zone for zone in available_timezones() if "/" in zone}
    cities = {zone.rpartition("/")[2]: zone for zone in sorted(known, reverse=True)}
    lower = tidy.lower().replace(" ", "_")
    if tidy.isupper() and len(tidy) <= 5 and lower not in cities:
        # What looks like CEST or MSK is another one's zone.
        return _A_CITY
    near = get_close_matches(lower, known, n=1) or [
        cities[city]
        for city in get_close_matches(lower, cities, n=1, cutoff=_NEAR_CITY)
    ]
    return f"did you mean {known[near[0]]}?" if near else _A_CITY


def _offset_meant(found: re.Match[str]) -> str:
    """In names such as Etc/GMT-1 the sign is the other way round: 1 hour east."""
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
