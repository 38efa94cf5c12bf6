# SPDX-License-Identifier: MIT
"""Fixtures: packages and machines. What is missing is installed or built."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.errors import LabError
from tests.lab.install import install_nspawn
from tests.lab.trees import SHARED


@pytest.fixture(scope="session", autouse=True)
def _nspawn() -> None:
    try:
        install_nspawn()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that the laboratory's trees see, too."""
    with tempfile.TemporaryDirectory(dir=SHARED, prefix="callback-queue-test-") as made:
        yield Path(made)
