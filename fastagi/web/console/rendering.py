# SPDX-License-Identifier: MIT
"""What the templates need: language and colours of a request, addresses, icons.

No page contains a script or a style of its own, as the Content-Security-Policy allows
neither: whatever gets into a page as text can not run.
"""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from attrs import frozen
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from fastagi.web.console.icons import ICONS
from fastagi.web.console.languages import LANGUAGES, best_language

_HERE: Final = Path(__file__).parent
STATIC: Final = _HERE / "static"
#: Cookies with what a person chose; they hold nothing else.
LANGUAGE_COOKIE: Final = "callback-queue-language"
THEME_COOKIE: Final = "callback-queue-theme"
THEMES: Final = ("auto", "light", "dark")
_A_YEAR: Final = "public, max-age=31536000, immutable"


@frozen
class StaticFile:
    """One static file, with the address that changes when it does."""

    contents: bytes
    media_type: str
    version: str


@lru_cache(maxsize=1)
def static_files() -> Mapping[str, StaticFile]:
    """Return the static files by their path below ``/static/``."""
    files = {}
    for path in STATIC.rglob("*"):
        if path.is_file():
            contents = path.read_bytes()
            files[path.relative_to(STATIC).as_posix()] = StaticFile(
                contents,
                mimetypes.guess_type(path.name)[0] or "text/plain",
                hashlib.sha256(contents).hexdigest()[:12],
            )
    return files


def static_response(name: str) -> Response:
    """Return a static file; 404 if there is none."""
    # The names are those of the files in the package, so no path leads out of it.
    if (file := static_files().get(name)) is None:
        return Response("not found", 404, media_type="text/plain")
    headers = {"Cache-Control": _A_YEAR, "X-Content-Type-Options": "nosniff"}
    return Response(file.contents, media_type=file.media_type, headers=headers)


def language_of(request: Request) -> str:
    """Return the language of a request: the chosen one, or the browser's."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    return best_language(request.headers.get("accept-language", ""))


def theme_of(request: Request) -> str:
    """Return the theme of a request: ``light`` or ``dark``, or ``auto``."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def local_path(path: str) -> str:
    """Return a path of this site; the first page if it leads elsewhere.

    Browsers take ``//`` and ``/\\`` for the beginning of another host's name.
    """
    plain = path.startswith("/") and path[1:2] not in ("/", "\\")
    if plain and path.isprintable() and "\\" not in path:
        return path
    return "/"


def look_of(request: Request) -> dict[str, Any]:
    """Return what every template needs: language, colours, addresses."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    path = request.url.path.removeprefix(root) or "/"
    query = request.url.query
    return {
        "language": language_of(request),
        "languages": LANGUAGES,
        "theme": theme_of(request),
        "themes": THEMES,
        "here": path + (f"?{query}" if query else ""),
        "url": lambda to, **values: address(root + to, values),
        "static": lambda name: static_address(root, name),
        # Of pages within the console.
        "section": "",
        "said": None,
        "now_s": "",
    }


def address(path: str, values: Mapping[str, object]) -> str:
    """Return a path with a query; values that are empty are left out."""
    given = {k: v for k, v in values.items() if v not in (None, "", False)}
    return f"{path}?{urlencode(given, doseq=True)}" if given else path


def static_address(root: str, name: str) -> str:
    """Return the address of a static file, which changes with its contents."""
    return f"{root}/static/{name}?v={static_files()[name].version}"


def icon(name: str) -> Markup:
    """Return an icon; it always stands beside a word, so readers aloud skip it."""
    return Markup(
        '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">'
        '<path d="{}"/></svg>'
    ).format(ICONS[name])
