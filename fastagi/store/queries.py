# SPDX-License-Identifier: MIT
"""Reads stored tasks: lists, histories and counts.

The functions run inside a transaction and only read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, func, or_, select, text

from fastagi.domain.attempt import Attempt
from fastagi.domain.task import (
    ENDED,
    CallbackTask,
    Move,
    Status,
    TaskEvent,
    WaitingTask,
)
from fastagi.domain.turns import Turn
from fastagi.store import places, schema
from fastagi.store.places import PLACE, PRIORITY
from fastagi.store.results import Counts
from fastagi.store.rows import attempt_of, found, moment, reason_of, seconds, task_of
from fastagi.store.selection import Selection, select_tasks

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_open: Final = text(schema.OPEN_ONLY)
_ended: Final = text(schema.ENDED_ONLY)
_LAST_ID: Final = select(func.max(_task.c.id))
#: The open tasks, selected first by their own index: without statistics, a database
#: would scan all tasks.
_FEW: Final = (
    select(_task.c.queue, _task.c.joined_at, _task.c.status, _task.c.number_key)
    .where(_open)
    .cte("few")
    .prefix_with("MATERIALIZED")
)
_OPEN_BY_QUEUE: Final = select(_FEW.c.queue, func.count().label("open")).group_by(
    _FEW.c.queue
)
_OPEN_OF_CLIENTS: Final = select(_task).where(
    _open, _task.c.number_key.in_(bindparam("number_keys", expanding=True))
)
#: The waiting tasks that joined first.
_WAITING: Final = (
    select(
        _task.c.id,
        _task.c.queue,
        PLACE.label("place"),
        PRIORITY.label("priority"),
        _task.c.due_at,
    )
    .where(text(schema.PENDING_ONLY))
    .order_by(PRIORITY.desc(), PLACE, _task.c.id)
    .limit(bindparam("most"))
)
_WAITING_IN: Final = _WAITING.where(
    _task.c.queue.in_(bindparam("queues", expanding=True))
)
_COUNT_OPEN: Final = select(_FEW.c.status, func.count()).group_by(_FEW.c.status)
#: One subquery for each status, because each then uses the index of ended tasks.
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


def listing(
    conn: sa.Connection,
    statuses: Collection[Status] | None,
    queue: str | None,
    number_key: str | None,
    limit: int,
    before_id: int | None = None,
) -> list[CallbackTask]:
    """Return tasks, the newest first; with ``before_id``, those older than that one.

    :mod:`fastagi.store.selection` knows more properties of tasks.
    """
    queues = None if queue is None else [queue]
    wanted = Selection(statuses=statuses, queues=queues, number_key=number_key)
    return select_tasks(conn, wanted, limit, before_id)


def history(conn: sa.Connection, task_id: int) -> list[TaskEvent]:
    """Return the events of a task, the oldest first."""
    found(conn, task_id)
    rows = conn.execute(
        select(_event).where(_event.c.task_id == task_id).order_by(_event.c.id)
    )
    return [
        TaskEvent(
            task_id=row.task_id,
            at=moment(row.at),
            move=Move(row.move),
            status=Status(row.status),
            why=reason_of(row),
            attempt_id=row.attempt_id,
        )
        for row in rows
    ]


def attempts(conn: sa.Connection, task_id: int) -> list[Attempt]:
    """Return the attempts of a task, the oldest first."""
    found(conn, task_id)
    rows = conn.execute(
        select(_attempt).where(_attempt.c.task_id == task_id).order_by(_attempt.c.id)
    )
    return [attempt_of(row) for row in rows]


def counts(conn: sa.Connection, after_id: int, most: int) -> Counts:
    """Count tasks by status, in one range of ids; the first range has all open tasks.

    Args:
        conn: in a transaction.
        after_id: the last id of the range before; 0 for the first range.
        most: length of the range, limited so that other requests do not wait long.
    """
    last = conn.execute(_LAST_ID).scalar() or 0
    up_to = min(after_id + most, last)
    counted = dict.fromkeys(Status, 0)
    row = conn.execute(_COUNT_ENDED, {"after_id": after_id, "up_to": up_to}).one()
    for status in ENDED:
        counted[status] = row._mapping[status.value]
    if not after_id:
        # Open tasks are few: all are counted with the first range.
        for word, count in conn.execute(_COUNT_OPEN):
            counted[Status(word)] = count
    return Counts(counted, None if up_to >= last else up_to)


def oldest_open(conn: sa.Connection, now: datetime) -> dict[str, datetime]:
    """Return for each queue with open tasks since when the first in line waits.

    A task whose chosen time is still to come is not in line yet.
    """
    wanted = select(_FEW.c.queue, func.min(_FEW.c.joined_at).label("since"))
    in_line = wanted.where(_FEW.c.joined_at <= seconds(now))
    rows = conn.execute(in_line.group_by(_FEW.c.queue))
    return {row.queue: moment(row.since) for row in rows}


def waiting(
    conn: sa.Connection, queues: Collection[str] | None, limit: int
) -> list[WaitingTask]:
    """Return the waiting tasks that joined first, of some queues or of all."""
    given: dict[str, object] = {"most": limit}
    if queues is not None:
        given["queues"] = list(queues)
    wanted = _WAITING if queues is None else _WAITING_IN
    return [
        WaitingTask(
            id=row.id,
            queue=row.queue,
            turn=Turn(row.place, row.priority),
            due_at=row.due_at,
        )
        for row in conn.execute(wanted, given)
    ]


def first_in_line(
    conn: sa.Connection,
    queues: Mapping[str, bool],
    ask_alone: Mapping[str, Collection[str]],
    now: datetime,
    most: int,
) -> list[CallbackTask]:
    """Return the first due tasks of each queue, in the order in which they are called.

    Args:
        conn: in a transaction.
        queues: the names of the queues, and whether tasks with a chosen time come
            before all others there.
        ask_alone: the agents who may be asked for tasks assigned to them, by queue;
            tasks of the others are left out. A queue without: none is.
        now: the current time.
        most: maximum number of tasks of each queue.
    """
    found = []
    for queue, chosen_first in queues.items():
        wanted = (
            select(_task)
            .where(
                text(schema.PENDING_ONLY),
                _task.c.queue == queue,
                _task.c.due_at <= seconds(now),
            )
            .order_by(
                *([sa.not_(places.AMONG_CHOSEN)] if chosen_first else []),
                places.PRIORITY.desc(),
                places.PLACE,
                _task.c.id,
            )
            .limit(most)
        )
        if queue in ask_alone:
            wanted = wanted.where(
                or_(
                    _task.c.assigned_to.is_(None),
                    _task.c.assigned_to.in_(ask_alone[queue]),
                    _task.c.assigned_until <= seconds(now),
                )
            )
        found += [task_of(row) for row in conn.execute(wanted)]
    return found


def open_of_clients(
    conn: sa.Connection, number_keys: Sequence[str]
) -> list[CallbackTask]:
    """Return the open tasks of some clients."""
    wanted = {"number_keys": number_keys}
    return [task_of(row) for row in conn.execute(_OPEN_OF_CLIENTS, wanted)]


def open_by_queue(conn: sa.Connection) -> dict[str, int]:
    """Return the number of open tasks for each queue that has any."""
    return {row.queue: row.open for row in conn.execute(_OPEN_BY_QUEUE)}
