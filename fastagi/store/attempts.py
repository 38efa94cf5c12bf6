# SPDX-License-Identifier: MIT
"""Begins and ends attempts of stored tasks.

The functions run inside a transaction, may run twice and change only the database.
They are independent of threads, Asterisk and settings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import evolve
from sqlalchemy import (
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.selectable import NamedFromClause

from fastagi.domain.agent_keys import (
    NOT_ACCEPTED,
    AgentAnswer,
    AgentsToAsk,
    refused_until,
)
from fastagi.domain.attempt import Attempt, Disposition, Verdict
from fastagi.domain.chosen_time import waits_for
from fastagi.domain.limits import CallLimits, called_too_often
from fastagi.domain.numbers import NumberRules, why_not_any_more
from fastagi.domain.preferred_agent import PreferredAgent, waits_for_agent
from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.domain.retry import Decision, RetryRules, decide
from fastagi.domain.task import CallbackTask, Move, Status, after
from fastagi.domain.turns import Turn
from fastagi.domain.why_not_yet import Held, obstacle
from fastagi.store import (
    guards,
    later,
    leases,
    limits,
    places,
    preferred_agents,
    schema,
)
from fastagi.store.errors import StaleTask
from fastagi.store.events import move_task, write_event
from fastagi.store.later import LaterRequest
from fastagi.store.lease_rows import name_of_node
from fastagi.store.requests import create, renew
from fastagi.store.results import BeginResult, Restored, TaskAttempt
from fastagi.store.rows import (
    ATTEMPT_BY_CHANNEL,
    LOCK_BY_ID,
    attempt_of,
    found,
    insert_row,
    moment,
    moment_or_none,
    reason_values,
    seconds,
    storable,
    task_of,
    under_way,
)
from fastagi.store.schema import LaterState

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_lease: Final = schema.lease
_pending: Final = text(schema.PENDING_ONLY)
_INSERT_ATTEMPT: Final = insert(_attempt)
#: True for the tasks that come before all others.
_CHOSEN_FIRST: Final = and_(
    bindparam("chosen_first", type_=sa.Boolean), places.AMONG_CHOSEN
)
#: The task under another name, in the subqueries of :data:`_FIRST_OF_MANY`.
_one: Final = _task.alias("one")
#: Number of due tasks up to which all of them are read and sorted.
_MANY: Final = 200
#: How many tasks are due, up to a number.
_COUNT_DUE: Final = select(func.count()).select_from(
    select(_task.c.id)
    .where(
        _pending,
        _task.c.queue.in_(bindparam("queues", expanding=True)),
        _task.c.due_at <= bindparam("now"),
    )
    .limit(bindparam("most_counted"))
    .subquery()
)


def _may_be_called(task: NamedFromClause) -> tuple[Any, ...]:
    """Return the conditions of the tasks that may be called now."""
    place, priority = schema.place_of(task), schema.priority_of(task)
    return (
        # So that the partial index is used; see `schema.PENDING_ONLY`.
        text(f"{task.name}.{schema.PENDING_ONLY}"),
        # Leaves out tasks that are assigned to agents who can not be asked now, except
        # those of unknown agents, and those that an attempt since then may release.
        or_(
            ~bindparam("one_waits", type_=sa.Boolean),
            task.c.assigned_to.is_(None),
            task.c.queue.in_(bindparam("unknown", expanding=True)),
            task.c.assigned_to.in_(bindparam("ask_alone", expanding=True)),
            task.c.assigned_until <= bindparam("now"),
            exists().where(
                _attempt.c.task_id == task.c.id,
                _attempt.c.ended_at >= task.c.assigned_at,
            ),
        ),
        task.c.due_at <= bindparam("now"),
        or_(
            bindparam("priority") < priority,
            and_(
                bindparam("priority") == priority,
                bindparam("joined_until") >= place,
            ),
        ),
        task.c.expires_at > bindparam("now"),
        task.c.number_key.not_in(bindparam("busy_keys", expanding=True)),
        task.c.id.not_in(bindparam("held", expanding=True)),
    )


def _turn(task: sa.FromClause) -> tuple[sa.ColumnElement[Any], ...]:
    """Return what tasks that may be called are sorted by."""
    return schema.priority_of(task).desc(), schema.place_of(task), task.c.id


def _first(*conditions: Any) -> sa.Select[Any]:
    """Select and lock the first task that meets the conditions."""
    return (
        select(_task)
        .where(*conditions)
        .order_by(case((_CHOSEN_FIRST, 0), else_=1), *_turn(_task))
        .limit(bindparam("most"))
        .with_for_update(skip_locked=True)
    )


#: The first task to call, if not many are due.
_FIRST: Final = _first(
    *_may_be_called(_task), _task.c.queue.in_(bindparam("queues", expanding=True))
)
#: How many tasks of a line are looked at: other services may have locked the first
#: ones. If they have locked all of them, :data:`_FIRST` finds the next one.
_LOOKED_AT: Final = 16
#: Both kinds of tasks: those with a chosen time, which may come first, and others.
_KINDS: Final = (
    select(sa.false().label("is_chosen")).union_all(select(sa.true())).subquery("kinds")
)
_LINES: Final = {
    "sqlite": func.json_each(bindparam("lines")).table_valued("value", name="lines"),
    "postgresql": func.jsonb_array_elements_text(
        sa.cast(bindparam("lines"), postgresql.JSONB)
    ).table_valued("value", name="lines"),
}


def _first_of_line(
    queue: sa.ColumnElement[str], is_chosen: sa.ColumnElement[bool], most: int
) -> sa.Select[tuple[int]]:
    """Select the first tasks of a queue; the index has them in this order."""
    return (
        select(_one.c.id)
        .where(
            _one.c.queue == queue,
            schema.among_chosen(_one) == is_chosen,
            *_may_be_called(_one),
        )
        .order_by(*_turn(_one))
        .limit(sa.literal(most, literal_execute=True))
    )


def _is_near_on_sqlite() -> sa.ColumnElement[bool]:
    """Return the condition of the first task of each line."""
    # There is one writer, so nobody else has locked it.
    lines = _LINES["sqlite"]
    first = _first_of_line(lines.c.value, _KINDS.c.is_chosen, 1)
    return _task.c.id.in_(
        select(first.correlate(lines, _KINDS).scalar_subquery()).select_from(
            lines.join(_KINDS, sa.true())
        )
    )


def _is_near_on_postgresql() -> sa.ColumnElement[bool]:
    """Return the condition of the first tasks of each line."""
    lines = _LINES["postgresql"]
    first = _first_of_line(lines.c.value, _KINDS.c.is_chosen, _LOOKED_AT)
    found = first.correlate(lines, _KINDS).lateral("found")
    ids = select(found.c.id).select_from(
        lines.join(_KINDS, sa.true()).join(found, sa.true())
    )
    # The array is computed once; a join might be computed for each task.
    return _task.c.id == sa.any_(func.array(ids.scalar_subquery()))


#: Another service may have changed the task meanwhile. Conditions that match an index
#: are avoided: PostgreSQL could then read all waiting tasks in place of the few ids.
_IS_STILL_DUE: Final = (
    _task.c.status.not_in([one.value for one in Status if one is not Status.PENDING]),
    func.concat(_task.c.queue).in_(bindparam("queues", expanding=True)),
    _task.c.due_at <= bindparam("now"),
)
#: The first task to call if many are due, by the name of the engine: by the index of
#: the turns, so that not all of them are read.
_FIRST_OF_MANY: Final[Mapping[str, sa.Select[Any]]] = {
    "sqlite": _first(_is_near_on_sqlite()),
    "postgresql": _first(_is_near_on_postgresql(), *_IS_STILL_DUE),
}
_ASSIGNMENT_ENDS: Final = select(func.min(_task.c.assigned_until)).where(
    _pending,
    _task.c.queue.in_(bindparam("queues", expanding=True)),
    _task.c.assigned_until > bindparam("now"),
)
_NEXT_DUE: Final = select(func.min(_task.c.due_at)).where(
    _pending,
    _task.c.queue.in_(bindparam("queues", expanding=True)),
    _task.c.due_at > bindparam("after"),
    _task.c.expires_at > bindparam("now"),
    _task.c.number_key.not_in(bindparam("busy_keys", expanding=True)),
)
#: Later than every place, in epoch seconds; a database may not take infinity.
_FAR_FUTURE_S: Final = 1e12
#: The attempts in progress on a node, without ORDER BY: with it a database would scan
#: all attempts.
_OPEN: Final = select(_attempt).where(
    text(schema.UNDER_WAY), _attempt.c.node == bindparam("node")
)
#: Asterisks with attempts in progress that no service holds; one that is the only
#: service has no leases on Asterisks.
_NODES_OF_NOBODY: Final = (
    select(_attempt.c.node)
    .where(
        text(schema.UNDER_WAY),
        ~exists().where(
            _lease.c.name == sa.literal(name_of_node("")) + _attempt.c.node,
            _lease.c.token != "",
            _lease.c.valid_until > bindparam("now"),
        ),
    )
    .distinct()
)
#: Attempts that have ended as if their Asterisk had, or before their clients were
#: dialled.
_GIVEN_UP: Final = select(_attempt).where(
    _attempt.c.channel_id.in_(bindparam("channel_ids", expanding=True)),
    _attempt.c.disposition.in_(
        [Disposition.WITHDRAWN.value, Disposition.UNKNOWN.value]
    ),
)
#: Dispositions of the attempts of a task that count, the latest first.
_DISPOSITIONS: Final = (
    select(_attempt.c.disposition)
    .where(
        _attempt.c.task_id == bindparam("task_id"),
        _attempt.c.disposition != Disposition.WITHDRAWN.value,
    )
    .order_by(_attempt.c.id.desc())
    .limit(bindparam("most"))
)
#: The attempts of a task that an agent answered and did not accept.
_NOT_ACCEPTED: Final = select(
    _attempt.c.member, _attempt.c.reason_code, _attempt.c.ended_at
).where(
    _attempt.c.task_id == bindparam("task_id"),
    _attempt.c.reason_code.in_(sorted(code.value for code in NOT_ACCEPTED)),
    _attempt.c.ended_at.is_not(None),
)
_END_ATTEMPT: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"), text(schema.UNDER_WAY))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "ended_at",
                "disposition",
                "member",
                "talk_s",
                "reason_code",
                "reason_params",
            )
        }
    )
)
_SET_MEMBER: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"))
    .values(member=bindparam("new_member"))
)
#: The first time stays.
_SET_DIALLED: Final = (
    update(_attempt)
    .where(_attempt.c.id == bindparam("old_id"), _attempt.c.dialled_at.is_(None))
    .values(dialled_at=bindparam("new_dialled_at"))
)
_SETTLE_CHOSEN_TIME: Final = (
    update(_task).where(_task.c.id == bindparam("old_id")).values(call_by=None)
)
#: When agent and client were seen to begin to talk.
_TALK_BEGAN: Final = select(func.min(_event.c.at)).where(
    _event.c.task_id == bindparam("task_id"),
    _event.c.attempt_id == bindparam("attempt_id"),
    _event.c.reason_code == Code.TALK_BEGINS.value,
)
_INSERT_REACHED: Final = insert(schema.reached)
#: Maximum number of tasks put off in one transaction, because requests of callers wait
#: for its end.
_MAX_NOT_BEGUN: Final = 100
#: Maximum number of tasks passed over in one transaction that wait for other agents.
_MAX_HELD: Final = 100
#: Time after which a task is looked at again that a query found too early.
_LOOK_AGAIN: Final = timedelta(seconds=1)
#: Dispositions of attempts in which the client answered, or may have answered.
_MAY_HAVE_ANSWERED: Final = frozenset(
    {Disposition.ANSWERED, Disposition.SHORT, Disposition.UNKNOWN}
)


def begin_attempts(
    conn: sa.Connection,
    queues: Sequence[str],
    channel_ids: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    call_limits: CallLimits,
    number_rules: Mapping[str, NumberRules],
    last: Turn,
    chosen_first: bool,
    agents: Mapping[str, AgentsToAsk],
    node: str,
) -> BeginResult:
    """Begin an attempt for each of the first due tasks, one per channel id.

    Args:
        conn: in a transaction.
        queues: the queues whose tasks may be called now.
        channel_ids: one channel id for each attempt to begin.
        busy_keys: number keys that must not be called now.
        now: the current time.
        call_limits: maximum numbers of calls, these included.
        number_rules: which numbers each queue may call; a queue without: any.
        last: the last turn whose task may be begun.
        chosen_first: whether tasks with a chosen time come before all others.
        agents: who may be asked, for each queue whose agents may refuse a task.
        node: the name of the Asterisk that places the calls.
    """
    begun: list[TaskAttempt] = []
    not_begun: list[CallbackTask] = []
    held: dict[int, Held] = {}
    notes: dict[int, Reason] = {}
    limited: dict[str, Held] = {}
    unknown_agents: set[str] = set()
    for channel_id in channel_ids:
        limited = limits.limited(conn, queues, call_limits, now)
        task = _next_to_call(
            conn,
            [queue for queue in queues if queue not in limited],
            busy_keys,
            now,
            call_limits,
            number_rules,
            last,
            chosen_first,
            agents,
            not_begun,
            held,
            notes,
            unknown_agents,
        )
        if task is None:
            break
        begun.append(_begin(conn, *task, channel_id, now, node))
    ends: float | None = None
    if any(_waits_for_assigned(one) for one in held.values()):
        wait = {"queues": queues, "now": seconds(now)}
        ends = conn.execute(_ASSIGNMENT_ENDS, wait).scalar()
    return BeginResult(
        begun,
        not_begun,
        held=held,
        assignment_ends=moment_or_none(ends),
        limited=limited,
        notes=notes,
        unknown_agents=frozenset(unknown_agents),
    )


def _waits_for_assigned(held: Held) -> bool:
    """Whether a task was passed over as it waits for the agent it is assigned to."""
    return held.why.code is Code.WAITS_FOR_ASSIGNED


def _next_to_call(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    call_limits: CallLimits,
    number_rules: Mapping[str, NumberRules],
    last: Turn,
    chosen_first: bool,
    agents: Mapping[str, AgentsToAsk],
    not_begun: list[CallbackTask],
    held: dict[int, Held],
    notes: dict[int, Reason],
    unknown_agents: set[str],
) -> tuple[CallbackTask, tuple[AgentAnswer, ...], PreferredAgent | None] | None:
    """Put off due tasks that must not be called; return the first that may, or None.

    Tasks that wait for another agent than those who are free are added to ``held``,
    what is written about the agent to ask to ``notes``. If the first task is assigned
    to an agent of a queue that ``agents`` does not have, none is returned, and the
    queue is added to ``unknown_agents``.
    """
    due = {
        "queues": queues,
        # Letters as they are: PostgreSQL reads their codes only with UTF-8.
        "lines": json.dumps(queues, ensure_ascii=False),
        "busy_keys": busy_keys,
        "now": seconds(now),
        "priority": last.priority,
        "joined_until": min(last.joined_at, _FAR_FUTURE_S),
        "chosen_first": chosen_first,
        "unknown": [queue for queue in queues if queue not in agents],
        "ask_alone": sorted(
            frozenset[str]().union(*(one.may_ask_alone for one in agents.values()))
        ),
        "most": 1,
    }
    counted = {"queues": queues, "now": due["now"], "most_counted": _MANY + 1}
    many = bool(queues) and conn.execute(_COUNT_DUE, counted).scalar_one() > _MANY
    one_waits = any(_waits_for_assigned(one) for one in held.values())
    while queues and len(not_begun) < _MAX_NOT_BEGUN and len(held) < _MAX_HELD:
        # Others that wait like one in ``held``, perhaps thousands, are left out.
        wanted = {**due, "held": list(held), "one_waits": one_waits}
        first = _FIRST_OF_MANY[conn.dialect.name] if many else _FIRST
        row = conn.execute(first, wanted).first()
        if row is None and many:
            # Perhaps other services have locked those that were looked at.
            many = False
            continue
        if row is None:
            return None
        task = task_of(row)
        # The query finds the tasks by their index; this decides.
        its_own = obstacle(task, seconds(now), busy_keys, last)
        if its_own is not None:
            held[task.id] = Held(task.queue, its_own, now + _LOOK_AGAIN)
            continue
        rules = number_rules.get(task.queue)
        moved = _end_or_delay(conn, task, now, call_limits.per_number, rules)
        if moved is not None:
            not_begun.append(moved)
            continue
        asked = agents.get(task.queue)
        if asked is None and task.assigned_to:
            unknown_agents.add(task.queue)
            return None
        if asked is None:
            return task, (), None
        answers = _answers(conn, task) if asked.rules else ()
        if task.assigned_to:
            task, assigned, note = preferred_agents.assigned(
                conn, task, answers, asked, now
            )
            if note is not None:
                notes[task.id] = note
            if assigned is not None and assigned.interface in asked.may_ask_alone:
                return task, answers, assigned
            if assigned is not None:
                why = waits_for_agent(assigned)
                held[task.id] = Held(task.queue, why, assigned.until)
                one_waits = True
                continue
        refused = refused_until(answers, asked.rules, now) if asked.rules else {}
        preferred, note = preferred_agents.decide(
            conn, task, asked, frozenset(refused), now
        )
        if note is not None:
            notes[task.id] = note
        if preferred is not None:
            if preferred.interface in asked.may_ask_alone:
                return task, answers, preferred
            until = preferred.until
            held[task.id] = Held(task.queue, waits_for_agent(preferred), until)
        elif asked.may_ask(refused):
            return task, answers, None
        else:
            until = min(refused.values())
            why = because(Code.AGENTS_REFUSED, until=utc_minute(until))
            held[task.id] = Held(task.queue, why, until)
    return None


def _answers(conn: sa.Connection, task: CallbackTask) -> tuple[AgentAnswer, ...]:
    """Return how agents answered the task's attempts without accepting them."""
    rows = conn.execute(_NOT_ACCEPTED, {"task_id": task.id}).all()
    return tuple(
        AgentAnswer(row.member, Code(row.reason_code), moment(row.ended_at))
        for row in rows
    )


