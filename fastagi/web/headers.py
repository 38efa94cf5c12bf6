# SPDX-License-Identifier: MIT
"""Headers of every answer, and the check of the header Host of every request."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastagi.web.settings import WebSettings

#: Scripts, styles and pictures only from this process, none of them inside of a page:
#: text that an attacker brings into a page is never run.
CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Browsers use https only for a year, if they reached the process by https.
_HSTS: Final = "max-age=31536000"


class SecurityHeaders:
    """Adds the headers to every answer that does not have them."""

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._headers = dict(_HEADERS)
        if settings.is_https:
            self._headers["Strict-Transport-Security"] = _HSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ExpectedHost:
    """Refuses requests for other hosts.

    Otherwise a page of an attacker could reach a process on the administrator's own
    machine, through a name that leads to 127.0.0.1 (DNS rebinding), and addresses that
    are made from the header could lead elsewhere.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._hosts = {urlsplit(settings.origin).hostname or ""}
        self._through_socket = settings.web.socket is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            if not self._is_expected(host):
                answer = PlainTextResponse(
                    "This server is not responsible for the host that was asked for:"
                    " correct web.public_url in its settings, or the address.\n",
                    status_code=421,
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_expected(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in self._hosts or name == "localhost" or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    """Whether a name is an address of this machine, which no foreign page can have."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
