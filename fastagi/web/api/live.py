# SPDX-License-Identifier: MIT
"""The live state for browsers and programs, filtered by what they may see."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from starlette.responses import JSONResponse, StreamingResponse

from fastagi.web.api.common import Parts, api_router, described, for_eyes
from fastagi.web.api.problems import ApiProblem
from fastagi.web.api.queues import live_snapshot
from fastagi.web.live import Subscription, TooManySubscribers
from fastagi.web.people.access import Principal, Right, require
from fastagi.web.people.still import still_allowed
from fastagi.web.service_client import LiveMessage

Reader = Annotated[Principal, Depends(require(Right.TASKS_READ))]

router: Final = api_router("", "Live")

#: Time between two heartbeats, in seconds: proxies close silent connections.
_HEARTBEAT_S: Final = 10.0
#: How long a stream lasts at most, in seconds. The browser connects again, and its
#: session or token is checked again.
_LONGEST_STREAM_S: Final = 900.0
#: Pause of a browser before it connects again, in milliseconds.
_RETRY_MS: Final = 2000
_STREAM: Final = "text/event-stream"
#: The kinds of entities of a snapshot.
_KINDS: Final = ("queues", "agents", "callers", "tasks", "attempts")


@router.get(
    "/live",
    summary="Follow the live state",
    response_class=StreamingResponse,
    **{
        **described(Right.TASKS_READ, 503),
        "responses": {
            **described(Right.TASKS_READ, 503)["responses"],
            200: {
                "description": "One snapshot, or with `Accept: text/event-stream` a"
                " stream of the events `snapshot` (the whole state), `change` (`set`:"
                " whole entities that are new or changed, `remove`: the keys of those"
                " that are gone) and `down` (the service can not be reached: `since`,"
                " `reason`; a snapshot follows).",
                "content": {
                    _STREAM: {"schema": {"type": "string"}},
                    "application/json": {"schema": {"type": "object"}},
                },
            },
        },
    },
)
async def live(parts: Parts, who: Reader, request: Request) -> Any:
    """Return the live state of the queues that you may see, or follow its changes.

    A stream begins with the state and continues with each change. After 15 minutes it
    ends; connect again. It ends within seconds once the session or token has ended, or
    has other rights. A slow reader gets a new snapshot in place of the changes that
    it missed.
    """
    if _STREAM not in request.headers.get("accept", ""):
        return JSONResponse(_View(who).snapshot(live_snapshot(parts)))
    try:
        subscription = parts.live.subscribe()
    except TooManySubscribers as error:
        raise ApiProblem(
            503, "busy", str(error), headers={"Retry-After": "10"}
        ) from None
    return StreamingResponse(
        events(subscription, who, parts.stopping, still_allowed(request, who)),
        media_type=_STREAM,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def events(
    subscription: Subscription,
    who: Principal,
    stopping: asyncio.Event,
    still: Callable[[], Awaitable[bool]],
    *,
    heartbeat_s: float = _HEARTBEAT_S,
    longest_s: float = _LONGEST_STREAM_S,
) -> AsyncIterator[bytes]:
    """Yield the pieces of a stream until it ends.

    Args:
        subscription: the changes; it is ended at the end.
        who: the one who reads.
        stopping: set when the process stops.
        still: says whether the reader has the same rights as at the beginning.
        heartbeat_s: time between two heartbeats, in seconds.
        longest_s: how long the stream lasts at most, in seconds.
    """
    view = _View(who)
    end = time.monotonic() + longest_s
    with subscription:
        yield f"retry: {_RETRY_MS}\n\n".encode()
        while not stopping.is_set() and time.monotonic() < end:
            message = await subscription.next(heartbeat_s)
            if not await still():
                return
            if message is not None:
                shown = view.message(message)
                if shown is not None:
                    yield shown
            elif subscription.ended:
                return
            else:
                yield b": heartbeat\n\n"


class _View:
    """What one reader may see of the live state."""

    def __init__(self, who: Principal) -> None:
        self._who = who
        #: The keys of the entities that the reader has, by kind.
        self._shown: dict[str, set[str]] = {kind: set() for kind in _KINDS}

    def message(self, message: LiveMessage) -> bytes | None:
        """Return a message as an event; None if it concerns other queues only."""
        value: Mapping[str, Any] = message.data
        if message.kind == "snapshot":
            value = self.snapshot(value)
        elif message.kind == "change":
            value = self.change(value)
            if not value["set"] and not value["remove"]:
                return None
        number = f"id: {value['id']}\n" if "id" in value else ""
        # JSON of this module has no line breaks.
        return f"{number}event: {message.kind}\ndata: {json.dumps(value)}\n\n".encode()

    def snapshot(self, snapshot: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the reader may see of a snapshot."""
        shown = {
            "id": snapshot["id"],
            "at": snapshot["at"],
            "service": self._service(snapshot["service"]),
        }
        for kind in _KINDS:
            entities = self._entities(kind, snapshot.get(kind, {}))
            self._shown[kind] = set(entities)
            shown[kind] = entities
        return shown

    def change(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the reader may see of a change."""
        given, gone = change.get("set", {}), change.get("remove", {})
        added: dict[str, Any] = {}
        removed: dict[str, list[str]] = {}
        if "service" in given:
            added["service"] = self._service(given["service"])
        for kind in _KINDS:
            known = self._shown[kind]
            entities = self._entities(kind, given.get(kind, {}))
            # Those that were moved to a queue of others go, too.
            left = [key for key in given.get(kind, {}) if key not in entities]
            lost = [key for key in [*gone.get(kind, ()), *left] if key in known]
            known.difference_update(lost)
            known.update(entities)
            if entities:
                added[kind] = entities
            if lost:
                removed[kind] = lost
        return {
            "id": change["id"],
            "at": change["at"],
            "set": added,
            "remove": removed,
        }

    def _service(self, service: Mapping[str, Any]) -> dict[str, Any]:
        shown = dict(service)
        if not self._who.may(Right.HEALTH_READ):
            # Names of machines, paths of files.
            del shown["holder"]
            if shown["database_problem"] is not None:
                shown["database_problem"] = {
                    "where": "",
                    "what": "the database can not be used",
                    "remedy": "",
                }
        return shown

    def _entities(self, kind: str, entities: Mapping[str, Any]) -> dict[str, Any]:
        queues = self._who.queues
        if queues is None:
            shown = dict(entities)
        elif kind == "queues":
            shown = {key: value for key, value in entities.items() if key in queues}
        elif kind == "agents":
            shown = {
                key: {
                    **agent,
                    "queues": [queue for queue in agent["queues"] if queue in queues],
                    "paused_in": [
                        queue for queue in agent["paused_in"] if queue in queues
                    ],
                }
                for key, agent in entities.items()
                if queues.intersection(agent["queues"])
            }
        else:
            shown = {
                key: value
                for key, value in entities.items()
                if value["queue"] in queues
            }
        if kind in {"queues", "agents"}:
            return shown
        return {key: for_eyes(self._who, value) for key, value in shown.items()}
