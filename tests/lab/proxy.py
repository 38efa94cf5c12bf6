# SPDX-License-Identifier: MIT
"""A TCP proxy that counts, holds, cuts or loses messages as the test says.

It stands between the service and Asterisk, on the manager port or on the FastAGI port.
It only finds the end of each message and does not interpret any.
"""

from __future__ import annotations

import enum
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import attrs

from tests.lab.closing import Closing
from tests.lab.errors import DeadlinePassed

#: The manager's greeting is one line; every other message ends with an empty line.
AMI_MESSAGE = re.compile(
    rb"\AAsterisk Call Manager/[^\r\n]*\r\n|.*?\r\n\r\n", re.DOTALL
)
#: A line, in either direction.
AGI_MESSAGE = re.compile(rb".*?\n", re.DOTALL)

_JOIN_S = 5.0


class Way(enum.Enum):
    """The direction of a message."""

    #: From the client: the service on the manager port, Asterisk on the FastAGI port.
    OUT = enum.auto()
    #: To the client.
    IN = enum.auto()


class Fate(enum.Enum):
    """What happens to a message."""

    PASSES = enum.auto()
    TWICE = enum.auto()
    #: It arrives, and the connection breaks right after it.
    LAST = enum.auto()
    #: Half of it arrives, then the connection breaks.
    HALF = enum.auto()
    #: It waits until :meth:`Proxy.release`, as does all after it in its direction.
    HELD = enum.auto()
    #: It and all after it, in both directions, are lost without notice.
    LOST = enum.auto()


@attrs.define(eq=False)
class Moment:
    """The n-th message that matches, and what happens to it."""

    way: Way
    matches: Callable[[bytes], object]
    fate: Fate
    left: int
    come: threading.Event = attrs.field(factory=threading.Event)

    def wait(self, deadline_s: float = 10.0) -> None:
        """Wait until the message has come.

        Raises:
            DeadlinePassed: it did not.
        """
        if not self.come.wait(deadline_s):
            raise DeadlinePassed(
                f"the awaited message did not pass within {deadline_s} s"
            )


def holds(*texts: str) -> Callable[[bytes], bool]:
    """Return a predicate: a message that contains each of these."""
    wanted = [text.encode() for text in texts]
    return lambda message: all(text in message for text in wanted)


class Proxy(Closing):
    """Accepts connections on a port of 127.0.0.1 and connects each to another port."""

    def __init__(self, port: int, to_port: int, message: re.Pattern[bytes]) -> None:
        self.port = port
        self._to_port = to_port
        self._message = message
        self._moments: list[Moment] = []
        self._always: dict[Way, Fate] = {}
        self._changed = threading.Condition()
        #: The number of releases; held messages wait for the next one.
        self._released = 0
        self._closed = False
        self._links: list[_Link] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._accepter = threading.Thread(
            target=self._accept, name=f"proxy on port {port}", daemon=True
        )
        self._accepter.start()

    def close(self) -> None:
        """Break every connection and accept no more."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepter.join(_JOIN_S)
        self.release()
        for link in self._links:
            link.cut()
            link.join()

    # -- set by the test

    def at(
        self,
        way: Way,
        matches: Callable[[bytes], object],
        fate: Fate = Fate.PASSES,
        *,
        count: int = 1,
    ) -> Moment:
        """Set what happens to the count-th message from now on that matches."""
        moment = Moment(way, matches, fate, count)
        with self._changed:
            self._moments.append(moment)
        return moment

    def always(self, way: Way, fate: Fate) -> None:
        """Set what happens to every other message."""
        with self._changed:
            self._always[way] = fate

    def release(self) -> None:
        """Release everything that is held."""
        with self._changed:
            self._released += 1
            self._changed.notify_all()

    @property
    def connections(self) -> int:
        """The number of connections so far."""
        return len(self._links)

    # -- used by the links

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to_port))
            except OSError:
                # Nobody listens there, so the client is disconnected.
                client.close()
                continue
            self._links.append(_Link(self, client, server))

    def cut_into_messages(self, data: bytes) -> tuple[list[bytes], bytes]:
        """Return whole messages, and the rest."""
        messages = []
        while found := self._message.match(data):
            messages.append(found[0])
            data = data[found.end() :]
        return messages, data

    def fate_of(self, way: Way, message: bytes) -> Fate:
        """Return what happens to a message that has just arrived."""
        with self._changed:
            for moment in self._moments:
                if moment.way is way and moment.left and moment.matches(message):
                    moment.left -= 1
                    if not moment.left:
                        self._moments.remove(moment)
                        moment.come.set()
                        if moment.fate is not Fate.PASSES:
                            return moment.fate
                        break
            return self._always.get(way, Fate.PASSES)

    def wait_for_release(self) -> None:
        """Wait until the next release."""
        with self._changed:
            seen = self._released
            self._changed.wait_for(lambda: self._released > seen or self._closed)


class _Link:
    """One connection."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket
    ) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._lost = False
        self._pumps = [
            threading.Thread(target=self._pump, args=ends, daemon=True)
            for ends in ((Way.OUT, client, server), (Way.IN, server, client))
        ]
        for pump in self._pumps:
            pump.start()

    def cut(self) -> None:
        """End it on both sides."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until nothing moves any more."""
        for pump in self._pumps:
            pump.join(_JOIN_S)
        for one in self._sockets:
            one.close()

    def _pump(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        unread = b""
        with suppress(OSError):
            while data := source.recv(65536):
                messages, unread = self._proxy.cut_into_messages(unread + data)
                for message in messages:
                    self._carry(way, message, sink)
        # One side has closed. A link that is lost does not pass this on.
        if not self._lost:
            self.cut()

    def _carry(self, way: Way, message: bytes, sink: socket.socket) -> None:
        if self._lost:
            return
        match self._proxy.fate_of(way, message):
            case Fate.PASSES:
                sink.sendall(message)
            case Fate.TWICE:
                sink.sendall(message * 2)
            case Fate.LAST:
                sink.sendall(message)
                self.cut()
            case Fate.HALF:
                sink.sendall(message[: len(message) // 2])
                self.cut()
            case Fate.HELD:
                self._proxy.wait_for_release()
                sink.sendall(message)
            case Fate.LOST:
                self._lost = True
