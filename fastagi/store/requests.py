# SPDX-License-Identifier: MIT
"""Stores requests for a callback, and takes them back.

The functions run inside a transaction, may run twice and change only the database.
They are independent of threads, Asterisk and settings.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve, fields
from sqlalchemy import bindparam, delete, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from fastagi.domain.limits import called_too_often
from fastagi.domain.reason import Code, because, dump_params, map_texts
from fastagi.domain.task import CallbackTask, Kind, Move, NewTask, Status, after
from fastagi.store import (
    entered_numbers,
    guards,
    later,
    limits,
    new_tasks,
    places,
    schema,
)
from fastagi.store.engine import ALONE, Alone
from fastagi.store.events import move_task, write_event
from fastagi.store.preferred_agents import TO_NOBODY
from fastagi.store.results import Recorded, Refused
from fastagi.store.rows import (
    LOCK_OPEN_BY_KEY,
    again_if_open,
    insert_row,
    locked,
    seconds,
    storable,
    task_of,
    values_of,
)
from fastagi.store.schema import LaterState
from fastagi.store.slots import is_full

_task: Final = schema.task
_event: Final = schema.task_event
_later: Final = schema.later_request
_INSERT_TASK: Final = insert(_task)
#: Only for a task stored in the same transaction: committed tasks are never deleted.
_DELETE: Final = delete(_task).where(_task.c.id == bindparam("task_id"))
_BY_CALL: Final = (
    select(_task)
    .join(_event, _event.c.task_id == _task.c.id)
    .outerjoin(_later, _later.c.event_id == _event.c.id)
    .where(
        _event.c.linkedid.in_(bindparam("linkedids", expanding=True)),
        text("task_event.linkedid <> ''"),
        _task.c.number_key == bindparam("number_key"),
        # A repeat that was taken back does not count.
        func.coalesce(_later.c.state, "") != LaterState.TAKEN_BACK.value,
    )
    .order_by(_task.c.id.desc())
    .limit(1)
)
_TAKEN_BACK: Final = because(Code.TAKEN_BACK)
#: A character that cannot be stored, as JSON writes it.
_ESCAPED_NUL: Final = r"\u0000"
#: The fields of a task that are set when it is created.
_NEW: Final = tuple(field.name for field in fields(CallbackTask) if field.name != "id")


def add(
    conn: sa.Connection,
    new: NewTask,
    now: datetime,
    once: bool,
    ids: Collection[str] = (),
    most_calls: int = 0,
) -> Recorded | Refused:
    """Create a task, or renew the open task of the same number.

    Refused if the number is blocked, or was called so often that it could not be
    called again before the task expires; if the caller entered it and has entered too
    many; or if the caller can not have the chosen slot.

    Args:
        conn: in a transaction.
        new: the new task.
        now: the current time.
        once: change nothing if a request of the same call was stored before, even if
            its task has ended.
        ids: further ids under which that call may be stored.
        most_calls: maximum number of calls to one number within a day; 0: no limit.
    """
    number_key = new.number_key
    linkedid = storable(new.linkedid)
    linkedids = sorted({linkedid, *map(storable, ids)} - {""})
    if once and linkedids:
        row = conn.execute(
            _BY_CALL, {"linkedids": linkedids, "number_key": number_key}
        ).first()
        if row is not None:
            return Recorded(task_of(row), created=False, known=True)
    if (known := guards.blocked(conn, number_key)) is not None:
        return Refused(known.why)
    entered = new.entered
    if entered and (why := entered_numbers.why_not(conn, entered, now)) is not None:
        return Refused(why)
    if new.slot is not None and is_full(conn, new.queue, number_key, new.slot):
        return Refused(because(Code.SLOT_FULL))
    row = conn.execute(LOCK_OPEN_BY_KEY, {"number_key": number_key}).first()
    if (
        row is not None
        and new.slot is not None
        and row.queue != new.queue
        and row.status == Status.CALLING.value
    ):
        return Refused(because(Code.CALLED_BY_OTHER_QUEUE, queue=row.queue))
    again_at = limits.number_free_at(conn, number_key, most_calls, now)
    if again_at is not None and again_at >= new.expires_at:
        return Refused(called_too_often(most_calls, again_at))
    if entered is not None:
        entered_numbers.note(conn, entered, now)
    if row is not None:
        former = task_of(row)
        task = renew(conn, former, new, now)
        later_id = None
        if task.status is Status.CALLING:
            later_id = later.store(conn, task.id, _all_storable(new), now)
        is_moved = task.chosen_at != former.chosen_at or task.queue != former.queue
        return Recorded(
            task,
            created=False,
            later_id=later_id,
            former=former if is_moved else None,
        )
    task = create(conn, new, now)
    write_event(
        conn,
        task.id,
        Move.CREATE,
        task.status,
        now,
        task.why,
        linkedid=linkedid,
        asked=new.kind,
    )
    return Recorded(task, created=True)


def add_many(
    conn: sa.Connection,
    asked: Sequence[tuple[NewTask, datetime, bool, Collection[str], int]],
) -> list[Recorded | Refused | Alone]:
    """Create tasks for numbers without any restriction, in few statements.

    Args:
        conn: in a transaction.
        asked: the arguments of :func:`add`, once for each request.

    Returns:
        For each request the new task, or ALONE if it needs :func:`add`: its number is
        blocked, has an open task, was called as often as is allowed, was entered by
        the caller, or stands in ``asked`` before; its call may be stored already, or
        its time has been chosen, so that a slot may be full. These requests have to be
        carried out in their order. Then all decisions are the same as one by one.
    """
    unusual = new_tasks.unusual(
        conn, [(new.number_key, most, now) for new, now, _, _, most in asked]
    )
    usual: dict[int, tuple[NewTask, datetime]] = {}
    for index, (new, now, once, _, _) in enumerate(asked):
        depends_on_more = once or new.entered or new.slot or new.chosen_at
        if not (depends_on_more or new.number_key in unusual):
            usual[index] = _all_storable(new), now
        # A later request for the same number needs add(), and comes after this one.
        unusual.add(new.number_key)
    if not usual:
        return [ALONE] * len(asked)
    try:
        ids = new_tasks.insert_all(conn, [_row_of(*one) for one in usual.values()])
    except IntegrityError as error:
        raise again_if_open(error) from error
    return [
        Recorded(
            _pending_task(*usual[index], id_=ids[new.number_key]),
            created=True,
        )
        if index in usual
        else ALONE
        for index, (new, *_) in enumerate(asked)
    ]


def create(conn: sa.Connection, new: NewTask, now: datetime) -> CallbackTask:
    """Store a task; waits if another process is storing a task of the same number."""
    task = _pending_task(_all_storable(new), now)
    try:
        task_id = insert_row(conn, _INSERT_TASK, values_of(task, _NEW))
    except IntegrityError as error:
        raise again_if_open(error) from error
    return evolve(task, id=task_id)


def _pending_task(new: NewTask, now: datetime, id_: int = 0) -> CallbackTask:
    """Return a new task as it is to be stored, from a request that can be stored."""
    return CallbackTask(
        id=id_,
        kind=new.kind,
        status=Status.PENDING,
        number=new.number,
        number_key=new.number_key,
        name=new.name,
        language=new.language,
        queue=new.queue,
        linkedid=new.linkedid,
        joined_at=new.joined_at,
        priority=new.priority,
        created_at=now,
        due_at=new.due_at,
        expires_at=new.expires_at,
        chosen_at=new.chosen_at,
        call_by=new.call_by,
        why=new.why,
    )


def _row_of(new: NewTask, now: datetime) -> dict[str, Any]:
    """Return the same as a row: the value of each column by its name."""
    return {
        **_SAME_IN_EACH_ROW,
        "kind": new.kind.value,
        "number": new.number,
        "number_key": new.number_key,
        "name": new.name,
        "language": new.language,
        "queue": new.queue,
        "linkedid": new.linkedid,
        "joined_at": seconds(new.joined_at),
        "priority": new.priority,
        "created_at": seconds(now),
        "due_at": seconds(new.due_at),
        "expires_at": seconds(new.expires_at),
        "chosen_at": None if new.chosen_at is None else seconds(new.chosen_at),
        "call_by": None if new.call_by is None else seconds(new.call_by),
        "reason_code": new.why.code.value,
        "reason_params": dump_params(new.why),
    }


def renew(
    conn: sa.Connection,
    task: CallbackTask,
    new: NewTask,
    now: datetime,
    *,
    told: bool = False,
) -> CallbackTask:
    """Renew an open task because its client asked again; it keeps its place in line.

    If the client has a higher priority now, the task gets it.
    A new chosen time replaces a former one, and is the task's place from now on. If it
    is a slot of another queue, that queue calls the client. A
    client who asks to be called as soon as possible joins the line now, instead of at
    the chosen time.

    Args:
        conn: in a transaction.
        task: the open task.
        new: the new request.
        now: the current time.
        told: whether the request has its line in queue_log already.
    """
    return move_task(
        conn,
        task,
        Move.REPEAT,
        now,
        new.why_again or new.why,
        linkedid=storable(new.linkedid),
        asked=None if told else new.kind,
        kind=new.kind if new.kind is Kind.REQUESTED else task.kind,
        name=task.name or storable(new.name),
        language=task.language or storable(new.language),
        priority=max(task.priority, new.priority),
        **_times_of_renewed(task, new, now),
        # The request is newer than the cancellation.
        cancel_requested=False,
        served=False,
    )


def _times_of_renewed(
    task: CallbackTask, new: NewTask, now: datetime
) -> dict[str, Any]:
    """Return the fields of an open task that say when it is called, and by whom."""
    if new.chosen_at is not None:
        return {
            "joined_at": new.joined_at,
            "due_at": new.due_at,
            "expires_at": new.expires_at,
            "chosen_at": new.chosen_at,
            "call_by": new.call_by,
            **places.OWN_PLACE,
            **({"queue": new.queue, "number": new.number} if new.slot else {}),
            # The agents of another queue do not know that one.
            **(TO_NOBODY if new.slot and new.queue != task.queue else {}),
        }
    expires_at = max(task.expires_at, new.expires_at)
    if new.kind is Kind.REQUESTED and task.waits_for_chosen_time(now):
        return {
            "joined_at": new.joined_at,
            "due_at": now,
            "expires_at": expires_at,
            "chosen_at": None,
            "call_by": None,
            **places.OWN_PLACE,
        }
    return {"expires_at": expires_at}


def take_back(
    conn: sa.Connection,
    task_id: int,
    now: datetime,
    later_id: int | None = None,
) -> CallbackTask | None:
    """Cancel a task whose caller was not told that it was accepted.

    Args:
        conn: in a transaction.
        task_id: the id of the task.
        now: the current time.
        later_id: the id of the request, if it was made while the client was being
            called: then only that request is taken back, and the task continues.

    Returns:
        The task; None if it was requested again since, and that caller was told.
    """
    if later_id is not None:
        return _take_back_later(conn, task_id, later_id, now)
    task = locked(conn, task_id)
    if _is_repeated(conn, task_id):
        return None
    return _end_taken_back(conn, task, now)


def move_back(
    conn: sa.Connection,
    moved: CallbackTask,
    former: CallbackTask,
    now: datetime,
    later_id: int | None = None,
) -> CallbackTask | None:
    """Give a task its former time back: its client was not told the new one.

    Args:
        conn: in a transaction.
        moved: the task after the request.
        former: the task before the request.
        now: the current time.
        later_id: the id of the request, if it was made while the client was being
            called.

    Returns:
        The task; None if it has ended or was moved again since.
    """
    if later_id is not None:
        _take_back_later(conn, moved.id, later_id, now)
    task = locked(conn, moved.id)
    if not task.is_open or task.chosen_at != moved.chosen_at:
        return None
    return move_task(
        conn,
        task,
        Move.PROGRESS,
        now,
        because(Code.REPEAT_TAKEN_BACK, cause=_TAKEN_BACK),
        queue=former.queue,
        number=former.number,
        joined_at=former.joined_at,
        due_at=former.due_at,
        expires_at=former.expires_at,
        chosen_at=former.chosen_at,
        call_by=former.call_by,
        place_at=former.place_at,
        place_priority=former.place_priority,
        place_chosen=former.place_chosen,
        **_assignment(former if moved.queue != former.queue else task),
    )


def _assignment(task: CallbackTask) -> dict[str, Any]:
    """Return the fields of a task that say which agent is asked for it."""
    return {name: getattr(task, name) for name in TO_NOBODY}


def _end_taken_back(
    conn: sa.Connection, task: CallbackTask, now: datetime
) -> CallbackTask:
    """End a task that was taken back: at once, or when its attempt has ended."""
    if task.status is Status.CALLING:
        later.end_all(conn, task.id)
        move = Move.TAKE_BACK_LATER
        return move_task(conn, task, move, now, _TAKEN_BACK, cancel_requested=True)
    return move_task(conn, task, Move.TAKE_BACK, now, _TAKEN_BACK)


def _is_repeated(conn: sa.Connection, task_id: int) -> bool:
    """Whether a task was requested again, and that was not taken back."""
    repeated = (
        select(_event.c.id)
        .outerjoin(_later, _later.c.event_id == _event.c.id)
        .where(
            _event.c.task_id == task_id,
            _event.c.move == Move.REPEAT.value,
            func.coalesce(_later.c.state, "") != LaterState.TAKEN_BACK.value,
        )
    )
    return conn.execute(repeated.limit(1)).first() is not None


def _take_back_later(
    conn: sa.Connection, task_id: int, later_id: int, now: datetime
) -> CallbackTask | None:
    """Take back a request that was made while the client was being called."""
    task = locked(conn, task_id)
    request = later.find(conn, later_id)
    if request is None or request.state is LaterState.TAKEN_BACK:
        return None
    later.set_state(conn, later_id, LaterState.TAKEN_BACK, request.next_event_id)
    if request.state is LaterState.OPEN:
        status = after(task.status, Move.PROGRESS)
        why = because(Code.REPEAT_TAKEN_BACK, cause=_TAKEN_BACK)
        write_event(conn, task.id, Move.PROGRESS, status, now, why)
        return task
    if request.next_event_id is None:
        return None
    event = conn.execute(
        select(_event.c.task_id, _event.c.move).where(
            _event.c.id == request.next_event_id
        )
    ).one()
    if event.move != Move.CREATE.value or _is_repeated(conn, event.task_id):
        return None
    return _end_taken_back(conn, locked(conn, event.task_id), now)


def take_back_unheard(
    conn: sa.Connection,
    new: NewTask,
    asked_at: datetime,
    now: datetime,
    recorded: Recorded | None = None,
) -> CallbackTask | None:
    """Take back a request after a COMMIT whose result is unknown.

    Args:
        conn: in a transaction.
        new: the task that was to be stored.
        asked_at: the time that was given to :func:`add`.
        now: the current time.
        recorded: what :func:`add` returned before the COMMIT, if that is known.

    Returns:
        The task; None if the request was not stored and never will be, or the client
        asked again since.
    """
    linkedid = storable(new.linkedid)
    row = conn.execute(LOCK_OPEN_BY_KEY, {"number_key": new.number_key}).first()
    if row is None:
        # The server may still be committing it for a lost connection. A number has only
        # one open task, so storing a second one waits for that COMMIT.
        trial = create(conn, new, now)
        conn.execute(_DELETE, {"task_id": trial.id})
    repeated = later.of_call(conn, linkedid, asked_at)
    later_id = None if repeated is None else repeated[1]
    if (
        recorded is not None
        and recorded.former is not None
        and _is_repeated_by(conn, recorded.task.id, linkedid, asked_at)
    ):
        return move_back(conn, recorded.task, recorded.former, now, later_id)
    if repeated is not None:
        return _take_back_later(conn, *repeated, now)
    if row is None:
        return None
    task = task_of(row)
    if task.linkedid != linkedid or task.created_at != asked_at:
        return None
    return take_back(conn, task.id, now)


def _is_repeated_by(
    conn: sa.Connection, task_id: int, linkedid: str, at: datetime
) -> bool:
    """Whether a call requested a task again at a time."""
    wanted = select(_event.c.id).where(
        _event.c.task_id == task_id,
        _event.c.move == Move.REPEAT.value,
        _event.c.linkedid == linkedid,
        _event.c.at == seconds(at),
    )
    return conn.execute(wanted.limit(1)).first() is not None


def _all_storable(new: NewTask) -> NewTask:
    texts = f"{new.name}{new.language}{new.linkedid}{dump_params(new.why)}"
    if storable(texts) == texts and _ESCAPED_NUL not in texts:
        return new
    return evolve(
        new,
        name=storable(new.name),
        language=storable(new.language),
        linkedid=storable(new.linkedid),
        why=map_texts(new.why, storable),
    )


#: The columns of a new task whose values do not depend on the request.
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_SAME_IN_EACH_ROW: Final = values_of(
    _pending_task(
        NewTask(
            kind=Kind.REQUESTED,
            number="",
            number_key="",
            queue="",
            joined_at=_EPOCH,
            due_at=_EPOCH,
            expires_at=_EPOCH,
            why=_TAKEN_BACK,
        ),
        _EPOCH,
    ),
    _NEW,
)
