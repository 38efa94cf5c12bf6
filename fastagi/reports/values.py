# SPDX-License-Identifier: MIT
"""The figures of a report. :mod:`fastagi.reports.definitions` says what each means.

Times are in seconds; a share is from 0 to 1; None: there is nothing to divide by.
"""

from __future__ import annotations

from datetime import date

from attrs import frozen


@frozen(kw_only=True)
class Totals:
    """The clients of a range, and what became of them."""

    asked: int
    requested: int
    missed: int
    manual: int
    repeats: int
    reached: int
    failed: int
    expired: int
    cancelled: int
    served: int
    open: int
    reached_share: float | None
    first_try_share: float | None
    tries_per_success: float | None
    tries: int
    goal_share: float | None


@frozen(kw_only=True)
class Band:
    """How many waits were longer than the band before, and not longer than this."""

    #: None: any longer wait.
    up_to_s: int | None
    count: int


@frozen(kw_only=True)
class Waits:
    """How long clients who were reached waited."""

    count: int
    mean_s: float | None
    p50_s: float | None
    p90_s: float | None
    #: Sum over all clients.
    total_s: float
    bands: tuple[Band, ...]


@frozen(kw_only=True)
class ResultFigure:
    """How many attempts ended with one result, in words of `Disposition`."""

    result: str
    count: int
    share: float


@frozen(kw_only=True)
class AgentShare:
    """How many clients were reached by one agent."""

    agent: str
    reached: int
    share: float
    talk_s: float


@frozen(kw_only=True)
class Offers:
    """Offers of a callback to callers who waited."""

    made: int
    accepted: int
    acceptance: float | None
    #: By what the callers did, in words of `OfferOutcome`.
    outcomes: tuple[tuple[str, int], ...]


@frozen(kw_only=True)
class DayFigures:
    """The clients who asked on one day, and what became of them."""

    day: date
    asked: int
    requested: int
    missed: int
    manual: int
    reached: int
    failed: int
    expired: int
    cancelled: int
    served: int
    open: int


@frozen(kw_only=True)
class HourFigures:
    """The clients who asked in one hour of the day."""

    hour: int
    asked: int
    reached: int


@frozen(kw_only=True)
class WeekdayHour:
    """The clients who asked in one hour of one day of the week; Monday is 0."""

    weekday: int
    hour: int
    asked: int
    reached: int


@frozen(kw_only=True)
class Report:
    """A report on some queues and days."""

    queues: tuple[str, ...]
    #: The time zones of the queues, by name.
    zones: tuple[str, ...]
    first: date
    last: date
    kind: str | None
    goal_s: int
    totals: Totals
    #: Those of as many days before; None: not asked for.
    previous: Totals | None
    previous_first: date | None
    previous_last: date | None
    gross_wait: Waits
    net_wait: Waits
    results: tuple[ResultFigure, ...]
    offers: Offers
    agents: tuple[AgentShare, ...]
    by_day: tuple[DayFigures, ...]
    by_hour: tuple[HourFigures, ...]
    by_weekday_hour: tuple[WeekdayHour, ...]
