# SPDX-License-Identifier: MIT
"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from fastagi.web.console import pages, reports_page, stream
from fastagi.web.parts import WebParts


def console_router(_parts: WebParts) -> APIRouter:
    """Return the router of the console."""
    router = APIRouter(include_in_schema=False)
    for part in (pages, stream, reports_page):
        router.include_router(part.router)
    return router
