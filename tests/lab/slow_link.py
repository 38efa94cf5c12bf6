# SPDX-License-Identifier: MIT
"""A TCP proxy that delays every byte, like a server far away.

It stands between the service and a database server. Bytes keep their order and do not
wait for each other, as on a long line.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from contextlib import suppress

import attrs

from tests.lab.closing import Closing

_JOIN_S = 5.0


class SlowLink(Closing):
    """Accepts connections on a port of 127.0.0.1 and connects each to another port.

    Args:
        to_port: the server's port, on 127.0.0.1.
        round_trip_s: from a question to its answer, beyond what the server needs.
    """

    def __init__(self, to_port: int, round_trip_s: float) -> None:
        self.round_trip_s = round_trip_s
        self._to_port = to_port
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)

    def close(self) -> None:
        """Break every connection and accept no more."""
        for one in (self._listener, *self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_JOIN_S)
        for one in (self._listener, *self._sockets):
            one.close()

    def _begin(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to_port))
                except OSError:
                    # Nobody listens there, so the client is disconnected.
                    client.close()
                    continue
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    line = _Line(sink)
                    self._begin(self._read, source, line)
                    self._begin(line.deliver)

    def _read(self, source: socket.socket, line: _Line) -> None:
        data = b"."
        while data:
            data = b""
            with suppress(OSError):
                data = source.recv(65536)
            line.on_the_way.put((time.monotonic() + self.round_trip_s / 2, data))


@attrs.define(eq=False)
class _Line:
    """One direction of a connection."""

    sink: socket.socket
    on_the_way: queue.SimpleQueue[tuple[float, bytes]] = attrs.field(
        factory=queue.SimpleQueue
    )

    def deliver(self) -> None:
        """Send each part when its time has come; no bytes mean the end."""
        while True:
            arrives_at, data = self.on_the_way.get()
            time.sleep(max(0.0, arrives_at - time.monotonic()))
            with suppress(OSError):
                if data:
                    self.sink.sendall(data)
                else:
                    self.sink.shutdown(socket.SHUT_WR)
            if not data:
                return
