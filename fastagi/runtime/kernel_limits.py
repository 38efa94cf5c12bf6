# SPDX-License-Identifier: MIT
"""The kernel's limits for a process: open files, and the backlog of connections."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Final

_SOMAXCONN: Final = Path("/proc/sys/net/core/somaxconn")
#: The default since Linux 5.4; older kernels have 128.
_USUAL_SOMAXCONN: Final = 4096
#: The assumed limit if it cannot be read: enough for everything.
_NOT_KNOWN: Final = 1 << 30


def longest_backlog() -> int:
    """Return the maximum number of connections that wait to be accepted."""
    try:
        return int(_SOMAXCONN.read_text())
    except (OSError, ValueError):
        return _USUAL_SOMAXCONN


def open_files(pid: int | str = "self") -> int | None:
    """Return how many files a process may have open; None if unknown."""
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return _NOT_KNOWN if soft == "unlimited" else int(soft)
    except (OSError, ValueError, IndexError):
        pass
    return None


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit as far as allowed; return the new limit."""
    try:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return wanted
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):
        # Forbidden, for example by systemd's unit, which sets the limit itself.
        known = open_files()
        return wanted if known is None else known
    return most


def files_left() -> int:
    """Return how many more files this process may open."""
    try:
        # The descriptor is the lowest free number, so all lower ones are in use.
        descriptor = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    os.close(descriptor)
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:
        return _NOT_KNOWN
    return _NOT_KNOWN if soft == resource.RLIM_INFINITY else soft - descriptor
