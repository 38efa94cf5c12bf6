# SPDX-License-Identifier: MIT
"""Let nothing outlive its test."""

from __future__ import annotations

import gc

import pytest

from twisted.logger import globalLogBeginner

# Until somebody begins to log, Twisted keeps the last 65536 events, and with them
# whatever logged them: the whole service, some hundred times.
globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


@pytest.fixture(scope="session", autouse=True)
def quick_collections() -> None:
    """Let the collector, which these tests call often, not look at all modules."""
    gc.collect()
    gc.freeze()
