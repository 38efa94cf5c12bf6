# SPDX-License-Identifier: MIT
"""The cookies of the process, and their flags.

With https they have the prefix ``__Host-``: the browser sends them only by https and to
this host, and no other host can set them. Without https (on 127.0.0.1) a cookie can not
have the prefix.
"""

from __future__ import annotations

from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from fastagi.web.settings import WebSettings

SESSION: Final = "cbq_session"
WALL: Final = "cbq_wall"
#: Binds the login form to the browser, before there is a session.
FORM: Final = "cbq_form"
#: What a login by an identity provider began with.
OIDC: Final = "cbq_oidc"


def _full(settings: WebSettings, name: str) -> str:
    return f"__Host-{name}" if settings.is_https else name


def read(request: HTTPConnection, settings: WebSettings, name: str) -> str:
    """Return the value of a cookie; empty if there is none."""
    return request.cookies.get(_full(settings, name), "")


def write(
    response: Response,
    settings: WebSettings,
    name: str,
    value: str,
    *,
    max_age_s: float | None = None,
    from_other_sites: bool = False,
) -> None:
    """Set a cookie.

    Args:
        response: the answer that sets it.
        settings: whether https is used.
        name: its name without prefix.
        value: its value.
        max_age_s: how long it is kept; None: until the browser is closed.
        from_other_sites: whether it is also sent when a link of another site leads
            here.
    """
    response.set_cookie(
        _full(settings, name),
        value,
        max_age=None if max_age_s is None else round(max_age_s),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="lax" if from_other_sites else "strict",
    )


def delete(response: Response, settings: WebSettings, name: str) -> None:
    """Delete a cookie."""
    response.delete_cookie(
        _full(settings, name),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="strict",
    )
