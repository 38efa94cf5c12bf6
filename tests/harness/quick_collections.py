# SPDX-License-Identifier: MIT
"""A fixture that makes garbage collections fast; import it into a conftest.py."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Exclude all existing objects from garbage collection (``gc.freeze``).

    Tests that kill a service collect what is left of it, thousands of times in all;
    each time would look at every module, every test, and all that tests before have
    left in memory.
    """
    gc.collect()
    gc.freeze()
