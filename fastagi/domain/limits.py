# SPDX-License-Identifier: MIT
"""How many calls may be placed, whatever is asked for.

A call counts from its beginning until it is known that the client was not dialled. The
windows slide: there is no midnight at which everything begins anew, and no zone of
time to know. A moment ahead of now is as near as one before: the clock was set back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import field, frozen

from fastagi.domain.reason import Code, Reason, because

DAY: Final = timedelta(hours=24)
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


@frozen(kw_only=True)
class CallLimits:
    """The most calls within a window of time; 0 is no limit."""

    #: To one number within a DAY, whatever queue it is called for.
    per_number: int = 0
    #: For all queues together within a MINUTE.
    per_minute: int = 0
    #: For one queue within an HOUR, by its name in the settings.
    per_hour: Mapping[str, int] = field(factory=dict)


def called_too_often(most: int, again_at: datetime) -> Reason:
    """Return why a number is not called now."""
    return because(
        Code.CALLED_TOO_OFTEN,
        times=most,
        again_at=f"{again_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}",
    )
