# SPDX-License-Identifier: MIT
"""What can be done to stored tasks, each as one function inside a transaction.

Every change of a task goes through the table of :mod:`fastagi.domain.task` and writes
one line of its history in the same transaction. The functions may run twice and touch
nothing but the database. They know no threads, no Asterisk and no settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, frozen
from sqlalchemy import bindparam, delete, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from fastagi.domain.attempt import Attempt, Disposition, Verdict
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.limits import CallLimits, called_too_often
from fastagi.domain.retry import RetryRules, decide
from fastagi.domain.task import (
    ENDED,
    OPEN,
    CallbackTask,
    Kind,
    Move,
    NewTask,
    Status,
    TaskEvent,
    after,
)
from fastagi.store import guards, later, limits, new_tasks, schema
from fastagi.store.engine import ALONE, Alone, TryAgain
from fastagi.store.errors import AlreadyOpen, NoSuchTask, StaleTask
from fastagi.store.later import LaterRequest
from fastagi.store.schema import LaterState


@frozen
class Recorded:
    """What came of a new task."""

    task: CallbackTask
    #: False: the caller had an open task already, which was kept.
    created: bool
    #: The same call was taken in before, and nothing was changed.
    known: bool = False
    #: The client was being called: by this the request is known until that call is
    #: over, and after it.
    later_id: int | None = None


@frozen
class Refused:
    """Nothing came of a task, and nothing was changed."""

    reason: str


@frozen
class Begun:
    """A task together with its attempt under way."""

    task: CallbackTask
    attempt: Attempt


@frozen
class Restored:
    """An attempt under way that the database may have lost, as it is stored now."""

    attempt: Attempt
    #: False: it was there.
    anew: bool


@frozen
class Beginnings:
    """What came of due tasks."""

    begun: list[Begun]
    #: Those that could not begin: they ended, or wait until their numbers may be
    #: called again.
    put_off: list[CallbackTask]


@frozen
class Blocked:
    """What came of blocking a number."""

    number: BlockedNumber
    #: False: it was blocked before.
    created: bool
    #: Its open task, which ends.
    task: CallbackTask | None


@frozen
class Counts:
    """How many tasks there are of each status, among some of all."""

    by_status: dict[Status, int]
    #: The last id that was looked at; None: there are no more.
    more_after: int | None


_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_later: Final = schema.later_request
_open: Final = text(schema.OPEN_ONLY)
_pending: Final = text(schema.PENDING_ONLY)
_ended: Final = text(schema.ENDED_ONLY)

_INSERT_TASK: Final = insert(_task)
_INSERT_ATTEMPT: Final = insert(_attempt)
_INSERT_EVENT: Final = insert(_event)
_INSERT_ASKED: Final = insert(schema.asked)
_BY_ID: Final = select(_task).where(_task.c.id == bindparam("task_id"))
_LOCK_BY_ID: Final = _BY_ID.with_for_update()
#: For what was stored in the same transaction: no task is ever deleted.
_DELETE: Final = delete(_task).where(_task.c.id == bindparam("task_id"))
#: Locks the row, so that nobody else changes it before the transaction ends.
_LOCK_OPEN_BY_KEY: Final = (
    select(_task)
    .where(_task.c.number_key == bindparam("number_key"), _open)
    .with_for_update()
)
_BY_CALL: Final = (
    select(_task)
    .join(_event, _event.c.task_id == _task.c.id)
    .outerjoin(_later, _later.c.event_id == _event.c.id)
    .where(
        _event.c.linkedid.in_(bindparam("linkedids", expanding=True)),
        text("task_event.linkedid <> ''"),
        _task.c.number_key == bindparam("number_key"),
        # Of a repeat that was taken back nothing stands.
        func.coalesce(_later.c.state, "") != LaterState.TAKEN_BACK.value,
    )
    .order_by(_task.c.id.desc())
    .limit(1)
)
#: When a task was asked for, and by which calls.
_ASKS: Final = (
    select(func.coalesce(_later.c.asked_at, _event.c.at).label("at"), _event.c.linkedid)
    .outerjoin(_later, _later.c.next_event_id == _event.c.id)
    .where(
        _event.c.task_id == bindparam("task_id"),
        _event.c.move.in_([Move.CREATE.value, Move.REPEAT.value, Move.REOPEN.value]),
    )
)
#: Everything in a task that is told at its beginning.
_NEW: Final = tuple(column.name for column in _task.c if column.name != "id")
#: Everything in a task that may ever change.
_CHANGING: Final = (
    "kind",
    "status",
    "name",
    "language",
    "due_at",
    "expires_at",
    "ended_at",
    "attempts",
    "member_attempts",
    "reason",
    "cancel_requested",
    "served",
)
_SAVE_TASK: Final = (
    update(_task)
    .where(_task.c.id == bindparam("old_id"), _task.c.status == bindparam("old_status"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)
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
_NEXT_EXPIRY: Final = select(func.min(_task.c.expires_at)).where(_pending)
_EXPIRED: Final = (
    select(_task)
    .where(_pending, _task.c.expires_at <= bindparam("now"))
    .order_by(_task.c.expires_at, _task.c.id)
    .limit(200)
    .with_for_update(skip_locked=True)
)
#: The id of a row may be given to another attempt when a database is set back to an
#: earlier state; a channel id never is.
_ATTEMPT_BY_CHANNEL: Final = select(_attempt).where(
    _attempt.c.channel_id == bindparam("channel_id")
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
            for name in ("ended_at", "disposition", "member", "talk_s", "reason")
        }
    )
)
_SET_MEMBER: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"))
    .values(member=bindparam("new_member"))
)
_LAST_ID: Final = select(func.max(_task.c.id))
#: The open tasks, found by their own index before anything else is asked of them: a
#: database that does not know how few they are would look through all tasks.
_FEW: Final = (
    select(_task.c.queue, _task.c.joined_at, _task.c.status, _task.c.number_key)
    .where(_open)
    .cte("few")
    .prefix_with("MATERIALIZED")
)
_COUNT_OPEN: Final = select(_FEW.c.status, func.count()).group_by(_FEW.c.status)
#: One question for each status, as each is found in the index of it.
_COUNT_ENDED: Final = select(
    *(
        select(func.count())
        .select_from(_task)
        .where(
            _task.c.status == status.value,
            _ended,
            _task.c.id > bindparam("after_id"),
            _task.c.id <= bindparam("up_to"),
        )
        .scalar_subquery()
        .label(status.value)
        for status in sorted(ENDED)
    )
)

_setting: Final = _event.alias("setting")
#: The last event that decided when a task is due.
_SET_DUE: Final = (
    select(func.max(_setting.c.id))
    .where(
        _setting.c.task_id == _task.c.id,
        _setting.c.move.in_([Move.RETRY.value, Move.REOPEN.value]),
    )
    .correlate(_task)
    .scalar_subquery()
)
#: Tasks that wait until their numbers may be called again: no attempt put them off.
_PUT_OFF: Final = (
    select(_task)
    .select_from(_task.join(_event, _event.c.task_id == _task.c.id))
    .where(
        _event.c.id == _SET_DUE,
        # Both tables have a status; a bound one would not be found in the index.
        text(f"task.{schema.PENDING_ONLY}"),
        _task.c.expires_at > bindparam("now"),
        _task.c.due_at > bindparam("now"),
        _event.c.move == Move.RETRY.value,
        _event.c.attempt_id.is_(None),
    )
    .order_by(_task.c.expires_at, _task.c.id)
    .with_for_update(of=_task)
)
#: Moments that differ by less are the same.
_HAIR: Final = timedelta(seconds=1)

#: Tasks that one transaction may put off: a caller's request waits behind it.
_MOST_PUT_OFF: Final = 100

#: How attempts end in which the client answered, or nobody knows whether.
_MAY_HAVE_ANSWERED: Final = frozenset(
    {Disposition.ANSWERED, Disposition.SHORT, Disposition.UNKNOWN}
)

#: What PostgreSQL or UTF-8 can not hold; a stranger's caller name may.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


# -- changes ---------------------------------------------------------------


def add(
    conn: sa.Connection,
    new: NewTask,
    now: datetime,
    once: bool,
    ids: Collection[str] = (),
    most_calls: int = 0,
) -> Recorded | Refused:
    """Make a task, or renew the open one of the same number.

    Refused if the number is blocked, or was called so often that it could not be
    called again before the task is too old.

    Args:
        conn: in a transaction.
        new: what is known.
        now: the time.
        once: leave all as it is if the same call was taken in before, whatever
            became of it since.
        ids: further ids by which that call may be known.
        most_calls: to one number within a day; 0 is no limit.
    """
    number_key = new.number_key
    linkedid = _storable(new.linkedid)
    linkedids = sorted({linkedid, *map(_storable, ids)} - {""})
    if once and linkedids:
        row = conn.execute(
            _BY_CALL, {"linkedids": linkedids, "number_key": number_key}
        ).first()
        if row is not None:
            return Recorded(_task_of(row), created=False, known=True)
    if (known := guards.blocked(conn, number_key)) is not None:
        return Refused(known.words)
    again_at = limits.number_free_at(conn, number_key, most_calls, now)
    if again_at is not None and again_at >= new.expires_at:
        return Refused(called_too_often(most_calls, again_at))
    row = conn.execute(_LOCK_OPEN_BY_KEY, {"number_key": number_key}).first()
    if row is not None:
        task = _renew(conn, _task_of(row), new, now)
        later_id = None
        if task.status is Status.CALLING:
            later_id = later.keep(conn, task.id, _all_storable(new), now)
        return Recorded(task, created=False, later_id=later_id)
    task = _create(conn, new, now)
    _tell(
        conn,
        task.id,
        Move.CREATE,
        task.status,
        now,
        task.reason,
        linkedid=linkedid,
        asked=new.kind,
    )
    return Recorded(task, created=True)


def add_many(
    conn: sa.Connection,
    asked: Sequence[tuple[NewTask, datetime, bool, Collection[str], int]],
) -> list[Recorded | Refused | Alone]:
    """Make tasks of numbers of which nothing is known, however many, in few statements.

    Args:
        conn: in a transaction.
        asked: the arguments of an :func:`add` each.

    Returns:
        For each the new task; ALONE where :func:`add` has to be asked, since its
        number is blocked, has an open task, was called as often as is allowed, or came
        before in ``asked``, or since its call may be known.
    """
    unusual = new_tasks.unusual(
        conn, [(new.number_key, most, now) for new, now, _, _, most in asked]
    )
    tasks: dict[str, CallbackTask] = {}
    results: list[Recorded | Refused | Alone] = []
    for new, now, once, _, _ in asked:
        if once or new.number_key in unusual:
            results.append(ALONE)
            continue
        # Of two with one number the second asks again.
        unusual.add(new.number_key)
        tasks[new.number_key] = _pending_task(new, now)
        results.append(Recorded(tasks[new.number_key], created=True))
    if not tasks:
        return results
    try:
        ids = new_tasks.insert_all(
            conn, [_values(task, _NEW) for task in tasks.values()]
        )
    except IntegrityError as error:
        raise _again_if_open(error) from error
    return [
        evolve(one, task=evolve(one.task, id=ids[one.task.number_key]))
        if isinstance(one, Recorded)
        else one
        for one in results
    ]


def _create(conn: sa.Connection, new: NewTask, now: datetime) -> CallbackTask:
    """Store a task; waits for whoever is just about to store one of its number."""
    task = _pending_task(new, now)
    try:
        task_id = _insert(conn, _INSERT_TASK, _values(task, _NEW))
    except IntegrityError as error:
        raise _again_if_open(error) from error
    return evolve(task, id=task_id)


def _pending_task(new: NewTask, now: datetime) -> CallbackTask:
    """Return a new task as it is to be stored; its id is not known yet."""
    return CallbackTask(
        id=0,
        kind=new.kind,
        status=Status.PENDING,
        number=new.number,
        number_key=new.number_key,
        name=_storable(new.name),
        language=_storable(new.language),
        queue=new.queue,
        linkedid=_storable(new.linkedid),
        joined_at=new.joined_at,
        created_at=now,
        due_at=new.due_at,
        expires_at=new.expires_at,
        reason=_storable(new.reason),
    )


def _renew(
    conn: sa.Connection,
    task: CallbackTask,
    new: NewTask,
    now: datetime,
    *,
    told: bool = False,
) -> CallbackTask:
    """Take in that the caller of an open task asks again; its place is kept.

    Args:
        conn: in a transaction.
        task: the open one.
        new: what is asked for.
        now: the time.
        told: whether queue_log knows of it already.
    """
    return _move(
        conn,
        task,
        Move.REPEAT,
        now,
        new.reason,
        linkedid=_storable(new.linkedid),
        asked=None if told else new.kind,
        kind=new.kind if new.kind is Kind.REQUESTED else task.kind,
        name=task.name or _storable(new.name),
        language=task.language or _storable(new.language),
        expires_at=max(task.expires_at, new.expires_at),
        # The wish is newer than what was to end the task.
        cancel_requested=False,
        served=False,
    )


def begin_attempts(
    conn: sa.Connection,
    queues: Sequence[str],
    channel_ids: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    most: CallLimits,
    why_not: Callable[[CallbackTask], str],
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
        why_not: says why a task must not be called any more; empty if it may.
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
    why_not: Callable[[CallbackTask], str],
    put_off: list[CallbackTask],
) -> CallbackTask | None:
    """Return the first due task that may be called; put off those before it."""
    if limits.all_free_at(conn, most, now) is not None:
        return None
    free = [q for q in queues if limits.queue_free_at(conn, q, most, now) is None]
    due = {"queues": free, "busy_keys": busy_keys, "now": _seconds(now), "most": 1}
    while free and len(put_off) < _MOST_PUT_OFF:
        row = conn.execute(_DUE, due).first()
        if row is None:
            return None
        task = _task_of(row)
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
    why_not: Callable[[CallbackTask], str],
) -> CallbackTask | None:
    """End a due task that must not be called, or have it wait; None: it may be."""
    if (known := guards.blocked(conn, task.number_key)) is not None:
        return _move(conn, task, Move.CANCEL, now, known.words)
    if refusal := why_not(task):
        return _move(conn, task, Move.GIVE_UP, now, refusal)
    again_at = limits.number_free_at(conn, task.number_key, most_calls, now)
    if again_at is None:
        return None
    reason = called_too_often(most_calls, again_at)
    if again_at >= task.expires_at:
        return _move(conn, task, Move.GIVE_UP, now, f"{reason}, which is too late")
    return _move(conn, task, Move.RETRY, now, reason, due_at=again_at)


def use_limit(
    conn: sa.Connection, most_calls: int, now: datetime
) -> list[CallbackTask]:
    """Let tasks wait no longer for their numbers than a new limit has them wait.

    Args:
        conn: in a transaction.
        most_calls: to one number within a day; 0 is no limit.
        now: the time.

    Returns:
        Those that are due earlier by it.
    """
    earlier = []
    for task in map(_task_of, conn.execute(_PUT_OFF, {"now": _seconds(now)}).all()):
        at = limits.number_free_at(conn, task.number_key, most_calls, now)
        if at is None:
            reason = "the settings allow more calls to the number"
        else:
            reason = called_too_often(most_calls, at)
        due_at = now if at is None else at
        if task.due_at - due_at > _HAIR:
            moved = _move(conn, task, Move.RETRY, now, reason, due_at=due_at)
            earlier.append(moved)
    return earlier


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
    reason = f"attempt {number} begins, channel id {channel_id}"
    return _store_attempt(conn, task, attempt, now, reason)


def _store_attempt(
    conn: sa.Connection,
    task: CallbackTask,
    attempt: Attempt,
    now: datetime,
    reason: str,
) -> Begun:
    """Store an attempt under way of a pending task."""
    attempt_id = _insert(
        conn,
        _INSERT_ATTEMPT,
        {
            "task_id": task.id,
            "channel_id": attempt.channel_id,
            "started_at": _seconds(attempt.started_at),
            "ended_at": None,
            "disposition": None,
            "member": attempt.member,
            "talk_s": 0.0,
            "reason": "",
            "node": attempt.node,
        },
    )
    moved = _move(conn, task, Move.BEGIN, now, reason, attempt_id=attempt_id)
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
    row = conn.execute(_LOCK_BY_ID, {"task_id": known.id}).first()
    found = conn.execute(
        _ATTEMPT_BY_CHANNEL, {"channel_id": attempt.channel_id}
    ).first()
    if found is not None:
        return Restored(_attempt_of(found), anew=False)
    if row is None:
        return None
    task = _task_of(row)
    is_same = (task.created_at, task.number) == (known.created_at, known.number)
    if not is_same or task.status is not Status.PENDING:
        return None
    reason = (
        f"the attempt with channel id {attempt.channel_id} is under way; the database"
        " was set back and had lost it"
    )
    stored = _store_attempt(conn, task, attempt, now, reason)
    return Restored(stored.attempt, anew=True)


def progress(
    conn: sa.Connection,
    channel_id: str,
    words: str,
    now: datetime,
    member: str,
    answered_at: datetime | None = None,
) -> None:
    """Add a line to the story of a task whose attempt is under way."""
    task, attempt = _under_way(conn, channel_id)
    status = after(task.status, Move.PROGRESS)
    if member:
        conn.execute(
            _SET_MEMBER, {"old_id": attempt.id, "new_member": _storable(member)}
        )
    if answered_at is not None:
        later.answered(conn, attempt.id, answered_at)
    _tell(conn, task.id, Move.PROGRESS, status, now, words, attempt_id=attempt.id)


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
    task, attempt = _under_way(conn, channel_id)
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
            "new_ended_at": _seconds(now),
            "new_disposition": verdict.disposition.value,
            "new_member": _storable(verdict.member) or attempt.member,
            "new_talk_s": verdict.talk_s,
            "new_reason": _storable(verdict.reason),
        },
    )
    if ended.rowcount != 1:
        raise StaleTask(f"attempt {attempt.id} has ended already")
    moved = _move(
        conn,
        task,
        decision.move,
        now,
        f"{decision.reason}; asked for again in the talk: a new task"
        if goes_on
        else decision.reason,
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
        reason = f"{request.reason}, while the client talked in task {former.id}"
        new = request.as_task(former.number_key, now, reason)
        if task is None:
            task = _create(conn, new, now)
            _tell(
                conn,
                task.id,
                Move.CREATE,
                task.status,
                now,
                task.reason,
                linkedid=new.linkedid,
            )
        else:
            task = _renew(conn, task, new, now, told=True)
        later.set_state(
            conn, request.event_id, LaterState.TASK, later.last_event(conn, task.id)
        )


def _earlier(conn: sa.Connection, task: CallbackTask) -> list[Disposition]:
    """Return how the attempts since the task was put in line ended, in order."""
    # The counters begin anew when a task is put in line again; its attempts stay.
    most = task.attempts + task.member_attempts
    ends = conn.execute(_ENDS, {"task_id": task.id, "most": most}).scalars().all()
    return [Disposition(end) for end in reversed(ends)]


def expire(conn: sa.Connection, now: datetime) -> list[CallbackTask]:
    """End waiting tasks that are too old; those being called are left alone.

    At most so many at once that a caller's request need not wait long for its turn;
    none means that there are no more.
    """
    rows = conn.execute(_EXPIRED, {"now": _seconds(now)}).all()
    expired = []
    for task in map(_task_of, rows):
        tried = [
            f"{count} {what}"
            for count, what in (
                (task.attempts, "calls without success"),
                (task.member_attempts, "tries without an agent"),
            )
            if count
        ]
        reason = f"too old; {', '.join(tried) or 'it was never called'}"
        expired.append(_move(conn, task, Move.EXPIRE, now, reason))
    return expired


def cancel(
    conn: sa.Connection, task_id: int, reason: str, now: datetime
) -> CallbackTask:
    """End a task: at once, or when its attempt under way has ended."""
    task = _locked(conn, task_id)
    if task.status is Status.CALLING:
        later.end_all(conn, task.id)
        return _move(conn, task, Move.CANCEL_LATER, now, reason, cancel_requested=True)
    return _move(conn, task, Move.CANCEL, now, reason)


def block(
    conn: sa.Connection, number: BlockedNumber, region: str, now: datetime
) -> Blocked:
    """Have a number never called again; its open task ends as if cancelled."""
    number = evolve(number, reason=_storable(number.reason))
    created = guards.put(conn, number, region)
    known = guards.blocked(conn, number.number_key) or number
    row = conn.execute(_LOCK_OPEN_BY_KEY, {"number_key": number.number_key}).first()
    task = None if row is None else cancel(conn, row.id, known.words, now)
    return Blocked(known, created, task)


def take_back(
    conn: sa.Connection,
    task_id: int,
    reason: str,
    now: datetime,
    later_id: int | None = None,
) -> CallbackTask | None:
    """Cancel a task whose caller was never told of it.

    None: it was asked for again since, and that time the caller was told.

    Args:
        conn: in a transaction.
        task_id: of the task.
        reason: in words.
        now: the time.
        later_id: of the request, if the client was being called: then the task goes
            its way, and nothing comes of the request after it.
    """
    if later_id is not None:
        return _take_back_later(conn, task_id, later_id, reason, now)
    task = _locked(conn, task_id)
    if _is_repeated(conn, task_id):
        return None
    return cancel(conn, task.id, reason, now)


def _is_repeated(conn: sa.Connection, task_id: int) -> bool:
    """Whether a task was asked for again, and that stands."""
    repeated = (
        select(_event.c.id)
        .outerjoin(_later, _later.c.event_id == _event.c.id)
        .where(
            _event.c.task_id == task_id,
            _event.c.move == Move.REPEAT.value,
            func.coalesce(_later.c.state, "") != LaterState.TAKEN_BACK.value,
        )
    )
    return conn.execute(repeated.limit(1)).first() is not None


def _take_back_later(
    conn: sa.Connection, task_id: int, later_id: int, reason: str, now: datetime
) -> CallbackTask | None:
    """Take back a request that came while the client was being called."""
    task = _locked(conn, task_id)
    request = later.find(conn, later_id)
    if request is None or request.state is LaterState.TAKEN_BACK:
        return None
    later.set_state(conn, later_id, LaterState.TAKEN_BACK, request.next_event_id)
    if request.state is LaterState.OPEN:
        status = after(task.status, Move.PROGRESS)
        _tell(conn, task.id, Move.PROGRESS, status, now, f"asked again, but {reason}")
        return task
    if request.next_event_id is None:
        return None
    event = conn.execute(
        select(_event.c.task_id, _event.c.move).where(
            _event.c.id == request.next_event_id
        )
    ).one()
    if event.move != Move.CREATE.value or _is_repeated(conn, event.task_id):
        return None
    return cancel(conn, event.task_id, reason, now)


def take_back_unheard(
    conn: sa.Connection, new: NewTask, asked_at: datetime, reason: str, now: datetime
) -> CallbackTask | None:
    """Take back a task of which nobody heard whether it was stored.

    None: it was not and never will be, or it was asked for again since.

    Args:
        conn: in a transaction.
        new: what was to be stored.
        asked_at: when.
        reason: in words.
        now: the time.
    """
    row = conn.execute(_LOCK_OPEN_BY_KEY, {"number_key": new.number_key}).first()
    if row is None:
        # The server may still be at work on it for a connection that is gone. Of two
        # open tasks of one number the second waits for the first.
        trial = _create(conn, new, now)
        conn.execute(_DELETE, {"task_id": trial.id})
    if repeated := later.of_call(conn, _storable(new.linkedid), asked_at):
        task_id, later_id = repeated
        return _take_back_later(conn, task_id, later_id, reason, now)
    if row is None:
        return None
    task = _task_of(row)
    if task.linkedid != _storable(new.linkedid) or task.created_at != asked_at:
        return None
    return take_back(conn, task.id, reason, now)


def serve(
    conn: sa.Connection,
    number_key: str,
    reason: str,
    now: datetime,
    served_at: datetime | None = None,
    asked_at: Mapping[str, datetime] | None = None,
) -> CallbackTask | None:
    """End the number's open task because its caller was served in another way.

    A task that was asked for after that is left alone.
    """
    row = conn.execute(_LOCK_OPEN_BY_KEY, {"number_key": number_key}).first()
    if row is None:
        return None
    task = _task_of(row)
    if served_at is not None:
        known = asked_at or {}
        asks = conn.execute(_ASKS, {"task_id": task.id}).all()
        if any(known.get(ask.linkedid, _when(ask.at)) > served_at for ask in asks):
            return None
    if task.status is Status.CALLING:
        later.end_all(conn, task.id)
        return _move(conn, task, Move.SERVE_LATER, now, reason, served=True)
    return _move(conn, task, Move.SERVE, now, reason)


def rekey(
    conn: sa.Connection, key_of: Callable[[str], str], now: datetime
) -> list[CallbackTask]:
    """Give the open tasks the keys their numbers have now; return those ended by it.

    Where several turn out to be of one caller, the one being called stays, else the
    first in line; the others end. Two that are being called stay as they are until
    the next time.
    """
    rows = conn.execute(select(_task).where(_open).with_for_update())
    tasks = sorted(
        (_task_of(row) for row in rows),
        key=lambda task: (task.status is not Status.CALLING, task.joined_at, task.id),
    )
    stays: dict[str, CallbackTask] = {}
    changed: dict[int, str] = {}
    ended: list[CallbackTask] = []
    for task in tasks:
        key = key_of(task.number)
        first = stays.setdefault(key, task)
        if first is task:
            if key != task.number_key:
                changed[task.id] = key
        elif task.status is Status.PENDING:
            reason = f"the same client as that of task {first.id}, which stays"
            ended.append(_move(conn, task, Move.CANCEL, now, reason))
    gone = {task.id for task in ended}
    taken = {task.number_key: task.id for task in tasks if task.id not in gone}
    for task_id, key in list(changed.items()):
        if taken.get(key, task_id) not in {task_id, *changed}:
            # Of one that is being called, too, under its old key.
            del changed[task_id]
    for keys in ({task_id: f"task {task_id}" for task_id in changed}, changed):
        # By way of keys that no number has, so that two can change places.
        for task_id, key in keys.items():
            conn.execute(
                update(_task).where(_task.c.id == task_id).values(number_key=key)
            )
    return ended


def retry(
    conn: sa.Connection,
    task_id: int,
    reason: str,
    now: datetime,
    expires_at: datetime,
) -> CallbackTask | Refused:
    """Put a task back in line, due at once; refused if its number is blocked."""
    task = _locked(conn, task_id)
    after(task.status, Move.REOPEN)
    if (known := guards.blocked(conn, task.number_key)) is not None:
        return Refused(known.words)
    if task.is_open:
        changes: dict[str, Any] = {"expires_at": max(task.expires_at, expires_at)}
    else:
        other = conn.execute(_LOCK_OPEN_BY_KEY, {"number_key": task.number_key}).first()
        if other is not None:
            raise AlreadyOpen(other.id)
        changes = {
            "expires_at": expires_at,
            "attempts": 0,
            "member_attempts": 0,
            "cancel_requested": False,
            "served": False,
        }
    try:
        return _move(conn, task, Move.REOPEN, now, reason, due_at=now, **changes)
    except IntegrityError as error:
        raise _again_if_open(error) from error


# -- questions -------------------------------------------------------------


def find(conn: sa.Connection, task_id: int) -> CallbackTask | None:
    """Return a task, or None if there is none."""
    row = conn.execute(_BY_ID, {"task_id": task_id}).first()
    return None if row is None else _task_of(row)


def listing(
    conn: sa.Connection,
    statuses: Collection[Status] | None,
    queue: str | None,
    number_key: str | None,
    limit: int,
    before_id: int | None = None,
) -> list[CallbackTask]:
    """Return tasks, the newest first: of all, or of those before one of them."""
    wanted = select(_task).limit(limit)
    if statuses is not None and set(statuses) == OPEN:
        # In the words of the index of open tasks, and with a sign that keeps databases
        # from going through all tasks in the order of their ids instead.
        wanted = wanted.where(_open).order_by(text("+task.id DESC"))
        if before_id is not None:
            before = text("+task.id < :before_id").bindparams(before_id=before_id)
            wanted = wanted.where(before)
    else:
        wanted = wanted.order_by(_task.c.id.desc())
        if before_id is not None:
            wanted = wanted.where(_task.c.id < before_id)
        if statuses is not None:
            words = [status.value for status in statuses]
            wanted = wanted.where(_task.c.status.in_(words))
            if not set(statuses) & OPEN:
                wanted = wanted.where(_ended)
    if queue is not None:
        wanted = wanted.where(_task.c.queue == queue)
    if number_key is not None:
        wanted = wanted.where(_task.c.number_key == number_key)
    return [_task_of(row) for row in conn.execute(wanted)]


def history(conn: sa.Connection, task_id: int) -> list[TaskEvent]:
    """Return the task's story from its beginning."""
    _found(conn, task_id)
    rows = conn.execute(
        select(_event).where(_event.c.task_id == task_id).order_by(_event.c.id)
    )
    return [
        TaskEvent(
            task_id=row.task_id,
            at=_when(row.at),
            move=Move(row.move),
            status=Status(row.status),
            text=row.text,
            attempt_id=row.attempt_id,
        )
        for row in rows
    ]


