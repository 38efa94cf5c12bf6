# SPDX-License-Identifier: MIT
"""Reads a report for the command line; the service need not run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from fastagi.config.durations import parse_duration
from fastagi.config.errors import BadValue
from fastagi.config.sections import Settings
from fastagi.domain.task import Kind
from fastagi.errors import CallbackError
from fastagi.reports import DEFAULT_GOAL_S, LATEST_DAYS, Report, ReportQuery, report
from fastagi.store import migrate
from fastagi.store.backends import backend_for

#: Days that are named by a word, as days before today.
_NAMED: Final = {"today": 0, "yesterday": 1}


class BadReport(CallbackError):
    """The report that was asked for can not be made; the text says why."""


def read(
    settings: Settings,
    now: datetime,
    *,
    queues: Sequence[str],
    first: str,
    last: str,
    kind: str,
    goal: str,
) -> Report:
    """Return a report.

    Args:
        settings: the settings.
        now: the current time.
        queues: names of queues, in upper or lower case; empty: all.
        first: the first day: YYYY-MM-DD, today, yesterday, or all; empty: LATEST_DAYS
            before the last.
        last: the last day, in the same way; empty: today.
        kind: the kind of the tasks; empty: any.
        goal: within how long clients are to be reached, such as 30m; empty: the usual
            goal.

    Raises:
        BadReport: an argument is wrong.
        StoreUnavailable: the database can not be used.
    """
    names = tuple(_queue(name, settings) for name in queues)
    zones = {
        name: zone.key if isinstance(zone := queue.zone, ZoneInfo) else "UTC"
        for name, queue in settings.queues.items()
    }
    zone = ZoneInfo(zones.get(names[0] if names else next(iter(zones), ""), "UTC"))
    today = now.astimezone(zone).date()
    last_day = _day(last, today) if last else today
    first_day: date | None = last_day - timedelta(days=LATEST_DAYS - 1)
    if first:
        first_day = None if first == "all" else _day(first, today)
    try:
        query = ReportQuery(
            queues=names or None,
            first=first_day,
            last=last_day,
            kind=Kind(kind) if kind else None,
            goal_s=_seconds(goal) if goal else DEFAULT_GOAL_S,
            zones=zones,
        )
    except ValueError as error:
        raise BadReport(str(error)) from None
    url = settings.database.url
    migrate.check_current(url)
    backend = backend_for(url)
    try:
        with backend.engine.connect() as conn:
            if conn.dialect.name == "sqlite":
                # One state of the database, without its lock: the service may write.
                conn.exec_driver_sql("BEGIN")
            return report(conn, query)
    except sa.exc.DBAPIError as error:
        explained = backend.explain(error)
        if explained is None:
            raise
        raise explained.as_error() from error


def _queue(name: str, settings: Settings) -> str:
    known = settings.queues.get(name)
    # Tasks of a queue that is not in the settings any more count, too.
    return name if known is None else known.name


def _day(text: str, today: date) -> date:
    if text in _NAMED:
        return today - timedelta(days=_NAMED[text])
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadReport(
            f"{text!r} is no day: write it as {today.isoformat()}, today or yesterday"
        ) from None


def _seconds(goal: str) -> int:
    try:
        return int(parse_duration(goal).total_seconds())
    except BadValue as error:
        raise BadReport(f"--goal {error}") from None
