# SPDX-License-Identifier: MIT
"""Times as Asterisk writes them into histories: mostly without their zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

#: Between the birth of a channel and the start of its first CDR at most, in seconds.
BIRTH_S: Final = 5


def read_time(value: object) -> datetime | None:
    """Return a moment as it is written, with its zone only if one is written.

    None if it is none. Epoch seconds, as text or number, are in UTC.
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
    """Return a moment with a zone: UTC if it has none."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def epoch(moment: datetime, not_before: float | None) -> float:
    """Return epoch seconds of a moment in the zone of this machine, or its own.

    When clocks are set back an hour comes twice: then it is the first that is not
    before something known.
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
    """Return the moment as this machine's clock shows it, without a zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().replace(tzinfo=None)
