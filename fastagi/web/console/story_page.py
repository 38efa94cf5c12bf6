# SPDX-License-Identifier: MIT
"""The story of one task: what happened, when, by whom, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final

import sqlalchemy as sa
from attrs import frozen
from fastapi import APIRouter, Depends
from fastapi.responses import Response

from fastagi.domain.attempt import Attempt, Disposition
from fastagi.domain.reason import Code, Reason, actor_in
from fastagi.domain.task import CallbackTask, Move, TaskEvent
from fastagi.store import queries
from fastagi.store.rows import found
from fastagi.web.console.actions import actions_for, task_of
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.tasks_page import rows_of
from fastagi.web.people.access import Right

router = APIRouter()

_GOOD: Final = frozenset({Move.COMPLETE, Move.SERVE})
_BAD: Final = frozenset({Move.GIVE_UP, Move.EXPIRE})
_ICONS: Final = {
    Move.CREATE: "callback",
    Move.REPEAT: "callback",
    Move.BEGIN: "phone",
    Move.RETRY: "waiting",
    Move.COMPLETE: "reached",
    Move.GIVE_UP: "failed",
    Move.EXPIRE: "warning",
    Move.CANCEL: "cancel",
    Move.CANCEL_LATER: "cancel",
    Move.SERVE: "ok",
    Move.SERVE_LATER: "ok",
    Move.REOPEN: "retry",
    Move.NOTE: "note",
    Move.ASSIGN: "assign",
    Move.RELEASE: "agent",
    Move.MOVE: "next",
}
_STEP_ICONS: Final = {
    Code.AGENT_RINGS: "agent",
    Code.AGENT_ANSWERED: "agent",
    Code.CLIENT_DIALLED: "phone",
    Code.TALK_BEGINS: "ok",
}


@frozen(kw_only=True)
class Entry:
    """One event of the story.

    Attributes:
        at: when it happened.
        day: the day, if it is another one than that of the entry before; else empty.
        words: what happened.
        actor: who did it; empty: nobody by hand.
        icon: its icon.
        mark: ``good``, ``bad``, ``by-hand`` or empty.
        attempt: the number of the attempt that begins with it; None: none does.
    """

    at: datetime
    day: str
    words: str
    actor: str
    icon: str
    mark: str
    attempt: int | None


@frozen(kw_only=True)
class Story:
    """A task with all that happened to it."""

    task: CallbackTask
    attempts: Sequence[Attempt]
    events: Sequence[TaskEvent]


def read_story(conn: sa.Connection, task_id: int) -> Story:
    """Return the story of a task."""
    return Story(
        task=found(conn, task_id),
        attempts=tuple(queries.attempts(conn, task_id)),
        events=tuple(queries.history(conn, task_id)),
    )


@router.get("/tasks/{task_id:int}")
async def story(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_READ))], task_id: int
) -> Response:
    """Show the story of a task."""
    await task_of(frame, task_id)
    told: Story = await frame.parts.records.read(read_story, task_id)
    task = told.task
    [row] = rows_of(frame, [task])
    entries = entries_of(frame, told, row.zone)
    assigned_to = getattr(task, "assigned_to", None)
    attempts = [
        {"attempt": attempt, "number": number, "good": _is_good(attempt)}
        for number, attempt in enumerate(told.attempts, 1)
    ]
    return frame.page(
        "story.html",
        "/tasks",
        task=task,
        row=row,
        entries=entries,
        attempts=attempts,
        assigned_to=assigned_to,
        actions=actions_for(task, assigned_to is not None)
        if frame.who.may(Right.TASKS_WRITE, task.queue)
        else [],
        as_text=as_text(frame, told, entries, row.zone),
    )


def _is_good(attempt: Attempt) -> bool:
    return attempt.disposition is Disposition.ANSWERED


def entries_of(frame: Frame, told: Story, zone: str | None) -> list[Entry]:
    """Return the events in words, the oldest first."""
    numbers = {attempt.id: number for number, attempt in enumerate(told.attempts, 1)}
    entries: list[Entry] = []
    day = ""
    for event in told.events:
        today = frame.say.long_day(event.at, zone)
        begins = event.move is Move.BEGIN and event.attempt_id is not None
        actor = actor_in(event.why)
        entries.append(
            Entry(
                at=event.at,
                day="" if today == day else today,
                words=_begins(frame, event) if begins else _words(frame, event, zone),
                actor=actor,
                icon=_STEP_ICONS.get(event.why.code, _ICONS.get(event.move, "info")),
                mark=_mark(event, actor),
                attempt=numbers.get(event.attempt_id or 0) if begins else None,
            )
        )
        day = today
    return entries


def _words(frame: Frame, event: TaskEvent, zone: str | None) -> str:
    return frame.say.reason(_without_actor(event.why), zone)


def _begins(frame: Frame, event: TaskEvent) -> str:
    """Return the words beside "Attempt 2": its number would be said twice."""
    channel = event.why.params.get("channel_id", "")
    return frame.say.gettext("begins, channel id %(id)s", id=channel)


def _without_actor(why: Reason) -> Reason:
    """Return a reason without the name of who gave the command, shown beside it."""
    params = {k: v for k, v in why.params.items() if k != "actor"}
    return Reason(why.code, params)


def _mark(event: TaskEvent, actor: str) -> str:
    if event.move in _GOOD or event.why.code is Code.TALK_BEGINS:
        return "good"
    if event.move in _BAD:
        return "bad"
    return "by-hand" if actor else ""


def as_text(
    frame: Frame, told: Story, entries: Sequence[Entry], zone: str | None
) -> str:
    """Return the story as text, to be copied into a letter or a ticket."""
    say, task = frame.say, told.task
    number, name = say.number(task.number), say.anything(task.name)
    client = f"{name}, {number}" if name else number
    lines = [
        say.gettext(
            "Task %(id)s: %(client)s, queue %(queue)s",
            id=task.id,
            client=client,
            queue=task.queue,
        ),
        f"{say.term('status', task.status)}: {say.reason(task.why, zone)}",
    ]
    for entry in entries:
        if entry.day:
            lines += ["", entry.day]
        by = f" ({entry.actor})" if entry.actor else ""
        lines.append(f"{say.seconds_of(entry.at, zone)}  {entry.words}{by}")
    return "\n".join(lines)
