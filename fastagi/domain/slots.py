# SPDX-License-Identifier: MIT
"""Slots: the times that a caller may choose for a callback.

A slot begins when a wall clock in the time zone of the queue shows a multiple of the
slot length since midnight. The queue is open for the whole of it. In the night in which
an hour is repeated, only the first one has slots: a time that is said must not have two
meanings. In the night in which an hour is skipped, a slot that would last beyond the
beginning of the next one ends there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise

from attrs import frozen

from fastagi.domain.hours import OpeningHours

_ONE_DAY = timedelta(days=1)


@frozen(order=True)
class Slot:
    """A slot; ``ends_at`` does not belong to it. Both times are UTC."""

    begins_at: datetime
    ends_at: datetime


@frozen
class SlotLimit:
    """The slot of a chosen time, and how many clients may have it."""

    slot: Slot
    per_slot: int


@frozen(kw_only=True)
class SlotRules:
    """Which slots a queue has, from its settings."""

    hours: OpeningHours
    #: The time zone of the wall clock.
    zone: tzinfo
    #: The length of a slot.
    length: timedelta
    #: Maximum number of clients who may choose one slot.
    per_slot: int
    #: The last day, counted from today.
    days_ahead: int

    def slots(self, now: datetime) -> Iterator[Slot]:
        """Yield the slots that begin after ``now``, in order."""
        today = now.astimezone(self.zone).date()
        is_open = False
        #: Until when the queue is open, or closed; None: for ever.
        until: datetime | None = now
        for day in range(self.days_ahead + 1):
            for slot in self._slots_of(today + day * _ONE_DAY):
                if slot.begins_at <= now:
                    continue
                if until is not None and until <= slot.begins_at:
                    state = self.hours.state_at(slot.begins_at)
                    is_open, until = state.is_open, state.until
                if is_open and (until is None or slot.ends_at <= until):
                    yield slot

    def free(self, now: datetime, chosen: Sequence[datetime]) -> list[Slot]:
        """Return the slots that fewer clients have chosen than may, in order.

        Args:
            now: the current time.
            chosen: the times that clients have chosen, in order.
        """
        return [
            slot
            for slot in self.slots(now)
            if bisect_left(chosen, slot.ends_at) - bisect_left(chosen, slot.begins_at)
            < self.per_slot
        ]

    def may_begin(self, slot: Slot, now: datetime) -> bool:
        """Whether a slot is to come, and the queue is open for the whole of it."""
        if slot.begins_at <= now or not self.hours.is_open(slot.begins_at):
            return False
        closes = self.hours.next_closing(slot.begins_at)
        return closes is None or slot.ends_at <= closes

    def _slots_of(self, day: date) -> Iterator[Slot]:
        """Yield the slots that begin on a day, in order, whenever the queue is open."""
        midnight = datetime.combine(day, time())
        readings = [midnight + n * self.length for n in range(_ONE_DAY // self.length)]
        begins = [at for at in map(self._moment, readings) if at is not None]
        after_last = midnight + _ONE_DAY
        while (end := self._moment(after_last)) is None:
            after_last += self.length
        for begins_at, next_begins_at in pairwise([*begins, end]):
            yield Slot(begins_at, min(begins_at + self.length, next_begins_at))

    def _moment(self, reading: datetime) -> datetime | None:
        """Return when the clock first shows ``reading``; None: it is skipped."""
        at = reading.replace(tzinfo=self.zone).astimezone(UTC)
        shown = at.astimezone(self.zone).replace(tzinfo=None)
        return at if shown == reading else None
