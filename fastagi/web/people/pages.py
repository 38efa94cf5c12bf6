# SPDX-License-Identifier: MIT
"""The pages to log in and out, to set a password, and of one's own account."""

from __future__ import annotations

import logging
import secrets
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Form, Request
from starlette.responses import RedirectResponse, Response

from fastagi.errors import CallbackError
from fastagi.web.console.languages import N_, translations
from fastagi.web.console.rendering import language_of
from fastagi.web.parts import WebParts, parts_of
from fastagi.web.people import cookies
from fastagi.web.people.access import (
    Forbidden,
    Kind,
    NotLoggedIn,
    Principal,
    current_principal,
)
from fastagi.web.people.guard import check_form
from fastagi.web.people.oidc import LOGIN_S, OidcProblem
from fastagi.web.people.passwords import LONGEST, SHORTEST, WeakPassword
from fastagi.web.people.people import Account, LoginLocked, LoginRefused
from fastagi.web.people.rates import TooManyRequests
from fastagi.web.people.users import UserProblem
from fastagi.web.templates import page

_log = logging.getLogger(__name__)

_HOME: Final = "/"
#: How long a browser keeps the cookie of a wall link, in seconds: as long as it may.
_WALL_S: Final = 400 * 86400.0

REFUSED: Final = N_("The name or the password is wrong.")
NO_OIDC: Final = N_(
    "The login by the identity provider did not work. Begin again. If it stays so, show"
    " this to an administrator:"
)
LOCKED: Final = N_("Too many logins have failed. Try again in %(wait_s)s s.")

#: Longest texts of the forms.
Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=1000)]
Target = Annotated[str, Form(alias="next", max_length=2000)]


def safe_target(target: str) -> str:
    """Return the path to show after a login: only one of this process's own."""
    if (
        not target.startswith("/")
        or target.startswith(("//", "/login", "/logout"))
        or "\\" in target
        or not target.isprintable()
        or not target.isascii()
        or len(target) > 2000
    ):
        return _HOME
    return target


def _translated(request: Request, text: str) -> str:
    """Return a text in the language of a request."""
    return translations(language_of(request)).gettext(text)


def _moment(at_s: float) -> str:
    """Return a time for people."""
    return f"{datetime.fromtimestamp(at_s).astimezone():%Y-%m-%d %H:%M %Z}"


def person(
    principal: Annotated[Principal | None, Depends(current_principal)],
) -> Principal:
    """Return the person who makes a request; also for ``Depends``.

    Raises:
        NotLoggedIn: nobody has logged in.
        Forbidden: it is no person.
    """
    if principal is None or principal.kind is Kind.WALL:
        raise NotLoggedIn
    if principal.kind is not Kind.PERSON:
        raise Forbidden("only a person has an account")
    return principal


Person = Annotated[Principal, Depends(person)]


