# SPDX-License-Identifier: MIT
"""Tasks: list, create, read, change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Annotated, Any, Final

import attrs
import sqlalchemy as sa
from fastapi import Depends, Header, Query, Request, Response
from starlette.responses import JSONResponse

from fastagi.domain.reason import Code
from fastagi.domain.task import OPEN, Kind, Status
from fastagi.doors import codec
from fastagi.service.commands import (
    AddTask,
    AssignTask,
    BulkAction,
    BulkTasks,
    CancelTask,
    Command,
    MoveTask,
    NoteTask,
    RescheduleTask,
    RetryTask,
)
from fastagi.store import queries, rows
from fastagi.store.selection import Selection, by_ids, search
from fastagi.web.api import models
from fastagi.web.api.common import (
    Cursor,
    IdempotencyKey,
    Limit,
    Parts,
    answered_task,
    api_router,
    check_queue,
    command,
    described,
    do,
    for_eyes,
    queues_of,
    task_json,
    visible_task,
)
from fastagi.web.api.cursors import read_cursor, write_cursor
from fastagi.web.api.idempotency import once, read_key
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import Principal, Right, require

Reader = Annotated[Principal, Depends(require(Right.TASKS_READ))]
Writer = Annotated[Principal, Depends(require(Right.TASKS_WRITE))]
Creator = Annotated[Principal, Depends(require(Right.TASKS_CREATE))]
TaskIdInPath = models.TaskId

router: Final = api_router("/tasks", "Tasks")

#: Time limit of a change of many tasks, in seconds.
_BULK_S: Final = 60.0
#: The fields of a task that is created.
_CREATED: Final = ("queue", "number", "name", "at")
#: The errors of an operation that changes a task.
_CHANGES: Final = (400, 404, 409, 413, 503, 504)


# -- reading -----------------------------------------------------------------


@router.get(
    "",
    summary="List tasks",
    response_model=models.Page[models.Task],
    **described(Right.TASKS_READ, 400, 404, 503),
)
async def list_tasks(
    parts: Parts,
    who: Reader,
    queue: Annotated[list[str] | None, Query(description="Of these queues.")] = None,
    status: Annotated[
        list[Status] | None,
        Query(description="With these statuses; without any: all tasks."),
    ] = None,
    open_only: Annotated[
        bool,
        Query(alias="open", description="Only tasks that are still to be called."),
    ] = False,
    kind: Annotated[list[Kind] | None, Query(description="Of these kinds.")] = None,
    reason_code: Annotated[
        list[Code] | None, Query(description="Whose reason has one of these codes.")
    ] = None,
    created_from: Annotated[
        models.Time | None, Query(description="Created at this time or later.")
    ] = None,
    created_to: Annotated[
        models.Time | None, Query(description="Created before this time.")
    ] = None,
    q: Annotated[
        str,
        Query(
            max_length=100,
            description="A part of the client's name, or digits of the"
            " number in a row. Those who may not see numbers find names only,"
            " and nothing by digits.",
        ),
    ] = "",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """Return tasks, the latest first."""
    wanted = Selection(
        queues=queues_of(who, queue or ()),
        statuses=frozenset(status) if status else OPEN if open_only else None,
        kinds=frozenset(kind) if kind else None,
        reason_codes=frozenset(reason_code) if reason_code else None,
        text=_searchable(q),
        in_numbers=who.sees_numbers,
        created_from=created_from,
        created_to=created_to,
    )
    filters = {
        "queue": sorted(queue or ()),
        "status": sorted(wanted.statuses or ()),
        "kind": sorted(kind or ()),
        "reason_code": sorted(reason_code or ()),
        "q": q,
        "created_from": created_from,
        "created_to": created_to,
    }
    position = read_cursor(cursor, "tasks", filters, int)
    before_id: int | None = position[0] if position else None
    found = await parts.records.read(search, wanted, limit + 1, before_id)
    page, more = found[:limit], found[limit:]
    return JSONResponse(
        {
            "items": [for_eyes(who, task_json(parts, task)) for task in page],
            "next_cursor": write_cursor("tasks", filters, [page[-1].id])
            if more
            else None,
        }
    )


def _searchable(text: str) -> str:
    """Return a text to search for.

    Raises:
        ApiProblem: it has characters that no database stores.
    """
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ApiProblem(
            422, "bad-request", "q must be text", pointer="q", where="query"
        )
    return " ".join(text.split())


@router.get(
    "/{task_id:int}",
    summary="Read a task with its story",
    response_model=models.Story,
    **described(Right.TASKS_READ, 404, 503),
)
async def read_task(parts: Parts, who: Reader, task_id: TaskIdInPath) -> Any:
    """Return a task, its attempts and everything that happened to it."""
    found = await parts.records.read(_story, task_id)
    if found is None or not who.may(Right.TASKS_READ, found[0].queue):
        raise ApiProblem(404, "no-such-task", f"there is no task {task_id}")
    task, attempts, history = found
    story = {
        "task": task_json(parts, task),
        "attempts": [codec.attempt_json(attempt) for attempt in attempts],
        "history": [codec.event_json(event) for event in history],
    }
    return JSONResponse(for_eyes(who, story))


def _story(conn: sa.Connection, task_id: int) -> tuple[Any, Any, Any] | None:
    task = rows.find(conn, task_id)
    if task is None:
        return None
    return task, queries.attempts(conn, task_id), queries.history(conn, task_id)


# -- creating ----------------------------------------------------------------


@router.post(
    "",
    summary="Create a task",
    status_code=201,
    response_model=models.Created | models.CreatedMinimal,
    **{
        **described(Right.TASKS_CREATE, 400, 404, 409, 413, 503, 504),
        "responses": {
            **described(Right.TASKS_CREATE, 400, 404, 409, 413, 503, 504)["responses"],
            200: {
                "model": models.Created | models.CreatedMinimal,
                "description": "The client had an open task already.",
            },
            202: {
                "model": models.Accepted,
                "description": "The answer to a token without `tasks:read`.",
            },
        },
    },
)
async def create_task(
    parts: Parts,
    who: Creator,
    request: Request,
    body: models.CreateTask,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[
        str | None,
        Header(
            description="`return=minimal`: the answer has the id of the task only.",
            max_length=200,
        ),
    ] = None,
) -> Response:
    """Have a client called back, as soon as possible or at a time.

    A client has at most one open task. If there is one already, it keeps its place, and
    the answer has `created: false`; with `at`, a waiting task is moved to that time.

    A token that may create tasks and not read them (for a web site) gets only
    `accepted: true`: also if the client has a task already, or if the number is
    blocked.
    """
    check_queue(who, body.queue)
    blind = not who.may(Right.TASKS_READ, body.queue)
    key = read_key(idempotency_key)
    minimal = "return=minimal" in (prefer or "").replace(" ", "")
    wanted = command(
        AddTask,
        _CREATED,
        queue=body.queue,
        number=body.number,
        name=body.name,
        at=body.at or "",
    )

    async def create() -> tuple[int, Any]:
        with _counted(parts, who, body, blind):
            return await _create(parts, who, wanted, blind=blind, minimal=minimal)

    operation = f"POST /tasks {'minimal' if minimal else ''}"
    answer = await once(
        parts.state, who, key, operation, body.model_dump(), parts.now(), create
    )
    if minimal and answer.status_code in {200, 201}:
        answer.headers["Preference-Applied"] = "return=minimal"
    return answer


async def _create(
    parts: WebParts, who: Principal, wanted: Command, *, blind: bool, minimal: bool
) -> tuple[int, Any]:
    try:
        answer = await do(parts, wanted, who, fields=_CREATED)
    except ApiProblem as problem:
        if blind and _would_tell(problem):
            return 202, {"accepted": True}
        raise _without_others(problem) if blind else problem from None
    if blind:
        return 202, {"accepted": True}
    created, task = bool(answer["created"]), answered_task(answer["task"])
    status = 201 if created else 200
    if minimal:
        return status, {"created": created, "id": task["id"]}
    if not who.may(Right.TASKS_READ, task["queue"]):
        # The client waits for a queue of others.
        return 202, {"accepted": True}
    return status, for_eyes(who, {"created": created, "task": task})


def _would_tell(problem: ApiProblem) -> bool:
    """Whether a refusal would tell something about the client who has the number."""
    if problem.code == "illegal-move":
        # There is an open task of another queue.
        return True
    reason = problem.reason or {}
    return problem.code == "refused" and reason.get("code") == Code.BLOCKED.value


def _without_others(problem: ApiProblem) -> ApiProblem:
    """Return a problem in words that a web site may show to its visitors."""
    if problem.code == "refused":
        return ApiProblem(
            422,
            "refused",
            "this number can not be called back: check it",
            pointer="number",
        )
    if problem.code == "bad-time":
        return ApiProblem(422, "bad-time", problem.detail, pointer="at")
    if problem.code == "no-such-queue":
        detail = "there is no such queue"
        return ApiProblem(problem.status, "no-such-queue", detail, pointer="queue")
    return problem


@contextmanager
def _counted(
    parts: WebParts, who: Principal, body: models.CreateTask, blind: bool
) -> Iterator[None]:
    """Count a request. What a visitor typed wrong does not count for the visitor.

    Raises:
        ApiProblem: there were too many.
    """
    limits = parts.create_limits
    counts = []
    if blind:
        # Forms of a spelling with and without blanks are one number.
        digits = "".join(char for char in body.number if char.isdigit()).lstrip("0")
        counts.append((limits.by_number, digits))
        if body.client_address:
            counts.append((limits.by_address, _address(body.client_address)))
    wait_s = limits.by_token.wait_s(who.actor)
    counted = []
    for limit, key in counts if not wait_s else ():
        wait_s = limit.wait_s(key)
        if wait_s:
            break
        counted.append((limit, key))
    try:
        if wait_s:
            raise ApiProblem(
                429,
                "too-often",
                "too many callbacks were asked for: try again later",
                headers={"Retry-After": str(wait_s)},
            )
        yield
    except ApiProblem:
        for limit, key in counted:
            limit.give_back(key)
        raise


def _address(text: str) -> str:
    """Return an address; of IPv6 the network that one visitor has.

    Raises:
        ApiProblem: it is no address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        raise ApiProblem(
            422,
            "bad-request",
            "client_address must be an IP address",
            pointer="client_address",
        ) from None
    return text if address.version == 4 else str(address.exploded[:19])


