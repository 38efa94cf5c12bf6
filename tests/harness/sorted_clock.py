# SPDX-License-Identifier: MIT
"""A clock for tests with many timed calls, whose calls are always in order."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock

#: Returns when a call is due, faster than `DelayedCall.getTime`.
_TIME: Final = attrgetter("time")


class _Call(DelayedCall):
    """A timed call that also tells its clock when it is put off.

    ``time`` is always when it is due: ``delayed_time`` is 0.
    """

    def reset(self, secondsFromNow: float) -> None:
        """Let it come at another time."""
        super().reset(secondsFromNow)
        self._moved()

    def delay(self, secondsLater: float) -> None:
        """Let it come later."""
        super().delay(secondsLater)
        self._moved()

    def _moved(self) -> None:
        self.activate_delay()
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
        calls, now = self.calls, self.rightNow
        if not calls or calls[0].time > now:
            return ()
        return calls[: bisect_right(calls, now, key=_TIME)]

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
        insort(self.calls, call, key=_TIME)

    def _move(self, call: DelayedCall) -> None:
        self.calls.remove(call)
        self._insert(call)
