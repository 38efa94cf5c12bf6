# SPDX-License-Identifier: MIT
"""The events of tasks, in order, for programs that follow them."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from fastagi.store.story_events import StoryEvent, StoryPosition, position_at
from fastagi.web.api import models
from fastagi.web.api.common import Parts, api_router, described, for_eyes, queues_of
from fastagi.web.api.cursors import read_cursor, write_cursor
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import Principal, Right, require
from fastagi.web.people.still import still_allowed
from fastagi.web.signals.messages import Numbers, TaskMessage, task_message

Reader = Annotated[Principal, Depends(require(Right.TASKS_READ))]

router: Final = api_router("/events", "Events")

#: Events that are read at once, and how often for one request: most may be of queues of
#: others.
_AT_ONCE: Final = 500
_MOST_READS: Final = 10
#: The longest time that a request waits for events, in seconds.
_LONGEST_WAIT_S: Final = 30.0
#: Pause before looking again if there was nothing new for this reader, in seconds.
_PAUSE_S: Final = 0.25


class Events(BaseModel):
    """Some events, the oldest first; the same objects as those of webhooks."""

    items: list[TaskMessage]
    next: str = Field(description="`after` of the next request.")


@router.get(
    "",
    summary="Follow what happens to tasks",
    response_model=Events,
    **described(Right.TASKS_READ, 400, 404, 503),
)
async def read_events(
    parts: Parts,
    who: Reader,
    request: Request,
    queue: Annotated[list[str] | None, Query(description="Of these queues.")] = None,
    after: Annotated[
        str | None,
        Query(
            description="`next` of the answer before. Without it, and without `from`:"
            " from the first event on."
        ),
    ] = None,
    since: Annotated[
        models.Time | None,
        Query(alias="from", description="From this time on, in place of `after`."),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    wait_s: Annotated[
        float,
        Query(
            ge=0,
            le=_LONGEST_WAIT_S,
            description="How long to wait for an event if there is none, in seconds.",
        ),
    ] = 0.0,
) -> Any:
    """Return the events after a position, the oldest first.

    Store `next` once you have handled the events, and continue there: nothing is lost
    and nothing comes twice. `items` may be empty although more follows: events of
    other queues were passed over.
    """
    queues = queues_of(who, queue or ())
    if after is not None and since is not None:
        detail = "give either after or from"
        raise ApiProblem(422, "bad-request", detail, pointer="from", where="query")
    known = read_cursor(after, "events", {}, int, float, int, pointer="after")
    position = StoryPosition(*known) if known else StoryPosition()
    if since is not None:
        position = await parts.records.read(position_at, since)
    begin, end = position, time.monotonic() + wait_s
    still = still_allowed(request, who)
    while True:
        found, position, at_end = await _read(parts, position, queues, limit)
        left_s = end - time.monotonic()
        if found or not at_end or left_s <= 0 or parts.stopping.is_set():
            break
        await parts.signals.feed.wait(position, left_s)
        await asyncio.sleep(min(_PAUSE_S, left_s))
        if not await still():
            # The next request learns why, or is answered with the rights of then.
            found, position = [], begin
            break
    items = [
        for_eyes(who, task_message(event, Numbers.FULL).model_dump(mode="json"))
        for event in found
    ]
    mark = [position.event_id, float(position.at), position.task_id]
    return JSONResponse({"items": items, "next": write_cursor("events", {}, mark)})


async def _read(
    parts: WebParts,
    position: StoryPosition,
    queues: frozenset[str] | None,
    limit: int,
) -> tuple[list[StoryEvent], StoryPosition, bool]:
    """Return events, the position after the last one that was looked at, and whether
    that is the last of all."""
    found: list[StoryEvent] = []
    for _ in range(_MOST_READS):
        most = limit if queues is None else _AT_ONCE
        events = await parts.signals.feed.read(position, most)
        for event in events:
            position = event.position
            if queues is None or event.queue in queues:
                found.append(event)
                if len(found) == limit:
                    return found, position, False
        if len(events) < most:
            return found, position, True
    return found, position, False
