# SPDX-License-Identifier: MIT
"""What several services on one database must know of each other.

Each one regularly looks whether others have stored anything, and whether they ended
tasks that are being called here. Clients in a call are in a table, so that nobody calls
them from the Asterisk of another service.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy import (
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    text,
)

from fastagi.domain.task import CallbackTask, Move, Status
from fastagi.store import schema, told, writers
from fastagi.store.lease_rows import name_of_node
from fastagi.store.leases import Held, assert_held, now
from fastagi.store.rows import task_of

_in_call: Final = schema.in_call
_lease: Final = schema.lease
_task: Final = schema.task
_event: Final = schema.task_event
_attempt: Final = schema.attempt
#: How long calls on an Asterisk count that nobody holds any more, in seconds: without a
#: limit, clients in a call on one that is gone were never called.
_CALLS_COUNT_S: Final = 300.0
_BUSY: Final = (
    select(_in_call.c.number_key)
    .join(_lease, _lease.c.name == literal(name_of_node("")) + _in_call.c.node)
    .where(
        _in_call.c.node.not_in(bindparam("own", expanding=True)),
        _lease.c.valid_until > bindparam("since"),
    )
    .distinct()
)
_LAST_EVENT: Final = select(func.coalesce(func.max(_event.c.id), 0))
_IN_PROGRESS: Final = select(_task).where(
    _task.c.id.in_(bindparam("ids", expanding=True)),
    _task.c.status == Status.CALLING.value,
)
#: Tasks that wait, and that an operator moved since an event.
_MOVED: Final = select(_task).where(
    _task.c.id.in_(
        select(_event.c.task_id).where(
            _event.c.id > bindparam("after"), _event.c.move == Move.MOVE.value
        )
    ),
    _task.c.status == Status.PENDING.value,
)
#: The attempts in progress on other Asterisks.
_ELSEWHERE: Final = (
    select(
        _attempt.c.task_id, _task.c.number_key, _attempt.c.member, _attempt.c.dialled_at
    )
    .join(_task, _task.c.id == _attempt.c.task_id)
    .where(
        text(f"attempt.{schema.UNDER_WAY}"),
        _attempt.c.node.not_in(bindparam("own", expanding=True)),
    )
)
#: Calls on Asterisks that nobody holds.
_FORGET: Final = delete(_in_call).where(
    ~exists().where(
        _lease.c.name == literal(name_of_node("")) + _in_call.c.node,
        _lease.c.valid_until > bindparam("since"),
    )
)
_WIPE: Final = delete(_in_call).where(_in_call.c.node == bindparam("of_node"))
_REMOVE: Final = _WIPE.where(
    _in_call.c.number_key.in_(bindparam("keys", expanding=True))
)
_ADD: Final = insert(_in_call)


@frozen
class LastEvents:
    """The last events that a service has seen; other ones mean that something changed.

    Attributes:
        seen: the last event of all tasks.
        settled: the last one before which none can be stored any more.
    """

    seen: int
    settled: int


NO_EVENTS: Final = LastEvents(0, 0)


@frozen
class Look:
    """What a service has seen of the others."""

    last_events: LastEvents
    #: The keys of clients in a call on Asterisks that other services hold.
    busy: frozenset[str]
    #: Tasks in progress here, which others may have changed.
    in_progress: tuple[CallbackTask, ...]
    #: Tasks that wait, and were moved since the last look.
    moved: tuple[CallbackTask, ...]
    #: Tasks in progress elsewhere for which no agent has answered yet.
    unanswered: frozenset[int]
    #: The keys of the clients of the others, who are about to be dialled, or talk.
    dialled: frozenset[str]
    #: What is told of the agents of each queue on Asterisks of other services.
    agents: Mapping[str, tuple[str, ...]]


def look(
    conn: sa.Connection,
    own: Collection[str],
    calling: Collection[int],
    known: LastEvents = NO_EVENTS,
) -> Look:
    """Look at what others have done.

    Args:
        conn: in a transaction.
        own: the Asterisks that this service holds.
        calling: the ids of tasks in progress there.
        known: the last events of the look before.
    """
    last_events = _last_events(conn, known)
    moved: Iterable[sa.Row[Any]] = ()
    if known not in (NO_EVENTS, last_events):
        moved = conn.execute(_MOVED, {"after": known.settled})
    rows = conn.execute(_IN_PROGRESS, {"ids": list(calling)}) if calling else ()
    elsewhere = conn.execute(_ELSEWHERE, {"own": list(own)}).all()
    is_answered = {
        row.task_id: bool(row.member) or row.dialled_at is not None for row in elsewhere
    }
    return Look(
        last_events=last_events,
        busy=busy_elsewhere(conn, own),
        in_progress=tuple(task_of(row) for row in rows),
        moved=tuple(task_of(row) for row in moved),
        unanswered=frozenset(i for i, answered in is_answered.items() if not answered),
        dialled=frozenset(
            row.number_key for row in elsewhere if is_answered[row.task_id]
        ),
        agents=told.agents(conn, own),
    )


def _last_events(conn: sa.Connection, known: LastEvents) -> LastEvents:
    last: int = conn.execute(_LAST_EVENT).scalar_one()
    if known == LastEvents(last, last):
        return known
    return LastEvents(last, writers.settled(conn, last))


def busy_elsewhere(conn: sa.Connection, own: Collection[str]) -> frozenset[str]:
    """Return the keys of clients in a call on other Asterisks than these."""
    since = now(conn) - _CALLS_COUNT_S
    return frozenset(conn.scalars(_BUSY, {"own": list(own), "since": since}))


def forget_calls_of_nobody(conn: sa.Connection) -> None:
    """Delete calls on Asterisks that nobody has held for a while."""
    conn.execute(_FORGET, {"since": now(conn) - _CALLS_COUNT_S})


def put_calls(
    conn: sa.Connection,
    held: Held,
    begun: Collection[str],
    ended: Collection[str] | None,
) -> None:
    """Store who is in a call on an Asterisk.

    Args:
        conn: in a transaction.
        held: the lease on the Asterisk.
        begun: the keys of clients whose calls have begun.
        ended: those of clients whose calls have ended; None: all that are stored.

    Raises:
        LeaseLost: another process holds the Asterisk.
    """
    assert_held(conn, held)
    if ended is None:
        conn.execute(_WIPE, {"of_node": held.node})
    elif ended:
        conn.execute(_REMOVE, {"of_node": held.node, "keys": list(ended)})
    if begun:
        rows = [{"node": held.node, "number_key": key} for key in sorted(begun)]
        conn.execute(_ADD, rows)