# -- changing ----------------------------------------------------------------


async def _change(
    parts: WebParts,
    who: Principal,
    task_id: int,
    key: str | None,
    wanted: Command,
) -> Response:
    """Carry out a command that changes a task."""
    read = read_key(key)
    await visible_task(parts, who, task_id, Right.TASKS_WRITE)

    async def change() -> tuple[int, Any]:
        answer = await do(parts, wanted, who, fields=fields)
        return 200, for_eyes(who, {"task": answered_task(answer["task"])})

    fields = attrs.asdict(wanted)
    operation = f"POST /tasks/{task_id} {wanted.NAME}"
    return await once(parts.state, who, read, operation, fields, parts.now(), change)


@router.post(
    "/{task_id:int}/cancel",
    summary="Cancel a task",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def cancel_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    body: models.Reasoned,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Cancel a task. If client and agent are talking, it ends when the talk ends."""
    wanted = command(CancelTask, ("reason",), id=task_id, reason=body.reason)
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/{task_id:int}/retry",
    summary="Put a task back in line",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def retry_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a task due at once, with no attempts counted, also one that has ended."""
    wanted = command(RetryTask, id=task_id)
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/{task_id:int}/reschedule",
    summary="Move a task to another time",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def reschedule_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    body: models.Reschedule,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Call the client at another time, or as soon as possible."""
    wanted = command(
        RescheduleTask, ("at",), id=task_id, at=body.at or "", now=body.at is None
    )
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/{task_id:int}/move",
    summary="Give a task another place in line",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def move_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    body: models.Move,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Call the client next, or after the client of another open task of the queue.

    In front, the task is due at once, and its chosen time is forgotten.
    """
    if body.front == (body.behind is not None):
        detail = "give either front: true, or behind with the id of a task"
        raise ApiProblem(422, "bad-request", detail, pointer="front")
    wanted = command(MoveTask, id=task_id, front=body.front, behind=body.behind)
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/{task_id:int}/assign",
    summary="Let only one agent be asked",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def assign_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    body: models.Assign,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask only one agent of the queue for a task, or any agent again."""
    wanted = command(
        AssignTask,
        ("agent", "duration"),
        id=task_id,
        agent=body.agent or "",
        duration=body.duration,
        release=body.agent is None,
    )
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/{task_id:int}/note",
    summary="Add a note",
    response_model=models.Changed,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def note_task(
    parts: Parts,
    who: Writer,
    task_id: TaskIdInPath,
    body: models.Note,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Write a note to the story of a task, which may have ended."""
    wanted = command(NoteTask, ("note",), id=task_id, note=body.note)
    return await _change(parts, who, task_id, idempotency_key, wanted)


@router.post(
    "/bulk",
    summary="Change many tasks in the same way",
    response_model=models.BulkAnswer,
    **described(Right.TASKS_WRITE, *_CHANGES),
)
async def change_tasks(
    parts: Parts,
    who: Writer,
    body: models.Bulk,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Change many tasks, or tell with `preview` what would happen to which tasks.

    Each task is changed, or left with a reason, as by the operation for one task. Take
    `fingerprint` of a preview as `expect`, so that only tasks are changed that the
    preview showed.
    """
    key = read_key(idempotency_key)
    _check_selection(who, body)
    if who.queues is not None and body.ids:
        tasks = await parts.records.read(by_ids, body.ids)
        seen = {task.id for task in tasks if who.may(Right.TASKS_WRITE, task.queue)}
        if missing := [task_id for task_id in body.ids if task_id not in seen]:
            detail = f"there is no task {missing[0]}"
            raise ApiProblem(404, "no-such-task", detail, pointer="ids")
    chosen = body.filter or models.BulkFilter()
    fields = ("action", "reason", "at", "agent", "duration", "note")
    wanted = command(
        BulkTasks,
        fields,
        **chosen.model_dump(),
        **body.model_dump(exclude={"filter", "at"}),
        at=body.at or "",
        now=body.action is BulkAction.RESCHEDULE and body.at is None,
    )

    async def change() -> tuple[int, Any]:
        answer = await do(parts, wanted, who, fields=fields, within_s=_BULK_S)
        return 200, for_eyes(who, answer)

    named = body.model_dump()
    operation = "POST /tasks/bulk"
    return await once(parts.state, who, key, operation, named, parts.now(), change)


def _check_selection(who: Principal, body: models.Bulk) -> None:
    """Check which tasks are to be changed.

    Raises:
        ApiProblem: there is neither a list nor a filter, or the filter is not for this
            user.
    """

    def wrong(pointer: str, detail: str) -> ApiProblem:
        return ApiProblem(422, "bad-request", detail, pointer=pointer)

    if bool(body.ids) == (body.filter is not None):
        raise wrong("ids", "give either ids or a filter")
    if body.filter is None:
        return
    if not body.preview and not body.expect:
        raise wrong(
            "expect", "a filter needs expect: make a preview, and give its fingerprint"
        )
    if who.queues is not None:
        if not body.filter.queue:
            raise wrong("filter", "name one of your queues in the filter")
        check_queue(who, body.filter.queue)
    if body.filter.text and not who.sees_numbers:
        raise wrong("filter", "text looks into numbers, which you may not see")
