# SPDX-License-Identifier: MIT
"""From when on one more call may be placed, by the attempts that are stored.

The functions run inside a transaction and only read. What counts, and what a window
is, says :mod:`fastagi.domain.limits`.
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
    """Return what holds of an attempt that counts within a window."""
    return (
        _attempt.c.started_at > bindparam("after"),
        _attempt.c.started_at < bindparam("before"),
        or_(
            _attempt.c.ended_at.is_(None),
            _attempt.c.disposition.in_(sorted(one.value for one in COUNTED)),
        ),
    )


#: The call that must have left the window before there is room for one more.
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
#: A moment may lose its last digits on the way, and must not come too early by them.
_HAIR: Final = timedelta(milliseconds=1)


def day_around(first: datetime, last: datetime) -> dict[str, float]:
    """Return a window that holds every call which counts for a number at any moment
    between these two.
    """
    day_s = DAY.total_seconds()
    return {"after": first.timestamp() - day_s, "before": last.timestamp() + day_s}


def number_free_at(
    conn: sa.Connection, number_key: str, most: int, now: datetime
) -> datetime | None:
    """Return when a number may be called again; None if it may be now."""
    return _free_at(conn, _OF_NUMBER, most, DAY, now, number_key=number_key)


def queue_free_at(
    conn: sa.Connection, queue: str, limits: CallLimits, now: datetime
) -> datetime | None:
    """Return when a call for a queue may be placed again; None if it may be now."""
    most = limits.per_hour.get(queue, 0)
    return _free_at(conn, _OF_QUEUE, most, HOUR, now, queue=queue)


def all_free_at(
    conn: sa.Connection, limits: CallLimits, now: datetime
) -> datetime | None:
    """Return when any call may be placed again; None if it may be now."""
    return _free_at(conn, _IN_THE_WAY, limits.per_minute, MINUTE, now)


def _free_at(
    conn: sa.Connection,
    query: sa.Select[Any],
    most: int,
    window: timedelta,
    now: datetime,
    **whose: str,
) -> datetime | None:
    if not most:
        return None
    span, at = window.total_seconds(), now.timestamp()
    began = conn.execute(
        query, {"after": at - span, "before": at + span, "room": most - 1, **whose}
    ).scalar()
    if began is None:
        return None
    return datetime.fromtimestamp(began, UTC) + window + _HAIR
