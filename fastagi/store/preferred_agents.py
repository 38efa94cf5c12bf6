# SPDX-License-Identifier: MIT
"""The tasks that wait for one agent: who talked to the client last, or was assigned.

The functions run inside a transaction, may run twice and change only the database.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import bindparam, delete, insert, or_, select, update

from fastagi.domain.agent_keys import AgentAnswer, AgentsToAsk
from fastagi.domain.attempt import Disposition
from fastagi.domain.preferred_agent import (
    DECIDED,
    PreferredAgent,
    PreferredAgentRules,
    assigned_agent,
    assignment_over,
    first,
    preferred_agent,
    why_over,
)
from fastagi.domain.reason import Code, Reason, because, load
from fastagi.domain.task import CallbackTask, Move, after
from fastagi.store import schema
from fastagi.store.errors import NotAssigned
from fastagi.store.events import move_task, write_event
from fastagi.store.rows import locked, moment, seconds, storable

_task: Final = schema.task
_attempt: Final = schema.attempt
_event: Final = schema.task_event
_talk: Final = schema.last_talk
#: The event that says for whom the task waits; after a REOPEN it waits for nobody yet.
_LAST_DECISION: Final = (
    select(_event.c.move, _event.c.at, _event.c.reason_code, _event.c.reason_params)
    .where(
        _event.c.task_id == bindparam("task_id"),
        or_(
            _event.c.move == Move.REOPEN.value,
            _event.c.reason_code.in_(sorted(code.value for code in DECIDED)),
        ),
    )
    .order_by(_event.c.id.desc())
    .limit(1)
)
_LAST_CALLBACK: Final = (
    select(_attempt.c.member, _attempt.c.ended_at.label("at"))
    .select_from(_attempt.join(_task, _task.c.id == _attempt.c.task_id))
    .where(
        _task.c.number_key == bindparam("number_key"),
        _attempt.c.disposition == Disposition.ANSWERED.value,
        _attempt.c.member != "",
    )
    .order_by(_attempt.c.ended_at.desc())
    .limit(1)
)
_LAST_TALK: Final = select(_talk.c.member, _talk.c.at).where(
    _talk.c.number_key == bindparam("number_key")
)
_MAKE: Final = insert(_talk)
_CHANGE: Final = (
    update(_talk)
    .where(_talk.c.number_key == bindparam("of_key"))
    .values(member=bindparam("new_member"), at=bindparam("new_at"))
)
#: A task that is assigned to nobody.
TO_NOBODY: Final[dict[str, Any]] = {
    "assigned_to": None,
    "assigned_at": None,
    "assigned_until": None,
}
_FORGET: Final = delete(_talk).where(_talk.c.at < bindparam("before"))


def note_talk(
    conn: sa.Connection, number_key: str, member: str, now: datetime, since: datetime
) -> None:
    """Store that an agent talks to a client; forget the talks before ``since``."""
    conn.execute(_FORGET, {"before": seconds(since)})
    member, at = storable(member), seconds(now)
    changed = conn.execute(
        _CHANGE, {"of_key": number_key, "new_member": member, "new_at": at}
    )
    if not changed.rowcount:
        conn.execute(_MAKE, {"number_key": number_key, "member": member, "at": at})


def waits_for(conn: sa.Connection, task: CallbackTask) -> PreferredAgent | None:
    """Return the agent for whom a task waits, or has waited."""
    if (agent := assigned_agent(task)) is not None:
        return agent
    row = conn.execute(_LAST_DECISION, {"task_id": task.id}).first()
    if row is None or row.move == Move.REOPEN.value:
        return None
    return preferred_agent(load(row.reason_code, row.reason_params), moment(row.at))


def assign(
    conn: sa.Connection,
    task_id: int,
    interface: str,
    until: datetime | None,
    why: Reason,
    now: datetime,
) -> CallbackTask:
    """Let only one agent be asked for a task: until it is released, or until a time.

    Raises:
        IllegalMove: it has ended.
    """
    task = locked(conn, task_id)
    return move_task(
        conn,
        task,
        Move.ASSIGN,
        now,
        why,
        keeps_reason=True,
        assigned_to=storable(interface),
        assigned_at=now,
        assigned_until=until,
    )


def release(
    conn: sa.Connection, task_id: int, why: Reason, now: datetime
) -> CallbackTask:
    """Let any agent be asked for a task again.

    Raises:
        IllegalMove: it has ended.
        NotAssigned: it is assigned to nobody.
    """
    task = locked(conn, task_id)
    after(task.status, Move.RELEASE)
    if not task.assigned_to:
        raise NotAssigned(f"task {task.id} is assigned to nobody")
    return _release(conn, task, why, now)


def _release(
    conn: sa.Connection, task: CallbackTask, why: Reason, now: datetime
) -> CallbackTask:
    return move_task(conn, task, Move.RELEASE, now, why, keeps_reason=True, **TO_NOBODY)


def assigned(
    conn: sa.Connection,
    task: CallbackTask,
    answers: Collection[AgentAnswer],
    asked: AgentsToAsk,
    now: datetime,
) -> tuple[CallbackTask, PreferredAgent | None, Reason | None]:
    """Decide whether a due task that is assigned still waits for that agent.

    Args:
        conn: in a transaction.
        task: the task.
        answers: how agents answered its attempts without accepting them.
        asked: the agents of its queue.
        now: the current time.

    Returns:
        The task; the only agent to ask, or None; and why it is released, or None.
    """
    agent = assigned_agent(task)
    assert agent is not None
    why = assignment_over(agent, now)
    if why is None and asked.rules is not None:
        refusals = asked.rules.refusals
        if any(
            answer.member == agent.interface
            and answer.code in refusals
            and task.assigned_at is not None
            and answer.at >= task.assigned_at
            for answer in answers
        ):
            why = because(Code.ASSIGNED_AGENT_CANNOT, interface=agent.interface)
    if why is None:
        return task, agent, None
    return _release(conn, task, why, now), None, why


def decide(
    conn: sa.Connection,
    task: CallbackTask,
    asked: AgentsToAsk,
    refused: frozenset[str],
    now: datetime,
) -> tuple[PreferredAgent | None, Reason | None]:
    """Decide for whom a due task waits, and write that to its history.

    Args:
        conn: in a transaction.
        task: the task.
        asked: the agents of its queue.
        refused: the agents who are not asked for it now.
        now: the current time.

    Returns:
        The only agent to ask, or None; and what was written, or None.
    """
    rules = asked.preferred
    if rules is None:
        return None, None
    row = conn.execute(_LAST_DECISION, {"task_id": task.id}).first()
    why: Reason | None
    logged_in = asked.logged_in | asked.elsewhere
    if row is None or row.move == Move.REOPEN.value:
        interface = _talked_last(conn, task.number_key, rules, now)
        if not interface or task.member_attempts:
            return None, None
        agent = PreferredAgent(interface, now + rules.wait)
        if interface in logged_in and interface not in refused:
            why = first(interface, rules)
        else:
            why = because(Code.PREFERRED_AGENT_AWAY, interface=interface)
    else:
        known = preferred_agent(
            load(row.reason_code, row.reason_params), moment(row.at)
        )
        if known is None:
            return None, None
        agent = known
        why = why_over(
            agent,
            now,
            is_logged_in=agent.interface in logged_in,
            was_asked=bool(task.member_attempts) or agent.interface in refused,
        )
    if why is not None:
        status = after(task.status, Move.PROGRESS)
        write_event(conn, task.id, Move.PROGRESS, status, now, why)
    is_over = why is not None and why.code is not Code.PREFERRED_AGENT_FIRST
    return None if is_over else agent, why


def _talked_last(
    conn: sa.Connection, number_key: str, rules: PreferredAgentRules, now: datetime
) -> str:
    """Return who talked to a client last, or an empty text."""
    whose = {"number_key": number_key}
    rows = [
        conn.execute(query, whose).first() for query in (_LAST_CALLBACK, _LAST_TALK)
    ]
    talks = [(row.at, row.member) for row in rows if row is not None]
    at, member = max(talks, default=(0.0, ""))
    return member if at >= seconds(now - rules.talked_within) else ""
