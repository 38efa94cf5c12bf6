# SPDX-License-Identifier: MIT
"""Fixtures: packages and machines. What is missing is installed or built."""

from __future__ import annotations

import pytest

from tests.lab.errors import LabError
from tests.lab.install import install_nspawn


@pytest.fixture(scope="session", autouse=True)
def _nspawn() -> None:
    try:
        install_nspawn()
    except LabError as error:
        pytest.fail(str(error), pytrace=False)
