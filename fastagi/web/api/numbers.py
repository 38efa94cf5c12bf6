# SPDX-License-Identifier: MIT
"""Blocked numbers, requests that were refused, and what is kept about a number.

Numbers stand in bodies and never in addresses, which proxies write into their logs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Final

from fastapi import Depends, Query, Response
from starlette.responses import JSONResponse

from fastagi.doors import codec
from fastagi.service.commands import (
    BlockNumber,
    CheckNumber,
    EraseNumber,
    ExportNumber,
    UnblockNumber,
)
from fastagi.store import number_lists
from fastagi.web.api import models
from fastagi.web.api.common import (
    Cursor,
    IdempotencyKey,
    Limit,
    Parts,
    answered_task,
    api_router,
    check_queue,
    command,
    described,
    do,
    for_eyes,
    queues_of,
)
from fastagi.web.api.cursors import read_cursor, write_cursor
from fastagi.web.api.idempotency import once, read_key
from fastagi.web.people.access import Principal, Right, require

Reader = Annotated[Principal, Depends(require(Right.NUMBERS_READ))]
Writer = Annotated[Principal, Depends(require(Right.NUMBERS_WRITE))]
Admin = Annotated[Principal, Depends(require(Right.ADMIN))]

router: Final = api_router("/numbers", "Numbers")


@router.get(
    "/blocked",
    summary="List the blocked numbers",
    response_model=models.Page[models.Blocked],
    **described(Right.NUMBERS_READ, 400, 503),
)
async def list_blocked(
    parts: Parts, who: Reader, limit: Limit = 50, cursor: Cursor = None
) -> Any:
    """Return the numbers that are never called, the latest first."""
    after = read_cursor(cursor, "blocked", {}, float, str)
    position = (after[0], after[1]) if after else None
    found = await parts.records.read(number_lists.blocked, limit + 1, position)
    page = found[:limit]
    more = len(found) > limit
    return JSONResponse(
        {
            "items": [for_eyes(who, codec.blocked_json(number)) for number in page],
            "next_cursor": write_cursor(
                "blocked", {}, [page[-1].at.timestamp(), page[-1].number_key]
            )
            if more
            else None,
        }
    )


@router.post(
    "/block",
    summary="Block a number",
    response_model=models.NumberBlocked,
    **described(Right.NUMBERS_WRITE, 400, 409, 413, 503, 504),
)
async def block_number(
    parts: Parts,
    who: Writer,
    body: models.BlockNumber,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Never call a number again, in any of its forms; its open task ends.

    It concerns all queues.
    """
    key = read_key(idempotency_key)
    fields = body.model_dump()
    wanted = command(BlockNumber, tuple(fields), **fields)

    async def block() -> tuple[int, Any]:
        answer = await do(parts, wanted, who, fields=fields)
        task = answer["task"]
        seen = task is not None and who.may(Right.TASKS_READ, task["queue"])
        return 200, for_eyes(
            who,
            {
                "created": answer["created"],
                "blocked": answer["blocked"],
                "task_id": task["id"] if seen else None,
            },
        )

    operation = "POST /numbers/block"
    return await once(parts.state, who, key, operation, fields, parts.now(), block)


@router.post(
    "/unblock",
    summary="Unblock a number",
    response_model=models.NumberUnblocked,
    **described(Right.NUMBERS_WRITE, 400, 409, 413, 503, 504),
)
async def unblock_number(
    parts: Parts,
    who: Writer,
    body: models.OneNumber,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Let a number be called again."""
    key = read_key(idempotency_key)
    fields = body.model_dump()
    wanted = command(UnblockNumber, tuple(fields), **fields)

    async def unblock() -> tuple[int, Any]:
        return 200, for_eyes(who, await do(parts, wanted, who, fields=fields))

    operation = "POST /numbers/unblock"
    return await once(parts.state, who, key, operation, fields, parts.now(), unblock)


@router.post(
    "/check",
    summary="May this number be called?",
    response_model=models.NumberChecked,
    **described(Right.NUMBERS_READ, 404, 413, 503, 504),
)
async def check_number(parts: Parts, who: Reader, body: models.CheckNumber) -> Any:
    """Tell whether a queue may call a number now, and why not. Nothing is changed."""
    check_queue(who, body.queue)
    fields = body.model_dump()
    wanted = command(CheckNumber, tuple(fields), **fields)
    answer = dict(await do(parts, wanted, who, fields=fields))
    task, refusal = answer["open_task"], answer["last_refusal"]
    if task is not None:
        seen = who.may(Right.TASKS_READ, task["queue"])
        answer["open_task"] = answered_task(task) if seen else None
    if refusal is not None and not who.may(Right.NUMBERS_READ, refusal["queue"]):
        answer["last_refusal"] = None
    return JSONResponse(for_eyes(who, answer))


@router.post(
    "/export",
    summary="Read everything that is kept about a number",
    response_model=models.NumberExported,
    **described(Right.ADMIN, 413, 503, 504),
)
async def export_number(parts: Parts, who: Admin, body: models.OneNumber) -> Any:
    """Return what is kept about a number in all its forms, of all queues.

    The log says who has read it, without the number.
    """
    fields = body.model_dump()
    wanted = command(ExportNumber, tuple(fields), **fields)
    answer = dict(await do(parts, wanted, who, fields=fields))
    answer["tasks"] = [
        {**one, "task": answered_task(one["task"])} for one in answer["tasks"]
    ]
    return JSONResponse(answer)


@router.post(
    "/erase",
    summary="Erase a number",
    response_model=models.NumberErased,
    **described(Right.ADMIN, 409, 413, 503, 504),
)
async def erase_number(parts: Parts, who: Admin, body: models.EraseNumber) -> Any:
    """Erase a number and the names and calls that belong to it, in all queues.

    Its tasks stay without them, so no report changes. A task that is open must be
    cancelled first. It can be repeated: what is erased already is not counted again.
    """
    fields = body.model_dump()
    wanted = command(
        EraseNumber, tuple(fields), number=body.number, block=body.block or ""
    )
    return JSONResponse(await do(parts, wanted, who, fields=fields))


@router.get(
    "/refusals",
    summary="List refusals",
    response_model=models.Page[models.Refusal],
    **described(Right.NUMBERS_READ, 400, 404, 503),
)
async def list_refusals(
    parts: Parts,
    who: Reader,
    queue: Annotated[list[str] | None, Query(description="Of these queues.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Any:
    """Return requests and missed calls that are not called back, the latest first.

    The latest 10,000 are kept.
    """
    queues: Collection[str] | None = queues_of(who, queue or ())
    filters = {"queue": sorted(queue or ())}
    position = read_cursor(cursor, "refusals", filters, int)
    before_id: int | None = position[0] if position else None
    found = await parts.records.read(
        number_lists.refusals, queues, limit + 1, before_id
    )
    page = found[:limit]
    more = len(found) > limit
    return JSONResponse(
        {
            "items": [for_eyes(who, codec.refusal_json(refusal)) for refusal in page],
            "next_cursor": write_cursor("refusals", filters, [page[-1].id])
            if more
            else None,
        }
    )