def attempts(conn: sa.Connection, task_id: int) -> list[Attempt]:
    """Return the task's attempts from the first."""
    _found(conn, task_id)
    rows = conn.execute(
        select(_attempt).where(_attempt.c.task_id == task_id).order_by(_attempt.c.id)
    )
    return [_attempt_of(row) for row in rows]


def open_attempts(conn: sa.Connection, node: str) -> list[Begun]:
    """Return the attempts under way on a node with their tasks, from the first."""
    # Ordered here: for the sake of the order a database would look through them all.
    here = select(_attempt).where(text(schema.UNDER_WAY), _attempt.c.node == node)
    rows = conn.execute(here).all()
    return [
        Begun(_found(conn, row.task_id), _attempt_of(row))
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
        _NEXT_DUE, {"queues": queues, "busy_keys": busy_keys, "now": _seconds(now)}
    ).scalar()
    return None if due is None else _when(due)


def next_expiry(conn: sa.Connection) -> datetime | None:
    """Return when the next of the waiting tasks becomes too old."""
    at = conn.execute(_NEXT_EXPIRY).scalar()
    return None if at is None else _when(at)


def counts(conn: sa.Connection, after_id: int, most: int) -> Counts:
    """Return how many tasks there are of each status, the ended ones among some of all.

    Args:
        conn: in a transaction.
        after_id: counts those with higher ids.
        most: so many ids, so that nobody waits long for it.
    """
    last = conn.execute(_LAST_ID).scalar() or 0
    up_to = min(after_id + most, last)
    counted = dict.fromkeys(Status, 0)
    row = conn.execute(_COUNT_ENDED, {"after_id": after_id, "up_to": up_to}).one()
    for status in ENDED:
        counted[status] = row._mapping[status.value]
    if not after_id:
        # All of them at once: there are few.
        for word, count in conn.execute(_COUNT_OPEN):
            counted[Status(word)] = count
    return Counts(counted, None if up_to >= last else up_to)


