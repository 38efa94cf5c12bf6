# SPDX-License-Identifier: MIT
"""The vendored libraries are the ones in the lock, with their licences."""

from __future__ import annotations

import hashlib
import json

from fastagi.web.console.rendering import STATIC

VENDOR = STATIC / "vendor"


def test_every_vendored_file_has_the_hash_in_the_lock() -> None:
    lock = json.loads((VENDOR / "lock.json").read_text())
    locked = {
        name: file["sha256"]
        for package in lock.values()
        for name, file in package["files"].items()
    }
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "lock.json"
    }
    assert found == locked


def test_every_vendored_package_has_a_licence_and_an_integrity() -> None:
    for name, package in json.loads((VENDOR / "lock.json").read_text()).items():
        assert any(file.endswith("LICENSE.txt") for file in package["files"]), name
        assert package["integrity"].startswith("sha512-"), name
        assert package["licence"], name
