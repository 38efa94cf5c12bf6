# SPDX-License-Identifier: MIT
"""By which time old numbers are erased, if the machine's clock may be wrong.

A clock that was set years ahead by mistake must not erase what is to be kept. So what
is old is decided by a time of its own, which is stored: it follows the clock, but it
never passes more than :data:`FASTEST` times as fast as the service runs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

#: How many times as fast as real time it may pass: a day in an hour.
FASTEST: Final = 24


def advanced(known: datetime, now: datetime, ran_for: timedelta) -> datetime:
    """Return the time that follows a stored one; it never goes back.

    Args:
        known: the time that was stored last.
        now: the time by the machine's clock.
        ran_for: how long the service has run since ``known`` was stored.
    """
    return max(known, min(now, known + FASTEST * ran_for))
