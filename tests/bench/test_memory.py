# SPDX-License-Identifier: MIT
"""Memory does not grow with the number of requests: ``make memory`` in short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
#: Limit of growth. Caches still fill up between these two numbers of requests; a few
#: kilobytes for each request would exceed it.
_MILESTONES = ("300", "900")
_MAX_PERCENT = "6"


def test_memory_does_not_grow_with_requests() -> None:
    # In a separate process, as a reactor runs only once.
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.bench.memory", *_MILESTONES),
            *("--most-percent", _MAX_PERCENT),
        ],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
