# SPDX-License-Identifier: MIT
"""Where files may be kept that need not outlive the machine.

Each COMMIT waits for the disk, and thousands of tests need not.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def ram() -> Path:
    """Return a directory in the machine's memory, or else one for passing files."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
