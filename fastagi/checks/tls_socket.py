# SPDX-License-Identifier: MIT
"""A blocking socket with TLS over it, which ends the handshake as the service does."""

from __future__ import annotations

import socket
import time
from typing import Final

from OpenSSL import SSL

from fastagi.ami.tls import Handshake, ManagerTls

_CHUNK_BYTES: Final = 65536


class TlsSocket:
    """TLS over a connected socket; the calls of a socket that `ManagerLink` needs.

    Args:
        plain: it is closed when the handshake fails.
        tls: whom to believe.
        timeout_s: how long the handshake may take.

    Raises:
        TlsFailed: the text says why.
        TimeoutError: no answer.
        OSError: the connection broke.
    """

    def __init__(self, plain: socket.socket, tls: ManagerTls, timeout_s: float) -> None:
        self._plain = plain
        self._handshake: Handshake = tls.begin()
        self._connection = self._handshake.connection
        try:
            self._shake_hands(time.monotonic() + timeout_s)
        except BaseException:
            plain.close()
            raise

    def _shake_hands(self, deadline: float) -> None:
        while True:
            try:
                self._connection.do_handshake()
            except SSL.WantReadError:
                self._send_what_is_ready()
            except SSL.Error as error:
                raise self._handshake.explain(error) from None
            else:
                self._handshake.confirm()
                self._send_what_is_ready()
                return
            self.settimeout(max(0.001, deadline - time.monotonic()))
            if not self._receive_more():
                raise self._handshake.explain(None)

    def settimeout(self, timeout_s: float) -> None:
        """Limit how long each of the other calls may wait."""
        self._plain.settimeout(timeout_s)

    def sendall(self, data: bytes) -> None:
        """Send bytes."""
        self._connection.sendall(data)
        self._send_what_is_ready()

    def recv(self, size: int) -> bytes:
        """Wait for bytes; none at the end of the connection."""
        while True:
            try:
                return self._connection.recv(size)
            except SSL.WantReadError:
                if not self._receive_more():
                    return b""
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as error:
                raise self._handshake.explain(error) from None

    def close(self) -> None:
        """End the connection."""
        self._plain.close()

    def _receive_more(self) -> bool:
        data = self._plain.recv(_CHUNK_BYTES)
        if data:
            self._connection.bio_write(data)
        return bool(data)

    def _send_what_is_ready(self) -> None:
        try:
            self._plain.sendall(self._connection.bio_read(1 << 20))
        except SSL.WantReadError:
            return
