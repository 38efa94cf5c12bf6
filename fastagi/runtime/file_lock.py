# SPDX-License-Identifier: MIT
"""A lock on a file that ends with the process that holds it.

The kernel releases it, so neither a crash nor a reused process id can leave it locked.
The file itself is never removed: another process might have locked it just before.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self


class FileLock:
    """An exclusive lock, held until :meth:`release` or the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Lock a file, creating it if needed; return None if another process holds it.

        Raises:
            OSError: it cannot be opened; a symbolic link is not followed (ELOOP).
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            descriptor = os.open(path, flags, 0o600)
            try:
                _give_to_owner_of_directory(descriptor, path)
                if not _locks(descriptor):
                    os.close(descriptor)
                    return None
                if _is_still(descriptor, path):
                    return cls(descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            # The file was removed or replaced before it was locked.
            os.close(descriptor)

    def release(self) -> None:
        """Release the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; a missing file is not created.

    Raises:
        OSError: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two checks at the same time do not see each other.
        return not _locks(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _locks(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


def _give_to_owner_of_directory(descriptor: int, path: Path) -> None:
    """Let the user of the service lock a file that root has created."""
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