def _end_or_delay(
    conn: sa.Connection,
    task: CallbackTask,
    now: datetime,
    most_calls: int,
    rules: NumberRules | None,
) -> CallbackTask | None:
    """End or postpone a due task that must not be called now.

    Returns:
        The changed task; None if the task may be called.
    """
    if (known := guards.blocked(conn, task.number_key)) is not None:
        return move_task(conn, task, Move.CANCEL, now, known.why)
    if rules and (why := why_not_any_more(task.number, task.number_key, rules)):
        why = because(Code.NOT_ALLOWED_ANY_MORE, cause=why)
        return move_task(conn, task, Move.GIVE_UP, now, why)
    again_at = limits.number_free_at(conn, task.number_key, most_calls, now)
    if again_at is None:
        return None
    why = called_too_often(most_calls, again_at)
    if again_at >= task.expires_at:
        return move_task(conn, task, Move.GIVE_UP, now, why.with_params(too_late=True))
    return move_task(conn, task, Move.RETRY, now, why, due_at=again_at)


def _begin(
    conn: sa.Connection,
    task: CallbackTask,
    answers: tuple[AgentAnswer, ...],
    preferred: PreferredAgent | None,
    channel_id: str,
    now: datetime,
    node: str,
) -> TaskAttempt:
    attempt = Attempt(
        id=0, task_id=task.id, channel_id=channel_id, started_at=now, node=node
    )
    number = task.attempts + task.member_attempts + 1
    why = because(Code.ATTEMPT_BEGINS, number=number, channel_id=channel_id)
    stored = _store_attempt(conn, task, attempt, now, why)
    return evolve(stored, answers=answers, preferred=preferred)


