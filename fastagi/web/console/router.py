# SPDX-License-Identifier: MIT
"""All pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from fastagi.web.console import (
    actions,
    numbers_page,
    pages,
    reports_page,
    story_page,
    stream,
    system_pages,
    tasks_page,
)
from fastagi.web.parts import WebParts


def console_router(_parts: WebParts) -> APIRouter:
    """Return the router of the console."""
    router = APIRouter(include_in_schema=False)
    parts = (
        pages, stream, tasks_page, story_page, actions, numbers_page, reports_page,
        system_pages,
    )  # fmt: skip
    for part in parts:
        router.include_router(part.router)
    return router
