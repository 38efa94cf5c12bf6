# SPDX-License-Identifier: MIT
"""Settings of sockets."""

from __future__ import annotations

from twisted.internet.interfaces import ITCPTransport, ITransport


def send_without_delay(transport: ITransport | None) -> None:
    """Let the kernel send every message at once (TCP_NODELAY), as Asterisk does.

    Otherwise a small message waits until the one before it is acknowledged: 40 ms, if
    the other side has nothing to send. Other streams than TCP are left as they are.
    """
    if ITCPTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
