# SPDX-License-Identifier: MIT
"""Fixtures: the built module, the modelled FreePBX, and real Asterisks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.asterisk.conftest import (  # noqa: F401
    asterisk,
    booted_asterisk,
    lab,
    pytest_configure,
    pytest_runtest_makereport,
)
from tests.freepbx.model import FreePBX
from tools.freepbx import unpacked


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the module as it is installed."""
    return unpacked(tmp_path_factory.mktemp("freepbx"))


@pytest.fixture
def freepbx(built: Path, tmp_path: Path) -> FreePBX:
    """Return a FreePBX with the module, and without queues."""
    return FreePBX(built, tmp_path)
