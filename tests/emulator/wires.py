# SPDX-License-Identifier: MIT
"""Stream connections in memory, and their failures.

Bytes move only in :meth:`Net.carry`, so that no protocol is called during its own call,
as with real sockets. Independent of what the bytes mean.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
)
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: Called with each write and the function that performs it, which it may leave out.
OnWrite = Callable[[bytes, Callable[[], None]], object]


def just_write(data: bytes, send: Callable[[], None]) -> None:
    """Perform the write at once."""
    send()


@implementer(ITransport)
class End:
    """One side of a connection: the transport of its protocol."""

    _log = Logger()

    def __init__(self, protocol: Any, host: str, on_write: OnWrite) -> None:
        self.protocol = protocol
        self.host = host
        self.other: End
        #: Whether the process is frozen: it neither reads nor writes, but its kernel
        #: does.
        self.frozen = False
        #: Whether this side is closed: calls of its protocol have no effect.
        self.closed = False
        self.disconnecting = False
        self._on_write = on_write
        self._aborting = False
        #: Runs a function at the time at which bytes sent now arrive.
        self.arrive: Callable[[Callable[[], None]], None] = lambda function: function()
        self._unsent: list[bytes] = []
        #: Whether the protocol has paused receiving.
        self._paused = False
        self._inbox: deque[bytes] = deque()
        #: Why the connection ended, once the inbox is read; None: it has not.
        self._end: Exception | None = None
        #: The kernel's clock, and when it received the last bytes; None: it does not
        #: tell that.
        self.clock: Clock | None = None
        self._received_at = 0.0

    # -- what a protocol calls ---------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes, if the connection is still there."""
        if self.closed or self.disconnecting or self._aborting:
            return
        self._on_write(data, lambda: self._unsent.append(bytes(data)))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send bytes in pieces."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when everything is sent."""
        self.disconnecting = True

    def abortConnection(self) -> None:
        """Close at once."""
        self._aborting = True
        self._unsent.clear()

    def getHandle(self) -> End:
        """Return what tells when the last bytes came; that is asked of a socket."""
        if self.clock is None:
            raise AttributeError("no socket")
        return self

    def getsockopt(self, level: int, name: int, size: int) -> bytes:
        """Return the beginning of ``struct tcp_info``, up to the time in question."""
        assert (level, name) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        assert self.clock is not None
        passed_s = self.clock.seconds() - self._received_at
        return round(passed_s * 1000).to_bytes(4, "little").rjust(size, b"\0")

    def _receive(self, pieces: list[bytes]) -> None:
        self._inbox.extend(pieces)
        if self.clock is not None:
            self._received_at = self.clock.seconds()

    def registerProducer(self, producer: object, streaming: bool) -> None:
        """Do nothing: the buffer is unlimited, so a producer is never paused."""

    def unregisterProducer(self) -> None:
        """Do nothing, as no producer is registered."""

    def pauseProducing(self) -> None:
        """Stop passing bytes to the protocol."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Pass bytes to the protocol again."""
        self._paused = False

    def getPeer(self) -> IPv4Address:
        """Return the other side's address."""
        return IPv4Address("TCP", self.other.host, 40000)

    def getHost(self) -> IPv4Address:
        """Return this side's address."""
        return IPv4Address("TCP", self.host, 5038)

    # -- events of the connection ------------------------------------------

    def carry(self, piece: int) -> bool:
        """Transfer bytes; return whether there were any."""
        if self.closed or self.frozen:
            return False
        if not (
            self._unsent
            or self._inbox
            or self._end is not None
            or self._aborting
            or self.disconnecting
        ):
            return False
        moved = self._send()
        return self._deliver(piece) or moved

    def _send(self) -> bool:
        moved = bool(self._unsent)
        self._send_unsent()
        if self._aborting:
            self.arrive(lambda: self.other.end(ConnectionLost()))
            self.close(ConnectionAborted())
            return True
        if self.disconnecting:
            self.arrive(lambda: self.other.end(ConnectionDone()))
            self.close(ConnectionDone())
            return True
        return moved

    def _send_unsent(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent:
            self.arrive(lambda: self.other._receive(unsent))

    def _deliver(self, piece: int) -> bool:
        moved = False
        while self._inbox and not self.closed and not self._paused:
            moved = True
            data = b"".join(self._inbox)
            self._inbox.clear()
            for start in range(0, len(data), piece):
                if self.closed or self._aborting:
                    break
                if self._paused:
                    self._inbox.appendleft(data[start:])
                    break
                self._tell(self.protocol.dataReceived, data[start : start + piece])
        if self._end is not None and not self.closed and not self._inbox:
            self.close(self._end)
            return True
        return moved

    def end(self, reason: Exception) -> None:
        """The other side has ended: nothing follows the bytes in the inbox."""
        if self._end is None:
            self._end = reason

    def close(self, reason: Exception) -> None:
        """End this side now."""
        if not self.closed:
            self.closed = True
            self._unsent.clear()
            self._inbox.clear()
            self._tell(self.protocol.connectionLost, Failure(reason))

    def give_up(self) -> None:
        """Close without notice to the other side, if the protocol wants to close."""
        if self._aborting or self.disconnecting:
            self.close(ConnectionAborted())

    def vanish(self) -> None:
        """Kill the process on this side: only its kernel closes the connection."""
        if not self.closed:
            self.closed = True
            # The kernel still sends what was written before.
            self._send_unsent()
            self.arrive(lambda: self.other.end(ConnectionLost()))

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        # As a reactor does: log what the protocol raises and drop the connection.
        try:
            function(*args)
        except Exception:
            self._log.failure("a protocol failed")
            self.abortConnection()


class Wire:
    """One connection."""

    def __init__(self, client: End, server: End) -> None:
        self.client = client
        self.server = server
        client.other, server.other = server, client
        #: Whether the network between both sides is gone: nothing moves, nobody is
        #: told.
        self.dead = False

    def delay(self, clock: Clock, seconds: float) -> None:
        """Delay bytes by this time from now on."""

        def later(function: Callable[[], None]) -> None:
            clock.callLater(seconds, function)

        self.client.arrive = self.server.arrive = later

    @property
    def open(self) -> bool:
        """Whether at least one side is open."""
        return not (self.client.closed and self.server.closed)

    def cut(self) -> None:
        """Break the connection on both sides; bytes in transit are lost."""
        for end in (self.client, self.server):
            end.close(ConnectionLost())

    def carry(self, piece: int) -> bool:
        """Move bytes in both directions."""
        if self.dead:
            for end in (self.client, self.server):
                end.give_up()
            return False
        client = self.client.carry(piece)
        return self.server.carry(piece) or client


class Route:
    """The way between two machines, which may be cut for a while.

    What is on its way then arrives when the way is there again.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.is_cut = False
        self._wires: list[Wire] = []
        self._on_the_way: list[Callable[[], None]] = []

    def carry(self, wire: Wire) -> None:
        """Let a connection go this way."""
        self._wires = [one for one in self._wires if one.open]
        self._wires.append(wire)
        wire.client.arrive = wire.server.arrive = self._arrive

    def _arrive(self, function: Callable[[], None]) -> None:
        if self.is_cut:
            self._on_the_way.append(function)
        else:
            function()

    def cut(self, *, resets: bool) -> None:
        """Cut it; with ``resets`` both sides notice it at once."""
        self.is_cut = True
        if resets:
            for wire in self._wires:
                wire.cut()

    def mend(self) -> None:
        """Let everything pass again."""
        self.is_cut = False
        arrived, self._on_the_way = self._on_the_way, []
        for function in arrived:
            function()


class Net:
    """All connections of a test."""

    def __init__(self) -> None:
        self.wires: list[Wire] = []
        #: Maximum number of bytes delivered at a time; a small number splits messages.
        self.piece = 65536

    def join(
        self,
        client: IProtocol,
        server: IProtocol,
        *,
        client_host: str = "127.0.0.1",
        client_writes: OnWrite = just_write,
        server_writes: OnWrite = just_write,
    ) -> Wire:
        """Connect two protocols."""
        wire = Wire(
            End(client, client_host, client_writes),
            End(server, "127.0.0.1", server_writes),
        )
        self.wires.append(wire)
        server.makeConnection(wire.server)
        client.makeConnection(wire.client)
        return wire

    def carry(self) -> bool:
        """Move bytes until nothing moves any more; return whether any byte moved."""
        moved = False
        again = True
        while again:
            again = False
            for wire in list(self.wires):
                again = wire.carry(self.piece) or again
            moved = moved or again
        self.wires = [wire for wire in self.wires if wire.open]
        return moved


@implementer(IStreamClientEndpoint)
class ClientEndpoint:
    """Connects to the protocol that ``accept`` builds; refuses while that is None."""

    def __init__(
        self,
        net: Net,
        accept: Callable[[], IProtocol | None],
        on_wire: Callable[[Wire], object] = lambda wire: None,
        on_write: OnWrite = just_write,
    ) -> None:
        self._net = net
        self._accept = accept
        self._on_wire = on_wire
        self._on_write = on_write
        #: The way there; None: one that is never cut.
        self.route: Route | None = None
        #: The number of attempts to connect.
        self.attempts = 0
        self.wires: list[Wire] = []

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect or fail at once."""
        self.attempts += 1
        is_cut = self.route is not None and self.route.is_cut
        server = None if is_cut else self._accept()
        if server is None:
            return fail(ConnectionRefusedError())
        client = protocolFactory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5038))
        assert client is not None
        wire = self._net.join(client, server, client_writes=self._on_write)
        self.wires.append(wire)
        if self.route is not None:
            self.route.carry(wire)
        self._on_wire(wire)
        return succeed(client)


