# SPDX-License-Identifier: MIT
"""Opens a file that somebody else may have put there. Never waits.

A pipe in its place would hold the opening up for good, and a terminal could become that
of the process.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO


class NoPlainFile(OSError):
    """There is something else in its place: a pipe, a directory, a device."""


def open_plain(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a plain file for reading.

    Raises:
        NoPlainFile: it is something else.
        OSError: it can not be opened.
        ValueError: no file can have that name.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NoPlainFile(errno.EINVAL, "it is no plain file", os.fspath(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