def _store_attempt(
    conn: sa.Connection,
    task: CallbackTask,
    attempt: Attempt,
    now: datetime,
    why: Reason,
) -> TaskAttempt:
    """Store an attempt that is in progress, and move its pending task."""
    attempt_id = insert_row(
        conn,
        _INSERT_ATTEMPT,
        {
            "task_id": task.id,
            "channel_id": attempt.channel_id,
            "started_at": seconds(attempt.started_at),
            "ended_at": None,
            "disposition": None,
            "member": attempt.member,
            "talk_s": 0.0,
            **reason_values(None),
            "node": attempt.node,
            "dialled_at": None,
        },
    )
    moved = move_task(conn, task, Move.BEGIN, now, why, attempt_id=attempt_id)
    return TaskAttempt(moved, evolve(attempt, id=attempt_id))


def restore_attempt(
    conn: sa.Connection, begun: TaskAttempt, now: datetime
) -> Restored | None:
    """Store an attempt in progress again, if the database has lost it.

    A database that was restored from a copy may have lost the task too, or have given
    its id to another task. So the task must also have the same ``created_at``.

    Args:
        conn: in a transaction.
        begun: the task and the attempt, as they were committed.
        now: the current time.

    Returns:
        The attempt as it is stored now; None if its task is gone, has ended, or has
        another attempt in progress.
    """
    known, attempt = begun.task, begun.attempt
    row = conn.execute(LOCK_BY_ID, {"task_id": known.id}).first()
    found = conn.execute(ATTEMPT_BY_CHANNEL, {"channel_id": attempt.channel_id}).first()
    if found is not None:
        return Restored(attempt_of(found), anew=False)
    if row is None:
        return None
    task = task_of(row)
    is_same = (task.created_at, task.number) == (known.created_at, known.number)
    if not is_same or task.status is not Status.PENDING:
        return None
    why = because(Code.ATTEMPT_RESTORED, channel_id=attempt.channel_id)
    stored = _store_attempt(conn, task, attempt, now, why)
    return Restored(stored.attempt, anew=True)


