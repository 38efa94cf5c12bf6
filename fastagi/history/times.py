# SPDX-License-Identifier: MIT
"""Times in Asterisk's histories, which mostly have no time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

#: Maximum delay from the creation of a channel to its first CDR's start, in seconds.
BIRTH_S: Final = 5


def read_time(value: object) -> datetime | None:
    """Parse a time; the result has a zone only if one is written.

    Epoch seconds, as text or number, are in UTC. Return None if it is not a time.
    """
    if isinstance(value, datetime):
        return value
    text = "" if value is None else str(value).strip()
    try:
        if re.fullmatch(r"[0-9]{9,11}(\.[0-9]*)?", text, re.ASCII):
            return datetime.fromtimestamp(float(text), UTC)
        return datetime.fromisoformat(text) if len(text) > 10 else None
    except (ValueError, OverflowError, OSError):
        return None


def utc(moment: datetime) -> datetime:
    """Return a time with a zone: UTC if it has none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def epoch(moment: datetime, not_before: float | None) -> float:
    """Return the epoch seconds of a time; without a zone it is a local time.

    Local times are ambiguous while clocks are set back: then return the first one that
    is not before ``not_before``.
    """
    try:
        first = moment.replace(fold=0).timestamp()
        second = moment.replace(fold=1).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
    if not_before is None or first >= not_before - BIRTH_S:
        return first
    return second if second > first else first


def local_time(at: float) -> datetime:
    """Return the local time of this machine, without a zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().replace(tzinfo=None)
