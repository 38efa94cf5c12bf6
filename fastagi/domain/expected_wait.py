# SPDX-License-Identifier: MIT
"""The expected wait of a place in a queue, and how it is put into words."""

from __future__ import annotations

import math
from typing import Final

#: Up to this many minutes each is said by itself.
_EACH_MIN: Final = 10
#: Steps of longer waits in minutes, each with the longest wait for which it is used.
_STEPS_MIN: Final = ((30, 5), (60, 10), (math.inf, 30))


def rounded_minutes(wait_s: float | None) -> int | None:
    """Return a wait as it is said: "less than a minute", or "about N minutes".

    It is rounded up, because a caller minds a longer wait than announced, and not a
    shorter one. Longer waits are rounded more, as they are less certain: up to 10
    minutes to a minute, up to 30 to 5, up to 60 to 10, and then to 30.

    Args:
        wait_s: the wait in seconds; None: unknown.

    Returns:
        Minutes; 0 for less than a minute; None: unknown.
    """
    if wait_s is None:
        return None
    if wait_s < 60:
        return 0
    minutes = math.ceil(wait_s / 60)
    if minutes <= _EACH_MIN:
        return minutes
    step = next(step for longest, step in _STEPS_MIN if minutes <= longest)
    return math.ceil(minutes / step) * step
