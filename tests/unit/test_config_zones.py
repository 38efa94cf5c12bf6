# SPDX-License-Identifier: MIT
"""The machine's time zone, and zones on a machine that has no list of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tzlocal

from fastagi.config.zones import machine_zone


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    machine_zone.cache_clear()
    tzlocal.unix._cache_tz = None
    yield
    machine_zone.cache_clear()
    tzlocal.unix._cache_tz = None


def test_it_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert str(machine_zone()) == "Asia/Tokyo"


def test_what_makes_no_sense_is_no_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Nowhere/Land")
    assert machine_zone() is None


def test_a_machine_without_a_list_of_zones_has_that_of_python() -> None:
    """As in a small container: nothing in /usr/share/zoneinfo."""
    script = (
        "from fastagi.config.fields import parse_zone;"
        "print(parse_zone('Europe/Berlin'))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert shown.stdout == "Europe/Berlin\n"
