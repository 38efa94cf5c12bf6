# SPDX-License-Identifier: MIT
"""What is asked of a report."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

from attrs import Attribute, field, frozen

from fastagi.domain.tally import BANDS
from fastagi.domain.task import Kind

#: The goal if none is given, in seconds: half an hour.
DEFAULT_GOAL_S: Final = 1800
#: Number of days of a report if none are given.
LATEST_DAYS: Final = 30


#: Days outside of these are mistakes.
FIRST_DAY: Final = date(2000, 1, 1)
LAST_DAY: Final = date(2199, 12, 31)


def _in_order(query: ReportQuery, _attribute: Attribute[Any], last: date) -> None:
    for day in (query.first or last, last):
        if not FIRST_DAY <= day <= LAST_DAY:
            raise ValueError(f"{day} is not a day from {FIRST_DAY} to {LAST_DAY}")
    if query.first is not None and query.first > last:
        raise ValueError(f"the first day, {query.first}, is after the last, {last}")


def _is_band(_query: object, _attribute: Attribute[Any], goal_s: int) -> None:
    if goal_s not in BANDS:
        near = min(BANDS, key=lambda band: abs(band - goal_s))
        raise ValueError(f"the goal can not be {goal_s} s; {near} s can")


@frozen(kw_only=True)
class ReportQuery:
    """What is asked of a report; ValueError says what is wrong with it.

    Attributes:
        queues: the queues; None: all that ever had tasks.
        first: the first day, in the time zone of each queue; None: the first of the
            month of the oldest task.
        last: the last day, which belongs to the report.
        kind: only tasks of this kind; None: of all kinds.
        goal_s: within how many seconds clients are to be reached: one of
            :data:`fastagi.domain.tally.BANDS`.
        compare: whether to count the same number of days before, too; not if ``first``
            is None.
        zones: time zones of queues which the service has not stored yet.
    """

    queues: tuple[str, ...] | None = None
    first: date | None
    last: date = field(validator=_in_order)
    kind: Kind | None = None
    goal_s: int = field(default=DEFAULT_GOAL_S, validator=_is_band)
    compare: bool = True
    zones: Mapping[str, str] = field(factory=dict)
