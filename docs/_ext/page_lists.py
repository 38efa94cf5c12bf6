# SPDX-License-Identifier: MIT
"""Make the navigation of the site from the lists of pages in ``docs/index.md``.

In the index a line in bold begins a part of the site, and the list below it has its
pages. So the index can be read everywhere, and is the only list of the pages.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

from sphinx.application import Sphinx

#: What begins the part of the index that lists the pages.
HEADING = "## All pages"
_CAPTION = re.compile(r"\*\*(?P<text>[^*]+)\*\*")
_PAGE = re.compile(r"\[(?P<title>[^]]+)\]\((?P<path>[\w./-]+)\.md\)")


def parts(index: str) -> dict[str, list[str]]:
    """Return the paths of the pages of each part of the site.

    A path is relative to the index and has no suffix.
    """
    found: dict[str, list[str]] = {}
    pages: list[str] = []
    for line in index.partition(HEADING)[2].splitlines():
        caption = _CAPTION.fullmatch(line)
        if caption:
            pages = found.setdefault(_PAGE.sub(r"\g<title>", caption["text"]), [])
        for page in _PAGE.finditer(line):
            pages.append(page["path"])
    return found


def _add_navigation(app: Sphinx, docname: str, content: list[str]) -> None:
    if docname != app.config.root_doc:
        return
    folder = posixpath.dirname(docname)
    for caption, pages in parts(content[0]).items():
        rows = "\n".join(
            f"/{posixpath.normpath(posixpath.join(folder, path))}" for path in pages
        )
        content[0] += (
            f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{rows}\n```\n"
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", _add_navigation)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
