# SPDX-License-Identifier: MIT
"""When the limits allow one more call, from the stored attempts.

The functions run inside a transaction and only read. :mod:`fastagi.domain.limits`
defines what counts, and the windows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import and_, bindparam, func, or_, select

from fastagi.domain.attempt import COUNTED
from fastagi.domain.limits import DAY, HOUR, MINUTE, CallLimits
from fastagi.store import schema

_task: Final = schema.task
_attempt: Final = schema.attempt


#: The client has not been dialled yet, and may be at any moment.
_NOT_DIALLED_YET: Final = and_(
    _attempt.c.ended_at.is_(None), _attempt.c.dialled_at.is_(None)
)
#: The client was dialled within a window.
_DIALLED_WITHIN: Final = and_(
    _attempt.c.dialled_at > bindparam("after"),
    _attempt.c.dialled_at < bindparam("before"),
    or_(
        _attempt.c.ended_at.is_(None),
        _attempt.c.disposition.in_(sorted(one.value for one in COUNTED)),
    ),
)


def counted_within() -> sa.ColumnElement[bool]:
    """Return the condition for an attempt that counts within a window until now."""
    return or_(_NOT_DIALLED_YET, _DIALLED_WITHIN)


@frozen
class _Calls:
    """The queries for the calls of a kind."""

    #: How many may be dialled at any moment.
    not_dialled_yet: sa.Select[Any]
    #: The oldest that must leave the window before one more is allowed.
    in_the_way: sa.Select[Any]

    def of(self, *conditions: sa.ColumnElement[bool]) -> _Calls:
        """Return the queries for those of some tasks."""
        of_task = _task.c.id == _attempt.c.task_id
        return _Calls(
            self.not_dialled_yet.join(_task, of_task).where(*conditions),
            self.in_the_way.join(_task, of_task).where(*conditions),
        )


# Two queries, as each of them uses an index.
_ALL: Final = _Calls(
    select(func.count()).select_from(_attempt).where(_NOT_DIALLED_YET),
    select(_attempt.c.dialled_at)
    .where(_DIALLED_WITHIN)
    .order_by(_attempt.c.dialled_at.desc())
    .limit(1)
    .offset(bindparam("room")),
)
_OF_QUEUE: Final = _ALL.of(_task.c.queue == bindparam("queue"))
_OF_NUMBER: Final = _ALL.of(_task.c.number_key == bindparam("number_key"))
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
    return _free_at(conn, _ALL, limits.per_minute, MINUTE, now)


def _free_at(
    conn: sa.Connection,
    calls: _Calls,
    max_calls: int,
    window: timedelta,
    now: datetime,
    **whose: str,
) -> datetime | None:
    if not max_calls:
        return None
    room = max_calls - conn.execute(calls.not_dialled_yet, whose).scalar_one()
    if room <= 0:
        # If one of them is dialled now. If it ends before that, there is room earlier.
        return now + window + _ROUNDING
    span, at = window.total_seconds(), now.timestamp()
    dialled_at = conn.execute(
        calls.in_the_way,
        {"after": at - span, "before": at + span, "room": room - 1, **whose},
    ).scalar()
    if dialled_at is None:
        return None
    return datetime.fromtimestamp(dialled_at, UTC) + window + _ROUNDING
