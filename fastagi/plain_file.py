# SPDX-License-Identifier: MIT
"""Opens a file that another user may have replaced. Never blocks.

Opening a pipe could block for ever, and a terminal could become the controlling
terminal of the process.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO


class NoPlainFile(OSError):
    """The path is not a plain file but a pipe, a directory or a device."""


def open_plain(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a plain file for reading.

    Raises:
        NoPlainFile: it is not a plain file.
        OSError: it cannot be opened.
        ValueError: the name is invalid.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise NoPlainFile(errno.EINVAL, "it is no plain file", os.fspath(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
