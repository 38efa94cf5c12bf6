# SPDX-License-Identifier: MIT
"""Adapts open tasks to changed settings.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select, text, update

from fastagi.domain.limits import called_too_often
from fastagi.domain.names import folded
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Code, because
from fastagi.domain.task import CallbackTask, Move, Status
from fastagi.store import later, limits, schema, tallies
from fastagi.store.events import move_task
from fastagi.store.queries import open_by_queue
from fastagi.store.rows import seconds, task_of

_task: Final = schema.task
_event: Final = schema.task_event
_open: Final = text(schema.OPEN_ONLY)
_setting: Final = _event.alias("setting")
_LOCK_OPEN: Final = select(_task).where(_open).with_for_update()
#: The last event that set when a task is due.
_SET_DUE: Final = (
    select(func.max(_setting.c.id))
    .where(
        _setting.c.task_id == _task.c.id,
        _setting.c.move.in_([Move.RETRY.value, Move.REOPEN.value]),
    )
    .correlate(_task)
    .scalar_subquery()
)
#: Tasks that wait until their numbers may be called again, not because of an attempt.
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
#: Times that differ by less are treated as equal.
_TOLERANCE: Final = timedelta(seconds=1)


def use_limit(
    conn: sa.Connection, most_calls: int, now: datetime
) -> list[CallbackTask]:
    """Make tasks due earlier if a new limit allows their numbers to be called earlier.

    Args:
        conn: in a transaction.
        most_calls: maximum number of calls to one number within a day; 0: no limit.
        now: the current time.

    Returns:
        The tasks that are now due earlier.
    """
    earlier = []
    for task in map(task_of, conn.execute(_PUT_OFF, {"now": seconds(now)}).all()):
        at = limits.number_free_at(conn, task.number_key, most_calls, now)
        if at is None:
            why = because(Code.MORE_CALLS_ALLOWED)
        else:
            why = called_too_often(most_calls, at)
        due_at = now if at is None else at
        if task.chosen_at is not None:
            due_at = max(due_at, task.chosen_at)
        if task.due_at - due_at > _TOLERANCE:
            moved = move_task(conn, task, Move.RETRY, now, why, due_at=due_at)
            earlier.append(moved)
    return earlier


def rekey(conn: sa.Connection, plan: NumberPlan, now: datetime) -> list[CallbackTask]:
    """Update the number keys of open tasks; return the tasks that ended by this.

    If several tasks now have the same key, the one in progress stays, otherwise the
    first in line; the others end. Two tasks in progress stay as they are until the next
    time.
    """
    rows = conn.execute(_LOCK_OPEN)
    tasks = sorted(
        (task_of(row) for row in rows),
        key=lambda task: (task.status is not Status.CALLING, task.turn, task.id),
    )
    stays: dict[str, CallbackTask] = {}
    changed: dict[int, str] = {}
    ended: list[CallbackTask] = []
    for task in tasks:
        key = plan.key(task.number)
        first = stays.setdefault(key, task)
        if first is task:
            if key != task.number_key:
                changed[task.id] = key
        elif task.status is Status.PENDING:
            why = because(Code.SAME_CLIENT, task_id=first.id)
            ended.append(move_task(conn, task, Move.CANCEL, now, why))
    gone = {task.id for task in ended}
    taken = {task.number_key: task.id for task in tasks if task.id not in gone}
    for task_id, key in list(changed.items()):
        if taken.get(key, task_id) not in {task_id, *changed}:
            # The old key of a task in progress is still in use, too.
            del changed[task_id]
    for keys in ({task_id: f"task {task_id}" for task_id in changed}, changed):
        # First set keys that no number has, so that two tasks can swap keys.
        for task_id, key in keys.items():
            conn.execute(
                update(_task).where(_task.c.id == task_id).values(number_key=key)
            )
    return ended


def respell(conn: sa.Connection, names: Collection[str]) -> int:
    """Spell the queues of open tasks as the settings do now.

    Args:
        conn: in a transaction.
        names: of the queues in the settings.

    Returns:
        How many tasks had another spelling.
    """
    by_folded = {folded(name): name for name in names}
    changed = 0
    for queue in open_by_queue(conn):
        name = by_folded.get(folded(queue), queue)
        if name != queue:
            of_queue = update(_task).where(_open, _task.c.queue == queue)
            # They count for the other name from now on.
            asked_at = select(_task.c.created_at).where(_open, _task.c.queue == queue)
            for at in conn.execute(asked_at).scalars().all():
                tallies.forget(conn, name, at)
            changed += conn.execute(of_queue.values(queue=name)).rowcount
    later.respell(conn, by_folded)
    return changed
