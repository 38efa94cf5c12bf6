# SPDX-License-Identifier: MIT
"""Begins and ends attempts of stored tasks.

The functions run inside a transaction, may run twice and touch nothing but the
database. They know no threads, no Asterisk and no settings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from attrs import evolve
from sqlalchemy import bindparam, func, insert, select, text, update

from fastagi.domain.attempt import Attempt, Disposition, Verdict
from fastagi.domain.limits import CallLimits, called_too_often
from fastagi.domain.reason import Code, Reason, because
from fastagi.domain.retry import RetryRules, decide
from fastagi.domain.task import CallbackTask, Move, Status, after
from fastagi.store import guards, later, limits, schema
from fastagi.store.errors import StaleTask
from fastagi.store.events import move_task, write_event
from fastagi.store.later import LaterRequest
from fastagi.store.requests import create, renew
from fastagi.store.results import Beginnings, Begun, Restored
from fastagi.store.rows import (
    ATTEMPT_BY_CHANNEL,
    LOCK_BY_ID,
    attempt_of,
    found,
    insert_row,
    moment,
    reason_values,
    seconds,
    storable,
    task_of,
    under_way,
)
from fastagi.store.schema import LaterState

_task: Final = schema.task
_attempt: Final = schema.attempt
_pending: Final = text(schema.PENDING_ONLY)
_INSERT_ATTEMPT: Final = insert(_attempt)
_DUE: Final = (
    select(_task)
    .where(
        _pending,
        _task.c.queue.in_(bindparam("queues", expanding=True)),
        _task.c.due_at <= bindparam("now"),
        _task.c.expires_at > bindparam("now"),
        _task.c.number_key.not_in(bindparam("busy_keys", expanding=True)),
    )
    .order_by(_task.c.joined_at, _task.c.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_NEXT_DUE: Final = select(func.min(_task.c.due_at)).where(
    _pending,
    _task.c.queue.in_(bindparam("queues", expanding=True)),
    _task.c.expires_at > bindparam("now"),
    _task.c.number_key.not_in(bindparam("busy_keys", expanding=True)),
)
#: How the attempts of a task ended that are counted in some way, the last first.
_ENDS: Final = (
    select(_attempt.c.disposition)
    .where(
        _attempt.c.task_id == bindparam("task_id"),
        _attempt.c.disposition != Disposition.WITHDRAWN.value,
    )
    .order_by(_attempt.c.id.desc())
    .limit(bindparam("most"))
)
_END_ATTEMPT: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"), text(schema.UNDER_WAY))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "ended_at",
                "disposition",
                "member",
                "talk_s",
                "reason_code",
                "reason_params",
            )
        }
    )
)
_SET_MEMBER: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"))
    .values(member=bindparam("new_member"))
)
#: Tasks that one transaction may put off: a caller's request waits behind it.
_MOST_PUT_OFF: Final = 100
#: How attempts end in which the client answered, or nobody knows whether.
_MAY_HAVE_ANSWERED: Final = frozenset(
    {Disposition.ANSWERED, Disposition.SHORT, Disposition.UNKNOWN}
)


def begin_attempts(
    conn: sa.Connection,
    queues: Sequence[str],
    channel_ids: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    most: CallLimits,
    why_not: Callable[[CallbackTask], Reason | None],
    node: str,
) -> Beginnings:
    """Begin an attempt for each of the first due tasks, one per channel id.

    Args:
        conn: in a transaction.
        queues: whose tasks may be called now.
        channel_ids: of the attempts.
        busy_keys: number keys that must not be called now.
        now: the time.
        most: what calls there may be, these included.
        why_not: says why a task must not be called any more; None if it may.
        node: the Asterisk that makes the calls.
    """
    begun: list[Begun] = []
    put_off: list[CallbackTask] = []
    for channel_id in channel_ids:
        task = _next_to_call(conn, queues, busy_keys, now, most, why_not, put_off)
        if task is None:
            break
        begun.append(_begin(conn, task, channel_id, now, node))
    return Beginnings(begun, put_off)


def _next_to_call(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    most: CallLimits,
    why_not: Callable[[CallbackTask], Reason | None],
    put_off: list[CallbackTask],
) -> CallbackTask | None:
    """Return the first due task that may be called; put off those before it."""
    if limits.all_free_at(conn, most, now) is not None:
        return None
    free = [q for q in queues if limits.queue_free_at(conn, q, most, now) is None]
    due = {"queues": free, "busy_keys": busy_keys, "now": seconds(now), "most": 1}
    while free and len(put_off) < _MOST_PUT_OFF:
        row = conn.execute(_DUE, due).first()
        if row is None:
            return None
        task = task_of(row)
        moved = _put_off(conn, task, now, most.per_number, why_not)
        if moved is None:
            return task
        put_off.append(moved)
    return None


def _put_off(
    conn: sa.Connection,
    task: CallbackTask,
    now: datetime,
    most_calls: int,
    why_not: Callable[[CallbackTask], Reason | None],
) -> CallbackTask | None:
    """End a due task that must not be called, or have it wait; None: it may be."""
    if (known := guards.blocked(conn, task.number_key)) is not None:
        return move_task(conn, task, Move.CANCEL, now, known.why)
    if refusal := why_not(task):
        return move_task(conn, task, Move.GIVE_UP, now, refusal)
    again_at = limits.number_free_at(conn, task.number_key, most_calls, now)
    if again_at is None:
        return None
    why = called_too_often(most_calls, again_at)
    if again_at >= task.expires_at:
        return move_task(conn, task, Move.GIVE_UP, now, why.with_params(too_late=True))
    return move_task(conn, task, Move.RETRY, now, why, due_at=again_at)


def _begin(
    conn: sa.Connection,
    task: CallbackTask,
    channel_id: str,
    now: datetime,
    node: str,
) -> Begun:
    attempt = Attempt(
        id=0, task_id=task.id, channel_id=channel_id, started_at=now, node=node
    )
    number = task.attempts + task.member_attempts + 1
    why = because(Code.ATTEMPT_BEGINS, number=number, channel_id=channel_id)
    return _store_attempt(conn, task, attempt, now, why)


def _store_attempt(
    conn: sa.Connection,
    task: CallbackTask,
    attempt: Attempt,
    now: datetime,
    why: Reason,
) -> Begun:
    """Store an attempt under way of a pending task."""
    attempt_id = insert_row(
        conn,
        _INSERT_ATTEMPT,
        {
            "task_id": task.id,
            "channel_id": attempt.channel_id,
            "started_at": seconds(attempt.started_at),
            "ended_at": None,
            "disposition": None,
            "member": attempt.member,
            "talk_s": 0.0,
            **reason_values(None),
            "node": attempt.node,
        },
    )
    moved = move_task(conn, task, Move.BEGIN, now, why, attempt_id=attempt_id)
    return Begun(moved, evolve(attempt, id=attempt_id))


def restore_attempt(
    conn: sa.Connection, begun: Begun, now: datetime
) -> Restored | None:
    """Store an attempt under way again, if the database has lost it.

    A database that was set back may have lost the task as well, or have given its id
    to another one: the same task is the one that was created at the same moment.

    Args:
        conn: in a transaction.
        begun: the attempt, as it was committed.
        now: the time.

    Returns:
        The attempt as it is stored now; None if its task is gone, has ended, or has
        another attempt under way.
    """
    known, attempt = begun.task, begun.attempt
    row = conn.execute(LOCK_BY_ID, {"task_id": known.id}).first()
    found = conn.execute(ATTEMPT_BY_CHANNEL, {"channel_id": attempt.channel_id}).first()
    if found is not None:
        return Restored(attempt_of(found), anew=False)
    if row is None:
        return None
    task = task_of(row)
    is_same = (task.created_at, task.number) == (known.created_at, known.number)
    if not is_same or task.status is not Status.PENDING:
        return None
    why = because(Code.ATTEMPT_RESTORED, channel_id=attempt.channel_id)
    stored = _store_attempt(conn, task, attempt, now, why)
    return Restored(stored.attempt, anew=True)


def progress(
    conn: sa.Connection,
    channel_id: str,
    why: Reason,
    now: datetime,
    member: str,
    answered_at: datetime | None = None,
) -> None:
    """Add a line to the story of a task whose attempt is under way."""
    task, attempt = under_way(conn, channel_id)
    status = after(task.status, Move.PROGRESS)
    if member:
        conn.execute(
            _SET_MEMBER, {"old_id": attempt.id, "new_member": storable(member)}
        )
    if answered_at is not None:
        later.answered(conn, attempt.id, answered_at)
    write_event(conn, task.id, Move.PROGRESS, status, now, why, attempt_id=attempt.id)


def close_attempt(
    conn: sa.Connection,
    channel_id: str,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    answered_at: datetime | None = None,
) -> CallbackTask:
    """End an attempt and do with its task what the rules say.

    A request that came after the client had answered goes on: with the task if that is
    not over, else as a task of its own.
    """
    task, attempt = under_way(conn, channel_id)
    decision = decide(task, verdict, rules, now, _earlier(conn, task))
    asked = later.still_open(conn, attempt.id)
    outliving: list[LaterRequest] = []
    if asked and verdict.disposition in _MAY_HAVE_ANSWERED:
        at = later.answered_at(conn, attempt.id, attempt.started_at, answered_at, now)
        outliving = [request for request in asked if request.outlives(at)]
    goes_on = bool(outliving) and decision.due_at is None
    ended = conn.execute(
        _END_ATTEMPT,
        {
            "old_id": attempt.id,
            "new_ended_at": seconds(now),
            "new_disposition": verdict.disposition.value,
            "new_member": storable(verdict.member) or attempt.member,
            "new_talk_s": verdict.talk_s,
            **reason_values(verdict.why, "new_"),
        },
    )
    if ended.rowcount != 1:
        raise StaleTask(f"attempt {attempt.id} has ended already")
    moved = move_task(
        conn,
        task,
        decision.move,
        now,
        because(Code.REQUESTED_AGAIN_IN_TALK, cause=decision.why)
        if goes_on
        else decision.why,
        attempt_id=attempt.id,
        due_at=decision.due_at or task.due_at,
        attempts=task.attempts + verdict.counts,
        member_attempts=task.member_attempts
        + (not verdict.counts and not verdict.withdrawn),
    )
    if goes_on:
        _go_on(conn, moved, outliving, now)
    for request in asked:
        if request in outliving:
            state = None if goes_on else LaterState.STANDS
        elif verdict.success:
            state = LaterState.FULFILLED
        else:
            state = LaterState.STANDS
        if state is not None:
            later.set_state(conn, request.event_id, state)
    return moved


def _go_on(
    conn: sa.Connection,
    former: CallbackTask,
    requests: Sequence[LaterRequest],
    now: datetime,
) -> None:
    """Make a task of what was asked for while the client talked in a former one.

    queue_log was told of each request when it came, so it is not told again.
    """
    task: CallbackTask | None = None
    for request in requests:
        why = because(
            Code.REQUESTED_WHILE_TALKING, cause=request.why, task_id=former.id
        )
        new = request.as_task(former.number_key, now, why)
        if task is None:
            task = create(conn, new, now)
            write_event(
                conn,
                task.id,
                Move.CREATE,
                task.status,
                now,
                task.why,
                linkedid=new.linkedid,
            )
        else:
            task = renew(conn, task, new, now, told=True)
        later.set_state(
            conn, request.event_id, LaterState.TASK, later.last_event(conn, task.id)
        )


def _earlier(conn: sa.Connection, task: CallbackTask) -> list[Disposition]:
    """Return how the attempts since the task was put in line ended, in order."""
    # The counters begin anew when a task is put in line again; its attempts stay.
    most = task.attempts + task.member_attempts
    ends = conn.execute(_ENDS, {"task_id": task.id, "most": most}).scalars().all()
    return [Disposition(end) for end in reversed(ends)]


def open_attempts(conn: sa.Connection, node: str) -> list[Begun]:
    """Return the attempts under way on a node with their tasks, from the first."""
    # Ordered here: for the sake of the order a database would look through them all.
    here = select(_attempt).where(text(schema.UNDER_WAY), _attempt.c.node == node)
    rows = conn.execute(here).all()
    return [
        Begun(found(conn, row.task_id), attempt_of(row))
        for row in sorted(rows, key=lambda row: int(row.id))
    ]


def next_due(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    most: CallLimits,
) -> datetime | None:
    """Return when the next of the waiting tasks that are not too old may be called."""
    free: list[str] = []
    moments: list[datetime] = []
    for queue in queues:
        at = limits.queue_free_at(conn, queue, most, now)
        if at is None:
            free.append(queue)
        elif (due := _next_due(conn, [queue], busy_keys, now)) is not None:
            moments.append(max(due, at))
    if free and (due := _next_due(conn, free, busy_keys, now)) is not None:
        moments.append(due)
    if not moments:
        return None
    at = limits.all_free_at(conn, most, now)
    return min(moments) if at is None else max(min(moments), at)


def _next_due(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
) -> datetime | None:
    due = conn.execute(
        _NEXT_DUE, {"queues": queues, "busy_keys": busy_keys, "now": seconds(now)}
    ).scalar()
    return None if due is None else moment(due)
