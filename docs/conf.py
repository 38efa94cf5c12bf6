# SPDX-License-Identifier: MIT
"""The documentation as a web site: ``make docs`` builds it with Sphinx.

The root of the sources is the repository, since pages outside of ``docs/`` belong to
the site as well. Pages are plain Markdown that reads well without Sphinx, too.
"""

from __future__ import annotations

import sys
from pathlib import Path

_DOCS = Path(__file__).parent
sys.path.insert(0, str(_DOCS / "_ext"))
sys.path.insert(0, str(_DOCS.parent))

from fastagi import __version__  # noqa: E402

project = "callback-queue"
author = "The authors of asterisk-callback-queue"
version = release = __version__

extensions = ["myst_parser", "diagrams", "page_lists"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "sounds/README.md",
]
# Folders without pages; they need not be searched.
exclude_patterns = [
    *(".*", "build", "dist", "*.egg-info", "docs/_ext", "docs/_static"),
    *("dialplan", "etc", "fastagi", "freepbx", "packaging", "tests", "tools"),
]

# Links to a heading have the anchor that GitHub makes of it.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
highlight_language = "none"
nitpicky = True

html_theme = "furo"
html_title = f"callback-queue {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
# The start page is docs/index.html; the folder itself leads there.
html_additional_pages = {"index": "to_start.html"}
templates_path = ["_templates"]