def oldest_open(conn: sa.Connection) -> dict[str, datetime]:
    """Return since when the first in line waits, for each queue with open tasks."""
    wanted = select(_FEW.c.queue, func.min(_FEW.c.joined_at).label("since"))
    rows = conn.execute(wanted.group_by(_FEW.c.queue))
    return {row.queue: _when(row.since) for row in rows}


def open_by_queue(conn: sa.Connection) -> dict[str, int]:
    """Return how many open tasks each queue has that has any."""
    wanted = select(_FEW.c.queue, func.count().label("open"))
    rows = conn.execute(wanted.group_by(_FEW.c.queue))
    return {row.queue: row.open for row in rows}


def respell(conn: sa.Connection, name_of: Callable[[str], str | None]) -> int:
    """Write the queues of open tasks as the settings do now.

    Args:
        name_of: gives the name of a queue in the settings, None if it is not there.

    Returns:
        How many tasks had another spelling.
    """
    names = {queue: name_of(queue) or queue for queue in open_by_queue(conn)}
    changed = 0
    for queue, name in names.items():
        if name != queue:
            of_queue = update(_task).where(_open, _task.c.queue == queue)
            changed += conn.execute(of_queue.values(queue=name)).rowcount
    later.respell(conn, name_of)
    return changed


def ping(conn: sa.Connection) -> None:
    """Do nothing but use the database."""
    conn.execute(select(_task.c.id).limit(1)).all()


