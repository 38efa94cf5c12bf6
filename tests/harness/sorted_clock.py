# SPDX-License-Identifier: MIT
"""A clock for tests with many timed calls, whose calls are always in order."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock


class _Call(DelayedCall):
    """A timed call that also tells its clock when it is put off."""

    def reset(self, secondsFromNow: float) -> None:
        """Let it come at another time."""
        super().reset(secondsFromNow)
        self.resetter(self)

    def delay(self, secondsLater: float) -> None:
        """Let it come later."""
        super().delay(secondsLater)
        self.resetter(self)


class SortedClock(Clock):
    """A `Clock` that inserts each call at its place.

    Twisted's own sorts all its calls again with each new one.
    """

    @property
    def runs(self) -> bool:
        """Whether its calls are made when they are due."""
        return True

    def due(self) -> Sequence[DelayedCall]:
        """Return the calls that are due now, the earliest first."""
        now = self.rightNow
        if not self.calls or self.calls[0].getTime() > now:
            return ()
        return list(takewhile(lambda call: call.getTime() <= now, self.calls))

    def callLater(  # type: ignore[override]
        self, delay: float, callable: Callable[..., object], *args: Any, **kw: Any
    ) -> IDelayedCall:
        """Call a function later."""
        call = _Call(
            self.rightNow + delay,
            callable,
            args,
            kw,
            self.calls.remove,
            self._move,
            self.seconds,
        )
        self._insert(call)
        return call

    def _insert(self, call: DelayedCall) -> None:
        insort(self.calls, call, key=DelayedCall.getTime)

    def _move(self, call: DelayedCall) -> None:
        self.calls.remove(call)
        self._insert(call)
