# SPDX-License-Identifier: MIT
"""The interface to the process supervisor, such as systemd.

It handles SIGHUP and sends the messages of ``Type=notify`` (sd_notify(3)). It does not
know what a reload does or when the service is ready. It must import nothing that takes
long, as it is needed in the first moment of the process.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from typing import Final

#: How long to wait if the supervisor's socket is full, in seconds.
_TIMEOUT_S: Final = 1.0


class ReloadRequests:
    """Handles SIGHUP, which would end the process otherwise.

    From the constructor on no request is lost: a request that comes before there is an
    action waits for it.
    """

    def __init__(self) -> None:
        self._action: Callable[[], object] | None = None
        self._is_pending = False
        signal.signal(signal.SIGHUP, lambda _signum, _frame: self._requested())

    def set_action(self, action: Callable[[], object]) -> None:
        """Call ``action()`` on each request, from within the signal handler.

        It is called at once if a request is waiting.
        """
        self._action = action
        if self._is_pending:
            action()

    def _requested(self) -> None:
        if self._action is None:
            self._is_pending = True
        else:
            self._action()


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Send a state to the supervisor, if there is one.

    Args:
        state: for example "READY=1".
        environ: the environment. ``NOTIFY_SOCKET`` is the supervisor's socket: a path,
            or with "@" in front a name in Linux's abstract name space.

    Raises:
        OSError: the state can not be sent.
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
