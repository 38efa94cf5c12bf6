# SPDX-License-Identifier: MIT
"""Processes as the holder of a lease is stored: which machine, which process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final, Self

from attrs import frozen

#: systemd hides the file with the boot id from its units and sets this variable
#: instead; see callback-queue.service.
_BOOT_ID_VARIABLE: Final = "SYSTEMD_BOOT_ID"


@frozen
class Process:
    """One process on one machine."""

    host: str
    boot_id: str
    pid: int
    pid_space: str
    start: str

    @classmethod
    def this(cls) -> Self:
        """Return the current process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(),
            boot_id=_boot_id(),
            pid=pid,
            pid_space=_pid_space(),
            start=_start_of(pid),
        )

    def knows_ended(self, other: Process) -> bool:
        """Whether the other process has certainly ended.

        Only known of a process of this machine since its start, in the same pid
        namespace.
        """
        here = (self.host, self.boot_id, self.pid_space)
        if not all(here) or here != (other.host, other.boot_id, other.pid_space):
            return False
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            # The process of another user; /proc may hide it.
            pass
        start = _start_of(other.pid)
        return bool(start and other.start) and start != other.start


def _boot_id() -> str:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        text = os.environ.get(_BOOT_ID_VARIABLE, "")
    return text.strip().replace("-", "")


def _pid_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """Return when a process started, in ticks since the machine's start (proc(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is a name in brackets, which may contain any characters.
    return stat.rpartition(")")[2].split()[19]
