# SPDX-License-Identifier: MIT
"""The Unix socket on which the service receives commands.

A lock file beside the socket shows whether it is in use, or was left by a killed
service.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

from fastagi.runtime.file_lock import FileLock


@implementer(IStreamServerEndpoint)
class ControlSocketEndpoint:
    """Listens on a Unix socket that only its owner may open."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._endpoint = UNIXServerEndpoint(reactor, path, mode=0o600)
        self._path = Path(path)
        self._lock: FileLock | None = None

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen on the socket, and replace one that a killed service has left.

        Returns:
            A Deferred of the port. It fails with CannotListenError if another service
            listens there, or if the path is not a socket.
        """
        try:
            self._lock = self._claim()
        except OSError as error:
            return fail(CannotListenError(None, os.fsencode(self._path), error))
        listening: Deferred[IListeningPort] = self._endpoint.listen(factory)
        return listening

    def _claim(self) -> FileLock:
        """Lock the socket's path, and remove the socket that a killed service left."""
        lock_file = self._path.with_name(f"{self._path.name}.lock")
        if lock_file.is_symlink():
            # Version 0.1.0 locked with a symbolic link to its process id. Another
            # process may have that id now, so ask whether a service answers.
            if _answers(self._path):
                raise _in_use()
            lock_file.unlink(missing_ok=True)
        lock = FileLock.take(lock_file)
        if lock is None:
            raise _in_use()
        try:
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        except FileNotFoundError:
            pass
        except BaseException:
            lock.release()
            raise
        return lock


def _in_use() -> OSError:
    return OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            # For example a service that hangs, with a full backlog.
            return True
    return True
