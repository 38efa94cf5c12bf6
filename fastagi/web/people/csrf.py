# SPDX-License-Identifier: MIT
"""Protection of a person's session against forms and scripts of other sites.

A request that changes something with a session cookie needs a token that belongs to the
session, as the form field ``csrf_token`` or the header ``X-CSRF-Token``, and must come
from a page of this process (``Sec-Fetch-Site``, ``Origin``). A request with an API
token needs neither: no foreign site can make a browser send it.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from fastagi.web.people import keys
from fastagi.web.people.access import Forbidden
from fastagi.web.settings import WebSettings

HEADER: Final = "x-csrf-token"
FIELD: Final = "csrf_token"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


class ForeignRequest(Forbidden):
    """The request does not come from a page of this process."""


def token_for(key: bytes, cookie: str) -> str:
    """Return the token that belongs to a session, or to a browser that logs in."""
    return keys.signature(key, "csrf", keys.hash_of(cookie))


async def check(
    request: Request, settings: WebSettings, key: bytes, cookie: str
) -> None:
    """Check a request that changes something.

    Args:
        request: the request.
        settings: the address of the pages.
        key: the key of this installation.
        cookie: the session's id, or what binds the login form to the browser.

    Raises:
        ForeignRequest: it does not come from a page of this process.
    """
    check_origin(request, settings)
    sent = request.headers.get(HEADER, "")
    if not sent and request.headers.get("content-type", "").startswith(_FORMS):
        value = (await request.form()).get(FIELD, "")
        sent = value if isinstance(value, str) else ""
    if not cookie or not keys.same(sent, token_for(key, cookie)):
        raise ForeignRequest(
            "the form is too old, or is not one of these pages",
            "load the page again, and repeat what you did",
        )


def check_origin(request: Request, settings: WebSettings) -> None:
    """Check what the browser says about the page that sent a request.

    Raises:
        ForeignRequest: the page is not one of this process.
    """
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    # On this machine itself the host may be written in several ways. It was checked.
    here = {settings.origin, f"http://{request.headers.get('host', '')}"}
    if settings.is_https:
        here = {settings.origin}
    if site != "same-origin" or (origin is not None and origin.lower() not in here):
        raise ForeignRequest(
            "the request comes from a page of another site",
            "open the console itself; if this is its page, correct web.public_url in"
            " the settings of the web process",
        )
