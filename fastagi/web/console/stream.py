# SPDX-License-Identifier: MIT
"""The stream that tells a page that something on it has changed.

The stream has no contents: a page fetches its own address again, with all its filters
and rights, and morphs what is new into place. So there is one way to make a page.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse

from fastagi.web.console.frame import Frame, framed
from fastagi.web.live import Subscription
from fastagi.web.people.access import Right
from fastagi.web.people.still import still_allowed
from fastagi.web.service_client import LiveMessage
from fastagi.web.signals.alarms import Alarms

router = APIRouter()

#: Minimum time between two events for one page, in seconds, so that a busy hour costs
#: neither the browser nor this process much.
_PAUSES_S: Final = {"live": 1.0, "wall": 1.0, "tasks": 2.0, "task": 0.5}
#: Pages that show alarms, which also begin when nothing else happens.
_WITH_ALARMS: Final = frozenset({"live", "wall"})
_HEARTBEAT_S: Final = 15.0
_RETRY_MS: Final = 1000

Change = Mapping[str, Any]


@router.get("/events")
async def events(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_READ))],
    watch: str = "live",
    task: int = 0,
) -> StreamingResponse:
    """Return the stream of a page."""
    return stream(frame, watch, task)


def stream(frame: Frame, watch: str, task: int = 0) -> StreamingResponse:
    """Return the stream for what a page watches."""
    subscription = frame.parts.live.subscribe()
    pause_s = _PAUSES_S.get(watch, 1.0)
    alarms = frame.parts.signals.alarms if watch in _WITH_ALARMS else None
    pieces = _pieces(
        subscription,
        alarms,
        frame.parts.stopping,
        still_allowed(frame.request, frame.who),
        _matters(watch, task),
        pause_s,
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)


def _matters(watch: str, task: int) -> Callable[[Change], bool]:
    """Return whether a change matters to a page."""
    if watch == "task":
        key = str(task)

        def of_task(change: Change) -> bool:
            changed, gone = change.get("set", {}), change.get("remove", {})
            if key in changed.get("tasks", {}) or key in gone.get("tasks", ()):
                return True
            attempts = changed.get("attempts", {}).values()
            return any(one.get("task_id") == task for one in attempts)

        return of_task
    if watch == "tasks":
        return lambda change: any(
            "tasks" in change.get(what, {}) for what in ("set", "remove")
        )
    return lambda _change: True


async def _pieces(
    subscription: Subscription,
    alarms: Alarms | None,
    stopping: asyncio.Event,
    still: Callable[[], Awaitable[bool]],
    matters: Callable[[Change], bool],
    pause_s: float,
) -> AsyncIterator[bytes]:
    with subscription:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        # The page shows this state already.
        await subscription.next(0)
        while not subscription.ended and not stopping.is_set():
            started = time.monotonic()
            raised = alarms.current() if alarms else ()
            message = await _next(subscription, alarms)
            if not await still():
                return
            if alarms is None or alarms.current() == raised:
                if message is None:
                    yield b": still here\n\n"
                    continue
                if message.kind == "change" and not matters(message.data):
                    continue
            yield b"event: changed\ndata: 1\n\n"
            rest_s = pause_s - (time.monotonic() - started)
            if rest_s > 0:
                await asyncio.sleep(rest_s)
                # What came meanwhile is in the page that is fetched after the next one.


async def _next(
    subscription: Subscription, alarms: Alarms | None
) -> LiveMessage | None:
    """Return the next message; None if there is none in time, or an alarm changes."""
    if alarms is None:
        return await subscription.next(_HEARTBEAT_S)
    message = asyncio.create_task(subscription.next(_HEARTBEAT_S))
    alarm = asyncio.create_task(alarms.wait(_HEARTBEAT_S))
    try:
        await asyncio.wait((message, alarm), return_when=asyncio.FIRST_COMPLETED)
        return message.result() if message.done() else None
    finally:
        # A message that has not come yet stays with the subscription.
        for waiting in (message, alarm):
            waiting.cancel()
        await asyncio.gather(message, alarm, return_exceptions=True)
