# SPDX-License-Identifier: MIT
"""Whether everything works, and who asks."""

from __future__ import annotations

from typing import Annotated, Any, Final

import sqlalchemy as sa
from fastapi import Depends
from starlette.responses import JSONResponse

from fastagi import __version__
from fastagi.doors.codec import iso, links, out_of_work
from fastagi.errors import Problem
from fastagi.service.commands import RunCheck
from fastagi.web import services
from fastagi.web.api import models
from fastagi.web.api.common import Parts, api_router, command, described, do
from fastagi.web.api.problems import ApiProblem
from fastagi.web.parts import WebParts
from fastagi.web.people.access import (
    Forbidden,
    NotLoggedIn,
    Principal,
    Right,
    current_principal,
    require,
)
from fastagi.web.records import RecordsUnavailable

Reader = Annotated[Principal, Depends(require(Right.HEALTH_READ))]
Anybody = Annotated[Principal | None, Depends(current_principal)]

router: Final = api_router("", "Health")

#: Time limit of `callback-queue check`, in seconds.
_CHECK_S: Final = 60.0


@router.get(
    "/alive",
    summary="Is the web process alive?",
    response_model=models.Alive,
    **described(None),
)
async def alive() -> Any:
    """Answer; for supervisors of processes. It needs no token and tells nothing."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/ready",
    summary="Can it do its work?",
    response_model=models.Alive,
    **described(None, 503),
)
async def ready(parts: Parts) -> Any:
    """Answer with 503 while the service can not be reached; for load balancers."""
    if parts.live.down_since is not None:
        raise ApiProblem(503, "service-down", "the service can not be reached")
    return JSONResponse({"status": "ok"})


@router.get(
    "/health",
    summary="Read the state of the system",
    response_model=models.Health,
    **described(Right.HEALTH_READ),
)
async def health(parts: Parts, who: Reader) -> Any:
    """Tell of each part whether it works, and if not, what to do."""
    live, snapshot = parts.live, parts.live.snapshot
    service = _part(live.problem)
    if live.down_since is not None:
        service["since"] = live.down_since.isoformat(timespec="milliseconds")
    asterisk = _part(None)
    version = None
    if snapshot is None:
        asterisk = _part(Problem("", "not known: the service can not be reached"))
    else:
        version = snapshot["service"]["version"]
        several = len(links(snapshot["service"])) > 1
        whats = [
            f"{link['name']}: {link['error'] or 'not connected'}"
            if several
            else link["error"] or "not connected"
            for link in out_of_work(snapshot["service"])
        ]
        if whats:
            asterisk = _part(Problem("", "; ".join(whats)))
    database = _part(None)
    try:
        await parts.records.read(_nothing)
    except RecordsUnavailable as error:
        database = _part(error.problem)
    if database["ok"] and snapshot and snapshot["service"]["database_problem"]:
        database = _part(Problem(**snapshot["service"]["database_problem"]))
    return JSONResponse(
        {
            "version": __version__,
            "service_version": version,
            "service": service,
            "asterisk": asterisk,
            "database": database,
            "sending": _sending(parts),
            **await _services(parts),
        }
    )


@router.post(
    "/health/check",
    summary="Look for mistakes of the installation",
    response_model=models.CheckDone,
    **described(Right.HEALTH_READ, 503, 504),
)
async def check(parts: Parts, who: Reader) -> Any:
    """Run `callback-queue check`, and return what it finds, with remedies.

    It takes some seconds. Nothing is changed.
    """
    return JSONResponse(await do(parts, command(RunCheck), who, within_s=_CHECK_S))


async def _services(parts: WebParts) -> dict[str, Any]:
    service = parts.live.snapshot and parts.live.snapshot["service"]
    try:
        found = await parts.records.read(services.read_all, service)
    except RecordsUnavailable:
        # What is wrong with the database is told beside it.
        found = services.only(service)
    return {
        "services": [_service_json(one) for one in found.all],
        "asterisks_without_service": list(found.not_held),
    }


def _service_json(one: services.Service) -> dict[str, Any]:
    return {
        "name": one.name,
        "version": one.version,
        "asked": one.is_asked,
        "running": one.runs,
        "seen_at": iso(one.seen_at),
        "host": one.host,
        "pid": one.pid,
        "since": iso(one.since),
        "asterisks": [
            {
                "name": asterisk.name,
                "since": iso(asterisk.since),
                "link_lost_since": iso(asterisk.link_lost_since),
            }
            for asterisk in one.asterisks
        ],
        "differences": [
            {
                "name": difference.name,
                "here": difference.here,
                "there": difference.there,
                "more_queues": difference.more,
                "words": difference.words(one.where),
            }
            for difference in one.differences
        ],
    }


def _sending(parts: WebParts) -> dict[str, Any]:
    lease = parts.signals.lease
    holder = lease.holder
    return {
        "here": lease.is_held,
        "host": holder and holder.process.host,
        "pid": holder and holder.process.pid,
        "since": holder and holder.since.isoformat(timespec="milliseconds"),
    }


def _part(problem: Problem | None) -> dict[str, Any]:
    return {
        "ok": problem is None,
        "since": None,
        "problem": problem and problem.without_remedy,
        "remedy": problem and (problem.remedy or None),
    }


def _nothing(conn: sa.Connection) -> None:
    """Read nothing but the version, which every read does."""


@router.get(
    "/me",
    summary="Who am I?",
    response_model=models.Me,
    **described(None, 401, 403),
)
async def me(who: Anybody) -> Any:
    """Return the rights and the queues of the token or user."""
    if who is None:
        raise NotLoggedIn
    if who.rights == {Right.WALL}:
        raise Forbidden("a wall link can not use the API")
    return JSONResponse(
        {
            "name": who.name,
            "kind": who.kind.value,
            "rights": sorted(right.value for right in who.rights if who.may(right)),
            "queues": None if who.queues is None else sorted(who.queues),
            "sees_numbers": who.sees_numbers,
        }
    )
