# SPDX-License-Identifier: MIT
"""When the limits allow one more call, from the stored attempts.

The functions run inside a transaction and only read. :mod:`fastagi.domain.limits`
defines what counts, and the windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, case, func, or_, select

from fastagi.domain.attempt import COUNTED
from fastagi.domain.limits import DAY, HOUR, MINUTE, CallLimits
from fastagi.domain.reason import Code, because, utc_minute
from fastagi.domain.why_not_yet import Held
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


def of_queue(queue: str | sa.BindParameter[str]) -> sa.ColumnElement[bool]:
    """Return the condition for calls of one queue.

    It keeps the engine from reading all tasks of the queue by their index: there are
    few calls in the window, and each of them has one task.
    """
    return func.coalesce(_task.c.queue, "") == queue


def counted_within() -> sa.ColumnElement[bool]:
    """Return the condition for an attempt that counts within a window until now."""
    return or_(_NOT_DIALLED_YET, _DIALLED_WITHIN)


def count_within(
    conn: sa.Connection,
    window: timedelta,
    now: datetime,
    *conditions: sa.ColumnElement[bool],
) -> int:
    """Return how many calls of some tasks count within a window until now."""
    span, at = window.total_seconds(), now.timestamp()
    calls = _attempt.join(_task, _task.c.id == _attempt.c.task_id)
    # Two queries, because each of them then uses an index.
    return sum(
        int(
            conn.execute(
                select(func.count()).select_from(calls).where(which, *conditions),
                {"after": at - span, "before": at + span},
            ).scalar_one()
        )
        for which in (_NOT_DIALLED_YET, _DIALLED_WITHIN)
    )


def _query(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Return the query for the calls of some tasks, one row.

    It has the number of those whose client may be dialled at any moment, and when the
    oldest one was dialled that must leave the window before one more is allowed. It is
    one round trip, and each part uses an index.
    """
    calls = _attempt.join(_task, _task.c.id == _attempt.c.task_id)
    not_dialled_yet = (
        select(func.count())
        .select_from(calls)
        .where(_NOT_DIALLED_YET, *conditions)
        .scalar_subquery()
    )
    room = bindparam("max_calls", type_=sa.Integer) - not_dialled_yet
    in_the_way = (
        select(_attempt.c.dialled_at)
        .select_from(calls)
        .where(_DIALLED_WITHIN, *conditions)
        .order_by(_attempt.c.dialled_at.desc())
        .limit(1)
        .offset(case((room > 0, room - 1), else_=0))
        .scalar_subquery()
    )
    return select(
        not_dialled_yet.label("not_dialled_yet"), in_the_way.label("dialled_at")
    )


_ALL: Final = _query()
_OF_QUEUE: Final = _query(of_queue(bindparam("queue")))
_OF_NUMBER: Final = _query(_task.c.number_key == bindparam("number_key"))
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


def limited(
    conn: sa.Connection, queues: Iterable[str], limits: CallLimits, now: datetime
) -> dict[str, Held]:
    """Return the queues that a limit keeps from one more call, and until when.

    If both limits do, it is the one that lasts longer.
    """
    found = {}
    all_at = all_free_at(conn, limits, now)
    for queue in queues:
        if all_at is not None:
            why = because(Code.MINUTE_LIMIT, until=utc_minute(all_at))
            found[queue] = Held(queue, why, all_at)
        at = queue_free_at(conn, queue, limits, now)
        if at is not None and (all_at is None or at > all_at):
            why = because(Code.HOUR_LIMIT, until=utc_minute(at))
            found[queue] = Held(queue, why, at)
    return found


def _free_at(
    conn: sa.Connection,
    calls: sa.Select[Any],
    max_calls: int,
    window: timedelta,
    now: datetime,
    **whose: str,
) -> datetime | None:
    if not max_calls:
        return None
    span, at = window.total_seconds(), now.timestamp()
    given = {"after": at - span, "before": at + span, "max_calls": max_calls, **whose}
    found = conn.execute(calls, given).one()
    if found.not_dialled_yet >= max_calls:
        # If one of them is dialled now. If it ends before that, there is room earlier.
        return now + window + _ROUNDING
    if found.dialled_at is None:
        return None
    return datetime.fromtimestamp(found.dialled_at, UTC) + window + _ROUNDING
