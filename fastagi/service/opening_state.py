# SPDX-License-Identifier: MIT
"""Which queues are open now, by the settings in force.

Each result is cached until it changes, as the scheduler asks after every event.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from attrs import frozen

from fastagi.config.sections import Settings
from fastagi.domain.hours import OpeningHours, OpenState
from fastagi.domain.reason import Code, Reason
from fastagi.domain.why_not_yet import until


@frozen
class _Known:
    hours: OpeningHours
    #: Epoch seconds.
    since: float
    state: OpenState

    def holds(self, hours: OpeningHours, now: float) -> bool:
        """Whether the cached state is still valid; no if the clock was set back."""
        until = self.state.until
        return (
            self.hours is hours
            and self.since <= now
            and (until is None or now < until.timestamp())
        )


@frozen
class _AllQueues:
    """Which queues of the settings are open, until one of them opens or closes."""

    #: Epoch seconds, as in `_Known`.
    since: float
    open: frozenset[str]
    until: float | None

    def holds(self, now: float) -> bool:
        """Whether this is still valid."""
        return self.since <= now and (self.until is None or now < self.until)


class OpeningState:
    """Whether each queue of the settings is open."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._of: Settings | None = None
        self._hours: dict[str, OpeningHours] = {}
        #: The hours of queues that are not in the settings.
        self._others: dict[str, OpeningHours] = {}
        self._known: dict[str, _Known] = {}
        #: The same, with the time at which the queue opened.
        self._opened: dict[str, tuple[_Known, datetime | None]] = {}
        self._all: _AllQueues | None = None

    def state_at(self, queue: str, now: float) -> OpenState:
        """Return whether a queue is open at a time, and until when.

        Args:
            queue: name of the queue. For one that is not in the settings any more, the
                defaults apply.
            now: epoch seconds.
        """
        hours = self._hours_by_queue().get(queue) or self._others.get(queue)
        if hours is None:
            # Not in the settings any more, or written with other upper or lower case.
            hours = self._others[queue] = self._settings().queue(queue).hours
        known = self._known.get(queue)
        if known is None or not known.holds(hours, now):
            state = hours.state_at(datetime.fromtimestamp(now, UTC))
            known = self._known[queue] = _Known(hours, now, state)
        return known.state

    def why_closed(self, queue: str, now: float) -> Reason | None:
        """Return the reason if a queue is closed at ``now`` (epoch seconds)."""
        if self.state_at(queue, now).is_open:
            return None
        return until(Code.CLOSED_UNTIL, self.opens_at(queue, now))

    def opens_at(self, queue: str, now: float) -> float | None:
        """Return when a closed queue opens (epoch seconds).

        None: it is open, or never opens.
        """
        state = self.state_at(queue, now)
        return None if state.is_open or state.until is None else state.until.timestamp()

    def open_since(self, queue: str, now: float) -> datetime | None:
        """Return when a queue opened last.

        None: it is closed, or has been open for longer than a week.

        Args:
            queue: name of the queue.
            now: epoch seconds.
        """
        self.state_at(queue, now)
        known, found = self._known[queue], self._opened.get(queue)
        if found is None or found[0] is not known:
            since = known.hours.open_since(datetime.fromtimestamp(now, UTC))
            found = self._opened[queue] = known, since
        return found[1]

    def _hours_by_queue(self) -> dict[str, OpeningHours]:
        settings = self._settings()
        if settings is not self._of:
            self._of = settings
            self._known.clear()
            self._others.clear()
            self._all = None
            self._hours = {name: queue.hours for name, queue in settings.queues.items()}
        return self._hours

    def open_queues(self, now: float) -> frozenset[str]:
        """Return the names of the queues that are open at ``now`` (epoch seconds)."""
        return self._all_queues(now).open

    def next_change(self, now: float) -> float | None:
        """Return when a queue opens or closes next (epoch seconds); None: never."""
        return self._all_queues(now).until

    def _all_queues(self, now: float) -> _AllQueues:
        hours = self._hours_by_queue()
        if self._all is None or not self._all.holds(now):
            states = {name: self.state_at(name, now) for name in hours}
            ends = [state.until for state in states.values()]
            self._all = _AllQueues(
                now,
                frozenset(name for name, state in states.items() if state.is_open),
                min((end.timestamp() for end in ends if end is not None), default=None),
            )
        return self._all
