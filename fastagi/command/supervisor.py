# SPDX-License-Identifier: MIT
"""What is said between this process and whoever started it, such as systemd.

Owns SIGHUP and the messages of ``Type=notify`` (sd_notify(3)). Must not know what a
reload does or when the service is ready, and imports nothing that takes time: it is
needed in the first moment of the process.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final

#: The socket of a supervisor is read by a busy process; a full one is waited for.
_TIMEOUT_S: Final = 1.0


class ReloadRequests:
    """SIGHUP, which without this would end the process.

    From `__init__` on no request is lost: one that comes before there is anybody to
    act on it is kept until there is.
    """

    def __init__(self) -> None:
        self._act: Callable[[], object] | None = None
        self._waits = False
        signal.signal(signal.SIGHUP, lambda _signum, _frame: self._asked())

    def use(self, act: Callable[[], object]) -> None:
        """Call ``act()`` on each request, from within the signal handler.

        It is called at once if there was a request before.
        """
        self._act = act
        if self._waits:
            act()

    def _asked(self) -> None:
        if self._act is None:
            self._waits = True
        else:
            self._act()


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Tell the supervisor, if it wants to know.

    Args:
        state: such as "READY=1".
        environ: names the supervisor's socket, as a path or, with "@" in front, in
            Linux's abstract name space.

    Raises:
        OSError: nobody reads it.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.settimeout(_TIMEOUT_S)
        supervisor.connect(address)
        supervisor.send(state.encode())