def progress(
    conn: sa.Connection,
    channel_id: str,
    why: Reason,
    now: datetime,
    member: str,
    answered_at: datetime | None = None,
) -> None:
    """Add an event to the history of a task whose attempt is in progress."""
    task, attempt = under_way(conn, channel_id)
    status = after(task.status, Move.PROGRESS)
    if member:
        conn.execute(
            _SET_MEMBER, {"old_id": attempt.id, "new_member": storable(member)}
        )
    if answered_at is not None:
        later.note_answer(conn, attempt.id, answered_at)
    if why.code is Code.CLIENT_DIALLED:
        _note_dialled(conn, attempt, seconds(now))
    if (
        why.code is Code.CLIENT_DIALLED
        and task.call_by is not None
        and not task.waits_for_chosen_time(now)
        and now <= task.call_by
    ):
        # The chosen time is kept. After call_by, somebody else says why it is missed.
        conn.execute(_SETTLE_CHOSEN_TIME, {"old_id": task.id})
    write_event(conn, task.id, Move.PROGRESS, status, now, why, attempt_id=attempt.id)


def close_attempt(
    conn: sa.Connection,
    channel_id: str,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    answered_at: datetime | None = None,
) -> CallbackTask:
    """End an attempt and move its task according to the retry rules.

    A request that was made after the client had answered is kept: if the task ends, the
    request becomes a new task.
    """
    task, attempt = under_way(conn, channel_id)
    decision = decide(task, verdict, rules, now, _earlier_dispositions(conn, task))
    asked = later.of_attempt(conn, attempt.id)
    outliving: list[LaterRequest] = []
    if asked and verdict.disposition in _MAY_HAVE_ANSWERED:
        at = later.answered_at(conn, attempt.id, attempt.started_at, answered_at, now)
        outliving = [request for request in asked if request.outlives(at)]
    goes_on = bool(outliving) and decision.due_at is None
    due_at, why = _when_and_why(task, decision, now)
    ended = conn.execute(
        _END_ATTEMPT,
        {
            "old_id": attempt.id,
            "new_ended_at": seconds(now),
            "new_disposition": verdict.disposition.value,
            "new_member": storable(verdict.member) or attempt.member,
            "new_talk_s": verdict.talk_s,
            **reason_values(verdict.why, "new_"),
        },
    )
    if ended.rowcount != 1:
        raise StaleTask(f"attempt {attempt.id} has ended already")
    if verdict.counts:
        # If the service did not see the client being dialled, the latest possible time.
        latest = max(seconds(attempt.started_at), seconds(now) - verdict.talk_s)
        _note_dialled(conn, attempt, latest)
    moved = move_task(
        conn,
        task,
        decision.move,
        now,
        because(Code.REQUESTED_AGAIN_IN_TALK, cause=why) if goes_on else why,
        attempt_id=attempt.id,
        due_at=due_at,
        call_by=None if _is_kept(task, attempt, verdict, now) else task.call_by,
        attempts=task.attempts + verdict.counts,
        member_attempts=task.member_attempts
        + (not verdict.counts and not verdict.withdrawn),
    )
    if verdict.success:
        _note_reached(conn, task, attempt, verdict, rules, now, answered_at)
    if goes_on:
        _make_task_of_later(conn, moved, outliving, now)
    for request in asked:
        if request in outliving:
            state = None if goes_on else LaterState.STANDS
        elif verdict.success:
            state = LaterState.FULFILLED
        else:
            state = LaterState.STANDS
        if state is not None:
            later.set_state(conn, request.event_id, state)
    return moved