def router(parts: WebParts) -> APIRouter:
    """Return the routes of the pages."""
    routes = APIRouter(include_in_schema=False)
    settings = parts.settings
    people = parts.people

    def with_form(request: Request, template: str, **values: Any) -> Response:
        """Return a page with a form that its browser alone can send."""
        cookie = cookies.read(request, settings, cookies.SESSION) or cookies.read(
            request, settings, cookies.FORM
        )
        fresh = "" if cookie else secrets.token_urlsafe()
        answer = page(
            request, template, csrf=people.form_token(cookie or fresh), **values
        )
        if fresh:
            cookies.write(answer, settings, cookies.FORM, fresh)
        return answer

    def logged_in(key: str, target: str) -> Response:
        """Return the answer that begins a session."""
        answer = RedirectResponse(safe_target(target), 303)
        return _with_session(answer, key)

    def _with_session(answer: Response, key: str) -> Response:
        cookies.write(
            answer,
            settings,
            cookies.SESSION,
            key,
            max_age_s=settings.login.lifetime.total_seconds(),
        )
        cookies.delete(answer, settings, cookies.FORM)
        return answer

    def going_on(request: Request, target: str) -> Response:
        """Return a page that leads on.

        A browser that comes from another site sends no cookies along a redirect
        (SameSite=Strict), but does so from a page of this process.
        """
        return page(request, "continue.html", target=target)

    def login_page(
        request: Request,
        target: str,
        *,
        status_code: int = 200,
        error: str = "",
        empty: bool = False,
    ) -> Response:
        oidc = parts_of(request).oidc
        return with_form(
            request,
            "login.html",
            status_code=status_code,
            target=target,
            error=error,
            empty=empty,
            passwords=settings.login.passwords,
            oidc=oidc.name if oidc.is_enabled else "",
            oidc_address=f"/login/oidc?{urlencode({'next': target})}",
        )

    @routes.get("/login")
    async def login(request: Request) -> Response:
        target = safe_target(request.query_params.get("next", _HOME))
        who = request.state.principal
        if who is not None and who.kind is Kind.PERSON:
            return RedirectResponse(target, 303)
        again = "again" in request.query_params
        if request.headers.get("sec-fetch-site") == "cross-site" and not again:
            query = urlencode({"next": target, "again": "1"})
            return going_on(request, f"/login?{query}")
        if account := people.proxy_account(request):
            return await by_proxy(request, account, target)
        return login_page(request, target, empty=await people.nobody_yet())

    async def by_proxy(request: Request, account: Account, target: str) -> Response:
        """Log in the user whom the web server in front names."""
        try:
            key = await people.log_in_account(account, "proxy", people.browser(request))
        except LoginRefused as error:
            return login_page(request, target, status_code=403, error=str(error))
        return _with_session(going_on(request, target), key)

    @routes.post("/login", dependencies=[Depends(check_form)])
    async def log_in(
        request: Request, name: Name, password: Password, target: Target = _HOME
    ) -> Response:
        target = safe_target(target)
        try:
            key = await people.log_in(name, password, people.browser(request))
        except LoginLocked as error:
            words = _translated(request, LOCKED) % {"wait_s": error.wait_s}
            answer = login_page(request, target, status_code=429, error=words)
            answer.headers["Retry-After"] = str(error.wait_s)
            return answer
        except LoginRefused:
            words = _translated(request, REFUSED)
            return login_page(request, target, status_code=401, error=words)
        return logged_in(key, target)

    @routes.post("/logout")
    async def logout(request: Request, who: Person) -> Response:
        await people.log_out(who, people.address(request))
        answer = RedirectResponse("/login", 303)
        cookies.delete(answer, settings, cookies.SESSION)
        answer.headers["Clear-Site-Data"] = '"cache"'
        return answer

    # -- one-time links -----------------------------------------------------

    async def link_page(
        request: Request,
        key: str,
        *,
        name: str = "",
        status_code: int = 200,
        error: str = "",
    ) -> Response:
        link = await people.link(key)
        if link is None:
            empty = await people.nobody_yet()
            return page(request, "link-ended.html", status_code=410, empty=empty)
        return with_form(
            request,
            "set-password.html",
            status_code=status_code,
            action=f"/login/link/{key}",
            is_first=link.user is None,
            user=name if link.user is None else link.user.name,
            error=error,
            shortest=SHORTEST,
            longest=LONGEST,
        )

    @routes.get("/login/link/{key}")
    async def link(request: Request, key: str) -> Response:
        return await link_page(request, key)

    @routes.post("/login/link/{key}", dependencies=[Depends(check_form)])
    async def use_link(
        request: Request, key: str, password: Password, again: Password, name: Name = ""
    ) -> Response:
        try:
            if password != again:
                raise WeakPassword("the two passwords differ", "type them again")
            session = await people.use_link(
                key, name, password, people.browser(request)
            )
        except (WeakPassword, UserProblem, LoginRefused) as error:
            return await link_page(
                request, key, name=name, status_code=422, error=str(error)
            )
        return logged_in(session, _HOME)

    # -- the identity provider ----------------------------------------------

    @routes.get("/login/oidc")
    async def oidc(request: Request) -> Response:
        target = safe_target(request.query_params.get("next", _HOME))
        if not parts_of(request).oidc.is_enabled:
            return RedirectResponse("/login", 303)
        try:
            where, cookie = await parts_of(request).oidc.begin(target)
        except OidcProblem as error:
            _log.error("login by the identity provider: %s", error)
            words = f"{_translated(request, NO_OIDC)} {error}"
            return login_page(request, target, status_code=502, error=words)
        answer = RedirectResponse(where, 303)
        cookies.write(
            answer,
            settings,
            cookies.OIDC,
            cookie,
            max_age_s=LOGIN_S,
            from_other_sites=True,
        )
        return answer

    @routes.get("/login/oidc/callback")
    async def oidc_callback(request: Request) -> Response:
        cookie = cookies.read(request, settings, cookies.OIDC)
        answer: Response
        try:
            if not parts_of(request).oidc.is_enabled:
                raise OidcProblem("there is no identity provider in the settings")
            account, target = await parts_of(request).oidc.finish(
                cookie, request.query_params
            )
            key = await people.log_in_account(account, "oidc", people.browser(request))
        except OidcProblem as error:
            _log.warning("login by the identity provider: %s", error)
            words = f"{_translated(request, NO_OIDC)} {error}"
            answer = login_page(request, _HOME, status_code=403, error=words)
        except LoginRefused as error:
            answer = login_page(request, _HOME, status_code=403, error=str(error))
        else:
            answer = _with_session(going_on(request, safe_target(target)), key)
        cookies.delete(answer, settings, cookies.OIDC)
        return answer

    # -- the wall -----------------------------------------------------------

    @routes.get("/wall/open/{text}")
    async def open_wall(request: Request, text: str) -> Response:
        if await people.wall_principal(text) is None:
            return page(request, "link-ended.html", status_code=410, empty=False)
        answer = going_on(request, "/wall")
        cookies.write(answer, settings, cookies.WALL, text, max_age_s=_WALL_S)
        return answer

    # -- one's own account --------------------------------------------------

    async def account_page(
        request: Request,
        who: Principal,
        *,
        status_code: int = 200,
        error: str = "",
        done: str = "",
    ) -> Response:
        return with_form(
            request,
            "account.html",
            status_code=status_code,
            sessions=[
                {
                    "id": one.id,
                    "seen": _moment(one.seen_at),
                    "began": _moment(one.created_at),
                    "address": one.address,
                    "browser": one.browser,
                }
                for one in await people.sessions_of(who)
            ],
            has_password=await people.has_password(who),
            error=error,
            done=done,
            shortest=SHORTEST,
            longest=LONGEST,
        )

    @routes.get("/account")
    async def account(request: Request, who: Person) -> Response:
        return await account_page(request, who)

    @routes.post("/account/password")
    async def password(
        request: Request,
        who: Person,
        old: Password,
        password: Password,
        again: Password,
    ) -> Response:
        try:
            if password != again:
                raise WeakPassword("the two passwords differ", "type them again")
            key = await people.change_password(
                who, old, password, people.browser(request)
            )
        except TooManyRequests as error:
            answer = await account_page(request, who, status_code=429, error=str(error))
            answer.headers["Retry-After"] = str(error.wait_s)
            return answer
        except CallbackError as error:
            return await account_page(request, who, status_code=422, error=str(error))
        return logged_in(key, "/account")

    @routes.post("/account/sessions/{session_id}/end")
    async def end_session(request: Request, who: Person, session_id: int) -> Response:
        await people.end_session(who, session_id, people.address(request))
        return RedirectResponse("/account", 303)

    @routes.post("/account/sessions/end-others")
    async def end_others(request: Request, who: Person) -> Response:
        await people.end_other_sessions(who, people.address(request))
        return RedirectResponse("/account", 303)

    return routes
