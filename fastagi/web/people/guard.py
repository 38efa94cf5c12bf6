# SPDX-License-Identifier: MIT
"""What happens before every operation and page: who is it, how often, and from where.

``guard`` is a dependency of the whole application, so that no route can forget it.
"""

from __future__ import annotations

from fastapi import Request

from fastagi.web.parts import parts_of
from fastagi.web.people import cookies, csrf
from fastagi.web.people.access import Forbidden, Kind, NotLoggedIn


async def guard(request: Request) -> None:
    """Find out who makes a request, count it, and protect the session.

    ``request.state.principal`` is who makes it; None: nobody has logged in.

    Raises:
        TooManyRequests: the client has sent too many.
        ForeignRequest: a page of another site has sent it.
    """
    parts = parts_of(request)
    people = parts.people
    request.state.principal = None
    request.state.login_error = None
    try:
        request.state.principal = await people.authenticate(request)
    except NotLoggedIn as error:
        request.state.login_error = error
    principal = request.state.principal
    people.limit(request, principal)
    if request.method in csrf.SAFE or people.sends_token(request):
        return
    if principal is not None and principal.kind is Kind.WALL:
        raise Forbidden("a wall link only shows the wall")
    if cookies.read(request, parts.settings, cookies.SESSION):
        await check_form(request)


async def check_form(request: Request) -> None:
    """Check that a page of this process has sent a form; also before the login.

    Raises:
        ForeignRequest: it was not one of these pages.
    """
    parts = parts_of(request)
    cookie = cookies.read(request, parts.settings, cookies.SESSION) or cookies.read(
        request, parts.settings, cookies.FORM
    )
    await csrf.check(request, parts.settings, parts.people.key, cookie)
