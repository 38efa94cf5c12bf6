# SPDX-License-Identifier: MIT
"""Let the garbage collector look at little; import the fixture into a conftest.py."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Take what is there out of the garbage collector's sight.

    Tests that kill a service collect what is left of it, thousands of times in all;
    each time would look at every module, every test, and all that tests before have
    left in memory.
    """
    gc.collect()
    gc.freeze()
