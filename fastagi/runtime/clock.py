# SPDX-License-Identifier: MIT
"""The time of day, and timers that do not depend on it.

There are two clocks: the machine's clock shows the time of day and may be set; the
steady clock counts seconds and never jumps. Durations and timers use the steady clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Clock(Protocol):
    """The two clocks of the service."""

    @property
    def timers(self) -> IReactorTime:
        """The steady clock, for Twisted's functions."""

    def now(self) -> datetime:
        """Return the time of day in UTC; it may jump forward or back."""

    def epoch_s(self) -> float:
        """Return the same as seconds of the epoch."""

    def steady(self) -> float:
        """Return the seconds of the steady clock; their zero has no meaning."""

    def call_later(
        self, delay_s: float, function: Callable[..., object], *args: object
    ) -> IDelayedCall:
        """Call a function after a delay by the steady clock, in seconds."""


class MachineClock:
    """The clocks of this machine.

    Args:
        timers: the steady clock.
        time_of_day: returns the time of day in epoch seconds.
    """

    def __init__(
        self, timers: IReactorTime, time_of_day: Callable[[], float] = time.time
    ) -> None:
        self.timers = timers
        self._time_of_day = time_of_day

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.fromtimestamp(self._time_of_day(), UTC)

    def epoch_s(self) -> float:
        """Return the same as seconds of the epoch."""
        return self._time_of_day()

    def steady(self) -> float:
        """Return the reading of the steady clock."""
        return self.timers.seconds()

    def call_later(
        self, delay_s: float, function: Callable[..., object], *args: object
    ) -> IDelayedCall:
        """Call a function after a delay by the steady clock, in seconds."""
        return self.timers.callLater(delay_s, function, *args)
