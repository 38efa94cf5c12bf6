# SPDX-License-Identifier: MIT
"""Let nothing outlive its test."""

from __future__ import annotations

import gc

import pytest

from tests.support import quiet_log as quiet_log


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> None:
    """Let the collector, which these tests call often, not look at all modules."""
    gc.collect()
    gc.freeze()
