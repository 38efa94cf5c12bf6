# SPDX-License-Identifier: MIT
"""All operations of the API, and its description as OpenAPI 3.1."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse, Response

from fastagi import __version__
from fastagi.web.api import (
    events,
    health,
    live,
    models,
    numbers,
    queues,
    reports,
    tasks,
    webhooks,
)
from fastagi.web.api.common import PREFIX
from fastagi.web.api.problems import CODES
from fastagi.web.people import cookies
from fastagi.web.signals.messages import MESSAGES

__all__ = ["PREFIX", "ROUTERS", "allowed_methods", "openapi"]

_DESCRIPTION: Final = """\
Everything that the console shows and does, for programs.

**Who asks.** Send a token: `Authorization: Bearer cbq_...`. An administrator makes one
with `callback-queue web token add`. A token has rights (scopes), perhaps queues, and
perhaps an end. Things of other queues do not exist for it (404).

**Errors** are `application/problem+json` (RFC 9457) with a `code` for programs, and
`errors` with pointers to the fields that are wrong. The codes:

{codes}

**Lists** come in pages, the latest first. `next_cursor` of a page is `cursor` of the
next one, with the same filters.

**Repeating a request.** Send `Idempotency-Key` with every request that changes
something. Then it is safe to repeat it when no answer came: it is carried out once.

**Later versions** may add operations, fields, and codes. Programs should ignore what
they do not know.
"""
_TAGS: Final = [
    {"name": "Tasks", "description": "Callbacks: who is to be called back."},
    {"name": "Queues", "description": "Queues, as they are now."},
    {"name": "Numbers", "description": "Blocked numbers, and refused requests."},
    {"name": "Reports", "description": "What was, counted."},
    {"name": "Live", "description": "What happens now."},
    {"name": "Events", "description": "What happened to tasks, in order."},
    {"name": "Webhooks", "description": "Other programs that are told of events."},
    {"name": "Health", "description": "Whether everything works."},
]


_PARTS: Final = (queues, tasks, numbers, reports, live, events, webhooks, health)


def allowed_methods(path: str) -> str:
    """Return the value of the header Allow for a path; empty if there is none.

    Starlette knows only those of the first route with the path.
    """
    methods = {
        method
        for part in _PARTS
        for route in part.router.routes
        if isinstance(route, APIRoute) and route.path_regex.match(path)
        for method in route.methods or ()
    }
    return ", ".join(sorted(methods))


_description: Final = APIRouter(prefix=PREFIX)


@_description.get("/openapi.json", include_in_schema=False)
async def read_openapi() -> Response:
    """Return the description of the API."""
    return Response(_described(), media_type="application/json")


@cache
def _described() -> bytes:
    """Return the description as it is sent; to make it takes a while."""
    return bytes(JSONResponse(openapi()).body)


#: All operations of the API.
ROUTERS: Final = (*(part.router for part in _PARTS), _description)


def openapi() -> dict[str, Any]:
    """Return the description of the API."""
    codes = "\n".join(f"- `{code}`: {words}" for code, words in CODES.items())
    value = get_openapi(
        title="callback-queue",
        version=__version__,
        summary="Queue callback for Asterisk",
        description=_DESCRIPTION.format(codes=codes),
        license_info={"name": "MIT", "identifier": "MIT"},
        routes=[route for part in _PARTS for route in part.router.routes],
        tags=_TAGS,
    )
    components = value.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    _, problems = models_json_schema(
        [(model, "serialization") for model in (models.Problem, *MESSAGES)],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(problems["$defs"])
    # The errors of this API have the class Problem.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    value["webhooks"] = webhooks.openapi_webhooks()
    components["securitySchemes"] = {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of `callback-queue web token add`.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": cookies.SESSION,
            "description": "The session of a person who has logged in to the console.",
        },
    }
    return value
