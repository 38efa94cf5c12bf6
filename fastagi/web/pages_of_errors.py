# SPDX-License-Identifier: MIT
"""Answers for errors: a page for browsers, problem+json (RFC 9457) for programs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fastagi.store.errors import StoreUnavailable
from fastagi.web.api import routes
from fastagi.web.api.problems import (
    PROBLEM_JSON,
    ApiProblem,
    field_error,
    problem_body,
)
from fastagi.web.console.languages import N_, translations
from fastagi.web.console.rendering import language_of
from fastagi.web.people.access import Forbidden, NotLoggedIn, RightMissing
from fastagi.web.people.rates import TooManyRequests
from fastagi.web.records import OtherVersion, RecordsUnavailable, TooSlow
from fastagi.web.templates import page

_log = logging.getLogger(__name__)

#: What a page says for a status; for others the detail of the error.
_WORDS: Final[Mapping[int, str]] = {
    404: N_("There is no such page."),
    405: N_("This page can not be used in this way."),
    500: N_("Something failed. The log of callback-queue-web has the details."),
}
#: What a page says if a right is missing. Names of rights are for programs.
_NO_RIGHT: Final = N_(
    "Your user may not do this. Ask an administrator of this console to change your"
    " role or your queues."
)
_TITLES: Final[Mapping[int, str]] = {
    403: N_("Not allowed"),
    404: N_("Not found"),
    429: N_("Too many requests"),
    500: N_("A fault"),
    503: N_("Not possible now"),
}

#: The codes of errors that Starlette raises.
_CODES: Final[Mapping[int, str]] = {
    404: "not-found",
    405: "method-not-allowed",
    413: "too-long",
    500: "failed",
}


def wants_page(request: Request) -> bool:
    """Whether the one who asks is a browser that shows a page."""
    path = request.url.path
    if path.startswith("/api/") or path == "/metrics":
        return False
    return "text/html" in request.headers.get("accept", "")


def problem(
    status: int,
    code: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """Return an error as problem+json."""
    body = {**problem_body(status, code, detail), **more}
    return JSONResponse(body, status, headers=headers, media_type=PROBLEM_JSON)


def error_answer(
    request: Request,
    status: int,
    code: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an error as a page or as problem+json, as the request wants it."""
    if not wants_page(request):
        return problem(status, code, detail, headers=headers)
    translated = translations(language_of(request)).gettext
    answer = page(
        request,
        "error.html",
        status_code=status,
        status=status,
        title=translated(_TITLES.get(status, HTTPStatus(status).phrase)),
        detail=translated(_WORDS.get(status, detail)),
    )
    answer.headers.update(headers or {})
    return answer


def _login_address(path: str, query: str) -> str:
    target = f"{path}?{query}" if query else path
    return f"/login?{urlencode({'next': target})}"


def install(app: FastAPI) -> None:
    """Answer every error of the application."""

    @app.exception_handler(NotLoggedIn)
    async def not_logged_in(request: Request, error: NotLoggedIn) -> Response:
        if request.headers.get("hx-request") == "true":
            # A part of a page: the whole page goes to the login page.
            shown = urlsplit(request.headers.get("hx-current-url", ""))
            where = _login_address(shown.path, shown.query)
            return Response(status_code=401, headers={"HX-Redirect": where})
        if wants_page(request) and not error.has_token:
            if request.method == "GET":
                where = _login_address(request.url.path, request.url.query)
            else:
                where = _login_address("/", "")
            return RedirectResponse(where, 303)
        headers = {"WWW-Authenticate": "Bearer"}
        return error_answer(request, 401, "not-logged-in", str(error), headers=headers)

    @app.exception_handler(TooManyRequests)
    async def too_many(request: Request, error: TooManyRequests) -> Response:
        headers = {"Retry-After": str(error.wait_s)}
        return error_answer(request, 429, "busy", str(error), headers=headers)

    @app.exception_handler(Forbidden)
    async def forbidden(request: Request, error: Forbidden) -> Response:
        for_people = isinstance(error, RightMissing) and wants_page(request)
        detail = _NO_RIGHT if for_people else str(error)
        return error_answer(request, 403, "forbidden", detail)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code) or "bad-request"
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = routes.allowed_methods(request.url.path)
            headers |= {"Allow": allowed} if allowed else {}
        return error_answer(
            request, error.status_code, code, error.detail, headers=headers
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        errors = [
            field_error(str(one["loc"][0]), _keys(one), one["msg"])
            for one in error.errors()
        ]
        detail = "; ".join(
            f"{'.'.join(map(str, _keys(one))) or one['loc'][0]}: {one['msg']}"
            for one in error.errors()
        )
        if not wants_page(request):
            return problem(422, "bad-request", detail, errors=errors)
        return error_answer(request, 422, "bad-request", detail)

    @app.exception_handler(ApiProblem)
    async def api_problem(request: Request, error: ApiProblem) -> Response:
        if not wants_page(request):
            return JSONResponse(
                error.body(), error.status, error.headers, media_type=PROBLEM_JSON
            )
        return error_answer(
            request, error.status, error.code, error.detail, headers=error.headers
        )

    @app.exception_handler(RecordsUnavailable)
    async def no_records(request: Request, error: RecordsUnavailable) -> Response:
        _log.error("%s %s: %s", request.method, request.url.path, error)
        code = {OtherVersion: "other-version", TooSlow: "too-slow"}
        return error_answer(
            request,
            503,
            code.get(type(error), "database"),
            str(error),
            headers={"Retry-After": "5"},
        )

    @app.exception_handler(StoreUnavailable)
    async def no_database(request: Request, error: StoreUnavailable) -> Response:
        _log.error("%s %s: %s", request.method, request.url.path, error)
        detail = "The database of the web process can not be used. Try again soon."
        return error_answer(
            request, 503, "database", detail, headers={"Retry-After": "5"}
        )


def _keys(error: Mapping[str, Any]) -> list[str | int]:
    """Return the keys that lead to the field of a mistake, without the part it is in.

    The place of a mistake in JSON that can not be read is a number of a character.
    """
    return [] if error["type"] == "json_invalid" else list(error["loc"][1:])


class Failures:
    """Logs an exception that no handler expects, and answers with status 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = False

        async def noting_send(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if began:
                # The client sees from the missing end that the answer is not whole.
                raise
            answer = error_answer(Request(scope), 500, "failed", _WORDS[500])
            await answer(scope, receive, send)
