# SPDX-License-Identifier: MIT
"""Counts which slots are taken.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy import bindparam, func, select, text

from fastagi.domain.slots import SlotLimit
from fastagi.store import schema
from fastagi.store.rows import moment, seconds

_task: Final = schema.task
#: Until the transaction ends, no other one counts the slots of the queue.
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtext('slots of ' || :queue))")
_CHOSEN: Final = (
    select(_task.c.chosen_at)
    .where(
        text(schema.OPEN_ONLY),
        _task.c.queue == bindparam("queue"),
        _task.c.chosen_at >= bindparam("since"),
        _task.c.chosen_at < bindparam("until"),
    )
    .order_by(_task.c.chosen_at)
)
#: A client who chooses anew leaves the former time.
_OTHERS: Final = (
    select(func.count())
    .select_from(_task)
    .where(
        text(schema.OPEN_ONLY),
        _task.c.queue == bindparam("queue"),
        _task.c.number_key != bindparam("number_key"),
        _task.c.chosen_at >= bindparam("since"),
        _task.c.chosen_at < bindparam("until"),
    )
)


def is_full(conn: sa.Connection, queue: str, number_key: str, limit: SlotLimit) -> bool:
    """Whether so many other clients have chosen a slot that no more may.

    Until the transaction ends, nobody else can take the place that is left. In SQLite
    there is one transaction at a time that writes.
    """
    if conn.dialect.name == "postgresql":
        conn.execute(_LOCK, {"queue": queue})
    taken: int = conn.execute(
        _OTHERS,
        {
            "queue": queue,
            "number_key": number_key,
            "since": seconds(limit.slot.begins_at),
            "until": seconds(limit.slot.ends_at),
        },
    ).scalar_one()
    return taken >= limit.per_slot


def chosen_times(
    conn: sa.Connection, queue: str, since: datetime, until: datetime
) -> list[datetime]:
    """Return the chosen times of the open tasks of a queue, in order."""
    values = {"queue": queue, "since": seconds(since), "until": seconds(until)}
    return [moment(at) for at in conn.execute(_CHOSEN, values).scalars()]
