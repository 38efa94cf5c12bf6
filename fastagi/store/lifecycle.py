# SPDX-License-Identifier: MIT
"""Ends stored tasks without an attempt, and puts them back in line.

The functions run inside a transaction, may run twice and change only the database.
They are independent of threads, Asterisk and settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve
from sqlalchemy import bindparam, func, select, text, update
from sqlalchemy.exc import IntegrityError

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.erasure import ERASED
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.retry import too_old
from fastagi.domain.task import CallbackTask, Move, Status, after
from fastagi.store import (
    guards,
    later,
    locks,
    places,
    preferred_agents,
    schema,
    tallies,
)
from fastagi.store.errors import AlreadyOpen, AskedAgain
from fastagi.store.events import move_task, write_event
from fastagi.store.results import Blocked, Refused
from fastagi.store.rows import (
    LOCK_OPEN_BY_KEY,
    again_if_open,
    locked,
    moment,
    moment_or_none,
    seconds,
    storable,
    task_of,
)

_task: Final = schema.task
_event: Final = schema.task_event
_later: Final = schema.later_request
_pending: Final = text(schema.PENDING_ONLY)
#: How far a request may be ahead of an earlier one that is stored after it: for as long
#: as the database may take to fail.
_OVERTAKES: Final = timedelta(seconds=15)
#: The times of a task's requests, and the calls that made them.
_ASKS: Final = (
    select(func.coalesce(_later.c.asked_at, _event.c.at).label("at"), _event.c.linkedid)
    .outerjoin(_later, _later.c.next_event_id == _event.c.id)
    .where(
        _event.c.task_id == bindparam("task_id"),
        _event.c.move.in_([Move.CREATE.value, Move.REPEAT.value, Move.REOPEN.value]),
    )
)
_REPEATED_SINCE: Final = (
    select(_event.c.id)
    .where(
        _event.c.task_id == bindparam("task_id"),
        _event.c.move == Move.REPEAT.value,
        _event.c.at > bindparam("since"),
        _event.c.at <= bindparam("to"),
    )
    .limit(1)
)
_NEXT_EXPIRY: Final = select(func.min(_task.c.expires_at)).where(_pending)
_EXPIRED: Final = (
    select(_task)
    .where(_pending, _task.c.expires_at <= bindparam("now"))
    .order_by(_task.c.expires_at, _task.c.id)
    .limit(200)
    .with_for_update(skip_locked=True)
)
_PAST: Final = (
    select(_task)
    .where(text(schema.CALL_BY_SET), _task.c.call_by <= bindparam("now"))
    .order_by(_task.c.call_by, _task.c.id)
    .limit(100)
)
_NEXT_CALL_BY: Final = select(func.min(_task.c.call_by)).where(text(schema.CALL_BY_SET))
_SETTLE: Final = (
    update(_task).where(_task.c.id == bindparam("old_id")).values(call_by=None)
)


def expire(conn: sa.Connection, now: datetime) -> list[CallbackTask]:
    """End waiting tasks that have expired; tasks in progress are left alone.

    Ends a limited number at a time, so that requests of callers do not wait long. An
    empty list means that there are no more.
    """
    rows = conn.execute(_EXPIRED, {"now": seconds(now)}).all()
    expired = []
    for task in map(task_of, rows):
        expired.append(move_task(conn, task, Move.EXPIRE, now, too_old(task)))
    return expired


def cancel(
    conn: sa.Connection,
    task_id: int,
    why: Reason,
    now: datetime,
    waited_s: Callable[[], float] = lambda: 0.0,
) -> CallbackTask:
    """End a task: at once, or when its attempt in progress has ended.

    Args:
        conn: in a transaction.
        task_id: the task.
        why: the reason.
        now: when that was decided.
        waited_s: returns how long ago that is, in seconds. A client who asked again
            since was told that there will be a callback.

    Raises:
        AskedAgain: the client asked again since.
    """
    task = locked(conn, task_id)
    since = {"task_id": task.id, "since": seconds(now), "to": seconds(now) + waited_s()}
    if conn.execute(_REPEATED_SINCE, since).first() is not None:
        raise AskedAgain(
            f"task {task.id} was not cancelled: its client asked again in this moment",
            "cancel it again if that is still right",
        )
    if task.status is Status.CALLING:
        later.end_all(conn, task.id)
        return move_task(conn, task, Move.CANCEL_LATER, now, why, cancel_requested=True)
    return move_task(conn, task, Move.CANCEL, now, why)


def block(
    conn: sa.Connection, number: BlockedNumber, region: str, now: datetime, actor: str
) -> Blocked:
    """Block a number; its open task ends as if it was cancelled."""
    number = evolve(number, reason=storable(number.reason))
    locks.block(conn, number.number_key)
    created = guards.put(conn, number, region)
    known = guards.blocked(conn, number.number_key) or number
    why = known.why.with_params(actor=storable(actor)) if actor else known.why
    wanted = {"number_key": number.number_key}
    # The second time after a wait for a task that has ended, and has become another.
    row = (
        conn.execute(LOCK_OPEN_BY_KEY, wanted).first()
        or conn.execute(LOCK_OPEN_BY_KEY, wanted).first()
    )
    task = None if row is None else cancel(conn, row.id, why, now)
    return Blocked(known, created, task)


def serve(
    conn: sa.Connection,
    number_key: str,
    why: Reason,
    now: datetime,
    served_at: datetime | None = None,
    asked_at: Mapping[str, datetime] | None = None,
    clock_at: datetime | None = None,
) -> CallbackTask | None:
    """End the number's open task because its client was served in another way.

    A task that was requested after that is left alone. A request that is ahead of the
    clock (``clock_at``) at the beginning of a talk was stored before the clock was set
    back, and so before the talk.
    """
    row = conn.execute(LOCK_OPEN_BY_KEY, {"number_key": number_key}).first()
    if row is None:
        return None
    task = task_of(row)
    if served_at is not None:
        known = asked_at or {}
        asks = conn.execute(_ASKS, {"task_id": task.id}).all()
        times = [known.get(ask.linkedid, moment(ask.at)) for ask in asks]
        if clock_at is not None:
            times = [at for at in times if at <= clock_at + _OVERTAKES]
        if any(at > served_at for at in times):
            return None
    if task.status is Status.CALLING:
        later.end_all(conn, task.id)
        return move_task(conn, task, Move.SERVE_LATER, now, why, served=True)
    return move_task(conn, task, Move.SERVE, now, why)


def retry(
    conn: sa.Connection,
    task_id: int,
    why: Reason,
    now: datetime,
    expires_at: datetime,
    chosen_at: datetime | None,
    call_by: datetime | None,
) -> CallbackTask | Refused:
    """Put a task back in line, unless its number is blocked.

    It is due at the chosen time, and that is its place; without one it is due at once,
    and if it had no place yet, it joins the line now. An open task keeps the place that
    an operator gave it, unless a time is chosen, and the agent to whom it is assigned.
    """
    task = locked(conn, task_id)
    after(task.status, Move.REOPEN)
    if task.number == ERASED:
        return Refused(because(Code.NUMBER_ERASED))
    if not task.is_open:
        # Whoever blocks the number would not find this task.
        locks.keep_unblocked(conn, [task.number_key])
    if (known := guards.blocked(conn, task.number_key)) is not None:
        return Refused(known.why)
    changes: dict[str, Any] = {
        "due_at": chosen_at or now,
        "joined_at": chosen_at or min(task.joined_at, now),
        "chosen_at": chosen_at,
        "call_by": call_by,
        "expires_at": expires_at,
    }
    if chosen_at is not None or not task.is_open:
        changes |= places.OWN_PLACE
    if task.is_open:
        if chosen_at is None and not task.waits_for_chosen_time(now):
            changes["expires_at"] = max(task.expires_at, expires_at)
    else:
        # It is not among the tasks of a past day that have all ended any more.
        if not tallies.forget(conn, task.queue, seconds(task.created_at)):
            return Refused(because(Code.TASK_DELETED_SOON))
        other = conn.execute(LOCK_OPEN_BY_KEY, {"number_key": task.number_key}).first()
        if other is not None:
            raise AlreadyOpen(other.id)
        changes |= {
            "attempts": 0,
            "member_attempts": 0,
            "cancel_requested": False,
            "served": False,
            **preferred_agents.TO_NOBODY,
        }
    try:
        return move_task(conn, task, Move.REOPEN, now, why, **changes)
    except IntegrityError as error:
        raise again_if_open(error) from error


def note(
    conn: sa.Connection, task_id: int, why: Reason, now: datetime
) -> CallbackTask | Refused:
    """Write a note to the history of a task, which may have ended.

    Refused if the number of the task is erased: what the note says of the client would
    never be erased.
    """
    task = locked(conn, task_id)
    if task.number == ERASED:
        return Refused(because(Code.NUMBER_ERASED))
    status = after(task.status, Move.NOTE)
    write_event(conn, task.id, Move.NOTE, status, now, why)
    return task


def past_call_by(conn: sa.Connection, now: datetime) -> list[CallbackTask]:
    """Return open tasks whose client was not dialled in time, the first ones."""
    return [task_of(row) for row in conn.execute(_PAST, {"now": seconds(now)})]


def miss_chosen_time(
    conn: sa.Connection, task: CallbackTask, why: Reason, now: datetime
) -> bool:
    """Store that a chosen time was missed, and why; the task waits on.

    Args:
        conn: in a transaction.
        task: one of :func:`past_call_by`.
        why: the reason.
        now: the current time.

    Returns:
        False if the task has been changed since; nothing was changed.
    """
    known = locked(conn, task.id)
    if known.call_by is None or known.call_by != task.call_by:
        return False
    conn.execute(_SETTLE, {"old_id": task.id})
    status = after(known.status, Move.PROGRESS)
    write_event(conn, task.id, Move.PROGRESS, status, now, why)
    return True


def next_call_by(conn: sa.Connection) -> datetime | None:
    """Return until when the next client with a chosen time must be dialled."""
    return moment_or_none(conn.execute(_NEXT_CALL_BY).scalar())


def next_expiry(conn: sa.Connection) -> datetime | None:
    """Return when the next waiting task expires; None if there is none."""
    return moment_or_none(conn.execute(_NEXT_EXPIRY).scalar())
