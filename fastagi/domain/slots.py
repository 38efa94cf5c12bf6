# SPDX-License-Identifier: MIT
"""Slots: the times that a caller may choose for a callback.

A slot begins when a wall clock in the time zone of the queue shows a multiple of the
slot length since midnight. The queue is open for the whole of it. In the night in which
an hour is repeated, only the first one has slots: a time that is said must not have two
meanings.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo

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
        #: The queue is open from a slot that was looked at until then; None: for ever.
        closes: datetime | None = now
        for day in range(self.days_ahead + 1):
            midnight = datetime.combine(today + day * _ONE_DAY, time())
            for number in range(_ONE_DAY // self.length):
                slot = self._at(midnight + number * self.length)
                if slot is None or slot.begins_at <= now:
                    continue
                if not self.hours.is_open(slot.begins_at):
                    continue
                if closes is not None and closes <= slot.begins_at:
                    closes = self.hours.next_closing(slot.begins_at)
                if closes is None or slot.ends_at <= closes:
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

    def _at(self, reading: datetime) -> Slot | None:
        """Return the slot that begins when the clock shows ``reading``, if it does."""
        begins_at = reading.replace(tzinfo=self.zone).astimezone(UTC)
        if begins_at.astimezone(self.zone).replace(tzinfo=None) != reading:
            return None
        return Slot(begins_at, begins_at + self.length)
