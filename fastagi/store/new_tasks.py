# SPDX-License-Identifier: MIT
"""Stores many new tasks at once, in as few round trips as the engine allows.

On PostgreSQL one statement looks up the numbers, and one stores tasks, events and kinds
of request. SQLite has no such statement, and needs none: it has no round trips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, func, insert, select, text, union_all

from fastagi.domain.task import Move
from fastagi.store import limits, schema

_task: Final = schema.task
_event: Final = schema.task_event
_blocked: Final = schema.blocked
_keys: Final[sa.BindParameter[Any]] = bindparam("number_keys", expanding=True)
#: Numbers with an open task, and blocked numbers.
_TAKEN: Final = (
    select(_task.c.number_key).where(
        _task.c.number_key.in_(_keys), text(schema.OPEN_ONLY)
    ),
    select(_blocked.c.number_key).where(_blocked.c.number_key.in_(_keys)),
)
#: Numbers that were called as often as given.
_CALLED: Final = (
    select(_task.c.number_key)
    .join_from(_task, schema.attempt)
    .where(_task.c.number_key.in_(_keys), limits.counted_within())
    .group_by(_task.c.number_key)
    .having(func.count() >= bindparam("most"))
)
_UNUSUAL: Final = union_all(*_TAKEN)
_UNUSUAL_OR_CALLED: Final = union_all(*_TAKEN, _CALLED)
_INSERT_TASKS: Final = insert(_task).returning(_task.c.id, _task.c.number_key)
_INSERT_EVENTS: Final = insert(_event).returning(_event.c.id, _event.c.task_id)
_INSERT_ASKED: Final = insert(schema.asked)
#: PostgreSQL's types of a task's columns, to read them from JSON.
_SQL_TYPES: Final = {
    sa.Text: "text",
    sa.Double: "double precision",
    sa.Integer: "integer",
    sa.Boolean: "boolean",
}
_COLUMNS: Final = [column for column in _task.c if column.name != "id"]
_NAMES: Final = ", ".join(column.name for column in _COLUMNS)
_TYPED: Final = ", ".join(
    f"{column.name} {_SQL_TYPES[type(column.type)]}" for column in _COLUMNS
)
_INSERT_ALL: Final = text(
    f"""
    WITH given AS (
        SELECT * FROM ROWS FROM (
            json_to_recordset(CAST(:tasks AS json)) AS ({_TYPED})
        ) WITH ORDINALITY AS given({_NAMES}, turn)
    ), made AS (
        INSERT INTO task ({_NAMES}) SELECT {_NAMES} FROM given ORDER BY turn
        RETURNING id, number_key
    ), told AS (
        INSERT INTO task_event
            (task_id, at, move, status, reason_code, reason_params, linkedid)
        SELECT made.id, created_at, '{Move.CREATE.value}', status, reason_code,
            reason_params, linkedid
        FROM made JOIN given USING (number_key) ORDER BY made.id
        RETURNING id, task_id
    ), wished AS (
        INSERT INTO asked (event_id, kind)
        SELECT told.id, kind
        FROM told JOIN made ON made.id = told.task_id JOIN given USING (number_key)
    )
    SELECT id, number_key FROM made
    """
)


def unusual(
    conn: sa.Connection, asked: Sequence[tuple[str, int, datetime]]
) -> set[str]:
    """Return the numbers that need a closer look before a task is stored.

    These have an open task, are blocked, or were called often.

    Args:
        conn: in a transaction.
        asked: for each number its key, the maximum number of calls to it within a day
            (0: no limit), and the current time.
    """
    given: dict[str, Any] = {"number_keys": sorted({key for key, _, _ in asked})}
    most = [most for _, most, _ in asked if most]
    if not most:
        return set(conn.execute(_UNUSUAL, given).scalars())
    moments = [at for _, _, at in asked]
    given |= limits.day_around(min(moments), max(moments))
    given["most"] = min(most)
    return set(conn.execute(_UNUSUAL_OR_CALLED, given).scalars())


def insert_all(
    conn: sa.Connection, tasks: Sequence[Mapping[str, Any]]
) -> dict[str, int]:
    """Store new tasks, each with its first event.

    Args:
        conn: in a transaction.
        tasks: for each task a value for each column except the id. The numbers differ.

    Returns:
        The id of each task, by its number key.
    """
    if conn.dialect.name == "postgresql":
        rows = conn.execute(_INSERT_ALL, {"tasks": json.dumps(tasks)})
        return {row.number_key: row.id for row in rows}
    made = conn.execute(_INSERT_TASKS, tasks)
    ids = {row.number_key: row.id for row in made}
    events = conn.execute(_INSERT_EVENTS, [_event_of(ids, task) for task in tasks])
    kinds = {ids[task["number_key"]]: task["kind"] for task in tasks}
    conn.execute(
        _INSERT_ASKED,
        [{"event_id": row.id, "kind": kinds[row.task_id]} for row in events],
    )
    return ids


def _event_of(ids: Mapping[str, int], task: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task_id": ids[task["number_key"]],
        "attempt_id": None,
        "at": task["created_at"],
        "move": Move.CREATE.value,
        "status": task["status"],
        "reason_code": task["reason_code"],
        "reason_params": task["reason_params"],
        "linkedid": task["linkedid"],
    }