def _note_reached(
    conn: sa.Connection,
    task: CallbackTask,
    attempt: Attempt,
    verdict: Verdict,
    rules: RetryRules,
    now: datetime,
    answered_at: datetime | None,
) -> None:
    """Store when the talk began that completes a task, for the reports."""
    seen = {"task_id": task.id, "attempt_id": attempt.id}
    talk_at = moment_or_none(conn.execute(_TALK_BEGAN, seen).scalar()) or answered_at
    if talk_at is None:
        talk_at = now - timedelta(seconds=verdict.talk_s)
    talk_at = min(max(talk_at, attempt.started_at), max(now, attempt.started_at))
    due_at = max(task.created_at, task.chosen_at or task.created_at)
    net_wait = rules.hours.open_between(due_at, talk_at)
    conn.execute(
        _INSERT_REACHED,
        {
            "task_id": task.id,
            "talk_at": seconds(talk_at),
            "net_wait_s": net_wait.total_seconds(),
        },
    )


def _note_dialled(conn: sa.Connection, attempt: Attempt, at: float) -> None:
    """Store when the client was dialled, for the limits."""
    conn.execute(_SET_DIALLED, {"old_id": attempt.id, "new_dialled_at": at})


def _when_and_why(
    task: CallbackTask, decision: Decision, now: datetime
) -> tuple[datetime, Reason]:
    """Return when a task is due after an attempt, and the reason of its status.

    If its client chose a time during the attempt, it is not called before.
    """
    if decision.due_at is None:
        return task.due_at, decision.why
    if task.chosen_at is None or task.chosen_at <= max(decision.due_at, now):
        return decision.due_at, decision.why
    return task.chosen_at, waits_for(task.chosen_at, decision.why)