# -- parts -----------------------------------------------------------------


def _move(
    conn: sa.Connection,
    task: CallbackTask,
    move: Move,
    now: datetime,
    reason: str,
    *,
    attempt_id: int | None = None,
    linkedid: str = "",
    asked: Kind | None = None,
    **changes: Any,
) -> CallbackTask:
    """Move a task and write the line of its history.

    Raises:
        IllegalMove: the table has no such arrow.
        StaleTask: the task is not where ``task`` says any more.
    """
    status = after(task.status, move)
    moved = evolve(
        task,
        status=status,
        ended_at=None if status in OPEN else now,
        reason=_storable(reason),
        **changes,
    )
    saved = conn.execute(
        _SAVE_TASK,
        {
            "old_id": task.id,
            "old_status": task.status.value,
            **_values(moved, _CHANGING, "new_"),
        },
    )
    if saved.rowcount != 1:
        raise StaleTask(f"task {task.id} is not {task.status} any more")
    _tell(
        conn,
        task.id,
        move,
        status,
        now,
        reason,
        attempt_id=attempt_id,
        linkedid=linkedid,
        asked=asked,
    )
    return moved


def _tell(
    conn: sa.Connection,
    task_id: int,
    move: Move,
    status: Status,
    now: datetime,
    words: str,
    *,
    attempt_id: int | None = None,
    linkedid: str = "",
    asked: Kind | None = None,
) -> None:
    event_id = _insert(
        conn,
        _INSERT_EVENT,
        {
            "task_id": task_id,
            "attempt_id": attempt_id,
            "at": _seconds(now),
            "move": move.value,
            "status": status.value,
            "text": _storable(words),
            "linkedid": linkedid,
        },
    )
    if asked is not None:
        conn.execute(_INSERT_ASKED, {"event_id": event_id, "kind": asked.value})


