# SPDX-License-Identifier: MIT
"""The time zone of this machine."""

from __future__ import annotations

import warnings
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
