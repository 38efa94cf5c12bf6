# SPDX-License-Identifier: MIT
"""The protocol of the control socket, between the command line and the service.

Each request and answer is one JSON object on one line (:mod:`fastagi.doors.codec`).
Only the user who runs the service, and root, can open the socket. Every line is
answered, with an error if it is not a valid request. For each connection the service
holds at most one request and one answer in memory, and every wait has a time-out.
"""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from fastagi.doors import codec
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.commands import Actor, Dispatch

#: Time limit for a client to send a whole line, or to read the answer, in seconds.
_CLIENT_TIMEOUT_S: Final = 30.0
#: Maximum number of connections. The command line opens one for each command.
MAX_CONNECTIONS: Final = 50
#: Process id, user id and group id of the client (unix(7), SO_PEERCRED).
_CREDENTIALS: Final = struct.Struct("3i")


@implementer(IPushProducer)
class _ControlProtocol(Protocol):
    _log = Logger()

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._actor = Actor()
        self._unread = b""
        self._busy = False
        self._gone = False
        self._timer: IDelayedCall | None = None
        #: Fires when the transport's buffer is empty again; None while it accepts data.
        self._drained: Deferred[None] | None = None

    @property
    def _stream(self) -> Any:
        """The transport; Any, as Twisted declares it only as an ITransport."""
        return self.transport

    # -- called by the transport -------------------------------------------

    def connectionMade(self) -> None:
        """Admit the connection, and wait for a command."""
        self._actor = self._factory.actor_at(self._stream)
        self._stream.registerProducer(self, True)
        if not self._factory.admit(self):
            self._end(
                f"{MAX_CONNECTIONS} commands are being carried out already - try again"
            )
            return
        self._start_timer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the client. A command that has begun is carried out to its end."""
        self._gone = True
        self._stop_timer()
        self._factory.forget(self)
        self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Buffer data, and carry out the next command if it is complete."""
        self._unread += data
        self._next_request()

    def pauseProducing(self) -> None:
        """Stop writing: the client has not read what was written yet."""
        if self._drained is None and not self._gone:
            self._drained = Deferred()

    def resumeProducing(self) -> None:
        """Continue writing."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        """Stop writing for good."""
        self._gone = True
        self.resumeProducing()

    # -- requests ----------------------------------------------------------

    def _next_request(self) -> None:
        """Start the next command if it is complete and no other is in progress."""
        if self._busy or self._gone:
            return
        line, newline, rest = self._unread.partition(b"\n")
        if len(line) > codec.LONGEST_REQUEST:
            self._end(str(codec.too_long()))
            return
        if not newline:
            return
        self._unread = rest
        self._busy = True
        self._stop_timer()
        # Until the command is done, further data stay in the kernel.
        self._stream.pauseProducing()
        work = self._serve(line)
        self._factory.background.start("a command of the command line", work)

    async def _serve(self, line: bytes) -> None:
        await self._write(await self._answer(line))
        self._busy = False
        if not self._gone:
            self._stream.resumeProducing()
            self._start_timer()
            self._next_request()

    async def _answer(self, line: bytes) -> Iterator[bytes]:
        what = ""
        try:
            request = codec.read_request(line)
            what = request.command.NAME
            # The client may name another user on whose behalf it acts, as with sudo.
            actor = request.actor if request.actor.name else self._actor
            return codec.answer_pieces(
                await self._factory.dispatch.do(request.command, actor)
            )
        except CallbackError as error:
            return iter([codec.error_line(str(error))])
        except Exception:
            self._log.failure("command {command} failed", command=what or "unknown")
            return iter([codec.error_line("the service failed; see its log")])

    async def _write(self, pieces: Iterator[bytes]) -> None:
        """Write an answer as fast as the client reads it; do not block the reactor."""
        first = True
        for piece in pieces:
            if self._gone:
                return
            if not first:
                await self._factory.background.pause(0)
            first = False
            # After a disconnect this does nothing.
            self._stream.write(piece)
            if self._drained is not None:
                self._start_timer()
                await self._drained
                self._stop_timer()

    # -- time limit --------------------------------------------------------

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self._factory.clock.call_later(_CLIENT_TIMEOUT_S, self._timed_out)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _timed_out(self) -> None:
        if self._busy:
            # The client does not read, so it gets no error.
            self.abort()
        elif self._unread:
            self._end(f"no complete command within {_CLIENT_TIMEOUT_S:g} s")
        else:
            self._close()

    def _end(self, error: str) -> None:
        self._stream.write(codec.error_line(error))
        self._close()

    def _close(self) -> None:
        self._gone = True
        self._stop_timer()
        self._stream.unregisterProducer()
        self._stream.loseConnection()

    def abort(self) -> None:
        """Close the connection if the client does not read its answer."""
        if self._drained is not None:
            self._stream.abortConnection()
            self.stopProducing()


class ControlFactory(Factory):
    """Builds one protocol for each connection of the command line."""

    noisy = False

    def __init__(
        self, dispatch: Dispatch, background: Background, clock: Clock
    ) -> None:
        self.dispatch = dispatch
        self.background = background
        self.clock = clock
        self._connections: set[_ControlProtocol] = set()
        # Looked up now, as this may ask a directory service.
        self._names = {0: "root"} | {os.getuid(): _user_name(os.getuid())}

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a protocol for a new connection."""
        protocol = _ControlProtocol(self)
        protocol.factory = self
        return protocol

    def stopFactory(self) -> None:
        """Close the connections of clients that do not read their answers."""
        for connection in list(self._connections):
            connection.abort()

    def admit(self, connection: _ControlProtocol) -> bool:
        """Add a connection; return False if there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _ControlProtocol) -> None:
        """Remove a connection."""
        self._connections.discard(connection)

    def actor_at(self, transport: Any) -> Actor:
        """Return the user of the client, as the kernel knows it."""
        try:
            handle = transport.getHandle()
            found = handle.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size
            )
        except (AttributeError, OSError):
            return Actor()
        _pid, uid, _gid = _CREDENTIALS.unpack(found)
        return Actor(self._names.get(uid, f"uid {uid}"))


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
