# SPDX-License-Identifier: MIT
"""The time of day, and timers that do not mind when somebody sets the clock.

A reactor times its calls by the machine's clock: when that is set back by an hour, each
timer sleeps an hour longer, and with it every time-out, ping and retry. Here the two
are apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer


@implementer(IReactorTime)
class MachineClock:
    """Tells what the machine's clock shows, and runs timers by a steady one.

    Args:
        steady: counts the seconds, whatever the machine's clock is set to.
        time_of_day: returns epoch seconds.
    """

    def __init__(
        self, steady: IReactorTime, time_of_day: Callable[[], float] = time.time
    ) -> None:
        #: For spans: its seconds count from nowhere in particular.
        self.steady = steady
        self._time_of_day = time_of_day

    def seconds(self) -> float:
        """Return the time of day in epoch seconds; it may jump, also back."""
        return self._time_of_day()

    def callLater(
        self, delay: float, callable: Callable[..., object], *args: Any, **kwargs: Any
    ) -> IDelayedCall:
        """Call a function after so many seconds that really passed."""
        return self.steady.callLater(delay, callable, *args, **kwargs)

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """Return what waits to be called."""
        return self.steady.getDelayedCalls()
