# SPDX-License-Identifier: MIT
"""Slots: the times that a caller may choose for a callback.

A slot begins when a wall clock in the time zone of the queue shows a multiple of the
slot length since midnight. The queue is open for the whole of it. In the night in which
an hour is repeated, only the first one has slots: a time that is said must not have two
meanings.
"""

from __future__ import annotations

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

    def has(self, at: datetime) -> bool:
        """Whether a time is in the slot."""
        return self.begins_at <= at < self.ends_at

    def taken(self, chosen: Sequence[datetime]) -> int:
        """Return how many of some chosen times are in the slot."""
        return sum(map(self.has, chosen))


@frozen
class SlotLimit:
    """The slot of a chosen time, and how many clients may have it."""

    slot: Slot
    per_slot: int


def slots(
    now: datetime,
    *,
    hours: OpeningHours,
    zone: tzinfo,
    length: timedelta,
    days_ahead: int,
) -> Iterator[Slot]:
    """Yield the slots that begin after ``now``, in order.

    Args:
        now: the current time.
        hours: the opening hours of the queue.
        zone: the time zone of the wall clock.
        length: the length of a slot.
        days_ahead: the last day, counted from today.
    """
    today = now.astimezone(zone).date()
    for day in range(days_ahead + 1):
        midnight = datetime.combine(today + day * _ONE_DAY, time())
        for number in range(_ONE_DAY // length):
            reading = midnight + number * length
            begins_at = reading.replace(tzinfo=zone).astimezone(UTC)
            if begins_at.astimezone(zone).replace(tzinfo=None) != reading:
                # The clock never shows this time.
                continue
            slot = Slot(begins_at, begins_at + length)
            if now < slot.begins_at and _is_open_for(slot, hours):
                yield slot


def _is_open_for(slot: Slot, hours: OpeningHours) -> bool:
    if not hours.is_open(slot.begins_at):
        return False
    closes = hours.next_closing(slot.begins_at)
    return closes is None or slot.ends_at <= closes