def _values(
    task: CallbackTask, names: Sequence[str], prefix: str = ""
) -> dict[str, Any]:
    """Return what is stored for the named fields of a task."""
    values = {}
    for name in names:
        value = getattr(task, name)
        if isinstance(value, datetime):
            value = _seconds(value)
        elif isinstance(value, StrEnum):
            value = value.value
        values[prefix + name] = value
    return values


def _again_if_open(error: IntegrityError) -> Exception:
    """Tell another process's open task for the number from any other fault."""
    return TryAgain() if "number_key" in str(error.orig) else error


def _insert(conn: sa.Connection, statement: sa.Insert, values: dict[str, Any]) -> int:
    key = conn.execute(statement, values).inserted_primary_key
    assert key is not None
    return int(key[0])


def _found(conn: sa.Connection, task_id: int) -> CallbackTask:
    task = find(conn, task_id)
    if task is None:
        raise NoSuchTask(f"there is no task {task_id}")
    return task


def _locked(conn: sa.Connection, task_id: int) -> CallbackTask:
    """Return a task that nobody else changes before this transaction ends."""
    row = conn.execute(_LOCK_BY_ID, {"task_id": task_id}).first()
    if row is None:
        raise NoSuchTask(f"there is no task {task_id}")
    return _task_of(row)


