# SPDX-License-Identifier: MIT
"""The time of day, and timers that do not mind when somebody sets the clock.

Two clocks that are easily mistaken for each other: the machine's, which tells the time
of day and may be set, and a steady one, which counts seconds and never jumps. Spans are
measured and timers run by the steady one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Clock(Protocol):
    """What the parts of the service know of time."""

    @property
    def timers(self) -> IReactorTime:
        """The steady clock as Twisted's own functions take it."""

    def now(self) -> datetime:
        """Return what the machine's clock shows, in UTC; it may jump, also back."""

    def epoch_s(self) -> float:
        """Return the same as seconds of the epoch."""

    def steady(self) -> float:
        """Return seconds that count from nowhere in particular and never jump."""

    def call_later(
        self, delay_s: float, function: Callable[..., object], *args: object
    ) -> IDelayedCall:
        """Call a function after so many seconds that really passed."""


class MachineClock:
    """The clocks of this machine.

    Args:
        timers: counts the seconds and calls functions, whatever the machine's clock is
            set to.
        time_of_day: returns seconds of the epoch.
    """

    def __init__(
        self, timers: IReactorTime, time_of_day: Callable[[], float] = time.time
    ) -> None:
        self.timers = timers
        self._time_of_day = time_of_day

    def now(self) -> datetime:
        """Return what the machine's clock shows, in UTC."""
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
        """Call a function after so many seconds by the steady clock."""
        return self.timers.callLater(delay_s, function, *args)
