# SPDX-License-Identifier: MIT
"""Finds tasks for people and programs that look: filters, pages, the latest first.

The functions run inside a transaction and only read. :mod:`fastagi.store.queries` has
the lists that the service itself needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import select, text

from fastagi.domain.reason import Code
from fastagi.domain.task import ENDED, OPEN, CallbackTask, Kind, Status
from fastagi.store import schema
from fastagi.store.rows import seconds, task_of
from fastagi.store.selection import contains

_task: Final = schema.task
_open: Final = text(schema.OPEN_ONLY)
_ended: Final = text(schema.ENDED_ONLY)


@frozen(kw_only=True)
class TaskSearch:
    """Which tasks are wanted. None, or an empty text: all.

    Attributes:
        statuses: their statuses.
        queues: their queues, as spelled in the settings.
        kinds: why they exist.
        reason_codes: the codes of their reasons.
        text: a part of the client's name, or digits of the number.
        in_numbers: whether the text is looked for in numbers, too.
        created_from: created at this time or later.
        created_to: created before this time.
        before_id: older than the task with this id; continues a list.
    """

    statuses: frozenset[Status] | None = None
    queues: frozenset[str] | None = None
    kinds: frozenset[Kind] | None = None
    reason_codes: frozenset[Code] | None = None
    text: str = ""
    in_numbers: bool = True
    created_from: datetime | None = None
    created_to: datetime | None = None
    before_id: int | None = None


def search(conn: sa.Connection, wanted: TaskSearch, limit: int) -> list[CallbackTask]:
    """Return at most ``limit`` tasks, the latest first."""
    if wanted.queues is None:
        rows = conn.execute(_select(wanted, limit, None, conn.dialect.name)).all()
        return [task_of(row) for row in rows]
    # Each queue has an index by id, so each is read by itself, and then merged.
    found = [
        task_of(row)
        for queue in sorted(wanted.queues)
        for row in conn.execute(_select(wanted, limit, queue, conn.dialect.name))
    ]
    return sorted(found, key=lambda task: -task.id)[:limit]


def by_ids(conn: sa.Connection, ids: Sequence[int]) -> list[CallbackTask]:
    """Return the tasks that exist among these ids, at most a thousand."""
    rows = conn.execute(select(_task).where(_task.c.id.in_(ids)).order_by(_task.c.id))
    return [task_of(row) for row in rows]


def _select(
    wanted: TaskSearch, limit: int, queue: str | None, dialect: str
) -> sa.Select[tuple[Any, ...]]:
    query = select(_task).limit(limit)
    statuses = wanted.statuses
    if statuses is not None and statuses <= OPEN:
        # The same condition as in the index of open tasks; the sign "+" keeps databases
        # from scanning all tasks in the order of their ids instead.
        query = query.where(_open).order_by(text("+task.id DESC"))
        if wanted.before_id is not None:
            before = text("+task.id < :before_id")
            query = query.where(before.bindparams(before_id=wanted.before_id))
        if statuses != OPEN:
            query = query.where(_task.c.status.in_(_words(statuses)))
    else:
        query = query.order_by(_task.c.id.desc())
        if wanted.before_id is not None:
            query = query.where(_task.c.id < wanted.before_id)
        if statuses is not None:
            query = query.where(_task.c.status.in_(_words(statuses)))
            if statuses <= ENDED:
                query = query.where(_ended)
    if queue is not None:
        query = query.where(_task.c.queue == queue)
    if wanted.kinds is not None:
        query = query.where(_task.c.kind.in_(_words(wanted.kinds)))
    if wanted.reason_codes is not None:
        query = query.where(_task.c.reason_code.in_(_words(wanted.reason_codes)))
    if wanted.created_from is not None:
        query = query.where(_task.c.created_at >= seconds(wanted.created_from))
    if wanted.created_to is not None:
        query = query.where(_task.c.created_at < seconds(wanted.created_to))
    if wanted.text:
        query = query.where(
            contains(wanted.text, dialect, in_numbers=wanted.in_numbers)
        )
    return query


def _words(values: Iterable[Any]) -> list[str]:
    return sorted(value.value for value in values)
