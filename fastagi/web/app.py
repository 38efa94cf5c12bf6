# SPDX-License-Identifier: MIT
"""Builds the ASGI application: routers, error pages, security headers, lifespan."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI

from fastagi import __version__
from fastagi.web import pages_of_errors
from fastagi.web.api import routes
from fastagi.web.api.cors import Cors
from fastagi.web.background import Supervisor
from fastagi.web.bodies import BodyLimit
from fastagi.web.console import router as console
from fastagi.web.headers import ExpectedHost, SecurityHeaders
from fastagi.web.parts import WebParts, build_parts, parts_of
from fastagi.web.people.access_page import router as access_router
from fastagi.web.people.guard import guard
from fastagi.web.people.pages import router as people_router
from fastagi.web.signals.routes import metrics_router

__all__ = ["WebParts", "build_parts", "create_app", "parts_of"]


def routers(parts: WebParts) -> Iterator[APIRouter]:
    """Yield every router; a new group of pages or operations is a line here.

    No router includes another one: FastAPI then compares each request with the routes
    of the inner one three times instead of twice, and builds each route once more.
    """
    yield from routes.ROUTERS
    yield people_router(parts)
    yield access_router(parts)
    yield from console.ROUTERS
    yield metrics_router()


async def _end_streams(parts: WebParts) -> None:
    """End all live streams when the process stops: it waits for open answers."""
    await parts.stopping.wait()
    await parts.live.close()


def create_app(parts: WebParts) -> FastAPI:
    """Build the application; its end closes the parts."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        supervisor = Supervisor(parts.background_tasks())
        supervisor.start()
        parts.live.start()
        await parts.people.announce_first_link()
        end_of_streams = asyncio.create_task(_end_streams(parts))
        try:
            yield
        finally:
            parts.stopping.set()
            await end_of_streams
            await supervisor.stop()
            await parts.close()

    app = FastAPI(
        title="callback-queue",
        version=__version__,
        lifespan=lifespan,
        dependencies=[Depends(guard)],
        # Their pages load scripts from other hosts, which the policy forbids.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.parts = parts
    pages_of_errors.install(app)
    for router in routers(parts):
        app.include_router(router)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit)
    app.add_middleware(pages_of_errors.Failures)
    app.add_middleware(Cors, settings=parts.settings.api)
    app.add_middleware(ExpectedHost, settings=parts.settings)
    app.add_middleware(SecurityHeaders, settings=parts.settings)
    return app
