# SPDX-License-Identifier: MIT
"""How long agents' phones have rung for an attempt that waits in line."""

from __future__ import annotations

from typing import Final

from attrs import define

#: Minimum time that a ring counts, in seconds. A phone may refuse a call at once, and
#: ``Queue()`` rings it again after ``retry`` of queues.conf, which is 5 by default.
_MIN_RING_S: Final = 5.0
#: Difference of two times that does not count, in seconds.
_INEXACT_S: Final = 0.001


@define
class RingTime:
    """Adds up the time in which at least one phone rang.

    Waiting for an agent does not count. Times are seconds of a steady clock.
    """

    #: Length of the earlier rings, in seconds.
    _before_s: float = 0.0
    #: When the last ring began; None if there was none.
    _began_at: float | None = None
    #: Until when it counts even if it has ended.
    _counts_until: float = 0.0
    #: When it ended; None while a phone rings.
    _ended_at: float | None = None

    def update(self, at: float, *, rings: bool) -> None:
        """Note whether a phone rings now; nothing changes if that is known."""
        if rings == self._rings:
            return
        if not rings:
            self._ended_at = at
            return
        self._before_s = self.total_s(at)
        self._began_at, self._ended_at = at, None
        self._counts_until = at + _MIN_RING_S

    def total_s(self, now: float) -> float:
        """Return how long phones have rung until now, in seconds."""
        if self._began_at is None:
            return 0.0
        until = now
        if self._ended_at is not None:
            until = min(now, max(self._ended_at, self._counts_until))
        return self._before_s + until - self._began_at

    def left_s(self, limit_s: float, now: float) -> float | None:
        """Return how much of a limit is left, in seconds; None if no time counts now.

        0 if the limit is reached.
        """
        left_s = limit_s - self.total_s(now)
        if left_s < _INEXACT_S:
            return 0.0
        counts = self._rings or (
            self._began_at is not None and now < self._counts_until
        )
        return left_s if counts else None

    @property
    def _rings(self) -> bool:
        return self._began_at is not None and self._ended_at is None
