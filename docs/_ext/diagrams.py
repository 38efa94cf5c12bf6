# SPDX-License-Identifier: MIT
"""Draw the diagrams of the pages, fenced as ``mermaid``, when the site is built.

Each is drawn twice, for light and dark pages, and is part of the page: the site loads
nothing from other machines, and needs no script to show them. On a machine for which
there is no drawing library, pages show the text of the diagrams.
"""

from __future__ import annotations

import json
import re
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

try:
    import merman
except ImportError:
    # It is not made for all kinds of machines.
    merman = None

#: The class of a drawing in the page, with the theme of Mermaid.
THEMES = {"only-light": "neutral", "only-dark": "dark"}


def draw(source: str, theme: str) -> str:
    """Return a diagram as SVG.

    Raises:
        ValueError: the source is no diagram.
    """
    head = json.dumps({"theme": theme})
    try:
        svg = merman.Merman().render_svg(f"%%{{init: {head}}}%%\n{source}", None)
        return str(svg)
    except merman.MermanError as error:
        raise ValueError(str(error)) from error


class Diagram(SphinxDirective):
    """A fenced block ``mermaid``."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Return the drawings."""
        source = "\n".join(self.content)
        if merman is None:
            return [nodes.literal_block(source, source)]
        drawn: list[nodes.Node] = []
        for css_class, theme in THEMES.items():
            try:
                svg = draw(source, theme)
            except ValueError as error:
                raise self.error(f"the diagram can not be drawn: {error}") from error
            # Styles and markers of a drawing are found by its id.
            name = f"diagram-{self.env.new_serialno('diagram')}"
            found = re.search(r'<svg[^>]* id="([^"]+)"', svg)
            if found:
                svg = svg.replace(found[1], name)
            html = f'<div class="diagram {css_class}">{svg}</div>'
            drawn.append(nodes.raw("", html, format="html"))
        return drawn


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.add_directive("mermaid", Diagram)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
