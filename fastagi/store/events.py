# SPDX-License-Identifier: MIT
"""Moves stored tasks, and writes the event of each move in the same transaction.

Only moves in the table of :mod:`fastagi.domain.task` are allowed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve
from sqlalchemy import bindparam, insert, select, update

from fastagi.domain.reason import Reason, map_texts
from fastagi.domain.task import OPEN, CallbackTask, Kind, Move, Status, after
from fastagi.store import schema, tallies
from fastagi.store.errors import StaleTask
from fastagi.store.rows import (
    column_names,
    insert_row,
    reason_values,
    seconds,
    storable,
    values_of,
)

_task: Final = schema.task
_event: Final = schema.task_event
_INSERT_EVENT: Final = insert(_event)
_INSERT_ASKED: Final = insert(schema.asked)
_COLUMNS: Final = (
    "task_id",
    "attempt_id",
    "at",
    "move",
    "status",
    "reason_code",
    "reason_params",
    "linkedid",
)
_WRITTEN: Final = (
    insert(_event)
    .values({name: bindparam(name) for name in _COLUMNS})
    .returning(_event.c.id)
    .cte("written")
)
_INSERT_EVENT_AND_ASKED: Final = insert(schema.asked).from_select(
    ["event_id", "kind"], select(_WRITTEN.c.id, bindparam("kind", type_=sa.Text))
)
#: The fields of a task that may change.
_CHANGING: Final = (
    "kind",
    "status",
    "number",
    "queue",
    "name",
    "language",
    "joined_at",
    "priority",
    "due_at",
    "expires_at",
    "chosen_at",
    "call_by",
    "ended_at",
    "attempts",
    "member_attempts",
    "why",
    "cancel_requested",
    "served",
    "place_at",
    "place_priority",
    "place_chosen",
    "assigned_to",
    "assigned_at",
    "assigned_until",
)
_SAVE_TASK: Final = (
    update(_task)
    .where(_task.c.id == bindparam("old_id"), _task.c.status == bindparam("old_status"))
    .values({name: bindparam(f"new_{name}") for name in column_names(_CHANGING)})
)


def move_task(
    conn: sa.Connection,
    task: CallbackTask,
    move: Move,
    now: datetime,
    why: Reason,
    *,
    attempt_id: int | None = None,
    linkedid: str = "",
    asked: Kind | None = None,
    keeps_reason: bool = False,
    **changes: Any,
) -> CallbackTask:
    """Move a task and write the event of the move.

    Args:
        conn: in a transaction.
        task: the task as it is stored.
        move: the move.
        now: the current time.
        why: the reason, for the history.
        attempt_id: the attempt that the event belongs to.
        linkedid: the call that caused the event.
        asked: the kind of request, if the event is one.
        keeps_reason: whether the reason of the task's status stays as it is.
        **changes: new values of other fields of the task.

    Raises:
        IllegalMove: the move is not allowed from the task's status.
        StaleTask: the stored task does not have the status of ``task`` any more.
    """
    status = after(task.status, move)
    if status not in OPEN:
        changes["call_by"] = None
    if changes.get("queue", task.queue) != task.queue:
        # It counts for another queue from now on.
        tallies.forget(conn, changes["queue"], seconds(task.created_at))
    moved = evolve(
        task,
        status=status,
        ended_at=None if status in OPEN else now,
        why=task.why if keeps_reason else map_texts(why, storable),
        **changes,
    )
    saved = conn.execute(
        _SAVE_TASK,
        {
            "old_id": task.id,
            "old_status": task.status.value,
            **values_of(moved, _CHANGING, "new_"),
        },
    )
    if saved.rowcount != 1:
        raise StaleTask(f"task {task.id} is not {task.status} any more")
    write_event(
        conn,
        task.id,
        move,
        status,
        now,
        why,
        attempt_id=attempt_id,
        linkedid=linkedid,
        asked=asked,
    )
    return moved


def write_event(
    conn: sa.Connection,
    task_id: int,
    move: Move,
    status: Status,
    now: datetime,
    why: Reason,
    *,
    attempt_id: int | None = None,
    linkedid: str = "",
    asked: Kind | None = None,
) -> None:
    event = {
        "task_id": task_id,
        "attempt_id": attempt_id,
        "at": seconds(now),
        "move": move.value,
        "status": status.value,
        **reason_values(why),
        "linkedid": linkedid,
    }
    if asked is None:
        insert_row(conn, _INSERT_EVENT, event)
    elif conn.dialect.name == "postgresql":
        # One round trip.
        conn.execute(_INSERT_EVENT_AND_ASKED, {**event, "kind": asked.value})
    else:
        event_id = insert_row(conn, _INSERT_EVENT, event)
        conn.execute(_INSERT_ASKED, {"event_id": event_id, "kind": asked.value})
