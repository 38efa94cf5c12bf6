# SPDX-License-Identifier: MIT
"""The blocks of the documentation, and which test tries each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).parents[2]
#: All pages of the documentation, and what else people read first.
PAGES: Final = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"),
    "sounds/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md"))),
)
_FENCE: Final = re.compile(r"(?P<indent> *)```(?P<language>\w*)$")


@frozen
class Block:
    """A block of code in a page.

    Attributes:
        page: the page's path.
        line: the line of its first line.
        language: what is written after the fence; "" for drawings.
        text: its lines, without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(page: str) -> Iterator[Block]:
    lines = (ROOT / page).read_text("utf-8").splitlines()
    start, language, indent = 0, None, ""
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if language is None and fence:
            start, language, indent = number + 1, fence["language"], fence["indent"]
        elif fence and language is not None:
            text = "".join(
                f"{one.removeprefix(indent)}\n" for one in lines[start - 1 : number - 1]
            )
            yield Block(page, start, language, text)
            language = None
    assert language is None, f"{page}:{start}: the block has no end"


BLOCKS: Final = tuple(block for page in PAGES for block in _blocks(page))


def blocks_below(page: str, heading: str) -> list[str]:
    """Return the texts of the shell blocks below a heading of a page, in order."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    first = lines.index(f"## {heading}") + 1
    ends = (n for n, line in enumerate(lines, 1) if n > first and line[:3] == "## ")
    last = next(ends, len(lines))
    return [b.text for b in blocks(page, "sh") if first < b.line < last]


def blocks(page: str, language: str) -> list[Block]:
    """Return the blocks of a page in a language, in their order."""
    found = [b for b in BLOCKS if (b.page, b.language) == (page, language)]
    assert found, f"{page} has no block in {language}"
    return found
