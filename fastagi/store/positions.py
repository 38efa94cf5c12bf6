# SPDX-License-Identifier: MIT
"""The events of all tasks in order, and the positions of their readers.

The functions run inside a transaction, may run twice and change only the database. No
event is read while one with a lower id may still be stored
(:mod:`fastagi.store.writers`).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, case, delete, func, insert, select, update

from fastagi.domain.attempt import Disposition
from fastagi.domain.queue_log_entries import EventRow
from fastagi.domain.reason import Code, load, parse_utc_minute
from fastagi.domain.task import Kind, Move, Status
from fastagi.store import leases, schema, writers


@frozen(order=True)
class Position:
    """How far a reader has read."""

    #: The last event of which all entries are written.
    event_id: int = 0
    #: How many entries of the next event are written.
    entries: int = 0


@frozen
class Page:
    """Some events in order."""

    events: list[EventRow]
    #: Whether more were found, but one before them may still be stored.
    held_back: bool = False


_position: Final = schema.position
_event: Final = schema.task_event
#: The id of the last event.
_LAST: Final = select(func.coalesce(func.max(_event.c.id), 0))
_GET: Final = select(_position).where(_position.c.name == bindparam("name"))
_MOVE: Final = (
    update(_position)
    .where(_position.c.name == bindparam("old_name"))
    .values(
        event_id=case(
            (bindparam("to_event") > _LAST.scalar_subquery(), _LAST.scalar_subquery()),
            else_=bindparam("to_event"),
        ),
        entries=bindparam("to_entries"),
    )
)
_MAKE: Final = insert(_position)

_asked: Final = schema.asked
_task: Final = schema.task
_attempt: Final = schema.attempt
_AFTER: Final = (
    select(
        _event.c.id,
        _event.c.at,
        _event.c.move,
        _event.c.status,
        _asked.c.kind,
        _event.c.linkedid,
        _event.c.reason_code,
        _event.c.reason_params,
        _task.c.id.label("task_id"),
        _task.c.queue,
        _task.c.number,
        _task.c.linkedid.label("first_linkedid"),
        _attempt.c.channel_id,
        _attempt.c.node,
        _attempt.c.disposition,
        _attempt.c.member,
        _attempt.c.talk_s,
    )
    .join(_task, _task.c.id == _event.c.task_id)
    .outerjoin(_asked, _asked.c.event_id == _event.c.id)
    .outerjoin(_attempt, _attempt.c.id == _event.c.attempt_id)
    .where(_event.c.id > bindparam("event_id"))
    .order_by(_event.c.id)
    .limit(bindparam("most"))
)


def get(conn: sa.Connection, name: str) -> Position:
    """Return the position of a reader; the beginning if none is stored."""
    row = conn.execute(_GET, {"name": name}).first()
    return Position() if row is None else Position(row.event_id, row.entries)


def put(conn: sa.Connection, name: str, position: Position) -> None:
    """Store the position of a reader, but not one after the last event.

    If the database was restored from a copy, a reader may have read further, and the
    ids of those events are used again.
    """
    event_id, entries = position.event_id, position.entries
    moved = conn.execute(
        _MOVE, {"old_name": name, "to_event": event_id, "to_entries": entries}
    )
    if not moved.rowcount:
        conn.execute(_MAKE, {"name": name, "event_id": event_id, "entries": entries})


def part_of(name: str, part: str) -> str:
    """Return the name of a reader of some events, beside the one of all others."""
    return f"{name}:{part}"


def share(conn: sa.Connection, name: str, parts: Collection[str]) -> None:
    """Let parts of the events have readers of their own, beside the one of all others.

    A new one begins where that one is, which has had these events until now. Readers of
    other parts are forgotten: if one comes back, it is new. Those of Asterisks that
    other services hold are theirs.
    """
    readers = [part_of(name, part) for part in parts]
    kept = [part_of(name, node) for node in leases.nodes_held(conn)]
    theirs = _position.c.name.startswith(part_of(name, ""), autoescape=True)
    conn.execute(
        delete(_position).where(theirs, _position.c.name.not_in([*readers, *kept]))
    )
    for reader in readers:
        if conn.execute(_GET, {"name": reader}).first() is None:
            put(conn, reader, get(conn, name))


def put_last(conn: sa.Connection, name: str) -> None:
    """Set the position of a reader to the last event, so that it skips all before."""
    last = Position(conn.execute(_LAST).scalar_one())
    if get(conn, name) != last:
        put(conn, name, last)


def after(conn: sa.Connection, event_id: int, limit: int) -> Page:
    """Return the events after this one, at most ``limit``, in order."""
    wanted = {"event_id": event_id, "most": limit}
    rows, held_back = writers.read(conn, _AFTER, wanted, event_id)
    events = [
        EventRow(
            event_id=row.id,
            at=datetime.fromtimestamp(row.at, UTC),
            move=Move(row.move),
            status=Status(row.status),
            asked=None if row.kind is None else Kind(row.kind),
            chosen_at=_chosen_at(row.reason_code, row.reason_params),
            task_id=row.task_id,
            queue=row.queue,
            number=row.number,
            linkedid=row.linkedid or row.first_linkedid,
            channel_id=row.channel_id or "",
            node=row.node or "",
            disposition=(
                None if row.disposition is None else Disposition(row.disposition)
            ),
            member=row.member or "",
            talk_s=row.talk_s or 0.0,
        )
        for row in rows
    ]
    return Page(events, held_back)


def _chosen_at(code: str, params: str) -> datetime | None:
    """Return the time that was chosen in the event with this reason, if one was."""
    if code != Code.WAITS_FOR_CHOSEN_TIME.value:
        return None
    return parse_utc_minute(str(load(code, params).params["chosen_at"]))
