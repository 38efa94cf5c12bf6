# SPDX-License-Identifier: MIT
"""Idempotency keys: a request that is repeated with the same key is done once.

The key is stored before the request is carried out, and the answer after it, so a
client that lost the answer gets the same one again. Follows the IETF draft "The
Idempotency-Key HTTP Header Field".
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.exc import IntegrityError
from starlette.responses import JSONResponse, Response

from fastagi.web.api.problems import PROBLEM_JSON, ApiProblem
from fastagi.web.people.access import Principal
from fastagi.web.state.schema import IDEMPOTENCY
from fastagi.web.state.state import State

#: How long an answer is kept.
KEPT: Final = timedelta(hours=24)
#: How often old answers are deleted, in seconds.
_CLEAN_S: Final = 3600.0
#: After this time a request without an answer is not under way any more: the process
#: was killed.
_LONGEST_REQUEST: Final = timedelta(minutes=2)
_VALID: Final = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTES: Final = '"'


@frozen(kw_only=True)
class Once:
    """One request with a key.

    Attributes:
        owner: the one who asks; keys of others are of no concern.
        key: the key as given.
        digest: stands for the operation and its body.
        now: the time of the request.
    """

    owner: str
    key: str
    digest: str
    now: datetime


def read_key(value: str | None) -> str | None:
    """Return the key from the value of the header; None if there is none.

    Raises:
        ApiProblem: it is empty, too long or has characters that are not allowed.
    """
    if value is None:
        return None
    key = value.strip()
    if len(key) > 1 and key.startswith(_QUOTES) and key.endswith(_QUOTES):
        # A string of structured headers (RFC 9651).
        key = key[1:-1]
    if not _VALID.fullmatch(key):
        raise ApiProblem(
            400,
            "idempotency-key-invalid",
            "Idempotency-Key must have 1 to 255 printable ASCII characters, such as a"
            " UUID",
            pointer="Idempotency-Key",
            where="header",
        )
    return key


async def once(
    state: State,
    who: Principal,
    key: str | None,
    operation: str,
    body: Mapping[str, Any],
    now: datetime,
    do: Callable[[], Awaitable[tuple[int, Any]]],
) -> Response:
    """Carry out a request, or return the answer of the first one with this key.

    Args:
        state: the database of the web process.
        who: the one who asks.
        key: the key; None: carry it out without.
        operation: method and path.
        body: the checked body.
        now: the current time.
        do: carries it out; returns the status and the JSON value of the answer.

    Raises:
        ApiProblem: the request fails, the key was used for another request, or the
            first request is still under way.
    """
    if key is None:
        status, value = await do()
        return JSONResponse(value, status)
    digest = hashlib.sha256(
        json.dumps([operation, body], sort_keys=True, default=str).encode()
    ).hexdigest()
    # The id of somebody who was removed may be used again.
    owner = f"{who.kind.value}:{who.id}:{who.name}"
    request = Once(owner=owner, key=key, digest=digest, now=now)
    stored = await state.write(_begin, request)
    if stored is not None:
        return _replay(*stored)
    try:
        status, value = await do()
    except ApiProblem as problem:
        if problem.status >= 500 and problem.code != "outcome-unknown":
            # Nothing was done, so it may be tried again.
            await state.write(_forget, request)
        elif problem.status in {401, 403, 429}:
            await state.write(_forget, request)
        else:
            await state.write(_finish, request, problem.status, problem.body())
        raise
    except Exception:
        await state.write(_finish, request, 504, _unknown().body())
        raise
    await state.write(_finish, request, status, value)
    return JSONResponse(value, status)


async def clean(state: State, now: Callable[[], datetime]) -> None:
    """Delete answers that are kept no longer, also if no request comes."""
    while True:
        await state.write(forget_old, now())
        await asyncio.sleep(_CLEAN_S)


def _replay(status: int, answer: str) -> Response:
    return Response(
        answer,
        status,
        headers={"Idempotency-Replayed": "true"},
        media_type=PROBLEM_JSON if status >= 400 else "application/json",
    )


def _unknown() -> ApiProblem:
    return ApiProblem(
        504,
        "outcome-unknown",
        "the first request with this key was not answered, but may have been carried"
        " out: look, and then use a new key",
    )


def _in_progress() -> ApiProblem:
    return ApiProblem(
        409,
        "idempotency-in-progress",
        "the first request with this Idempotency-Key is still under way: try again in a"
        " moment",
        headers={"Retry-After": "1"},
    )


def forget_old(conn: sa.Connection, now: datetime) -> None:
    """Delete answers that are kept no longer: they hold numbers and names."""
    old = IDEMPOTENCY.c.at < (now - KEPT).timestamp()
    conn.execute(sa.delete(IDEMPOTENCY).where(old))


def _begin(conn: sa.Connection, request: Once) -> tuple[int, str] | None:
    """Store the key; return the answer of the first request if there was one."""
    forget_old(conn, request.now)
    known = conn.execute(sa.select(IDEMPOTENCY).where(_is(request))).first()
    if known is None:
        new = sa.insert(IDEMPOTENCY).values(
            owner=request.owner,
            key=request.key,
            digest=request.digest,
            at=request.now.timestamp(),
        )
        try:
            conn.execute(new)
        except IntegrityError:
            # Another web process on the same database was first.
            raise _in_progress() from None
        return None
    if known.digest != request.digest:
        raise ApiProblem(
            422,
            "idempotency-key-reused",
            "this Idempotency-Key was used for another request: use a new one",
            pointer="Idempotency-Key",
            where="header",
        )
    if known.status is None:
        if known.at < (request.now - _LONGEST_REQUEST).timestamp():
            raise _unknown()
        raise _in_progress()
    return known.status, known.answer


def _finish(conn: sa.Connection, request: Once, status: int, value: Any) -> None:
    conn.execute(
        sa.update(IDEMPOTENCY)
        .where(_is(request))
        .values(status=status, answer=json.dumps(value))
    )


def _forget(conn: sa.Connection, request: Once) -> None:
    conn.execute(sa.delete(IDEMPOTENCY).where(_is(request)))


def _is(request: Once) -> sa.ColumnElement[bool]:
    return sa.and_(
        IDEMPOTENCY.c.owner == request.owner, IDEMPOTENCY.c.key == request.key
    )
