# SPDX-License-Identifier: MIT
"""The states of agents, over all of their queues."""

from __future__ import annotations

from enum import StrEnum


class AgentState(StrEnum):
    """The state of an agent; the first that applies, in this order."""

    #: Was a member of a queue, and is of none now.
    LOGGED_OUT = "logged_out"
    #: In a call, of a queue or not.
    TALKING = "talking"
    RINGING = "ringing"
    #: The phone is not registered, or does not exist.
    UNAVAILABLE = "unavailable"
    #: Paused in all of the agent's queues.
    PAUSED = "paused"
    #: Within the wrap-up time after a call.
    WRAPPING_UP = "wrapping_up"
    FREE = "free"