def _under_way(conn: sa.Connection, channel_id: str) -> tuple[CallbackTask, Attempt]:
    """Return an attempt under way and its task, locked: always the task first."""
    wanted = {"channel_id": channel_id}
    row = conn.execute(_ATTEMPT_BY_CHANNEL, wanted).first()
    if row is None:
        raise NoSuchTask(f"there is no attempt with channel id {channel_id}")
    task = _locked(conn, row.task_id)
    # Read once more: it may have ended while we waited for the lock.
    row = conn.execute(_ATTEMPT_BY_CHANNEL, wanted).one()
    if row.ended_at is not None:
        raise StaleTask(f"attempt {row.id} has ended already")
    return task, _attempt_of(row)


def _task_of(row: sa.Row[Any]) -> CallbackTask:
    return CallbackTask(
        id=row.id,
        kind=Kind(row.kind),
        status=Status(row.status),
        number=row.number,
        number_key=row.number_key,
        name=row.name,
        language=row.language,
        queue=row.queue,
        linkedid=row.linkedid,
        joined_at=_when(row.joined_at),
        created_at=_when(row.created_at),
        due_at=_when(row.due_at),
        expires_at=_when(row.expires_at),
        ended_at=None if row.ended_at is None else _when(row.ended_at),
        attempts=row.attempts,
        member_attempts=row.member_attempts,
        reason=row.reason,
        cancel_requested=row.cancel_requested,
        served=row.served,
    )


def _attempt_of(row: sa.Row[Any]) -> Attempt:
    return Attempt(
        id=row.id,
        task_id=row.task_id,
        channel_id=row.channel_id,
        started_at=_when(row.started_at),
        ended_at=None if row.ended_at is None else _when(row.ended_at),
        disposition=None if row.disposition is None else Disposition(row.disposition),
        member=row.member,
        talk_s=row.talk_s,
        reason=row.reason,
        node=row.node,
    )


def _seconds(at: datetime) -> float:
    if at.utcoffset() is None:
        raise ValueError("a time without a zone")
    return at.timestamp()


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _storable(words: str) -> str:
    return _UNSTORABLE.sub("\ufffd", words)


def _all_storable(new: NewTask) -> NewTask:
    return evolve(
        new,
        name=_storable(new.name),
        language=_storable(new.language),
        linkedid=_storable(new.linkedid),
        reason=_storable(new.reason),
    )
