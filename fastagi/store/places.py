# SPDX-License-Identifier: MIT
"""Gives open tasks another place in line.

A task keeps `joined_at` and `priority`, from which reports tell how long it waited.
`place_at`, `place_priority` and `place_chosen` decide when it is called instead, from
the first move on.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import and_, bindparam, func, select, text

from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, IllegalMove, Move, Status
from fastagi.domain.turns import STEP_S, Turn, in_front_of
from fastagi.store import schema
from fastagi.store.errors import NotInLine
from fastagi.store.events import move_task
from fastagi.store.rows import locked, moment, seconds, task_of

_task: Final = schema.task
#: For the table itself; see :mod:`fastagi.store.schema`.
PLACE: Final = schema.place_of(_task)
PRIORITY: Final = schema.priority_of(_task)
AMONG_CHOSEN: Final = schema.among_chosen(_task)
_STEP: Final = timedelta(seconds=STEP_S)
#: How far behind another task a task is placed, if there is so much room.
_BEHIND: Final = timedelta(milliseconds=1)
#: The other open tasks in some lines, except those whose chosen time is to come.
_OTHERS: Final = (
    select(_task)
    .where(
        text(schema.OPEN_ONLY),
        _task.c.queue.in_(bindparam("queues", expanding=True)),
        _task.c.id != bindparam("task_id"),
        func.coalesce(_task.c.chosen_at, 0.0) <= bindparam("now"),
    )
    .with_for_update()
)
_FIRST: Final = select(
    func.min(PLACE).label("at"), func.max(PRIORITY).label("priority")
).where(
    text(schema.OPEN_ONLY),
    _task.c.queue.in_(bindparam("queues", expanding=True)),
    _task.c.id != bindparam("task_id"),
    func.coalesce(_task.c.chosen_at, 0.0) <= bindparam("now"),
)
_FOLLOWERS: Final = (
    _OTHERS.where(
        bindparam("priority") == PRIORITY,
        sa.or_(
            bindparam("at") < PLACE,
            and_(bindparam("at") == PLACE, _task.c.id > bindparam("after_id")),
        ),
    )
    .order_by(PLACE, _task.c.id)
    .limit(bindparam("most"))
)
#: Number of followers that are read at a time. Few are so near that they are moved.
_AT_ONCE: Final = 20
#: A task's own place.
OWN_PLACE: Final[dict[str, Any]] = {
    "place_at": None,
    "place_priority": None,
    "place_chosen": None,
}


def move_to_front(
    conn: sa.Connection,
    task_id: int,
    why: Reason,
    now: datetime,
    queues: Collection[str],
    live: Turn | None,
    in_line: bool,
) -> CallbackTask:
    """Let a task be the next one that is called of its line, from now on.

    It is due at once. If it waits for a chosen time, that is forgotten.

    Args:
        conn: in a transaction.
        task_id: the task.
        why: the reason.
        now: the current time.
        queues: the queues whose tasks wait in the same line.
        live: the first turn of the live callers in that line, with their highest
            priority; None: there are none, or they do not matter.
        in_line: whether a task that is being called only waits in Asterisk's queue.

    Raises:
        IllegalMove: it has ended, or is being called.
    """
    task = _movable(conn, task_id, in_line)
    first = conn.execute(
        _FIRST, {"queues": list(queues), "task_id": task.id, "now": seconds(now)}
    ).one()
    turns = [Turn(min(task.turn.joined_at, seconds(now)), task.turn.priority)]
    if first.at is not None:
        turns.append(Turn(first.at, first.priority))
    if live is not None:
        turns.append(live)
    turn = in_front_of(turns)
    changes: dict[str, Any] = {
        "place_at": moment(turn.joined_at),
        "place_priority": turn.priority,
        "place_chosen": True,
        "due_at": min(task.due_at, now),
    }
    if task.waits_for_chosen_time(now):
        changes |= {"chosen_at": None, "call_by": None, "joined_at": now}
    return move_task(conn, task, Move.MOVE, now, why, **changes)


def move_behind(
    conn: sa.Connection,
    task_id: int,
    other_id: int,
    why: Reason,
    now: datetime,
    queues: Collection[str],
    in_line: bool,
) -> CallbackTask:
    """Let a task be called right after another one; when it is due does not change.

    Those who follow keep their places, unless they are so near that there is no place
    between. Then they are moved behind, too, which their histories tell.

    Args:
        conn: in a transaction.
        task_id: the task.
        other_id: the other task.
        why: the reason.
        now: the current time.
        queues: the queues whose tasks wait in the same line.
        in_line: as in :func:`move_to_front`.

    Raises:
        IllegalMove: it has ended, or is being called.
        NotInLine: one of them has no place in line, or they are not in the same line.
    """
    task = _movable(conn, task_id, in_line)
    other = locked(conn, other_id)
    if other.id == task.id or not other.is_open or other.queue not in queues:
        raise NotInLine(
            f"task {other.id} is not another open task of queue {task.queue}; see"
            " 'tasks list'"
        )
    for one in (task, other):
        if one.waits_for_chosen_time(now):
            raise NotInLine(
                f"task {one.id} waits for its chosen time, and has no place in line"
                f" before that; see 'tasks reschedule {one.id} --now'"
            )
    here = moment(other.turn.joined_at)
    at = here + _BEHIND
    followers = _followers(conn, task.id, other, now, queues)
    first = next(followers, None)
    if first is not None:
        half_way = (moment(first.turn.joined_at) - here) / 2
        at = max(here + _STEP, min(at, here + half_way))
    make_way = _too_near(at, [] if first is None else chain([first], followers))
    moved = move_task(
        conn,
        task,
        Move.MOVE,
        now,
        why,
        keeps_reason=True,
        place_at=at,
        place_priority=other.turn.priority,
        place_chosen=other.is_among_chosen,
    )
    ahead = moved
    for follower, new_at in make_way:
        move_task(
            conn,
            follower,
            Move.MOVE,
            now,
            why.with_params(task_id=ahead.id),
            keeps_reason=True,
            place_at=new_at,
            place_priority=follower.turn.priority,
            place_chosen=follower.is_among_chosen,
        )
        ahead = follower
    return moved


def _too_near(
    at: datetime, followers: Iterable[CallbackTask]
) -> list[tuple[CallbackTask, datetime]]:
    """Return the followers that are not behind a place any more, with new places."""
    too_near = []
    for follower in followers:
        if moment(follower.turn.joined_at) > at:
            break
        at += _BEHIND
        too_near.append((follower, at))
    return too_near


def _followers(
    conn: sa.Connection,
    task_id: int,
    other: CallbackTask,
    now: datetime,
    queues: Collection[str],
) -> Iterator[CallbackTask]:
    """Yield the tasks behind another one in line, except for one, in order."""
    last = other
    while True:
        rows = conn.execute(
            _FOLLOWERS,
            {
                "queues": list(queues),
                "task_id": task_id,
                "now": seconds(now),
                "priority": last.turn.priority,
                "at": last.turn.joined_at,
                "after_id": last.id,
                "most": _AT_ONCE,
            },
        ).all()
        for last in map(task_of, rows):
            yield last
        if len(rows) < _AT_ONCE:
            return


def _movable(conn: sa.Connection, task_id: int, in_line: bool) -> CallbackTask:
    task = locked(conn, task_id)
    if task.status is Status.CALLING and (not in_line or task.cancel_requested):
        raise IllegalMove(task.status, Move.MOVE)
    return task
