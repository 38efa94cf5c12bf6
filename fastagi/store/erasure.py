# SPDX-License-Identifier: MIT
"""Erases numbers and names from what has ended, and deletes whole tasks.

What the reports count remains: kinds, statuses, times, reason codes, agents. Every
function changes a limited number of rows, so that requests of callers do not wait long;
it is called again until nothing is left.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, exists, func, or_, select, text, update

from fastagi.domain.erasure import ERASED, erased_params, has_key, mentions
from fastagi.domain.number_records import NumberRecords, TaskRecord
from fastagi.domain.numbers import NumberPlan
from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, Move
from fastagi.store import guards, offers, queries, schema
from fastagi.store.events import write_event
from fastagi.store.rows import moment_or_none, task_of
from fastagi.store.schema import Span
from fastagi.store.together import forget_calls_of_nobody

#: Maximum number of tasks that are erased or deleted in one transaction.
TASKS_AT_ONCE: Final = 20
#: Maximum number of other rows.
ROWS_AT_ONCE: Final = 500
#: Number of ids of events that are searched in one transaction.
EVENTS_AT_ONCE: Final = 50_000

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_later: Final = schema.later_request
_refusal: Final = schema.refusal
_offer: Final = schema.offer
_talk: Final = schema.last_talk
_in_call: Final = schema.in_call
_entered: Final = schema.entered_number
_tally: Final = schema.tally

_OLD: Final = (
    select(_task.c.id)
    .where(
        text(schema.NOT_ERASED),
        _task.c.ended_at < bindparam("before"),
    )
    .order_by(_task.c.ended_at)
    .limit(TASKS_AT_ONCE)
)
#: Refusals, offers, last talks and entered numbers from before a time.
_OLD_REFUSALS: Final = (
    select(_refusal.c.id, _refusal.c.reason_params)
    .where(
        _refusal.c.at < bindparam("before"),
        or_(_refusal.c.number != "", _refusal.c.linkedid != ""),
    )
    .limit(ROWS_AT_ONCE)
)
_OLD_OFFERS: Final = (
    select(_offer.c.id)
    .where(
        _offer.c.at < bindparam("before"),
        or_(_offer.c.number != "", _offer.c.linkedid != ""),
    )
    .limit(ROWS_AT_ONCE)
)
_DELETE_OLD: Final = tuple(
    delete(table).where(table.c.at < bindparam("before")) for table in (_talk, _entered)
)
_OF_KEYS: Final = (
    select(_task)
    .where(_task.c.number_key.in_(bindparam("number_keys", expanding=True)))
    .order_by(_task.c.id)
)
_ERASE_TASK: Final = (
    update(_task)
    .where(_task.c.id == bindparam("old_id"))
    .values(
        number=ERASED,
        number_key=ERASED,
        name="",
        linkedid="",
        reason_params=bindparam("new_params"),
    )
)
_SET_PARAMS: Final = {
    table: update(table)
    .where(table.c.id == bindparam("old_id"))
    .values(reason_params=bindparam("new_params"))
    for table in (_task, _attempt)
}
_SET_EVENT: Final = (
    update(_event)
    .where(_event.c.id == bindparam("old_id"))
    .values(reason_params=bindparam("new_params"), linkedid=bindparam("new_linkedid"))
)
_SET_LATER: Final = (
    update(_later)
    .where(_later.c.event_id == bindparam("old_id"))
    .values(reason_params=bindparam("new_params"))
)
_SET_REFUSAL: Final = (
    update(_refusal)
    .where(_refusal.c.id == bindparam("old_id"))
    .values(number="", linkedid="", reason_params=bindparam("new_params"))
)
_MENTIONS: Final = (
    select(_event.c.id, _event.c.task_id, _event.c.reason_params, _task.c.ended_at)
    .join(_task, _task.c.id == _event.c.task_id)
    .where(_event.c.id > bindparam("after_id"), _event.c.id <= bindparam("up_to"))
)
#: The oldest tasks whose day is stored for the reports.
_TO_DELETE: Final = (
    select(_task.c.id, _task.c.queue, _task.c.created_at)
    .where(
        _task.c.created_at < bindparam("before"),
        _task.c.ended_at < bindparam("before"),
        exists().where(
            _tally.c.queue == _task.c.queue,
            _tally.c.span == Span.DAY.value,
            _tally.c.begins_at <= _task.c.created_at,
            _tally.c.ends_at > _task.c.created_at,
        ),
    )
    .order_by(_task.c.created_at)
    .limit(TASKS_AT_ONCE)
)
_MAKE_FINAL: Final = (
    update(_tally)
    .where(
        _tally.c.span == Span.DAY.value,
        _tally.c.queue == bindparam("of_queue"),
        _tally.c.begins_at <= bindparam("of_at"),
        _tally.c.ends_at > bindparam("of_at"),
        ~_tally.c.final,
    )
    .values(final=True)
)
#: The times of the last event, refusal and offer.
_LAST_STORED: Final = tuple(
    select(table.c.at).order_by(table.c.id.desc()).limit(1)
    for table in (_event, _refusal, _offer)
)


# -- after a time ----------------------------------------------------------


def last_stored_at(conn: sa.Connection) -> datetime | None:
    """Return when the last event, refusal or offer was stored; None: there is none."""
    found = [conn.execute(query).scalar() for query in _LAST_STORED]
    return moment_or_none(max((at for at in found if at is not None), default=None))


def erase_old(conn: sa.Connection, before: float) -> int:
    """Erase numbers and names of tasks that ended before a time, and of what is older.

    Returns:
        How many rows were changed; 0: nothing is left.
    """
    ids = list(conn.execute(_OLD, {"before": before}).scalars())
    erase_tasks(conn, ids)
    return len(ids) or _erase_old_rows(conn, before)


def _erase_old_rows(conn: sa.Connection, before: float) -> int:
    old = {"before": before}
    changed = _erase_refusals(conn, conn.execute(_OLD_REFUSALS, old).all())
    changed += _erase_offers(conn, list(conn.execute(_OLD_OFFERS, old).scalars()))
    # Of whatever age: not counted, as nobody asked for these.
    forget_calls_of_nobody(conn)
    return changed + sum(conn.execute(each, old).rowcount for each in _DELETE_OLD)


def delete_old(conn: sa.Connection, before: float) -> int:
    """Delete tasks that ended before a time; their counts for the reports remain.

    Returns:
        How many tasks were deleted; 0: nothing is left.
    """
    rows = conn.execute(_TO_DELETE, {"before": before}).all()
    if not rows:
        return 0
    for row in rows:
        conn.execute(_MAKE_FINAL, {"of_queue": row.queue, "of_at": row.created_at})
    ids = [row.id for row in rows]
    of_tasks = select(_event.c.id).where(_event.c.task_id.in_(ids))
    for statement in (
        delete(_later).where(_later.c.event_id.in_(of_tasks)),
        update(_later)
        .where(_later.c.next_event_id.in_(of_tasks))
        .values(next_event_id=None),
        delete(_event).where(_event.c.task_id.in_(ids)),
        delete(_attempt).where(_attempt.c.task_id.in_(ids)),
        delete(_task).where(_task.c.id.in_(ids)),
    ):
        conn.execute(statement)
    return len(ids)


# -- of one number ---------------------------------------------------------


def tasks_of(conn: sa.Connection, keys: Collection[str]) -> list[CallbackTask]:
    """Return all tasks of a number, the oldest first."""
    rows = conn.execute(_OF_KEYS, {"number_keys": sorted(keys)})
    return [task_of(row) for row in rows]


def erase_number(
    conn: sa.Connection, keys: Collection[str], why: Reason, now: datetime
) -> int:
    """Erase a number and its names from ended tasks, the first ones.

    Args:
        conn: in a transaction.
        keys: all keys of the number.
        why: what is written to the history of each task.
        now: the current time.

    Returns:
        How many tasks were erased; 0: nothing is left.
    """
    ended = [task for task in tasks_of(conn, keys) if not task.is_open]
    some = ended[:TASKS_AT_ONCE]
    erase_tasks(conn, [task.id for task in some])
    for task in some:
        write_event(conn, task.id, Move.PROGRESS, task.status, now, why)
    return len(some)


def erase_rows_of_number(
    conn: sa.Connection, keys: Collection[str], plan: NumberPlan
) -> int:
    """Erase a number from refusals, offers, last talks and entered numbers."""
    refusals = select(_refusal.c.id, _refusal.c.number, _refusal.c.reason_params)
    of_number = [
        row
        for row in conn.execute(refusals)
        if has_key(row.number, keys, plan) or mentions(row.reason_params, keys)
    ]
    changed = _erase_refusals(conn, of_number)
    listed = conn.execute(
        select(_offer.c.id, _offer.c.number).where(_offer.c.number != "")
    )
    ids = [row.id for row in listed if has_key(row.number, keys, plan)]
    changed += _erase_offers(conn, ids)
    for statement in (
        delete(_talk).where(_talk.c.number_key.in_(keys)),
        delete(_entered).where(_entered.c.caller_key.in_(keys)),
        delete(_in_call).where(_in_call.c.number_key.in_(keys)),
    ):
        changed += conn.execute(statement).rowcount
    return changed


def last_event_id(conn: sa.Connection) -> int:
    """Return the highest id of an event; 0: there is none."""
    return conn.execute(select(func.max(_event.c.id))).scalar() or 0


def nothing(_conn: sa.Connection) -> None:
    """Do nothing; what counts is what the database does after it."""


def open_among(conn: sa.Connection, task_ids: Collection[int]) -> list[int]:
    """Return those of some tasks that are open, in order."""
    wanted = select(_task.c.id).where(
        _task.c.id.in_(task_ids), _task.c.ended_at.is_(None)
    )
    return sorted(conn.execute(wanted).scalars())


def clear_block(conn: sa.Connection, number_key: str) -> None:
    """Erase why a number is blocked, in all its forms; it stays blocked."""
    known = guards.is_blocked_as(number_key)
    conn.execute(update(schema.blocked).where(known).values(reason=""))


def mentioning(conn: sa.Connection, keys: Collection[str], after_id: int) -> set[int]:
    """Return tasks with a number in their events, in one range of ids of events."""
    return {row.task_id for row in _mentions(conn, keys, after_id)}


def erase_mentions(conn: sa.Connection, keys: Collection[str], after_id: int) -> int:
    """Erase a number from events of ended tasks of others, in one range of ids."""
    changed = 0
    for row in _mentions(conn, keys, after_id):
        if row.ended_at is None:
            continue
        params = erased_params(row.reason_params, keys)
        if params != row.reason_params:
            conn.execute(
                update(_event).where(_event.c.id == row.id).values(reason_params=params)
            )
            _erase_reasons(conn, [row.task_id], keys)
            changed += 1
    return changed


def _mentions(conn: sa.Connection, keys: Collection[str], after_id: int) -> list[Any]:
    likely = or_(*(_event.c.reason_params.contains(key) for key in sorted(keys)))
    between = {"after_id": after_id, "up_to": after_id + EVENTS_AT_ONCE}
    return [
        row
        for row in conn.execute(_MENTIONS.where(likely), between)
        if erased_params(row.reason_params, keys) != row.reason_params
    ]


def records(
    conn: sa.Connection, keys: Collection[str], plan: NumberPlan
) -> NumberRecords:
    """Return everything that is stored about a number, except for mentions."""
    tasks = []
    for task in tasks_of(conn, keys):
        calls = select(_event.c.linkedid).where(
            _event.c.task_id == task.id, _event.c.linkedid != ""
        )
        tasks.append(
            TaskRecord(
                task=task,
                attempts=tuple(queries.attempts(conn, task.id)),
                history=tuple(queries.history(conn, task.id)),
                linkedids=tuple(sorted(set(conn.execute(calls).scalars()))),
            )
        )
    talk = conn.execute(
        select(_talk.c.member, _talk.c.at).where(_talk.c.number_key.in_(keys))
    ).first()
    entered = conn.execute(select(_entered.c.at).where(_entered.c.caller_key.in_(keys)))
    blocked = [guards.blocked(conn, key) for key in sorted(keys)]
    return NumberRecords(
        tasks=tuple(tasks),
        refusals=tuple(map(guards.refusal_of, _rows_of(conn, _refusal, keys, plan))),
        offers=tuple(map(offers.offer_of, _rows_of(conn, _offer, keys, plan))),
        blocked=next((one for one in blocked if one is not None), None),
        last_talk=None if talk is None else (talk.member, talk.at),
        entered_at=tuple(entered.scalars()),
    )


def _rows_of(
    conn: sa.Connection, table: sa.Table, keys: Collection[str], plan: NumberPlan
) -> list[Any]:
    """Return the rows of a number in a table, the latest first."""
    numbers = conn.execute(select(table.c.id, table.c.number))
    ids = [key for key, number in numbers if has_key(number, keys, plan)]
    wanted = select(table).where(table.c.id.in_(ids)).order_by(table.c.id.desc())
    return list(conn.execute(wanted))


# -- rows ------------------------------------------------------------------


def erase_tasks(conn: sa.Connection, ids: Sequence[int]) -> None:
    """Erase numbers and names from ended tasks and all that belongs to them."""
    if not ids:
        return
    wanted = select(_task.c.id, _task.c.reason_params).where(
        _task.c.id.in_(ids), _task.c.ended_at.is_not(None)
    )
    for row in conn.execute(wanted).all():
        params = erased_params(row.reason_params)
        conn.execute(_ERASE_TASK, {"old_id": row.id, "new_params": params})
    _erase_attempts(conn, ids, None)
    events = select(_event.c.id, _event.c.reason_params, _event.c.linkedid).where(
        _event.c.task_id.in_(ids)
    )
    for event in conn.execute(events).all():
        params = erased_params(event.reason_params)
        if params != event.reason_params or event.linkedid:
            conn.execute(
                _SET_EVENT,
                {"old_id": event.id, "new_params": params, "new_linkedid": ""},
            )
    for later in _laters(conn, ids):
        conn.execute(
            update(_later)
            .where(_later.c.event_id == later.event_id)
            .values(
                number=ERASED,
                name="",
                linkedid="",
                reason_params=erased_params(later.reason_params),
            )
        )


def _erase_reasons(
    conn: sa.Connection, ids: Sequence[int], keys: Collection[str]
) -> None:
    """Erase a number from the reasons of tasks of others.

    Those of their attempts, and of requests made while they were called, too.
    """
    wanted = select(_task.c.id, _task.c.reason_params).where(_task.c.id.in_(ids))
    for row in conn.execute(wanted).all():
        params = erased_params(row.reason_params, keys)
        if params != row.reason_params:
            conn.execute(_SET_PARAMS[_task], {"old_id": row.id, "new_params": params})
    _erase_attempts(conn, ids, keys)
    for later in _laters(conn, ids):
        params = erased_params(later.reason_params, keys)
        if params != later.reason_params:
            given = {"old_id": later.event_id, "new_params": params}
            conn.execute(_SET_LATER, given)


def _laters(conn: sa.Connection, ids: Sequence[int]) -> Sequence[Any]:
    """Return the requests that were made while some tasks were called."""
    of_tasks = select(_event.c.id).where(_event.c.task_id.in_(ids))
    wanted = select(_later.c.event_id, _later.c.reason_params).where(
        or_(_later.c.event_id.in_(of_tasks), _later.c.next_event_id.in_(of_tasks))
    )
    return conn.execute(wanted).all()


def _erase_attempts(
    conn: sa.Connection, ids: Sequence[int], keys: Collection[str] | None
) -> None:
    wanted = select(_attempt.c.id, _attempt.c.reason_params).where(
        _attempt.c.task_id.in_(ids)
    )
    for row in conn.execute(wanted).all():
        if not row.reason_params:
            continue
        params = erased_params(row.reason_params, keys)
        if params != row.reason_params:
            given = {"old_id": row.id, "new_params": params}
            conn.execute(_SET_PARAMS[_attempt], given)


def _erase_refusals(conn: sa.Connection, rows: Sequence[Any]) -> int:
    for row in rows:
        params = erased_params(row.reason_params)
        conn.execute(_SET_REFUSAL, {"old_id": row.id, "new_params": params})
    return len(rows)


def _erase_offers(conn: sa.Connection, ids: Sequence[int]) -> int:
    if ids:
        erased = update(_offer).where(_offer.c.id.in_(ids))
        conn.execute(erased.values(number="", linkedid=""))
    return len(ids)
