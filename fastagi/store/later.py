# SPDX-License-Identifier: MIT
"""Stores requests that were made while their client was being called.

The functions run inside a transaction, may run twice and change only the database. A
client has at most one open task, so such a request repeats the task in progress. If it
was made before the client answered, the call fulfils it. If it was made later, it must
survive the call, so it is stored here until the call ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import bindparam, func, insert, select, text, update

from fastagi.domain.names import folded
from fastagi.domain.reason import Reason
from fastagi.domain.task import Kind, NewTask
from fastagi.store import schema
from fastagi.store.rows import reason_of, reason_values
from fastagi.store.schema import LaterState

#: A request that is stored within this time after it was made counts as made just now.
_JUST_NOW: Final = timedelta(seconds=0.5)
#: The resolution of times in AstDB, queue_log and CDRs.
_WHOLE_SECOND: Final = timedelta(seconds=1)

_later: Final = schema.later_request
_answer: Final = schema.answer
_attempt: Final = schema.attempt
_event: Final = schema.task_event

_UNDER_WAY: Final = select(_attempt.c.id, _attempt.c.started_at).where(
    _attempt.c.task_id == bindparam("task_id"), text(schema.UNDER_WAY)
)
_ANSWER: Final = select(_answer.c.at).where(
    _answer.c.attempt_id == bindparam("attempt_id")
)
_INSERT_ANSWER: Final = insert(_answer)
_LAST_EVENT: Final = select(func.max(_event.c.id)).where(
    _event.c.task_id == bindparam("task_id")
)
_IS_OPEN: Final = _later.c.state == LaterState.OPEN.value
_OPEN: Final = (
    select(_later)
    .where(_later.c.attempt_id == bindparam("attempt_id"), _IS_OPEN)
    .order_by(_later.c.event_id)
)
_QUEUES: Final = select(_later.c.queue).where(_IS_OPEN).distinct()
_SET_STATE: Final = (
    update(_later)
    .where(_later.c.event_id == bindparam("old_id"))
    .values(state=bindparam("new_state"), next_event_id=bindparam("new_next"))
)
_BY_EVENT: Final = select(_later).where(_later.c.event_id == bindparam("event_id"))
_BY_CALL: Final = (
    select(_later.c.event_id, _event.c.task_id)
    .join(_event, _event.c.id == _later.c.event_id)
    .where(
        _event.c.linkedid == bindparam("linkedid"),
        text("task_event.linkedid <> ''"),
        _event.c.at == bindparam("at"),
    )
    .order_by(_later.c.event_id.desc())
    .limit(1)
)


@frozen(kw_only=True)
class LaterRequest:
    """A request that was made while its client was being called."""

    event_id: int
    kind: Kind
    number: str
    name: str
    language: str
    queue: str
    linkedid: str
    joined_at: datetime
    priority: int
    #: The latest time at which it may have been made.
    asked_at: datetime
    expires_at: datetime
    chosen_at: datetime | None
    call_by: datetime | None
    why: Reason
    #: Whether the client was known to have answered when it was made.
    answered: bool
    state: LaterState
    next_event_id: int | None

    def outlives(self, answered_at: datetime) -> bool:
        """Whether it was made after the client had answered."""
        return self.answered or self.asked_at > answered_at

    def as_task(self, number_key: str, now: datetime, why: Reason) -> NewTask:
        """Return the task that the request becomes."""
        return NewTask(
            kind=self.kind,
            number=self.number,
            number_key=number_key,
            name=self.name,
            language=self.language,
            queue=self.queue,
            joined_at=self.joined_at,
            priority=self.priority,
            due_at=self.chosen_at or now,
            expires_at=self.expires_at,
            chosen_at=self.chosen_at,
            call_by=self.call_by,
            linkedid=self.linkedid,
            why=why,
        )


def note_answer(conn: sa.Connection, attempt_id: int, at: datetime) -> None:
    """Store when the client of an attempt answered, unless a time is stored already."""
    if conn.execute(_ANSWER, {"attempt_id": attempt_id}).first() is None:
        conn.execute(_INSERT_ANSWER, {"attempt_id": attempt_id, "at": at.timestamp()})


def answered_at(
    conn: sa.Connection,
    attempt_id: int,
    started_at: datetime,
    told: datetime | None,
    now: datetime,
) -> datetime:
    """Return when the client of an attempt answered.

    When in doubt, the time is too early rather than too late, so that no request is
    lost: the earliest of the known times counts, and the beginning of the attempt if
    none is known or the clock was set back.

    Args:
        conn: in a transaction.
        attempt_id: the id of the attempt.
        started_at: when the attempt began.
        told: when the client answered, according to the verdict; None: unknown.
        now: the current time.
    """
    stored = conn.execute(_ANSWER, {"attempt_id": attempt_id}).scalar()
    known = [] if stored is None else [_when(stored)]
    known += [] if told is None else [told]
    if now < started_at:
        return datetime.min.replace(tzinfo=UTC)
    return max(started_at, min(known, default=started_at))


def store(conn: sa.Connection, task_id: int, new: NewTask, now: datetime) -> int | None:
    """Store a request that repeats a task whose client is being called.

    Returns:
        The id of the request; None if no attempt is in progress.
    """
    attempt = conn.execute(_UNDER_WAY, {"task_id": task_id}).first()
    if attempt is None:
        return None
    event_id = int(conn.execute(_LAST_EVENT, {"task_id": task_id}).scalar_one())
    asked_at = new.due_at if new.chosen_at is None else now
    is_answered = (
        now - asked_at < _JUST_NOW
        and conn.execute(_ANSWER, {"attempt_id": attempt.id}).first() is not None
    )
    if not asked_at.microsecond:
        asked_at += _WHOLE_SECOND
    conn.execute(
        insert(_later),
        {
            "event_id": event_id,
            "attempt_id": attempt.id,
            "kind": new.kind.value,
            "number": new.number,
            "name": new.name,
            "language": new.language,
            "queue": new.queue,
            "linkedid": new.linkedid,
            "joined_at": new.joined_at.timestamp(),
            "priority": new.priority,
            "asked_at": asked_at.timestamp(),
            "expires_at": new.expires_at.timestamp(),
            "chosen_at": new.chosen_at.timestamp() if new.chosen_at else None,
            "call_by": new.call_by.timestamp() if new.call_by else None,
            **reason_values(new.why),
            "answered": is_answered,
            "state": LaterState.OPEN.value,
            "next_event_id": None,
        },
    )
    return event_id


def of_attempt(conn: sa.Connection, attempt_id: int) -> list[LaterRequest]:
    """Return the requests made during an attempt and not taken back, oldest first."""
    rows = conn.execute(_OPEN, {"attempt_id": attempt_id})
    return [_request_of(row) for row in rows]


def end_all(conn: sa.Connection, task_id: int) -> None:
    """End all requests made during the call in progress: cancelled, or served."""
    attempt = conn.execute(_UNDER_WAY, {"task_id": task_id}).first()
    if attempt is not None:
        for request in of_attempt(conn, attempt.id):
            set_state(conn, request.event_id, LaterState.ENDED)


def set_state(
    conn: sa.Connection,
    event_id: int,
    state: LaterState,
    next_event_id: int | None = None,
) -> None:
    """Store what became of a request."""
    conn.execute(
        _SET_STATE,
        {"old_id": event_id, "new_state": state.value, "new_next": next_event_id},
    )


def find(conn: sa.Connection, event_id: int) -> LaterRequest | None:
    """Return a request, or None if there is none."""
    row = conn.execute(_BY_EVENT, {"event_id": event_id}).first()
    return None if row is None else _request_of(row)


def of_call(
    conn: sa.Connection, linkedid: str, stored_at: datetime
) -> tuple[int, int] | None:
    """Return the task that a call repeated at that time, and the id of the request."""
    row = conn.execute(
        _BY_CALL, {"linkedid": linkedid, "at": stored_at.timestamp()}
    ).first()
    return None if row is None else (row.task_id, row.event_id)


def last_event(conn: sa.Connection, task_id: int) -> int:
    """Return the id of the last event of a task."""
    return int(conn.execute(_LAST_EVENT, {"task_id": task_id}).scalar_one())


def respell(conn: sa.Connection, by_folded: Mapping[str, str]) -> None:
    """Spell the queues of requests that may still become tasks as the settings do.

    Args:
        conn: in a transaction.
        by_folded: the names of the settings, by `folded` name.
    """
    for queue in conn.execute(_QUEUES).scalars().all():
        name = by_folded.get(folded(queue), queue)
        if name != queue:
            of_queue = update(_later).where(_IS_OPEN, _later.c.queue == queue)
            conn.execute(of_queue.values(queue=name))


def _request_of(row: sa.Row[Any]) -> LaterRequest:
    return LaterRequest(
        event_id=row.event_id,
        kind=Kind(row.kind),
        number=row.number,
        name=row.name,
        language=row.language,
        queue=row.queue,
        linkedid=row.linkedid,
        joined_at=_when(row.joined_at),
        priority=row.priority,
        asked_at=_when(row.asked_at),
        expires_at=_when(row.expires_at),
        chosen_at=None if row.chosen_at is None else _when(row.chosen_at),
        call_by=None if row.call_by is None else _when(row.call_by),
        why=reason_of(row),
        answered=row.answered,
        state=LaterState(row.state),
        next_event_id=row.next_event_id,
    )


def _when(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
