# SPDX-License-Identifier: MIT
"""Reads the events of all tasks in order, for readers outside of the service.

A reader keeps its position in a database of its own. So either database may be restored
from a copy without the other: :func:`read_after` recognises the last event of a
position by more than its id, and continues from the event that follows in time.

No event is read while one with a lower id may still be stored
(:mod:`fastagi.store.writers`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, select

from fastagi.domain.attempt import Disposition
from fastagi.domain.reason import Reason, load
from fastagi.domain.task import Kind, Move, Status
from fastagi.store import schema, writers
from fastagi.store.rows import moment, moment_or_none


@frozen
class StoryPosition:
    """How far a reader outside has read: the last event that it has handled.

    The default is the position before the first event.
    """

    event_id: int = 0
    #: Time of that event, in epoch seconds.
    at: float = 0.0
    task_id: int = 0


@frozen(kw_only=True)
class StoryEvent:
    """One event with what never changes of its task, and its attempt."""

    id: int
    at: datetime
    move: Move
    #: The status after the move.
    status: Status
    why: Reason
    #: The kind of request; None if the event is not a request.
    asked: Kind | None
    task_id: int
    queue: str
    kind: Kind
    number: str
    name: str
    linkedid: str
    created_at: datetime
    #: The time that the client chose for the call, otherwise that of the request.
    wanted_at: datetime
    #: The attempt of the event; None if it has none.
    attempt: StoryAttempt | None
    #: The position of a reader that has handled this event.
    position: StoryPosition


@frozen(kw_only=True)
class StoryAttempt:
    """The attempt of an event, as it is now."""

    id: int
    channel_id: str
    started_at: datetime
    #: When the client was dialled; None: not yet, or never.
    dialled_at: datetime | None
    #: None while it is in progress.
    disposition: Disposition | None
    #: Interface of the agent; may be empty.
    member: str
    talk_s: float


@frozen
class Page:
    """Some events in order."""

    events: list[StoryEvent]
    #: Up to which event none can be stored any more, if that had to be found out. A
    #: reading that begins after this one finds more.
    settled: int | None = None


_event: Final = schema.task_event
_task: Final = schema.task
_attempt: Final = schema.attempt
_asked: Final = schema.asked

_MARK: Final = select(_event.c.id, _event.c.at, _event.c.task_id)
_AT: Final = _MARK.where(_event.c.id == bindparam("event_id"))
_LAST: Final = _MARK.order_by(_event.c.id.desc()).limit(1)
_LAST_UP_TO: Final = _LAST.where(_event.c.id <= bindparam("event_id"))
_LAST_BEFORE: Final = _LAST.where(
    _event.c.id <= bindparam("event_id"), _event.c.at <= bindparam("until")
)
_AFTER: Final[sa.Select[Any]] = (
    select(
        _event.c.id,
        _event.c.at,
        _event.c.move,
        _event.c.status,
        _event.c.reason_code,
        _event.c.reason_params,
        _event.c.task_id,
        _asked.c.kind.label("asked"),
        _task.c.queue,
        _task.c.kind,
        _task.c.number,
        _task.c.name,
        _task.c.linkedid,
        _task.c.created_at,
        _task.c.chosen_at,
        _attempt.c.id.label("attempt_id"),
        _attempt.c.channel_id,
        _attempt.c.started_at,
        _attempt.c.dialled_at,
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
_OLDER: Final = _LAST.where(_event.c.at < bindparam("until"))
_FIRST_AFTER: Final[sa.Select[Any]] = (
    _MARK.where(_event.c.id > bindparam("event_id")).order_by(_event.c.id).limit(1)
)


def last_position(conn: sa.Connection) -> StoryPosition:
    """Return the position after all events that are stored by now."""
    return last_seen(conn, None)[0]


def last_seen(
    conn: sa.Connection, known: StoryPosition | None
) -> tuple[StoryPosition, bool]:
    """Return the position after the last event, and whether that is certain.

    It is before events that were found if one before them may still be stored.

    Args:
        conn: in a transaction.
        known: the position that was certain before, if one was.
    """
    row = conn.execute(_LAST).first()
    if row is None:
        return StoryPosition(), True
    last = StoryPosition(*row)
    if last == known:
        return known, True
    up_to = writers.settled(conn, last.event_id)
    if up_to < last.event_id:
        row = conn.execute(_LAST_UP_TO, {"event_id": up_to}).first()
        return StoryPosition() if row is None else StoryPosition(*row), False
    return last, True


def position_in(conn: sa.Connection, position: StoryPosition) -> StoryPosition:
    """Return the position in this database that corresponds to a stored one.

    It is the same, unless the database was restored from a copy: then the last events
    that the reader handled are gone, and their ids may belong to other events now. The
    event after the returned position is the first one that is not older than those.
    """
    if not position.event_id:
        return position
    row = conn.execute(_AT, {"event_id": position.event_id}).first()
    if row is not None and StoryPosition(*row) == position:
        return position
    row = conn.execute(
        _LAST_BEFORE, {"event_id": position.event_id, "until": position.at}
    ).first()
    return StoryPosition() if row is None else StoryPosition(*row)


def read_after(
    conn: sa.Connection,
    position: StoryPosition,
    limit: int,
    settled: int | None = None,
) -> Page:
    """Return the events after a position, at most ``limit``, in order.

    Args:
        conn: in a transaction.
        position: the position.
        limit: maximum number of events.
        settled: that of the page which was read before at this position, in another
            transaction.
    """
    start = position_in(conn, position).event_id
    wanted = {"event_id": start, "most": limit}
    found = conn.execute(_AFTER, wanted).all()
    rows = writers.without_gaps(conn, found, start, settled or start)
    if settled is None and len(rows) < len(found):
        # This transaction may see one state only, which it saw before.
        settled = writers.settled(conn, found[-1].id)
    return Page([_story_of(row) for row in rows], settled)


def _story_of(row: sa.Row[Any]) -> StoryEvent:
    return StoryEvent(
        id=row.id,
        at=moment(row.at),
        position=StoryPosition(row.id, row.at, row.task_id),
        move=Move(row.move),
        status=Status(row.status),
        why=load(row.reason_code, row.reason_params),
        asked=None if row.asked is None else Kind(row.asked),
        task_id=row.task_id,
        queue=row.queue,
        kind=Kind(row.kind),
        number=row.number,
        name=row.name,
        linkedid=row.linkedid,
        created_at=moment(row.created_at),
        wanted_at=moment(max(row.created_at, row.chosen_at or 0.0)),
        attempt=None
        if row.attempt_id is None
        else StoryAttempt(
            id=row.attempt_id,
            channel_id=row.channel_id,
            started_at=moment(row.started_at),
            dialled_at=moment_or_none(row.dialled_at),
            disposition=row.disposition and Disposition(row.disposition),
            member=row.member,
            talk_s=row.talk_s,
        ),
    )


def lag(conn: sa.Connection, position: StoryPosition) -> tuple[int, float | None]:
    """Return how many events follow a position, and the time of the first of them.

    The number is taken from the ids, so it may be a little too high, but it is 0 only
    if there is none.
    """
    start = position_in(conn, position)
    first = conn.execute(_FIRST_AFTER, {"event_id": start.event_id}).first()
    if first is None:
        return 0, None
    last: int = conn.execute(_LAST).one().id
    return last - start.event_id, float(first.at)


def position_at(conn: sa.Connection, at: datetime) -> StoryPosition:
    """Return the position after the last event that is older than a time."""
    row = conn.execute(_OLDER, {"until": at.timestamp()}).first()
    return StoryPosition() if row is None else StoryPosition(*row)
