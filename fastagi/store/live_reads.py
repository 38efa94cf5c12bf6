# SPDX-License-Identifier: MIT
"""Reads what has changed in the tasks, for those who follow them live.

The functions run inside a transaction and only read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, func, select

from fastagi.domain.attempt import Disposition
from fastagi.domain.task import ENDED, CallbackTask, Move, Status
from fastagi.store import positions, schema, writers
from fastagi.store.rows import moment, seconds, task_of

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_LAST: Final = select(func.coalesce(func.max(_event.c.id), 0))
_AFTER: Final = (
    select(_event.c.id, _event.c.task_id)
    .where(_event.c.id > bindparam("event_id"))
    .order_by(_event.c.id)
    .limit(bindparam("most"))
)
_TASKS: Final = select(_task).where(_task.c.id.in_(bindparam("ids", expanding=True)))
#: When the talks began in which clients were reached.
_TALKS: Final = select(
    _attempt.c.task_id, (_attempt.c.ended_at - _attempt.c.talk_s).label("began_at")
).where(
    _attempt.c.task_id.in_(bindparam("ids", expanding=True)),
    _attempt.c.disposition == Disposition.ANSWERED.value,
)
_NEXT_EVENT: Final = (
    select(_event.c.id, _event.c.at)
    .where(_event.c.id >= bindparam("event_id"))
    .order_by(_event.c.id)
    .limit(1)
)
#: Ends of tasks by their calls, or for want of them.
_ENDS: Final = (
    select(_event.c.task_id)
    .where(
        _event.c.id > bindparam("event_id"),
        _event.c.id <= bindparam("up_to"),
        _event.c.move.in_([Move.COMPLETE.value, Move.GIVE_UP.value, Move.EXPIRE.value]),
    )
    .order_by(_event.c.id)
)
_WAITING_EVENTS: Final[Any] = select(
    func.count(), func.min(sa.column("at"))
).select_from(
    select(_event.c.at)
    .where(_event.c.id > bindparam("event_id"), _event.c.at < bindparam("before"))
    .order_by(_event.c.id)
    .limit(bindparam("most"))
    .subquery()
)
#: Most events that are counted as waiting.
_MOST_WAITING: Final = 1_000


@frozen
class EndedTask:
    """A task that has ended.

    Attributes:
        reached_at: when the talk began in which its client was reached; None: it was
            not, or not in a callback.
    """

    task: CallbackTask
    reached_at: datetime | None


@frozen
class TaskChanges:
    """The tasks with events after one.

    Attributes:
        last_event: the last event whose task is here.
        open: tasks that are open now.
        ended: tasks that have ended.
        gone: ids of tasks that the database does not have.
        more: whether there are more events.
        held_back: whether there are more, but one before them may still be stored.
        waiting_events: how many events the last reader has not read yet.
        waiting_since: the time of the oldest of them; None: there is none.
    """

    last_event: int
    open: list[CallbackTask]
    ended: list[EndedTask]
    gone: list[int]
    more: bool
    held_back: bool
    waiting_events: int
    waiting_since: datetime | None


def last_event(conn: sa.Connection) -> int:
    """Return the last event before which no other one can be stored any more.

    0 if there is none. What is read after this has the changes of all events up to it.
    """
    return writers.settled(conn, _last(conn))


def _last(conn: sa.Connection) -> int:
    return int(conn.execute(_LAST).scalar_one())


def changes_after(
    conn: sa.Connection,
    event_id: int,
    most: int,
    readers: Sequence[str],
    before: datetime,
) -> TaskChanges:
    """Return the tasks with events after one.

    Args:
        conn: in a transaction.
        event_id: the last event that is known.
        most: maximum number of events.
        readers: the readers of events; the unread events of the one that is behind the
            others are counted. If one has no position, that is of the first only.
        before: only events before this time count for that.
    """
    wanted = {"event_id": event_id, "most": most}
    rows, held_back = writers.read(conn, _AFTER, wanted, event_id)
    ids = {row.task_id for row in rows}
    tasks = [task_of(row) for row in conn.execute(_TASKS, {"ids": list(ids)})]
    first, *others = (positions.get(conn, reader).event_id for reader in readers)
    unread = {
        "event_id": min([first, *(one for one in others if one)]),
        "before": seconds(before),
        "most": _MOST_WAITING,
    }
    count, since = conn.execute(_WAITING_EVENTS, unread).one()
    # A database that was set back has fewer events than are known.
    last = rows[-1].id if rows else min(event_id, _last(conn))
    return TaskChanges(
        last_event=last,
        open=[task for task in tasks if task.is_open],
        ended=_with_talks(conn, [task for task in tasks if not task.is_open]),
        gone=sorted(ids - {task.id for task in tasks}),
        more=len(rows) == most,
        held_back=held_back,
        waiting_events=count,
        waiting_since=None if since is None else moment(since),
    )


def first_event_since(conn: sa.Connection, since: datetime) -> int:
    """Return the id of the last event before a time, by bisection; 0: there is none.

    Events are stored in the order of their ids; that they are in the order of their
    times, too, is only untrue while the clock is set.
    """
    low, high = 0, _last(conn)
    while low < high:
        middle = (low + high + 1) // 2
        row = conn.execute(_NEXT_EVENT, {"event_id": middle}).first()
        if row is None or row.at >= seconds(since):
            high = middle - 1
        else:
            low = row.id
    return low


def ended(conn: sa.Connection, event_id: int, up_to: int) -> list[EndedTask]:
    """Return the tasks that ended by their calls within a range of events."""
    limits = {"event_id": event_id, "up_to": up_to}
    ids = sorted({row.task_id for row in conn.execute(_ENDS, limits)})
    tasks = [task_of(row) for row in conn.execute(_TASKS, {"ids": ids})] if ids else []
    return _with_talks(conn, [task for task in tasks if task.status in ENDED])


def _with_talks(
    conn: sa.Connection, tasks: Collection[CallbackTask]
) -> list[EndedTask]:
    reached = [task.id for task in tasks if task.status is Status.COMPLETED]
    rows: Iterable[Any] = conn.execute(_TALKS, {"ids": reached}) if reached else ()
    began_at = {row.task_id: moment(row.began_at) for row in rows}
    return [EndedTask(task, began_at.get(task.id)) for task in tasks]
