# SPDX-License-Identifier: MIT
"""When the limits allow one more call, from the stored attempts.

The functions run inside a transaction and only read. :mod:`fastagi.domain.limits`
defines what counts, and the windows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, or_, select

from fastagi.domain.attempt import COUNTED
from fastagi.domain.limits import DAY, HOUR, MINUTE, CallLimits
from fastagi.store import schema

_task: Final = schema.task
_attempt: Final = schema.attempt


def counted_within() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for an attempt that counts within a window."""
    return (
        _attempt.c.started_at > bindparam("after"),
        _attempt.c.started_at < bindparam("before"),
        or_(
            _attempt.c.ended_at.is_(None),
            _attempt.c.disposition.in_(sorted(one.value for one in COUNTED)),
        ),
    )


#: The oldest call that must leave the window before one more is allowed.
_IN_THE_WAY: Final = (
    select(_attempt.c.started_at)
    .where(*counted_within())
    .order_by(_attempt.c.started_at.desc())
    .limit(1)
    .offset(bindparam("room"))
)
_OF_TASK: Final = _IN_THE_WAY.join(_task, _task.c.id == _attempt.c.task_id)
_OF_QUEUE: Final = _OF_TASK.where(_task.c.queue == bindparam("queue"))
_OF_NUMBER: Final = _OF_TASK.where(_task.c.number_key == bindparam("number_key"))
#: Added to each time, because rounding could make it a little too early.
_ROUNDING: Final = timedelta(milliseconds=1)


def day_around(first: datetime, last: datetime) -> dict[str, float]:
    """Return the parameters of a window with every call that counts for a number at any
    time between ``first`` and ``last``.
    """
    day_s = DAY.total_seconds()
    return {"after": first.timestamp() - day_s, "before": last.timestamp() + day_s}


def number_free_at(
    conn: sa.Connection, number_key: str, max_calls: int, now: datetime
) -> datetime | None:
    """Return when a number may be called again; None if it may be called now."""
    return _free_at(conn, _OF_NUMBER, max_calls, DAY, now, number_key=number_key)


def queue_free_at(
    conn: sa.Connection, queue: str, limits: CallLimits, now: datetime
) -> datetime | None:
    """Return when a queue may have one more call; None if it may have one now."""
    max_calls = limits.per_hour.get(queue, 0)
    return _free_at(conn, _OF_QUEUE, max_calls, HOUR, now, queue=queue)


def all_free_at(
    conn: sa.Connection, limits: CallLimits, now: datetime
) -> datetime | None:
    """Return when one more call may be placed; None if it may be placed now."""
    return _free_at(conn, _IN_THE_WAY, limits.per_minute, MINUTE, now)


def _free_at(
    conn: sa.Connection,
    query: sa.Select[Any],
    max_calls: int,
    window: timedelta,
    now: datetime,
    **whose: str,
) -> datetime | None:
    if not max_calls:
        return None
    span, at = window.total_seconds(), now.timestamp()
    began = conn.execute(
        query, {"after": at - span, "before": at + span, "room": max_calls - 1, **whose}
    ).scalar()
    if began is None:
        return None
    return datetime.fromtimestamp(began, UTC) + window + _ROUNDING
