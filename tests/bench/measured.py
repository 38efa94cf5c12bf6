# SPDX-License-Identifier: MIT
"""Runs a small measurement in a process of its own, which has a reactor of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM = """
from tests.bench import {module}
from tests.bench.rig import run

async def measure():
    await {module}.measure({arguments}, lambda *told: print(">", *told, flush=True))
    return 0

raise SystemExit(run(measure()))
"""


def figures(module: str, arguments: str, within_s: float) -> list[str]:
    """Return the lines that a measurement of this directory says.

    Args:
        module: its module.
        arguments: those of its ``measure()`` but the last, as they are written.
        within_s: time limit in seconds.
    """
    program = _PROGRAM.format(module=module, arguments=arguments)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("> ")]
