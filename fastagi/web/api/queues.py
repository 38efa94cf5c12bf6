# SPDX-License-Identifier: MIT
"""Queues, as they are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, Path
from starlette.responses import JSONResponse

from fastagi.web.api import models
from fastagi.web.api.common import Parts, api_router, described
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import Principal, Right, require

Reader = Annotated[Principal, Depends(require(Right.TASKS_READ))]

router: Final = api_router("/queues", "Queues")


@router.get(
    "",
    summary="List the queues",
    response_model=models.Queues,
    **described(Right.TASKS_READ, 503),
)
async def list_queues(parts: Parts, who: Reader) -> Any:
    """Return the queues of the settings with their live values."""
    snapshot = live_snapshot(parts)
    return JSONResponse(
        {
            "at": snapshot["at"],
            "items": [
                {"name": name, **queue}
                for name, queue in sorted(snapshot["queues"].items())
                if who.may(Right.TASKS_READ, name)
            ],
        }
    )


@router.get(
    "/{name}",
    summary="Read a queue",
    response_model=models.Queue,
    **described(Right.TASKS_READ, 404, 503),
)
async def read_queue(
    parts: Parts, who: Reader, name: Annotated[str, Path(max_length=100)]
) -> Any:
    """Return one queue with its live values."""
    queue = live_snapshot(parts)["queues"].get(name)
    if queue is None or not who.may(Right.TASKS_READ, name):
        raise ApiProblem(404, "no-such-queue", f"there is no queue {name!a}")
    return JSONResponse({"name": name, **queue})


def live_snapshot(parts: WebParts) -> Mapping[str, Any]:
    """Return the live state.

    Raises:
        ApiProblem: the service can not be reached.
    """
    snapshot = parts.live.snapshot
    if snapshot is None:
        raise ApiProblem(
            503,
            "service-down",
            f"there is no live state: {parts.live.problem}",
            headers={"Retry-After": "5"},
        )
    return snapshot
