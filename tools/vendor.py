# SPDX-License-Identifier: MIT
"""Fetch the JavaScript libraries of the console: ``python tools/vendor.py``.

The libraries are in the repository, so that an installation needs neither npm nor the
internet. ``static/vendor/lock.json`` lists each file with its package, version, and
SHA-256. To take a newer version, change the version below and run this program; it
needs npm, which checks each package's integrity.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parents[1] / "fastagi/web/console/static/vendor"
LOCK = VENDOR / "lock.json"

#: For each package: its version, its licence, and its files, as named here.
PACKAGES = {
    "htmx.org": (
        "2.0.11",
        "0BSD",
        {"htmx.min.js": "dist/htmx.min.js", "htmx-LICENSE.txt": "LICENSE"},
    ),
    "idiomorph": (
        "0.8.0",
        "0BSD",
        {
            "idiomorph-ext.min.js": "dist/idiomorph-ext.min.js",
            "idiomorph-LICENSE.txt": "LICENSE",
        },
    ),
    "uplot": (
        "1.6.32",
        "MIT",
        {
            "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
            "uPlot.min.css": "dist/uPlot.min.css",
            "uPlot-LICENSE.txt": "LICENSE",
        },
    ),
}


def main() -> int:
    """Fetch all packages; write their files and the lock."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    locked = {}
    for package, (version, licence, files) in PACKAGES.items():
        name = f"{package}@{version}"
        expected = _npm("view", name, "dist.integrity").strip()
        with tempfile.TemporaryDirectory() as directory:
            _npm("pack", name, "--silent", "--pack-destination", directory)
            [tarball] = Path(directory).iterdir()
            found = integrity(tarball.read_bytes())
            if found != expected:
                print(f"{name}: integrity {found}, not {expected}", file=sys.stderr)
                return 1
            with tarfile.open(tarball) as archive:
                for target, source in files.items():
                    member = archive.extractfile(f"package/{source}")
                    assert member is not None, source
                    (VENDOR / target).write_bytes(member.read())
        locked[package] = {
            "version": version,
            "licence": licence,
            "integrity": expected,
            "files": {
                target: {"source": source, "sha256": sha256(VENDOR / target)}
                for target, source in files.items()
            },
        }
        print(f"{name}: {', '.join(files)}")
    LOCK.write_text(json.dumps(locked, indent=2) + "\n")
    return 0


def integrity(contents: bytes) -> str:
    """Return the integrity of a package as npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(contents).digest()).decode()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _npm(*arguments: str) -> str:
    return subprocess.run(
        ["npm", *arguments], check=True, capture_output=True, text=True
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
