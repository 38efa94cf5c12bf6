# SPDX-License-Identifier: MIT
"""All pages of the console."""

from __future__ import annotations

from typing import Final

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

#: The first route whose path fits answers a request.
ROUTERS: Final = tuple(
    part.router
    for part in (
        pages,
        stream,
        tasks_page,
        story_page,
        actions,
        numbers_page,
        reports_page,
        system_pages,
    )
)
