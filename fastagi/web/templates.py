# SPDX-License-Identifier: MIT
"""The pages' templates: Jinja2, with escaping always on, and texts to be translated.

A template starts with ``{% extends "base.html" %}`` and marks its texts with ``_()``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fastagi.web.console import rendering
from fastagi.web.console.languages import translations
from fastagi.web.console.navigation import pages_of
from fastagi.web.parts import parts_of

_HERE: Final = Path(__file__).parent
_FOLDERS: Final = (_HERE / "console" / "templates", _HERE / "people" / "templates")


@cache
def environment(language: str) -> jinja2.Environment:
    """Return the templates in a language."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    # Added by the extension.
    install: Any = made.install_gettext_translations  # type: ignore[attr-defined]
    install(translations(language), newstyle=True)
    made.globals["icon"] = rendering.icon
    return made


def page(
    request: Request, name: str, *, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """Return a page made from a template.

    Args:
        request: the request, which the template sees as ``request``.
        name: the file of the template.
        status_code: the status of the answer.
        values: what else the template sees.
    """
    principal = values.get("principal") or getattr(request.state, "principal", None)
    known = {
        "request": request,
        "settings": parts_of(request).settings,
        "csrf": parts_of(request).people.csrf_token(request),
        "principal": principal,
        "pages": pages_of(principal),
        **rendering.look_of(request),
    }
    text = environment(known["language"]).get_template(name).render(known | values)
    # A page shows people's data: no browser or proxy may keep it.
    return HTMLResponse(text, status_code, headers={"Cache-Control": "no-store"})
