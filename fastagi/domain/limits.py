# SPDX-License-Identifier: MIT
"""Limits on the number of calls within a window of time.

A call counts from when the client is dialled. An attempt in progress whose client has
not been dialled yet counts, too, because that may happen at any moment. The windows
slide, so neither midnight nor the time zone matters. If the clock was set back, calls
may lie in the future; they count like calls that lie equally far in the past.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from attrs import field, frozen

from fastagi.domain.reason import Code, Reason, because, utc_minute

DAY: Final = timedelta(hours=24)
HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)


@frozen(kw_only=True)
class CallLimits:
    """Maximum numbers of calls within a window of time; 0: no limit."""

    #: To one number within a DAY, for all queues together.
    per_number: int = 0
    #: For all queues together within a MINUTE.
    per_minute: int = 0
    #: For one queue within an HOUR, by the queue's name in the settings.
    per_hour: Mapping[str, int] = field(factory=dict)

    def counts_calls_of(self, queues: Iterable[str]) -> bool:
        """Whether calls of all numbers count for a limit, in any of these queues."""
        return bool(self.per_minute) or any(self.per_hour.get(name) for name in queues)


def called_too_often(most: int, again_at: datetime) -> Reason:
    """Return the reason why a number is not called before ``again_at``."""
    return because(
        Code.CALLED_TOO_OFTEN,
        times=most,
        again_at=utc_minute(again_at),
    )
