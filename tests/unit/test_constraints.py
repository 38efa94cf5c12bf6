# SPDX-License-Identifier: MIT
"""The pinned versions can be installed on the oldest system that is supported."""

from __future__ import annotations

from importlib.metadata import metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

_FILE: Final = Path(__file__).parents[2] / "constraints.txt"
#: The Python of Debian 12.
_OLDEST: Final = "3.11.2"


def _pinned() -> list[Requirement]:
    lines = (line.split("#")[0].strip() for line in _FILE.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


@pytest.mark.parametrize("pinned", _pinned(), ids=lambda pinned: pinned.name)
def test_a_pinned_version_can_be_installed_on_debian_12(pinned: Requirement) -> None:
    if pinned.marker is not None and not pinned.marker.evaluate():
        return
    found = metadata(pinned.name)
    assert pinned.specifier.contains(found["Version"]), "another version is installed"
    assert _OLDEST in SpecifierSet(found["Requires-Python"] or "")
