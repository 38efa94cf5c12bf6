# SPDX-License-Identifier: MIT
"""Collections of garbage around the start of a process."""

from __future__ import annotations

import subprocess
import sys


def test_collections_are_postponed_until_a_process_is_ready() -> None:
    code = """
import gc
from fastagi.garbage import exclude_existing_objects, postpone_collections
postpone_collections()
print(gc.isenabled(), gc.get_freeze_count())
exclude_existing_objects()
print(gc.isenabled(), gc.get_freeze_count() > 1000)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["False 0", "True True"]
