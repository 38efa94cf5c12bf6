# SPDX-License-Identifier: MIT
"""The Debian packages as files: what lintian says, and the same bytes each time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.lab.trees import find_debian
from tests.packaging import EPOCH
from tools import deb


def _package(number: int) -> Path:
    return deb.build(number, epoch=EPOCH)


def test_lintian_finds_no_error(shared: Path) -> None:
    # The packages differ in the version of Python only; lintian takes half a minute.
    package = _package(14)
    (shared / package.name).write_bytes(package.read_bytes())
    found = subprocess.run(
        find_debian(13).command(
            *("lintian", "--fail-on", "error", "--tag-display-limit", "0"),
            str(shared / package.name),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "E: " not in found.stdout, found.stdout


def test_a_package_of_the_same_commit_has_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = _package(14).read_bytes()
    # An empty cache, but for what was downloaded.
    kept = deb._cache()
    monkeypatch.setattr(deb, "_cache", lambda: tmp_path)
    for name in ("wheels-3.14-amd64", "setuptools"):
        (tmp_path / name).symlink_to(kept / name)
    assert _package(14).read_bytes() == first
