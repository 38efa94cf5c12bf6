# SPDX-License-Identifier: MIT
"""The pages Live and Wall, what people chose for the look, and the static files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import (
    HTMLResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from fastagi.web.console import live_page, rendering
from fastagi.web.console.frame import Frame, framed
from fastagi.web.console.languages import LANGUAGES
from fastagi.web.console.stream import stream
from fastagi.web.people.access import Right

router = APIRouter()

_A_YEAR_S = 31_536_000


@router.get("/")
async def live(
    frame: Annotated[Frame, Depends(framed(Right.TASKS_READ))],
) -> HTMLResponse:
    """Show the queues as they are now."""
    return frame.page("live.html", "/", **live_values(frame))


@router.get("/wall")
async def wall(frame: Annotated[Frame, Depends(framed(Right.WALL))]) -> HTMLResponse:
    """Show the queues on a screen that is read from afar."""
    return frame.page("wall.html", "/wall", **live_values(frame))


@router.get("/wall/events")
async def wall_events(
    frame: Annotated[Frame, Depends(framed(Right.WALL))],
) -> StreamingResponse:
    """Return the stream of that screen."""
    return stream(frame, "wall")


def live_values(frame: Frame) -> Mapping[str, Any]:
    """Return what Live and Wall show."""
    snapshot, say = frame.snapshot, frame.say
    raised = frame.parts.signals.alarms.current()
    cards = live_page.cards(snapshot, frame.who.queues, raised, say) if snapshot else []
    first = next((n for n, card in enumerate(cards, 1) if card.level == "alarm"), 0)

    def agents_of(queue: str) -> list[Mapping[str, Any]]:
        assert snapshot is not None
        return [
            {**agent, "name": agent["name"] or interface}
            for interface, agent in sorted(snapshot["agents"].items())
            if queue in agent["queues"]
        ]

    return {
        "cards": cards,
        "sums": live_page.summary(cards),
        "first_alarm": f"queue-{first}",
        "state_words": live_page.STATE_WORDS,
        "agents_of": agents_of,
        "whole_settings": frame.who.queues is None,
    }


@router.get("/look")
async def look(
    request: Request, language: str = "", theme: str = "", back: str = "/"
) -> RedirectResponse:
    """Remember the language or the colours in a cookie, and lead back."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    answer = RedirectResponse(root + rendering.local_path(back), 303)
    chosen = {}
    if language in LANGUAGES:
        chosen[rendering.LANGUAGE_COOKIE] = language
    if theme in rendering.THEMES:
        chosen[rendering.THEME_COOKIE] = theme
    for cookie, value in chosen.items():
        answer.set_cookie(
            cookie, value, max_age=_A_YEAR_S, httponly=True, samesite="lax", path="/"
        )
    return answer


@router.get("/static/{name:path}")
async def static(name: str) -> Response:
    """Return a static file."""
    return rendering.static_response(name)
