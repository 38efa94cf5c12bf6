# SPDX-License-Identifier: MIT
"""A fixture that makes garbage collections fast; import it into a conftest.py."""

from __future__ import annotations

import pytest

from fastagi.garbage import exclude_existing_objects


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Exclude all existing objects from garbage collections.

    Tests that kill a service collect its remains, thousands of times in all. Without
    this, each collection would visit every module, every test and everything that
    earlier tests left in memory.
    """
    exclude_existing_objects()
