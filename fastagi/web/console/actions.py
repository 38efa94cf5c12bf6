# SPDX-License-Identifier: MIT
"""What people do with tasks: one form for each action, for one task or for many.

An action asks for a reason. The service stores it, with the name of the person, in the
story of the task. For many tasks the form shows first what would happen to which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

from attrs import frozen
from fastapi import APIRouter, Depends, Form, HTTPException
from fastapi.responses import RedirectResponse, Response

from fastagi.domain.task import OPEN, CallbackTask, Status
from fastagi.service.commands import (
    AddTask,
    AssignTask,
    BadRequest,
    BulkTasks,
    CancelTask,
    Command,
    MoveTask,
    NoteTask,
    RescheduleTask,
    RetryTask,
)
from fastagi.store.errors import NoSuchTask
from fastagi.store.rows import found
from fastagi.store.selection import by_ids
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.languages import N_
from fastagi.web.console.rendering import address
from fastagi.web.people.access import Right
from fastagi.web.service_client import ServiceDown, ServiceProblem

router = APIRouter()

Values = Mapping[str, str]
_MOST: Final = 1_000
#: Tasks that are open, or can be put back in line.
_AGAIN: Final = OPEN | {Status.FAILED, Status.EXPIRED, Status.CANCELLED}
_NO_REASON: Final = N_("Write a reason: it is kept in the story of the task.")


@frozen(kw_only=True)
class Action:
    """One thing that people do with a task.

    Attributes:
        name: its name in addresses.
        title: its name on the page.
        words: what it does, in a sentence.
        icon: its icon.
        said: what the page says afterwards; a word of `frame.SAID`.
        makes: returns the command for one task.
        fields: the fields of its form besides the reason.
        needs_reason: whether it can not be done without a reason.
        statuses: the statuses of tasks for which it is offered.
        bulk: whether it can be done with many tasks.
    """

    name: str
    title: str
    words: str
    icon: str
    said: str
    makes: Callable[[int, Values], Command]
    fields: Sequence[str] = ()
    needs_reason: bool = False
    statuses: frozenset[Status] = OPEN
    bulk: bool = True

    def fits(self, task: CallbackTask) -> bool:
        """Whether the action is offered for a task."""
        return task.status in self.statuses


ACTIONS: Final[Mapping[str, Action]] = {
    action.name: action
    for action in (
        Action(
            name="next",
            title=N_("Call next"),
            words=N_("The task goes to the front of its queue and is due at once."),
            icon="next",
            said="next",
            makes=lambda id, values: MoveTask(id=id, front=True, note=values["reason"]),
        ),
        Action(
            name="retry",
            title=N_("Call again"),
            words=N_(
                "The task is due at once, with no attempts counted. A task that has"
                " ended is put back in line."
            ),
            icon="retry",
            said="retried",
            makes=lambda id, values: RetryTask(id=id, note=values["reason"]),
            statuses=_AGAIN,
        ),
        Action(
            name="reschedule",
            title=N_("Another time"),
            words=N_(
                "The client is called at this time, or when an agent is free after it."
            ),
            icon="calendar",
            said="moved",
            makes=lambda id, values: RescheduleTask(
                id=id, at=values["at"], note=values["reason"]
            ),
            fields=("at",),
            statuses=_AGAIN,
        ),
        Action(
            name="assign",
            title=N_("Assign"),
            words=N_("Only this agent is asked to take the callback."),
            icon="assign",
            said="assigned",
            makes=lambda id, values: AssignTask(
                id=id, agent=values["agent"], note=values["reason"]
            ),
            fields=("agent",),
        ),
        Action(
            name="release",
            title=N_("Ask any agent"),
            words=N_("The task is assigned to nobody any more."),
            icon="agent",
            said="released",
            makes=lambda id, values: AssignTask(
                id=id, release=True, note=values["reason"]
            ),
        ),
        Action(
            name="note",
            title=N_("Note"),
            words=N_("The note is kept in the story of the task."),
            icon="note",
            said="noted",
            makes=lambda id, values: NoteTask(id=id, note=values["note"]),
            fields=("note",),
            statuses=frozenset(Status),
        ),
        Action(
            name="cancel",
            title=N_("Cancel"),
            words=N_(
                "The client is not called. If a call is in progress, it ends first."
            ),
            icon="cancel",
            said="cancelled",
            makes=lambda id, values: CancelTask(id=id, reason=values["reason"]),
            needs_reason=True,
        ),
    )
}


def actions_for(task: CallbackTask, assigned: bool) -> list[Action]:
    """Return the actions that are offered for a task."""
    return [
        action
        for action in ACTIONS.values()
        if action.fits(task) and (action.name != "release" or assigned)
    ]


# -- one task --------------------------------------------------------------


async def task_of(frame: Frame, task_id: int) -> CallbackTask:
    """Return a task that somebody may see; the page is 404 for others."""
    with suppress(NoSuchTask):
        task: CallbackTask = await frame.parts.records.read(found, task_id)
        # Nobody learns whether there is a task that they may not see.
        if frame.who.may(Right.TASKS_READ, task.queue):
            return task
    raise HTTPException(404)


@router.get("/tasks/new")
async def new_form(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_CREATE))],
    queue: str = "",
    number: str = "",
) -> Response:
    """Show the form for a new task."""
    return _new_page(frame, {"queue": queue, "number": number, "name": "", "at": ""})


@router.post("/tasks/new")
async def new(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_CREATE))],
    queue: Annotated[str, Form()] = "",
    number: Annotated[str, Form()] = "",
    name: Annotated[str, Form()] = "",
    at: Annotated[str, Form()] = "",
) -> Response:
    """Add a task."""
    values = {"queue": queue, "number": number, "name": name, "at": at}
    frame.who.check(Right.TASKS_CREATE, queue)
    done = await attempt(
        frame,
        lambda: AddTask(queue=queue, number=number, name=name, at=at.replace("T", " ")),
    )
    if isinstance(done, Refusal):
        return _new_page(frame, values, done)
    said = "added" if done["created"] else "exists"
    return redirect(frame, f"/tasks/{done['task']['id']}", said=said)


def _new_page(frame: Frame, values: Values, refusal: Refusal | None = None) -> Response:
    return frame.page(
        "new_task.html",
        "/tasks",
        values=values,
        refusal=refusal,
        own_queues=[q for q in frame.queues if frame.who.may(Right.TASKS_CREATE, q)],
        status=refusal.status if refusal else 200,
    )


@router.get("/tasks/{task_id}/{name}")
async def form(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_WRITE))], task_id: int, name: str
) -> Response:
    """Show the form of an action."""
    task = await task_of(frame, task_id)
    frame.who.check(Right.TASKS_WRITE, task.queue)
    if (action := ACTIONS.get(name)) is None:
        raise HTTPException(404)
    return _form_page(frame, task, action, {})


@router.post("/tasks/{task_id}/{name}")
async def act(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_WRITE))],
    task_id: int,
    name: str,
    reason: Annotated[str, Form()] = "",
    at: Annotated[str, Form()] = "",
    agent: Annotated[str, Form()] = "",
    note: Annotated[str, Form()] = "",
) -> Response:
    """Carry out an action."""
    task = await task_of(frame, task_id)
    frame.who.check(Right.TASKS_WRITE, task.queue)
    if (action := ACTIONS.get(name)) is None:
        raise HTTPException(404)
    values = {
        "reason": reason.strip(),
        "at": at.replace("T", " "),
        "agent": agent,
        "note": note,
    }
    if action.needs_reason and not values["reason"]:
        words = frame.say.gettext(
            "Write a reason: it is kept in the story of the task."
        )
        return _form_page(frame, task, action, values, Refusal(422, words))
    done = await attempt(frame, lambda: action.makes(task_id, values))
    if isinstance(done, Refusal):
        return _form_page(frame, task, action, values, done)
    return redirect(frame, f"/tasks/{task_id}", said=action.said)


def _form_page(
    frame: Frame,
    task: CallbackTask,
    action: Action,
    values: Values,
    refusal: Refusal | None = None,
) -> Response:
    return frame.page(
        "action.html",
        "/tasks",
        task=task,
        action=action,
        values={"reason": "", "at": "", "agent": "", "note": ""} | dict(values),
        refusal=refusal,
        agents=_agents(frame, [task.queue]),
        status=refusal.status if refusal else 200,
    )


def _agents(frame: Frame, queues: Sequence[str]) -> list[tuple[str, str]]:
    """Return the agents of queues: interface, and name with state."""
    snapshot = frame.snapshot
    if snapshot is None:
        return []
    found = []
    for interface, agent in snapshot["agents"].items():
        if set(queues) & set(agent["queues"]):
            state = frame.say.term("agent", agent["state"])
            found.append((interface, f"{agent['name'] or interface} ({state})"))
    return sorted(found, key=lambda one: one[1])


# -- many tasks ------------------------------------------------------------


@router.post("/tasks/bulk")
async def bulk(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_WRITE))],
    action: Annotated[str, Form()] = "",
    task: Annotated[list[int] | None, Form()] = None,
    sure: Annotated[str, Form()] = "",
    expect: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
    at: Annotated[str, Form()] = "",
    agent: Annotated[str, Form()] = "",
    note: Annotated[str, Form()] = "",
) -> Response:
    """Show what would happen to the marked tasks; with ``sure``, do it."""
    chosen = ACTIONS.get(action)
    ids = list(dict.fromkeys(task or ()))[:_MOST]
    if chosen is None or not ids:
        return redirect(frame, "/tasks")
    tasks = await frame.parts.records.read(by_ids, ids)
    mine = [one for one in tasks if frame.who.may(Right.TASKS_WRITE, one.queue)]
    values = {
        "reason": reason.strip(),
        "at": at.replace("T", " "),
        "agent": agent,
        "note": note,
    }
    refusal = None
    lacking = [name for name in chosen.fields if not values[name].strip()]
    if sure and chosen.needs_reason and not values["reason"]:
        words = frame.say.gettext(
            "Write a reason: it is kept in the story of each task."
        )
        refusal = Refusal(422, words)
    if sure and lacking:
        refusal = Refusal(422, frame.say.gettext("Fill in all fields."))
    preview = None
    if mine and not lacking:
        doing = bool(sure) and refusal is None
        done = await attempt(
            frame,
            lambda: _bulk_command(
                chosen, [one.id for one in mine], values, expect if doing else "", doing
            ),
        )
        if isinstance(done, Refusal):
            refusal = done
        elif doing:
            return frame.page(
                "bulk_done.html", "/tasks", action=chosen, done=done, tasks=mine
            )
        else:
            preview = done
    return frame.page(
        "bulk.html",
        "/tasks",
        action=chosen,
        tasks=mine,
        left_out=len(tasks) - len(mine),
        values=values,
        preview=preview,
        refusal=refusal,
        agents=_agents(frame, sorted({one.queue for one in mine})),
        status=refusal.status if refusal else 200,
    )


_BULK_WORDS: Final = {"next": "move"}


def _bulk_command(
    action: Action, ids: Sequence[int], values: Values, expect: str, doing: bool
) -> Command:
    named: dict[str, Any] = {name: values[name] for name in action.fields}
    if action.needs_reason:
        named["reason"] = values["reason"]
    else:
        # Of a note, it is the note itself.
        named.setdefault("note", values["reason"])
    return BulkTasks(
        action=_BULK_WORDS.get(action.name, action.name),
        ids=tuple(ids),
        preview=not doing,
        expect=expect,
        **named,
    )


# -- sending commands ------------------------------------------------------


@frozen
class Refusal:
    """A command that was not carried out.

    Attributes:
        status: the status of the page.
        words: why, in words.
    """

    status: int
    words: str


async def attempt(
    frame: Frame, make: Callable[[], Command], within_s: float | None = None
) -> Any:
    """Send a command; return its answer, or a `Refusal`.

    Args:
        frame: the request of the page.
        make: makes the command, which checks its fields.
        within_s: time limit in seconds; None: the usual one.
    """
    try:
        return await frame.parts.service.do(make(), frame.who.actor, within_s=within_s)
    except BadRequest as error:
        return Refusal(422, str(error))
    except ServiceProblem as problem:
        return Refusal(problem.status, problem.detail)
    except ServiceDown as down:
        words = frame.say.gettext(
            "The callback service can not be reached, so nothing was changed."
        )
        if down.may_be_done:
            words = frame.say.gettext(
                "The callback service did not answer in time. Look at the story of the"
                " task: it may be done all the same."
            )
        return Refusal(503, f"{words} ({down})")


def redirect(frame: Frame, path: str, **values: object) -> RedirectResponse:
    """Lead to a page after something was done."""
    root = str(frame.request.scope.get("root_path", "")).rstrip("/")
    return RedirectResponse(address(root + path, values), 303)
