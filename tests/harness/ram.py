# SPDX-License-Identifier: MIT
"""Where files may be kept that need not outlive the machine.

Each COMMIT waits for the disk, and thousands of tests need not.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Several database servers and Asterisks at the same time; a container may have less.
_ENOUGH_BYTES = 4 << 30


def ram() -> Path:
    """Return a directory in the machine's memory, or else the one for passing files."""
    memory = Path("/dev/shm")
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ENOUGH_BYTES:
        return memory
    return Path("/tmp")
