# SPDX-License-Identifier: MIT
"""Counts tasks for the reports, by the days and hours of a time zone.

Pure functions. A tally is a number for each of some keys, so tallies of several days
can be added: that of a month is the sum of those of its days. A key is a word, or words
and values separated by ``:``. Times are epoch seconds, sums of times are milliseconds.

A task counts on the day on which it was asked for, whatever day it ends on.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from itertools import repeat
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from attrs import field, frozen

from fastagi.domain.attempt import COUNTED, Disposition
from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, Status

#: Numbers by key.
Tally: TypeAlias = Counter[str]

_ONE_DAY: Final = timedelta(days=1)
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
#: In seconds. In all zones hours begin, and clocks are changed, at the beginning of a
#: quarter of an hour, as seen from UTC.
QUARTER_S: Final = 900
#: The upper limits of the bands of waits, in seconds. A wait is in the first band whose
#: limit it does not exceed; a longer one is in a last band without a limit.
BANDS: Final[tuple[int, ...]] = (
    *(10, 20, 30, 45, 60, 75, 90, 120, 150, 180, 240, 300, 360, 420, 480, 540, 600),
    *(m * _MINUTE for m in (12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 60, 75, 90, 105)),
    *(h * _HOUR for h in (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20)),
    *(d * _DAY for d in (1, 2, 3, 4, 5, 7, 10, 14, 21, 30)),
)
#: The bands in keys; the last one has no limit.
_BAND_NAMES: Final = (*map(str, BANDS), "longer")

#: What became of a task, in keys.
OUTCOMES: Final[Mapping[str, str]] = {
    Status.PENDING: "open",
    Status.CALLING: "open",
    Status.COMPLETED: "reached",
    Status.FAILED: "failed",
    Status.EXPIRED: "expired",
    Status.CANCELLED: "cancelled",
    Status.SERVED: "served",
}
#: Reasons of cancelled tasks that do not count: nobody was promised this callback.
NOT_PROMISED: Final = frozenset({Code.TAKEN_BACK.value, Code.SAME_CLIENT.value})


def add(total: Tally, numbers: Mapping[str, int]) -> None:
    """Add numbers to a sum, by their keys.

    Like ``Counter.update``, which takes three times as long: reports add hundreds of
    thousands of numbers.
    """
    before = map(total.get, numbers, repeat(0))
    sums = map(operator.add, numbers.values(), before)
    dict.update(total, zip(numbers, sums, strict=True))


@frozen
class CountedAttempt:
    """What counts of an attempt."""

    disposition: str
    member: str
    talk_s: float


@frozen(kw_only=True)
class CountedTask:
    """What counts of a task, or of several that differ in nothing that counts."""

    kind: str
    status: str
    reason_code: str
    #: When it was stored.
    asked_at: float
    #: How many tasks these are.
    number: int = 1
    #: How often its client asked again while it was open.
    repeats: int = 0
    attempts: Sequence[CountedAttempt] = ()
    #: When the talk began that completed it; None: it is not completed.
    talk_at: float | None = None
    #: How long the queue was open from when it was due until the talk; None: unknown.
    net_wait_s: float | None = None


@frozen(kw_only=True)
class LocalDay:
    """One day of a time zone: 24 hours, or 23 or 25 when clocks are changed."""

    day: date
    begins_at: float
    ends_at: float
    zone: ZoneInfo = field(repr=False)

    @property
    def month(self) -> date:
        """The first day of its month."""
        return self.day.replace(day=1)


@lru_cache(maxsize=100_000)
def _day_and_hour(quarter: int, zone: ZoneInfo) -> tuple[date, int]:
    moment = datetime.fromtimestamp(quarter * QUARTER_S, zone)
    return moment.date(), moment.hour


def hour_of(at: float, zone: ZoneInfo) -> int:
    """Return the hour that a wall clock shows; the repeated hour has one number."""
    return _day_and_hour(int(at // QUARTER_S), zone)[1]


def midnight(day: date, zone: ZoneInfo) -> float:
    """Return when a day begins; where clocks skip midnight, that is at 01:00."""
    at = datetime.combine(day, time(), zone).timestamp()
    if datetime.fromtimestamp(at, zone).time() == time():
        return at
    low, high = at - _DAY, at
    while high - low > 0.5:
        middle = (low + high) / 2
        if datetime.fromtimestamp(middle, zone).date() < day:
            low = middle
        else:
            high = middle
    # Clocks are changed at a whole second.
    return float(math.floor(high))


@lru_cache(maxsize=20_000)
def local_day(day: date, zone: ZoneInfo) -> LocalDay:
    """Return a day of a time zone."""
    return LocalDay(
        day=day,
        begins_at=midnight(day, zone),
        ends_at=midnight(day + _ONE_DAY, zone),
        zone=zone,
    )


def local_days(first: date, last: date, zone: ZoneInfo) -> Iterator[LocalDay]:
    """Yield the days from the first to the last, both included."""
    for number in range((last - first).days + 1):
        yield local_day(first + number * _ONE_DAY, zone)


def day_of(at: float, zone: ZoneInfo) -> date:
    """Return the date that a calendar shows at a time."""
    return _day_and_hour(int(at // QUARTER_S), zone)[0]


def band_of(wait_s: float) -> str:
    """Return the band of a wait, for a key."""
    return _BAND_NAMES[bisect_left(BANDS, wait_s)]


def is_counted(task: CountedTask) -> bool:
    """Whether a task counts: a client was promised a callback."""
    is_cancelled = task.status == Status.CANCELLED.value
    return not (is_cancelled and task.reason_code in NOT_PROMISED)


def tally_of(tasks: Iterable[CountedTask], day: LocalDay) -> dict[str, Tally]:
    """Count the tasks of a day by their kind."""
    by_kind: dict[str, Tally] = {}
    for task in tasks:
        if is_counted(task):
            _count(task, day, by_kind.setdefault(task.kind, Counter()))
    return by_kind


def _count(task: CountedTask, day: LocalDay, tally: Tally) -> None:
    # Strings from the database are compared directly: converting them to Enums would
    # double the time.
    outcome = OUTCOMES[task.status]
    slot = f"{day.day.weekday()}:{hour_of(task.asked_at, day.zone)}"
    if task.number:
        tally["asked"] += task.number
        tally[outcome] += task.number
        tally[f"asked_at:{slot}"] += task.number
    if task.repeats:
        tally["repeats"] += task.repeats
    dialled = 0
    for attempt in task.attempts:
        disposition = attempt.disposition
        if disposition == Disposition.WITHDRAWN:
            continue
        tally[f"result:{disposition}"] += 1
        dialled += disposition in COUNTED
        if disposition == Disposition.ANSWERED:
            tally[f"agent:{attempt.member}"] += 1
            tally[f"talk_ms:{attempt.member}"] += _ms(attempt.talk_s)
    if task.status in OPEN:
        return
    tally["tries"] += dialled
    if task.status != Status.COMPLETED:
        return
    tally[f"reached_at:{slot}"] += 1
    tally["tries_of_reached"] += dialled
    if dialled == 1:
        tally["first_try"] += 1
    if task.talk_at is not None:
        _count_wait(tally, "gross", max(0.0, task.talk_at - task.asked_at))
    if task.net_wait_s is not None:
        _count_wait(tally, "net", max(0.0, task.net_wait_s))


def _count_wait(tally: Tally, what: str, wait_s: float) -> None:
    tally[f"{what}_n"] += 1
    tally[f"{what}_ms"] += _ms(wait_s)
    tally[f"{what}:{band_of(wait_s)}"] += 1


def _ms(span_s: float) -> int:
    return round(1000 * span_s)