def _is_kept(
    task: CallbackTask, attempt: Attempt, verdict: Verdict, now: datetime
) -> bool:
    """Whether an attempt kept the chosen time; not if it began before that time."""
    return (
        verdict.counts
        and task.chosen_at is not None
        and task.call_by is not None
        and task.chosen_at <= attempt.started_at
        and now <= task.call_by
    )


def _make_task_of_later(
    conn: sa.Connection,
    former: CallbackTask,
    requests: Sequence[LaterRequest],
    now: datetime,
) -> None:
    """Make a new task from requests that were made while the client was talking.

    Each request has its line in queue_log already, so none is written here.
    """
    task: CallbackTask | None = None
    for request in requests:
        why = because(
            Code.REQUESTED_WHILE_TALKING, cause=request.why, task_id=former.id
        )
        new = request.as_task(former.number_key, now, why)
        if task is None:
            task = create(conn, new, now)
            write_event(
                conn,
                task.id,
                Move.CREATE,
                task.status,
                now,
                task.why,
                linkedid=new.linkedid,
            )
        else:
            task = renew(conn, task, new, now, told=True)
        later.set_state(
            conn, request.event_id, LaterState.TASK, later.last_event(conn, task.id)
        )


def _earlier_dispositions(conn: sa.Connection, task: CallbackTask) -> list[Disposition]:
    """Return the dispositions since the task was last put in line, oldest first."""
    # A retry by an operator resets the counters, but older attempts stay stored.
    most = task.attempts + task.member_attempts
    ends = (
        conn.execute(_DISPOSITIONS, {"task_id": task.id, "most": most}).scalars().all()
    )
    return [Disposition(end) for end in reversed(ends)]


