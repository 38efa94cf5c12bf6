# SPDX-License-Identifier: MIT
"""When the turn of a task comes near, among the live callers of its queue.

Under :attr:`Fairness.PLACE` a task is put into the real queue as a *placeholder*: an
attempt that begins early and waits in line like a caller. It begins when fewer live
callers and placeholders are ahead of it than agents could take calls. So each agent
finds somebody to serve, and no more placeholders wait than there are agents.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Collection


class Fairness(enum.StrEnum):
    """In which order live callers and tasks of a queue are served."""

    #: By the time at which they joined.
    PLACE = "place"
    #: Live callers first, also those who joined later.
    LIVE_FIRST = "live_first"


def turn_of(
    live_joined_at: Collection[float], placeholders: int, agents: int
) -> float | None:
    """Return until when one must have joined whose turn is near.

    Args:
        live_joined_at: when the live callers joined, in epoch seconds.
        placeholders: how many attempts wait for an agent already.
        agents: how many agents are logged in and not paused.

    Returns:
        Epoch seconds, infinite if everybody's turn is near; None if nobody's is.
    """
    most_ahead = agents - placeholders
    if most_ahead <= 0:
        return None
    if len(live_joined_at) < most_ahead:
        return math.inf
    return sorted(live_joined_at)[most_ahead - 1]
