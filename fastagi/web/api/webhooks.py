# SPDX-License-Identifier: MIT
"""Endpoints of webhooks: who is told of events and alarms."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from fastagi.errors import CallbackError
from fastagi.web.api import models
from fastagi.web.api.common import Parts, api_router, described
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import Forbidden, Principal, Right, require
from fastagi.web.signals import messages
from fastagi.web.signals.addresses import BadUrl
from fastagi.web.signals.endpoints import NoSuchWebhook, WebhookExists
from fastagi.web.signals.messages import BadFilter, Numbers
from fastagi.web.signals.webhooks import (
    BadWebhook,
    By,
    NothingToReplay,
    WebhookState,
    state_json,
)

Admin = Annotated[Principal, Depends(require(Right.ADMIN))]
Name = Annotated[str, Path(description="The name of the endpoint.")]

router: Final = api_router("/webhooks", "Webhooks")


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewWebhook(_Body):
    """An endpoint that is to be added."""

    name: str = Field(
        min_length=1, max_length=64, pattern="^[A-Za-z0-9._-]+$", examples=["crm"]
    )
    url: str = Field(
        min_length=1, max_length=2000, examples=["https://crm.example.com/callbacks"]
    )
    events: list[str] = Field(
        default=[],
        max_length=100,
        description="Types, or `task.*` or `alarm.*`; empty: all.",
        examples=[["task.*"]],
    )
    queues: list[str] = Field(
        default=[], max_length=200, description="Only of these queues; empty: all."
    )
    numbers: Literal["full", "masked"] = Field(
        default="masked", description="Whether clients' numbers and names are sent."
    )


class LastAnswer(BaseModel):
    """The last answer of the receiver."""

    at: str
    status: int | None = Field(description="The HTTP status; null: no answer.")
    words: str


class Replay(BaseModel):
    """Events that are still to be sent again, by their ids."""

    next: int
    last: int


class Webhook(BaseModel):
    """An endpoint, and how its deliveries go. Its secret is never shown again."""

    name: str
    url: str
    events: list[str]
    queues: list[str]
    numbers: Literal["full", "masked"]
    created_at: str
    status: Literal["working", "failing", "disabled"]
    disabled_why: str | None
    waiting: int | None = Field(
        description="Events after its position, whether it wants them or not; null: not"
        " known, as the database can not be read."
    )
    delivered: int
    last_delivered_at: str | None
    last_answer: LastAnswer | None
    failing_since: str | None
    failures: int
    next_try_at: str | None
    replay: Replay | None


class Webhooks(BaseModel):
    """All endpoints."""

    items: list[Webhook]


class AddedWebhook(BaseModel):
    """A new endpoint with its secret, which is shown only now."""

    webhook: Webhook
    secret: str = Field(examples=["whsec_..."])


class Secret(BaseModel):
    """A new secret, which is shown only now."""

    secret: str


class TestAnswer(BaseModel):
    """What the receiver answered to a test message."""

    delivered: bool
    status: int | None
    words: str
    took_s: float


class ReplayRange(_Body):
    """The events that are to be sent again: ids of events, or times."""

    since: Annotated[int, Field(ge=1, le=2**53)] | models.Time
    until: Annotated[int, Field(ge=1, le=2**53)] | models.Time | None = None


class Replayed(BaseModel):
    """How many events are looked at again."""

    events: int


class Enable(_Body):
    """How to go on."""

    from_now: bool = Field(default=False, description="Pass over what is waiting.")


@router.get(
    "",
    summary="List the webhooks",
    response_model=Webhooks,
    **described(Right.ADMIN, 503),
)
async def list_webhooks(parts: Parts, who: Admin) -> Any:
    """Return all endpoints, and how their deliveries go."""
    _check_all_queues(who)
    found = await parts.signals.webhooks.all()
    return JSONResponse({"items": [state_json(one) for one in found]})


@router.post(
    "",
    summary="Add a webhook",
    status_code=201,
    response_model=AddedWebhook,
    **described(Right.ADMIN, 409, 503),
)
async def add_webhook(
    parts: Parts, who: Admin, request: Request, body: NewWebhook
) -> Any:
    """Add an endpoint, which gets what happens from now on.

    The answer has its secret, so it is not kept for an Idempotency-Key: if the answer
    is lost, rotate the secret.
    """
    try:
        secret = await parts.signals.webhooks.add(
            body.name,
            body.url,
            types=body.events,
            queues=body.queues,
            numbers=Numbers(body.numbers),
            by=_by(parts, who, request),
        )
        state = await parts.signals.webhooks.get(body.name)
    except CallbackError as error:
        raise _problem(error) from error
    return JSONResponse({"webhook": state_json(state), "secret": secret}, 201)


@router.get(
    "/messages/schemas",
    summary="The JSON schemas of all messages",
    response_model=dict[str, dict[str, Any]],
    **described(Right.ADMIN),
)
async def list_webhook_schemas(who: Admin) -> Any:
    """Return a JSON schema for each type of message."""
    kinds = (*messages.CHOOSABLE, messages.TEST)
    return JSONResponse({kind: messages.schema_of(kind) for kind in kinds})


@router.get(
    "/{name}",
    summary="Show a webhook",
    response_model=Webhook,
    **described(Right.ADMIN, 404, 503),
)
async def show_webhook(parts: Parts, who: Admin, name: Name) -> Any:
    """Return one endpoint, and how its deliveries go."""
    return await _state(parts, who, name)


@router.delete(
    "/{name}",
    summary="Remove a webhook",
    status_code=204,
    **described(Right.ADMIN, 404, 503),
)
async def remove_webhook(
    parts: Parts, who: Admin, request: Request, name: Name
) -> Response:
    """Remove an endpoint, with its secrets and its position."""
    try:
        await parts.signals.webhooks.remove(name, by=_by(parts, who, request))
    except CallbackError as error:
        raise _problem(error) from error
    return Response(status_code=204)


@router.post(
    "/{name}/test",
    summary="Test a webhook",
    response_model=TestAnswer,
    **described(Right.ADMIN, 404, 503),
)
async def test_webhook(parts: Parts, who: Admin, name: Name) -> Any:
    """Send a test message now, also to a disabled endpoint, and return the answer."""
    _check_all_queues(who)
    try:
        answer = await parts.signals.webhooks.test(name)
    except CallbackError as error:
        raise _problem(error) from error
    return JSONResponse(
        {
            "delivered": answer.is_success,
            "status": answer.status,
            "words": answer.words,
            "took_s": round(answer.took_s, 3),
        }
    )


@router.post(
    "/{name}/replay",
    summary="Send events again",
    response_model=Replayed,
    **described(Right.ADMIN, 404, 409, 503),
)
async def replay_webhook(
    parts: Parts, who: Admin, request: Request, name: Name, body: ReplayRange
) -> Any:
    """Send a range of events again, with the same ids, after those that wait."""
    by = _by(parts, who, request)
    since: datetime | int = body.since
    try:
        count = await parts.signals.webhooks.replay(name, since, body.until, by=by)
    except CallbackError as error:
        raise _problem(error) from error
    return JSONResponse({"events": count})


@router.post(
    "/{name}/enable",
    summary="Enable a webhook",
    response_model=Webhook,
    **described(Right.ADMIN, 404, 503),
)
async def enable_webhook(
    parts: Parts, who: Admin, request: Request, name: Name, body: Enable
) -> Any:
    """Send again at once, to a disabled endpoint or one that waits for a retry."""
    by = _by(parts, who, request)
    try:
        await parts.signals.webhooks.enable(name, from_now=body.from_now, by=by)
    except CallbackError as error:
        raise _problem(error) from error
    return await _state(parts, who, name)


@router.post(
    "/{name}/disable",
    summary="Disable a webhook",
    response_model=Webhook,
    **described(Right.ADMIN, 404, 503),
)
async def disable_webhook(
    parts: Parts, who: Admin, request: Request, name: Name
) -> Any:
    """Send nothing until it is enabled; what happens meanwhile waits."""
    try:
        await parts.signals.webhooks.disable(name, by=_by(parts, who, request))
    except CallbackError as error:
        raise _problem(error) from error
    return await _state(parts, who, name)


@router.post(
    "/{name}/rotate",
    summary="Make a new secret",
    response_model=Secret,
    **described(Right.ADMIN, 404, 503),
)
async def rotate_webhook(parts: Parts, who: Admin, request: Request, name: Name) -> Any:
    """Return a new secret; the one before stays valid for a while.

    The answer is not kept for an Idempotency-Key: if it is lost, rotate again.
    """
    try:
        secret = await parts.signals.webhooks.rotate(name, by=_by(parts, who, request))
    except CallbackError as error:
        raise _problem(error) from error
    return JSONResponse({"secret": secret})


def openapi_webhooks() -> dict[str, Any]:
    """Return the messages for the part ``webhooks`` of the description."""
    schemas = {
        **dict.fromkeys(messages.TYPES.values(), "TaskMessage"),
        messages.ALARM_RAISED: "AlarmMessage",
        messages.ALARM_CLEARED: "AlarmMessage",
        messages.TEST: "TestMessage",
    }
    return {
        kind: {
            "post": {
                "summary": f"The message {kind}",
                "tags": ["Webhooks"],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "allOf": [{"$ref": f"#/components/schemas/{name}"}],
                                "properties": {"type": {"const": kind}},
                            }
                        }
                    },
                },
                "responses": {
                    "2XX": {"description": "The message is accepted."},
                    "410": {"description": "Nothing more is wanted."},
                },
            }
        }
        for kind, name in schemas.items()
    }


async def _state(parts: WebParts, who: Principal, name: str) -> Response:
    _check_all_queues(who)
    try:
        state: WebhookState = await parts.signals.webhooks.get(name)
    except CallbackError as error:
        raise _problem(error) from error
    return JSONResponse(state_json(state))


def _by(parts: WebParts, who: Principal, request: Request) -> By:
    _check_all_queues(who)
    return By(who.actor, parts.people.address(request))


def _check_all_queues(who: Principal) -> None:
    """Refuse somebody of some queues: an endpoint may get the events of all."""
    if who.queues is not None:
        raise Forbidden("webhooks need the right admin for all queues")


def _problem(error: CallbackError) -> CallbackError:
    """Return the API's error for one of webhooks; any other one as it is."""
    match error:
        case NoSuchWebhook():
            return ApiProblem(404, "no-such-webhook", str(error))
        case WebhookExists():
            return ApiProblem(409, "webhook-exists", str(error), pointer="name")
        case NothingToReplay():
            return ApiProblem(409, "nothing-to-replay", str(error), pointer="since")
        case BadUrl():
            return ApiProblem(422, "bad-request", str(error), pointer="url")
        case BadFilter():
            return ApiProblem(422, "bad-request", str(error), pointer="events")
        case BadWebhook():
            return ApiProblem(422, "bad-request", str(error), pointer="name")
        case _:
            return error
