# SPDX-License-Identifier: MIT
"""Let nothing outlive its test."""

from __future__ import annotations

import gc

import pytest

from tests.support import quiet_log as quiet_log


@pytest.fixture(scope="module", autouse=True)
def quick_collections() -> None:
    """Take what is there out of the garbage collector's sight.

    Tests that kill a service collect what is left of it, thousands of times in all;
    each time would look at every module, every test, and all that tests before have
    left in memory.
    """
    gc.collect()
    gc.freeze()
