# SPDX-License-Identifier: MIT
"""The page Numbers: may this number be called, blocked numbers, refused requests.

Administrators also get what is kept about a number, and erase it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from fastagi.service.commands import (
    BlockNumber,
    CheckNumber,
    EraseNumber,
    ExportNumber,
    UnblockNumber,
)
from fastagi.store import number_lists
from fastagi.web.console.actions import Refusal, attempt, redirect
from fastagi.web.console.frame import Frame, framed
from fastagi.web.people.access import Right
from fastagi.web.records import RecordsUnavailable

router = APIRouter()

#: Rows of each list.
_PER_PAGE: Final = 50


@router.get("/numbers")
async def numbers(
    frame: Annotated[Frame, Depends(framed(Right.NUMBERS_READ))],
    number: str = "",
    queue: str = "",
    before: int | None = None,
) -> Response:
    """Show the lists; with a number, whether it may be called."""
    return await _page(frame, number.strip()[:100], queue, before)


@router.post("/numbers/block")
async def block(
    frame: Annotated[Frame, Depends(framed(Right.NUMBERS_WRITE))],
    number: Annotated[str, Form()] = "",
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Block a number."""
    if not reason.strip():
        words = frame.say.gettext("Write a reason: others see it in this list.")
        return await _page(frame, refusal=Refusal(422, words), blocking=number)
    done = await attempt(frame, lambda: BlockNumber(number=number, reason=reason))
    if isinstance(done, Refusal):
        return await _page(frame, refusal=done, blocking=number, reason=reason)
    said = "blocked" if done["created"] else "blocked-before"
    return redirect(frame, "/numbers", said=said)


@router.post("/numbers/unblock")
async def unblock(
    frame: Annotated[Frame, Depends(framed(Right.NUMBERS_WRITE))],
    number: Annotated[str, Form()] = "",
) -> Response:
    """Unblock a number."""
    done = await attempt(frame, lambda: UnblockNumber(number=number))
    if isinstance(done, Refusal):
        return await _page(frame, refusal=done)
    return redirect(frame, "/numbers", said="unblocked")


@router.post("/numbers/export")
async def export(
    frame: Annotated[Frame, Depends(framed(Right.ADMIN))],
    number: Annotated[str, Form()] = "",
) -> Response:
    """Return everything that is kept about a number as a file."""
    done = await attempt(frame, lambda: ExportNumber(number=number))
    if isinstance(done, Refusal):
        return await _page(frame, refusal=done, erasing=number)
    return Response(
        json.dumps(done, indent=2, ensure_ascii=False),
        media_type="application/json",
        # Not the number: browsers list the names of files.
        headers={"Content-Disposition": 'attachment; filename="number.json"'},
    )


@router.post("/numbers/erase")
async def erase(
    frame: Annotated[Frame, Depends(framed(Right.ADMIN))],
    number: Annotated[str, Form()] = "",
    block: Annotated[str, Form()] = "",
    sure: Annotated[str, Form()] = "",
) -> Response:
    """Erase a number; with ``sure`` only."""
    if not sure:
        words = frame.say.gettext("Say that you are sure: it can not be undone.")
        return await _page(frame, refusal=Refusal(422, words), erasing=number)
    done = await attempt(frame, lambda: EraseNumber(number=number, block=block))
    if isinstance(done, Refusal):
        return await _page(frame, refusal=done, erasing=number)
    return redirect(frame, "/numbers", said="erased")


async def _page(
    frame: Frame,
    number: str = "",
    queue: str = "",
    before: int | None = None,
    *,
    refusal: Refusal | None = None,
    blocking: str = "",
    reason: str = "",
    erasing: str = "",
) -> Response:
    own = frame.who.queues
    if queue not in frame.queues:
        queue = frame.queues[0] if frame.queues else ""
    checked: Mapping[str, Any] | None = None
    if number and queue:
        answer = await attempt(frame, lambda: CheckNumber(queue=queue, number=number))
        if isinstance(answer, Refusal):
            refusal = answer
        else:
            checked = answer
    problem, blocked, refused = "", [], []
    try:
        blocked = await frame.parts.records.read(number_lists.blocked, _PER_PAGE)
        refused = await frame.parts.records.read(
            number_lists.refusals, own, _PER_PAGE + 1, before
        )
    except RecordsUnavailable as error:
        problem = str(error)
    return frame.page(
        "numbers.html",
        "/numbers",
        number=number,
        queue=queue,
        checked=checked,
        blocked=blocked,
        refused=refused[:_PER_PAGE],
        next_before=refused[_PER_PAGE - 1].id if len(refused) > _PER_PAGE else None,
        problem=problem,
        limited=own is not None,
        refusal=refusal,
        blocking=blocking,
        reason=reason,
        erasing=erasing,
        status=refusal.status if refusal else 503 if problem else 200,
    )
