# SPDX-License-Identifier: MIT
"""A directory in memory for files that need not survive a reboot.

A COMMIT on disk waits for the disk; thousands of tests need not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Space for several database servers and Asterisks at once. A container may have less.
_ENOUGH_BYTES = 4 << 30


def ram() -> Path:
    """Return a directory in memory, or the one for temporary files."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ENOUGH_BYTES:
        return memory
    return Path("/tmp")
