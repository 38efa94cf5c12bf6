# SPDX-License-Identifier: MIT
"""Lets scripts of named web sites use the API in a browser (CORS).

Without such sites no header is sent, and browsers refuse. Cookies are never admitted:
a script of another site needs a token.
"""

from __future__ import annotations

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from fastagi.web.settings import ApiSettings

_PATHS: Final = "/api/"
_SENT: Final = ("Authorization", "Content-Type", "Idempotency-Key", "Prefer")
_READ: Final = ("Idempotency-Replayed", "Preference-Applied", "Retry-After")
#: How long a browser remembers the answer, in seconds.
_MAX_AGE_S: Final = 600


class Cors:
    """Adds the headers to answers of the API, if sites are named in the settings."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._with_headers: ASGIApp = app
        if settings.cors_origins:
            self._with_headers = CORSMiddleware(
                app,
                allow_origins=settings.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=_SENT,
                expose_headers=_READ,
                max_age=_MAX_AGE_S,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        of_api = scope["type"] == "http" and scope["path"].startswith(_PATHS)
        await (self._with_headers if of_api else self._app)(scope, receive, send)