def open_attempts(conn: sa.Connection, node: str) -> list[TaskAttempt]:
    """Return the attempts in progress on a node with their tasks, the oldest first."""
    rows = conn.execute(_OPEN, {"node": node}).all()
    return [
        TaskAttempt(
            task,
            attempt_of(row),
            preferred=preferred_agents.waits_for(conn, task),
            dialled=row.dialled_at is not None,
        )
        for row in sorted(rows, key=lambda row: int(row.id))
        for task in [found(conn, row.task_id)]
    ]


def given_up(conn: sa.Connection, channel_ids: Sequence[str]) -> list[Attempt]:
    """Return those of some attempts that have ended though their calls may exist."""
    rows = conn.execute(_GIVEN_UP, {"channel_ids": list(channel_ids)})
    return [attempt_of(row) for row in rows]


def nodes_of_nobody(conn: sa.Connection) -> frozenset[str]:
    """Return the Asterisks with attempts in progress that no other service holds."""
    return frozenset(conn.scalars(_NODES_OF_NOBODY, {"now": leases.now(conn)}))


def next_due(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    call_limits: CallLimits,
    after_now: bool,
) -> datetime | None:
    """Return when the next waiting task may be called; expired tasks do not count.

    With ``after_now`` tasks that are due already count only where a limit holds them.
    """
    free: list[str] = []
    moments: list[datetime] = []
    for queue in queues:
        at = limits.queue_free_at(conn, queue, call_limits, now)
        if at is None:
            free.append(queue)
        elif (due := _next_due(conn, [queue], busy_keys, now)) is not None:
            moments.append(max(due, at))
    at = limits.all_free_at(conn, call_limits, now)
    later_only = after_now and at is None
    due = _next_due(conn, free, busy_keys, now, later_only=later_only) if free else None
    if due is not None:
        moments.append(due)
    if not moments:
        return None
    return min(moments) if at is None else max(min(moments), at)


def _next_due(
    conn: sa.Connection,
    queues: Sequence[str],
    busy_keys: Sequence[str],
    now: datetime,
    *,
    later_only: bool = False,
) -> datetime | None:
    values = {
        "queues": queues,
        "busy_keys": busy_keys,
        "now": seconds(now),
        "after": seconds(now) if later_only else 0.0,
    }
    due = conn.execute(_NEXT_DUE, values).scalar()
    return None if due is None else moment(due)