@implementer(IListeningPort)
class MemoryPort:
    """The port of an endpoint in memory, which has a ``factory`` while it listens."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    def startListening(self) -> None:
        """Do nothing: the port listens already."""

    def stopListening(self) -> Deferred[None]:
        """Accept no more connections."""
        self._endpoint.factory = None
        return succeed(None)

    def getHost(self) -> IPv4Address:
        """Return a fixed address."""
        return IPv4Address("TCP", "127.0.0.1", 4573)


@implementer(IStreamServerEndpoint)
class ServerEndpoint:
    """Takes connections made with :meth:`dial`."""

    #: Whether a connection is neither taken nor refused.
    is_silent = False

    def __init__(self, net: Net, on_write: OnWrite = just_write) -> None:
        self._net = net
        self._on_write = on_write
        self.factory: IProtocolFactory | None = None
        #: Whether the process is frozen, and its kernel takes connections.
        self.frozen = False
        self.wires: list[Wire] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Accept connections from now on."""
        self.factory = protocolFactory
        return succeed(MemoryPort(self))

    def dial(self, client: IProtocol, host: str = "127.0.0.1") -> Wire | None:
        """Connect a client; None if the port is closed or the server refuses."""
        address = IPv4Address("TCP", host, 40000)
        server = None if self.factory is None else self.factory.buildProtocol(address)
        if server is None:
            return None
        wire = self._net.join(
            client, server, client_host=host, server_writes=self._on_write
        )
        wire.server.frozen = self.frozen
        self.wires.append(wire)
        return wire


class Door:
    """The address of a service on another machine, whatever process listens there."""

    def __init__(self, route: Route) -> None:
        self._route = route
        #: That of the process; None: nobody has listened there.
        self.endpoint: ServerEndpoint | None = None

    @property
    def is_silent(self) -> bool:
        """Whether a connection is neither taken nor refused."""
        return self._route.is_cut

    def dial(self, client: IProtocol) -> Wire | None:
        """Connect a client; None if that fails."""
        if self.is_silent or self.endpoint is None:
            return None
        wire = self.endpoint.dial(client)
        if wire is not None:
            wire.server.clock = self._route.clock
            self._route.carry(wire)
        return wire
