# SPDX-License-Identifier: MIT
"""``GET /metrics``, for Prometheus."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from fastagi.config.fields import Network
from fastagi.web.parts import parts_of
from fastagi.web.people.access import NotLoggedIn, Principal, Right, current_principal


def metrics_router() -> APIRouter:
    """Return the router of the metrics."""
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def metrics(
        request: Request,
        who: Annotated[Principal | None, Depends(current_principal)],
    ) -> Response:
        parts = parts_of(request)
        if not is_open(request, parts.settings.metrics.open_to or ()):
            if who is None:
                raise NotLoggedIn
            who.check(Right.METRICS)
        text, content_type = await parts.signals.metrics.render(
            request.headers.get("accept", "")
        )
        return Response(
            text, media_type=content_type, headers={"Cache-Control": "no-store"}
        )

    return router


def is_open(request: Request, networks: tuple[Network, ...]) -> bool:
    """Whether the machine that asks needs no token.

    Requests through a proxy have the proxy's address; a header proves nothing.
    """
    if request.client is None or "forwarded" in request.headers:
        return False
    if any(name in request.headers for name in ("x-forwarded-for", "x-real-ip")):
        return False
    try:
        address = ip_address(request.client.host)
    except ValueError:
        return False
    return any(
        address.version == network.version and address in network
        for network in networks
    )
