# SPDX-License-Identifier: MIT
"""When the turn of a task comes near, among the live callers of its queue.

Under :attr:`Fairness.PLACE` a task is put into the real queue as a *placeholder*: an
attempt that begins early and waits in line like a caller. It begins when fewer live
callers and placeholders are ahead of it than agents could take calls. So each agent
finds somebody to serve, and no more placeholders of a target wait than it has agents.

An agent of several targets counts for each of them: Asterisk may give the agent to
either line next, so the next of each must be in it. One who joins early waits at the
right place and takes nobody's agent.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Collection, Iterable
from typing import Final

from attrs import frozen

#: What ``scanf("%30d")`` accepts.
_INTEGER: Final = re.compile(r"\s*([+-]?[0-9]{1,29})")
#: The highest and the lowest priority: C's ``int``, and PostgreSQL's ``integer``.
_HIGHEST: Final = 2**31 - 1
_LOWEST: Final = -(2**31)


class Fairness(enum.StrEnum):
    """In which order live callers and tasks of a queue are served."""

    #: In the order in which they joined.
    PLACE = "place"
    #: Live callers first, even those who joined later.
    LIVE_FIRST = "live_first"


def parse_priority(text: str) -> int:
    """Return the priority that ``Queue()`` takes from QUEUE_PRIO; 0 if it is unusable.

    ``apps/app_queue.c:queue_exec`` reads the leading integer and ignores the rest.
    """
    found = _INTEGER.match(text)
    return min(max(int(found[1]), _LOWEST), _HIGHEST) if found else 0


@frozen(order=True, init=False)
class Turn:
    """A place in a line that is sorted by priority, then by the time of joining.

    The smaller of two is served first.
    """

    _falling_priority: int
    joined_at: float

    def __init__(self, joined_at: float, priority: int = 0) -> None:
        """Set the turn from the time of joining in epoch seconds, and the priority."""
        self.__attrs_init__(-priority, joined_at)

    @property
    def priority(self) -> int:
        """The priority: a higher one is served before all lower ones."""
        return -self._falling_priority


#: Distance of two turns that follow each other, in seconds: the resolution of times.
STEP_S: Final = 1e-6
#: The last possible turn: up to it, everybody may join.
ANY_TURN: Final = Turn(math.inf, _LOWEST)


def turn_of(live: Collection[Turn], placeholders: int, agents: int) -> Turn | None:
    """Return the last turn that is near.

    Args:
        live: the turns of the live callers.
        placeholders: how many attempts wait for an agent already.
        agents: how many agents are logged in and not paused.

    Returns:
        `ANY_TURN` if every turn is near; None if none is.
    """
    most_ahead = agents - placeholders
    if most_ahead <= 0:
        return None
    if len(live) < most_ahead:
        return ANY_TURN
    return sorted(live)[most_ahead - 1]


def in_front_of(turns: Iterable[Turn]) -> Turn:
    """Return the turn right before all of these, of which there must be one."""
    every = list(turns)
    return Turn(
        min(turn.joined_at for turn in every) - STEP_S,
        max(turn.priority for turn in every),
    )
