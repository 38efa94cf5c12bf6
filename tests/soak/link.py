# SPDX-License-Identifier: MIT
"""A proxy between the service and the manager port that can be cut.

Passes every byte on without interpreting it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

_PIECE = 65536


class Link:
    """Accepts connections on one port of 127.0.0.1 and connects each to another."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(("127.0.0.1", port))
        self._start(self._accept)

    def cut(self) -> None:
        """Break every connection; new ones are accepted at once."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Break every connection and accept no more."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in list(self._threads):
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads = [one for one in self._threads if one.is_alive()]
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._start(self._carry, client)

    def _carry(self, client: socket.socket) -> None:
        """Pass bytes in both directions until either side closes."""
        with client:
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 5)
            except OSError:
                return
            with server:
                server.settimeout(None)
                with self._lock:
                    self._open |= {client, server}
                back = threading.Thread(
                    target=self._pump, args=(server, client), daemon=True
                )
                back.start()
                self._pump(client, server)
                back.join()
                with self._lock:
                    self._open -= {client, server}

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE):
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
