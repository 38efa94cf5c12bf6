# SPDX-License-Identifier: MIT
"""The reference pages say what the program does: they are made from it."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from tests.docs.blocks import ROOT


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "reference", ROOT / "tools/reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_REFERENCE = _tool()


@pytest.mark.parametrize("page", _REFERENCE.PAGES)
def test_page_is_what_the_program_says(page: str) -> None:
    """If it fails: python tools/reference.py."""
    text = (ROOT / f"docs/{page}.md").read_text("utf-8")
    assert _REFERENCE.generated(page, text) == text


def test_every_context_and_answer_of_the_dialplan_is_explained() -> None:
    text = (ROOT / "docs/dialplan.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 25
    assert [row for row in rows if row.rstrip("| ").endswith("`")] == []
