# SPDX-License-Identifier: MIT
"""What the operations of the API share: parts, rights, commands, descriptions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query

from fastagi.domain.task import CallbackTask
from fastagi.doors import codec
from fastagi.service.commands import BadRequest, Command
from fastagi.store import rows
from fastagi.web.api.problems import CODES, PROBLEM_JSON, ApiProblem, field_error
from fastagi.web.masking import masked
from fastagi.web.parts import WebParts, parts_of
from fastagi.web.people.access import Principal, Right
from fastagi.web.service_client import ServiceDown, ServiceProblem

#: The path of every operation begins with it.
PREFIX: Final = "/api/v1"
Parts = Annotated[WebParts, Depends(parts_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A text of your choice, such as a UUID. If the answer is lost,"
        " repeat the request with the same key: it is carried out once, and the first"
        " answer comes again, for 24 hours.",
        examples=["0b6f9a2e-5d3c-4a0e-9d5a-7f1b8e2c4d6f"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items.")]
Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before."),
]

#: The errors of every operation that needs a right.
_ALWAYS: Final = (401, 403, 422, 429)
_ERRORS: Final[Mapping[int, str]] = {
    400: "A cursor or a header makes no sense.",
    401: "There is no valid token or session.",
    403: "The right is missing.",
    404: "There is no such thing, or it is of a queue of others.",
    409: "It makes no sense in this state, or the first request is under way.",
    413: "The body is longer than any request needs.",
    422: "A field has a wrong value; `errors` points to it.",
    429: "A limit is reached; `Retry-After` says how long to wait.",
    500: "A fault of the program.",
    503: "The service or its database can not be used; try again.",
    504: "The service did not answer in time; it may have done it.",
}
#: The field that is wrong if the service answers with a code.
_WRONG_FIELD: Final = {
    "bad-time": "at",
    "no-such-agent": "agent",
    "no-such-queue": "queue",
    "refused": "number",
}
#: Fields that only the live state has.
_NOT_LIVE: Final = {"position": None, "expected_at": None, "why_not_yet": None}


def api_router(prefix: str, tag: str) -> APIRouter:
    """Return a router; the name of each function is the id of its operation.

    Args:
        prefix: the path of its operations below ``PREFIX``.
        tag: the group of its operations in the description.
    """
    return APIRouter(
        prefix=PREFIX + prefix,
        tags=[tag],
        generate_unique_id_function=lambda route: route.name,
    )


def described(right: Right | None, *errors: int) -> dict[str, Any]:
    """Return the arguments of a route for its description.

    Args:
        right: the right that the operation needs; None: it is open to everybody.
        errors: the statuses of its errors, besides those of all operations.
    """
    statuses = sorted({*errors, *(_ALWAYS if right is not None else (422, 429))})
    security: list[dict[str, list[str]]] = []
    if right is not None:
        security = [{"token": [right.value]}, {"session": []}]
    return {
        "responses": {
            status: {
                "description": _ERRORS[status],
                "content": {
                    PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            }
            for status in statuses
        },
        "openapi_extra": {"security": security},
    }


# -- commands ----------------------------------------------------------------


def command(
    kind: type[Command], fields: Sequence[str] = (), /, **values: Any
) -> Command:
    """Return a command.

    Args:
        kind: its class.
        fields: the names of the fields of the request.
        values: the values of its fields.

    Raises:
        ApiProblem: a value is wrong.
    """
    try:
        return kind(**values)
    except BadRequest as error:
        detail = str(error)
        # The message begins with the name of the field.
        name = detail.split(maxsplit=1)[0]
        pointers = [field_error("body", [name], detail)] if name in fields else []
        raise ApiProblem(422, "bad-request", detail, errors=pointers) from None


async def do(
    parts: WebParts,
    wanted: Command,
    who: Principal,
    *,
    fields: Collection[str] = (),
    within_s: float | None = None,
) -> Any:
    """Let the service carry out a command, and return its answer.

    Args:
        parts: the parts of this process.
        wanted: the command.
        who: the one who asks.
        fields: the names of the fields of the request, to point to the wrong one.
        within_s: time limit in seconds; None: the usual one.

    Raises:
        ApiProblem: it can not be carried out.
    """
    try:
        return await parts.service.do(wanted, who.actor, within_s=within_s)
    except ServiceProblem as problem:
        raise problem_of(problem, fields, who) from problem
    except ServiceDown as down:
        raise down_of(down) from down


def problem_of(
    problem: ServiceProblem, fields: Collection[str], who: Principal
) -> ApiProblem:
    """Return the API's error for an error of the service."""
    status, code = problem.status, problem.code
    if code not in CODES or status not in _ERRORS:
        status, code = 500, "failed"
    headers = {"Retry-After": "2"} if status in {429, 503} else {}
    if status == 400:
        # The request could be read, and its values make no sense.
        status = 422
    field = _WRONG_FIELD.get(code, "")
    if code == "bad-request":
        # The message begins with the name of the field.
        field = problem.detail.partition(" ")[0]
    return ApiProblem(
        status,
        code,
        for_eyes(who, problem.detail),
        pointer=field if field in fields else "",
        reason=for_eyes(who, problem.reason),
        headers=headers,
    )


def down_of(down: ServiceDown) -> ApiProblem:
    """Return the API's error for a service that does not answer."""
    if down.may_be_done:
        return ApiProblem(504, "outcome-unknown", f"{down}; it may have been done")
    return ApiProblem(503, "service-down", str(down), headers={"Retry-After": "5"})


# -- what somebody may see ---------------------------------------------------


def for_eyes(who: Principal, value: Any) -> Any:
    """Return a JSON value with the numbers masked if they are not for these eyes."""
    return value if who.sees_numbers else masked(value)


def task_json(parts: WebParts, task: CallbackTask) -> dict[str, Any]:
    """Return a task of the database as JSON, with what the live state knows of it."""
    value = codec.task_json(task)
    live: Mapping[str, Any] = {}
    if task.is_open and parts.live.snapshot is not None:
        live = parts.live.snapshot.get("tasks", {}).get(str(task.id), {})
    return {**value, **{name: live.get(name) for name in _NOT_LIVE}}


def answered_task(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a task of the service's answer with the fields that the API has."""
    return {**_NOT_LIVE, **value}


async def visible_task(
    parts: WebParts, who: Principal, task_id: int, right: Right
) -> CallbackTask:
    """Return a task.

    Raises:
        ApiProblem: there is none, or it is of a queue of others.
    """
    task = await parts.records.read(rows.find, task_id)
    if task is None or not who.may(right, task.queue):
        raise ApiProblem(404, "no-such-task", f"there is no task {task_id}")
    return task


def queues_of(who: Principal, wanted: Sequence[str]) -> frozenset[str] | None:
    """Return the queues whose entries are read; None: all.

    Args:
        who: the one who asks.
        wanted: the queues that were asked for; empty: all that they may see.

    Raises:
        ApiProblem: one of these is a queue of others.
    """
    for queue in wanted:
        check_queue(who, queue, where="query")
    return frozenset(wanted) if wanted else who.queues


def check_queue(who: Principal, queue: str, *, where: str = "body") -> None:
    """Check that somebody may know of a queue.

    Raises:
        ApiProblem: it is a queue of others; they do not learn whether it exists.
    """
    if who.queues is not None and queue not in who.queues:
        raise ApiProblem(
            404,
            "no-such-queue",
            f"there is no queue {queue[:100]!a} for you",
            pointer="queue",
            where=where,
        )
