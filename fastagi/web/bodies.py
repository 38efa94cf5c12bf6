# SPDX-License-Identifier: MIT
"""Limits the bodies of requests: they are read before anybody is asked who they are."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Maximum length for the API, in bytes: a thousand ids and a long note.
_API: Final = 64 * 1024
#: The same for pages: a settings file of 256 kB in a form, each of whose characters may
#: take three bytes.
_PAGES: Final = 1024 * 1024


class BodyLimit:
    """Ends the reading of a body that is too long with the status 413."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = _API if scope["path"].startswith("/api/") else _PAGES
        told = Headers(scope=scope).get("content-length", "")
        is_long = told.isdecimal() and (len(told) > 15 or int(told) > limit)
        got = 0

        async def limited_receive() -> Message:
            nonlocal got
            if is_long:
                raise _too_long(limit)
            message = await receive()
            got += len(message.get("body", b""))
            if got > limit:
                raise _too_long(limit)
            return message

        await self._app(scope, limited_receive, send)


def _too_long(limit: int) -> HTTPException:
    # FastAPI passes on this class while it reads a body.
    return HTTPException(
        413,
        f"the body may have up to {limit:,} bytes",
        headers={"Connection": "close"},
    )
