# SPDX-License-Identifier: MIT
"""The facts that SECURITY.md relies on."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_TEXT = (_ROOT / "SECURITY.md").read_text()


def test_every_test_and_page_it_names_exists() -> None:
    tests = set(re.findall(r"`(tests/[\w/.]+)`", _TEXT))
    pages = set(re.findall(r"\]\(([\w/.]+)\)", _TEXT))
    assert len(tests) > 10
    assert pages
    missing = [name for name in tests | pages if not (_ROOT / name).exists()]
    assert missing == []
