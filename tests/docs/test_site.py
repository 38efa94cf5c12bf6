# SPDX-License-Identifier: MIT
"""The documentation site, except its building: `make docs` does that."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.docs.blocks import BLOCKS, ROOT, Block

_DIAGRAMS = [block for block in BLOCKS if block.language == "mermaid"]


@pytest.fixture(autouse=True)
def extensions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tests import the extensions of the site."""
    monkeypatch.syspath_prepend(str(ROOT / "docs/_ext"))
    yield
    for name in ("diagrams", "page_lists"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("block", _DIAGRAMS, ids=str)
def test_diagrams_are_drawn(block: Block) -> None:
    import diagrams

    if diagrams.merman is None:
        pytest.skip("there is no drawing library for this kind of machine")
    for theme in diagrams.THEMES.values():
        drawn = diagrams.draw(block.text, theme)
        assert drawn.startswith("<svg")
        # Each box and each arrow with words.
        assert drawn.count("<g") > block.text.count("-->")


def test_a_diagram_with_a_mistake_is_reported() -> None:
    import diagrams

    if diagrams.merman is None:
        pytest.skip("there is no drawing library for this kind of machine")
    with pytest.raises(ValueError):
        diagrams.draw("flowchart TD\n  a -- ", "dark")


def test_navigation_has_the_parts_and_pages_of_the_index() -> None:
    import page_lists

    parts = page_lists.parts((ROOT / "docs/index.md").read_text("utf-8"))
    assert list(parts) == [
        *("Start", "How to", "What people hear", "Reference", "Explanation"),
        "Glossary",
    ]
    assert parts["Start"][0] == "quickstart"
    assert "settings" in parts["Reference"]
    assert parts["Glossary"] == ["glossary"]
