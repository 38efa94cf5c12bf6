# SPDX-License-Identifier: MIT
"""Stored tasks and attempts as rows: reading, locking and inserting them.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, select, text
from sqlalchemy.exc import IntegrityError

from fastagi.domain.attempt import Attempt, Disposition
from fastagi.domain.reason import Reason, dump_params, load, map_texts
from fastagi.domain.task import CallbackTask, Kind, Status
from fastagi.store import schema
from fastagi.store.errors import NoSuchTask, StaleTask, TryAgain

_task: Final = schema.task
_attempt: Final = schema.attempt
_open: Final = text(schema.OPEN_ONLY)
_BY_ID: Final = select(_task).where(_task.c.id == bindparam("task_id"))
LOCK_BY_ID: Final = _BY_ID.with_for_update()
#: Locks the row until the transaction ends.
LOCK_OPEN_BY_KEY: Final = (
    select(_task)
    .where(_task.c.number_key == bindparam("number_key"), _open)
    .with_for_update()
)
#: After a database was restored from a copy, another attempt may get the id of a row,
#: but never the same channel id.
ATTEMPT_BY_CHANNEL: Final = select(_attempt).where(
    _attempt.c.channel_id == bindparam("channel_id")
)
_LOCK_BY_CHANNEL: Final = (
    select(_task)
    .where(
        _task.c.id
        == select(_attempt.c.task_id)
        .where(_attempt.c.channel_id == bindparam("channel_id"))
        .scalar_subquery()
    )
    .with_for_update()
)
#: Characters that PostgreSQL or UTF-8 cannot store, but a caller name may contain.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def find(conn: sa.Connection, task_id: int) -> CallbackTask | None:
    """Return a task, or None if there is none."""
    row = conn.execute(_BY_ID, {"task_id": task_id}).first()
    return None if row is None else task_of(row)


def column_names(names: Iterable[str]) -> list[str]:
    """Return the columns in which fields of a task are stored."""
    return [
        column
        for name in names
        for column in (("reason_code", "reason_params") if name == "why" else (name,))
    ]


def values_of(
    task: CallbackTask, names: Sequence[str], prefix: str = ""
) -> dict[str, Any]:
    """Return the values of the columns for the named fields of a task."""
    values = {}
    for name in names:
        value = getattr(task, name)
        if isinstance(value, Reason):
            values.update(reason_values(value, prefix))
            continue
        if isinstance(value, datetime):
            value = seconds(value)
        elif isinstance(value, StrEnum):
            value = value.value
        values[prefix + name] = value
    return values


def reason_values(why: Reason | None, prefix: str = "") -> dict[str, str]:
    """Return the values of a reason's columns, empty for None."""
    if why is None:
        return {f"{prefix}reason_code": "", f"{prefix}reason_params": ""}
    return {
        f"{prefix}reason_code": why.code.value,
        f"{prefix}reason_params": dump_params(map_texts(why, storable)),
    }


def reason_of(row: sa.Row[Any]) -> Reason:
    """Return the stored reason."""
    return load(row.reason_code, row.reason_params)


def again_if_open(error: IntegrityError) -> Exception:
    """Return TryAgain if another process stored an open task of the same number.

    For any other error, return the error itself.
    """
    return TryAgain() if "number_key" in str(error.orig) else error


def insert_row(
    conn: sa.Connection, statement: sa.Insert, values: dict[str, Any]
) -> int:
    key = conn.execute(statement, values).inserted_primary_key
    assert key is not None
    return int(key[0])


def found(conn: sa.Connection, task_id: int) -> CallbackTask:
    task = find(conn, task_id)
    if task is None:
        raise NoSuchTask(f"there is no task {task_id}")
    return task


def locked(conn: sa.Connection, task_id: int) -> CallbackTask:
    """Return a task, locked until the transaction ends."""
    row = conn.execute(LOCK_BY_ID, {"task_id": task_id}).first()
    if row is None:
        raise NoSuchTask(f"there is no task {task_id}")
    return task_of(row)


def under_way(conn: sa.Connection, channel_id: str) -> tuple[CallbackTask, Attempt]:
    """Return an attempt in progress and its task; locks the task first."""
    wanted = {"channel_id": channel_id}
    task = conn.execute(_LOCK_BY_CHANNEL, wanted).first()
    # Read after the wait for the lock: it may have ended meanwhile.
    row = conn.execute(ATTEMPT_BY_CHANNEL, wanted).first()
    if task is None or row is None:
        raise NoSuchTask(f"there is no attempt with channel id {channel_id}")
    if row.ended_at is not None:
        raise StaleTask(f"attempt {row.id} has ended already")
    return task_of(task), attempt_of(row)


def task_of(row: sa.Row[Any]) -> CallbackTask:
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
        joined_at=moment(row.joined_at),
        priority=row.priority,
        created_at=moment(row.created_at),
        due_at=moment(row.due_at),
        expires_at=moment(row.expires_at),
        chosen_at=moment_or_none(row.chosen_at),
        call_by=moment_or_none(row.call_by),
        ended_at=moment_or_none(row.ended_at),
        attempts=row.attempts,
        member_attempts=row.member_attempts,
        why=reason_of(row),
        cancel_requested=row.cancel_requested,
        served=row.served,
        place_at=moment_or_none(row.place_at),
        place_priority=row.place_priority,
        place_chosen=row.place_chosen,
        assigned_to=row.assigned_to,
        assigned_at=moment_or_none(row.assigned_at),
        assigned_until=moment_or_none(row.assigned_until),
    )


def attempt_of(row: sa.Row[Any]) -> Attempt:
    return Attempt(
        id=row.id,
        task_id=row.task_id,
        channel_id=row.channel_id,
        started_at=moment(row.started_at),
        ended_at=moment_or_none(row.ended_at),
        disposition=None if row.disposition is None else Disposition(row.disposition),
        member=row.member,
        talk_s=row.talk_s,
        why=reason_of(row) if row.reason_code else None,
        node=row.node,
    )


def seconds(at: datetime) -> float:
    if at.utcoffset() is None:
        raise ValueError("a time without a zone")
    return at.timestamp()


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def storable(words: str) -> str:
    return _UNSTORABLE.sub("\ufffd", words)
