# SPDX-License-Identifier: MIT
"""The pages' templates: Jinja2, with escaping always on, and texts to be translated.

A template starts with ``{% extends "base.html" %}`` and marks its texts with ``_()``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fastagi.web.parts import parts_of

_HERE: Final = Path(__file__).parent
#: Files that browsers may load without logging in.
STATIC: Final = _HERE / "console" / "static"

ENVIRONMENT: Final = jinja2.Environment(
    loader=jinja2.FileSystemLoader(
        [_HERE / "console" / "templates", _HERE / "people" / "templates"]
    ),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    extensions=["jinja2.ext.i18n"],
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.install_null_translations(newstyle=True)  # type: ignore[attr-defined]


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
    template = ENVIRONMENT.get_template(name)
    settings = parts_of(request).settings
    text = template.render(
        request=request,
        settings=settings,
        principal=getattr(request.state, "principal", None),
        **values,
    )
    # A page shows people's data: no browser or proxy may keep it.
    return HTMLResponse(text, status_code, headers={"Cache-Control": "no-store"})
