# SPDX-License-Identifier: MIT
"""A Unix socket on which the command line asks the running service.

One JSON object a line in, one a line out; :mod:`fastagi.doors.codec` says which.
Only the user who runs the service, and root, can open the socket. Whatever comes in
gets an answer in words. Nobody who holds a connection can make the service hold more
than one request and one answer for it, or wait for ever.
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

#: How long a client may take to send a whole line, or to read what it gets, in seconds.
_PATIENCE_S: Final = 30.0
#: At the same time; the command line opens one for each command.
MOST_CONNECTIONS: Final = 50
#: Process id, user and group of the other side (unix(7), SO_PEERCRED).
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
        #: Fires when the transport has room again; None while it has.
        self._room: Deferred[None] | None = None

    @property
    def _wire(self) -> Any:
        """The transport: more than ITransport, which is all Twisted's types promise."""
        return self.transport

    # -- what the transport calls ------------------------------------------

    def connectionMade(self) -> None:
        """Begin to wait for a command."""
        self._actor = self._factory.actor_at(self._wire)
        self._wire.registerProducer(self, True)
        if not self._factory.let_in(self):
            self._end(
                f"{MOST_CONNECTIONS} commands are being carried out already - try again"
            )
            return
        self._wait()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the client; a command that has begun is carried out to its end."""
        self._gone = True
        self._stop_waiting()
        self._factory.forget(self)
        self.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        """Take a command, or a part of one."""
        self._unread += data
        self._next()

    def pauseProducing(self) -> None:
        """Write no more: the client has yet to read what was written."""
        if self._room is None and not self._gone:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        """Write on."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        """Write no more at all."""
        self._gone = True
        self.resumeProducing()

    # -- requests ----------------------------------------------------------

    def _next(self) -> None:
        """Begin with the next command if there is a whole one and none is in work."""
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
        self._stop_waiting()
        # What else the client sends stays in the kernel.
        self._wire.pauseProducing()
        work = self._serve(line)
        self._factory.background.start("a command of the command line", work)

    async def _serve(self, line: bytes) -> None:
        await self._write(await self._answer(line))
        self._busy = False
        if not self._gone:
            self._wire.resumeProducing()
            self._wait()
            self._next()

    async def _answer(self, line: bytes) -> Iterator[bytes]:
        what = ""
        try:
            request = codec.read_request(line)
            what = request.command.NAME
            # The user of the socket may tell on whose behalf it asks, as sudo does.
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
        """Write an answer as fast as it is read, and let others work meanwhile."""
        first = True
        for piece in pieces:
            if self._gone:
                return
            if not first:
                await self._factory.background.pause(0)
            first = False
            # To one that is gone it does nothing.
            self._wire.write(piece)
            if self._room is not None:
                self._wait()
                await self._room
                self._stop_waiting()

    # -- patience ----------------------------------------------------------

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = self._factory.clock.call_later(_PATIENCE_S, self._is_late)

    def _stop_waiting(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _is_late(self) -> None:
        if self._busy:
            # It does not read: there is nothing more to be said.
            self.abort()
        elif self._unread:
            self._end(f"no whole command within {_PATIENCE_S:g} s")
        else:
            self._close()

    def _end(self, error: str) -> None:
        self._wire.write(codec.error_line(error))
        self._close()

    def _close(self) -> None:
        self._gone = True
        self._stop_waiting()
        self._wire.unregisterProducer()
        self._wire.loseConnection()

    def abort(self) -> None:
        """Drop a client that does not read, so that nothing waits for it."""
        if self._room is not None:
            self._wire.abortConnection()
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
        # Asked for now: it may have to ask a directory service.
        self._names = {0: "root"} | {os.getuid(): _user_name(os.getuid())}

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a protocol for a new connection."""
        protocol = _ControlProtocol(self)
        protocol.factory = self
        return protocol

    def stopFactory(self) -> None:
        """Wait for no client any more that does not read its answer."""
        for connection in list(self._connections):
            connection.abort()

    def let_in(self, connection: _ControlProtocol) -> bool:
        """Count a connection in; False if there are too many."""
        if len(self._connections) >= MOST_CONNECTIONS:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: _ControlProtocol) -> None:
        """Count a connection out."""
        self._connections.discard(connection)

    def actor_at(self, transport: Any) -> Actor:
        """Return who is on the other side, as the kernel says."""
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
