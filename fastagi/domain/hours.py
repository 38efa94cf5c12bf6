# SPDX-License-Identifier: MIT
"""When a queue is open: a weekly table, days with other hours, a time zone.

A queue is open while a wall clock in its time zone shows a time within its hours. This
includes the nights in which clocks are changed: hours in the skipped hour do not occur,
hours in the repeated hour occur twice, and a queue that opens at 02:30 opens at 03:00
if 02:00 is followed by 03:00.

Independent of the notation in the settings. The time is always an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import cached_property
from itertools import pairwise, takewhile
from typing import Any, Final, TypeAlias

from attrs import Attribute, field, frozen

#: Minutes of a day.
DAY: Final = 24 * 60
#: How far ahead to look for the next opening or closing.
HORIZON: Final = timedelta(days=400)
_ONE_DAY: Final = timedelta(days=1)
#: Precision in finding the time at which clocks are changed.
_PRECISION: Final = timedelta(seconds=1)


@frozen(order=True)
class Range:
    """A range of times of the day, in minutes after midnight.

    ``end`` is after ``begin``, and beyond :data:`DAY` if it is on the next day.
    """

    begin: int
    end: int

    def __attrs_post_init__(self) -> None:
        """Raise ValueError if it is not a range."""
        if not 0 <= self.begin < DAY or not self.begin < self.end <= self.begin + DAY:
            raise ValueError(f"no range of a day: {self.begin} to {self.end}")

    def __str__(self) -> str:
        end = self.end if self.end <= DAY else self.end - DAY
        return f"{_clock(self.begin)}-{_clock(end)}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _check_order(_instance: object, _attribute: Attribute[Any], ranges: Any) -> None:
    for before, after in pairwise(ranges):
        if after.begin < before.end:
            raise ValueError(f"{before} and {after} overlap, or are not in order")


@frozen
class DayHours:
    """The hours that begin on one day; empty if the queue is closed."""

    ranges: tuple[Range, ...] = field(default=(), validator=_check_order)

    def __str__(self) -> str:
        return ", ".join(map(str, self.ranges)) or "closed"


CLOSED: Final = DayHours()
ALL_DAY: Final = DayHours((Range(0, DAY),))


@frozen(order=True)
class SpecialDay:
    """A day of one year, or, with ``year`` 0, of every year."""

    year: int
    month: int
    day: int

    def __attrs_post_init__(self) -> None:
        """Raise ValueError if the day does not exist."""
        # 2000 is a leap year, so 29 February is valid for "every year".
        date(self.year or 2000, self.month, self.day)

    def __str__(self) -> str:
        year = f"{self.year:04}-" if self.year else ""
        return f"{year}{self.month:02}-{self.day:02}"


SpecialDays: TypeAlias = Mapping[SpecialDay, DayHours]


@frozen
class OpenState:
    """Whether a queue is open, and until when; None: beyond :data:`HORIZON`."""

    is_open: bool
    until: datetime | None


@frozen(kw_only=True)
class OpeningHours:
    """The hours of one queue. Times are aware datetimes; returned times are UTC."""

    #: From Monday to Sunday.
    week: tuple[DayHours, ...] = (ALL_DAY,) * 7
    #: Days with other hours; a day of one year overrides a day of every year.
    days: SpecialDays = field(factory=dict)
    zone: tzinfo = UTC

    @cached_property
    def is_always(self) -> bool:
        """Whether it never closes."""
        return {*self.week, *self.days.values()} == {ALL_DAY}

    @property
    def is_never(self) -> bool:
        """Whether it never opens."""
        return not any(hours.ranges for hours in (*self.week, *self.days.values()))

    def on(self, day: date) -> DayHours:
        """Return the hours that begin on a day."""
        for year in (day.year, 0):
            hours = self.days.get(SpecialDay(year, day.month, day.day))
            if hours is not None:
                return hours
        return self.week[day.weekday()]

    def is_open(self, at: datetime) -> bool:
        """Whether the queue is open at a time."""
        local = at.astimezone(self.zone)
        today, minute = local.date(), 60 * local.hour + local.minute
        return any(r.begin <= minute < r.end for r in self.on(today).ranges) or any(
            minute + DAY < r.end for r in self.on(_previous_day(today)).ranges
        )

    def next_opening(self, at: datetime) -> datetime | None:
        """Return when the queue opens next; ``at`` if it is open then.

        None if it does not open within :data:`HORIZON`.
        """
        return None if self.is_never else self._next(at, is_open=True)

    def next_closing(self, at: datetime) -> datetime | None:
        """Return when the queue closes next; ``at`` if it is closed then.

        None if it does not close within :data:`HORIZON`.
        """
        return None if self.is_always else self._next(at, is_open=False)

    def state_at(self, at: datetime) -> OpenState:
        """Return whether the queue is open at a time, and until when."""
        if self.is_open(at):
            return OpenState(True, self.next_closing(at))
        return OpenState(False, self.next_opening(at))

    def open_since(self, at: datetime) -> datetime | None:
        """Return when the queue opened last.

        None: it is closed at ``at``, or has been open for longer than a week.
        """
        if self.is_always or not self.is_open(at):
            return None
        for begin in (at - _ONE_DAY, at - 8 * _ONE_DAY):
            opened = begin
            for opens, _ in takewhile(lambda one: one[0] <= at, self._periods(begin)):
                opened = opens
            if opened > begin:
                return opened
        return None

    def after(self, at: datetime, span: timedelta) -> datetime:
        """Return the time at which the queue has been open for ``span`` since ``at``.

        Closed time counts, too, once the queue has closed for the last time within
        :data:`HORIZON`.
        """
        if self.is_always:
            return at + span
        left, since = span, at
        for opens, closes in self._periods(at):
            if opens - at > HORIZON:
                break
            if closes is None or opens + left <= closes:
                return opens + left
            left -= closes - opens
            since = closes
        return since + left

    def before(self, at: datetime, span: timedelta, earliest: datetime) -> datetime:
        """Return the time since which the queue has been open for ``span`` at ``at``.

        It is ``earliest`` if the queue was open for less than ``span`` since then, and
        ``at - span`` if it does not open within :data:`HORIZON` after ``earliest``.
        """
        if self.is_always or self.next_opening(earliest) is None:
            return at - span
        left = span
        periods = takewhile(lambda period: period[0] < at, self._periods(earliest))
        for opens, closes in reversed(list(periods)):
            ends = at if closes is None else min(closes, at)
            if ends - opens >= left:
                return ends - left
            left -= ends - opens
        return earliest

    def open_between(self, at: datetime, end: datetime) -> timedelta:
        """Return for how long the queue is open from ``at`` until ``end``."""
        if self.is_always:
            return max(timedelta(0), end - at)
        total = timedelta(0)
        for opens, closes in takewhile(lambda one: one[0] < end, self._periods(at)):
            total += (end if closes is None else min(closes, end)) - opens
        return total

    def opens_between(self, at: datetime, end: datetime) -> bool:
        """Whether the queue is open at some time from ``at`` until ``end``."""
        if self.is_always:
            return at < end
        opening = self.next_opening(at)
        return opening is not None and opening < end

    def _periods(self, at: datetime) -> Iterator[tuple[datetime, datetime | None]]:
        """Yield when it opens and closes from ``at`` on; None if it does not close."""
        closes: datetime | None = at
        while closes is not None and (opens := self.next_opening(closes)) is not None:
            closes = self.next_closing(opens)
            yield opens, closes

    def _next(self, at: datetime, *, is_open: bool) -> datetime | None:
        at = at.astimezone(UTC)
        if self.is_open(at) == is_open:
            return at
        first = at.astimezone(self.zone).date()
        for number in range(-1, HORIZON.days):
            day = first + number * _ONE_DAY
            # If clocks change at midnight, the days are not in order.
            moments = sorted(
                moment
                for near in (_previous_day(day), day, day + _ONE_DAY)
                for moment in self._changes(near)
                if moment > at
            )
            for moment in moments:
                if self.is_open(moment) == is_open:
                    if moment.astimezone(self.zone).date() <= day:
                        return moment
                    break
        return None

    def _changes(self, day: date) -> Iterator[datetime]:
        """Yield each time of a day at which the queue may open or close."""
        readings = {r.begin for r in self.on(day).ranges}
        readings |= {r.end for r in self.on(day).ranges if r.end < DAY}
        readings |= {
            r.end - DAY for r in self.on(_previous_day(day)).ranges if r.end >= DAY
        }
        midnight = datetime.combine(day, time())
        for minutes in readings:
            yield from self._moments(midnight + timedelta(minutes=minutes))
        yield from self._clock_is_set(midnight)

    def _moments(self, reading: datetime) -> set[datetime]:
        """Return the times at which a wall clock shows ``reading``.

        There are two in the hour that is repeated. For a reading in the skipped hour,
        return one time before and one after the change.
        """
        return {
            reading.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
            for fold in (0, 1)
        }

    def _clock_is_set(self, midnight: datetime) -> Iterator[datetime]:
        """Yield the time at which clocks are changed on this day, if they are."""
        early = min(self._moments(midnight))
        late = max(self._moments(midnight + _ONE_DAY))
        offset = self._offset(early)
        if self._offset(late) == offset:
            return
        while late - early > _PRECISION:
            middle = early + (late - early) / 2
            if self._offset(middle) == offset:
                early = middle
            else:
                late = middle
        yield late.replace(microsecond=0)

    def _offset(self, at: datetime) -> timedelta | None:
        return at.astimezone(self.zone).utcoffset()


def _previous_day(day: date) -> date:
    return day - _ONE_DAY


ALWAYS: Final = OpeningHours()
