# SPDX-License-Identifier: MIT
"""One FastAGI connection: parses bytes, sends one command at a time, limits each wait.

This module reads the request, matches each reply to its command, enforces the time
limits and closes the session. It does not know which scripts exist or what a command
means.

Rules of this protocol, from ``res/res_agi.c`` and tried on Asterisk 16.28 and 22.10:

1. Asterisk reads one line, runs it, answers, and only then reads the next. A second
   line sent early stays in its buffer. So there is one command at a time.
2. Replies carry no id. If a reply is late, is not waited for any more, or can not be
   parsed, no later reply can be trusted: the connection is closed.
3. If the connection just closes, AGISTATUS is SUCCESS. Only a line that begins with
   ``failure`` sets it to FAILURE, and it ends a playback at once. So every session
   that fails ends with that line.
4. After that line Asterisk closes the connection. The service waits for this for a
   moment, and reads and drops what still comes: if a socket is closed with unread
   bytes, the system sends a reset, which may overtake the line.
"""

from __future__ import annotations

import enum
import math
import socket
import struct
from typing import Final, Protocol, cast

import attrs

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorTime,
    IReadDescriptor,
    ITCPTransport,
    ITransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from fastagi.agi.errors import (
    AgiConnectionLost,
    AgiError,
    AgiHungUp,
    AgiMisunderstood,
    AgiTimedOut,
)
from fastagi.errors import CallbackError
from fastagi.runtime.sockets import send_without_delay
from fastagi.wire.agi import NEED_DATA, AgiHangup, AgiParser, AgiReply, AgiRequest
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError

#: The line that sets AGISTATUS to FAILURE (``res_agi.c:run_agi``).
FAILURE_LINE: Final = b"failure\n"


#: ``tcpi_last_data_recv`` of Linux's ``struct tcp_info``, in milliseconds.
_LAST_DATA_RECV: Final = struct.Struct("=52xI")


def _seconds_since_last_data(transport: ITransport | None) -> float:
    """Return the time since the last bytes came from the network, in seconds.

    Returns 0 if the operating system does not know it.
    """
    try:
        handle: socket.socket = transport.getHandle()  # type: ignore[union-attr]
        info = handle.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV.size
        )
        (milliseconds,) = _LAST_DATA_RECV.unpack(info)
    except (AttributeError, OSError, struct.error):
        return 0.0
    return float(milliseconds / 1000)


def socket_of(transport: ITransport | None) -> socket.socket | None:
    """Return the socket of a TCP connection; None if there is none, as in tests."""
    if not ITCPTransport.providedBy(transport):
        return None
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


def send_at_once(sender: socket.socket, data: bytes) -> int:
    """Send bytes now, and not in the next turn of the reactor.

    Only while nothing waits in the transport, which would be overtaken.

    Returns:
        How many bytes were sent; the transport has to send the rest, and finds out
        about errors.
    """
    try:
        return sender.send(data)
    except OSError:
        return 0


def close_at_once(transport: ITransport | None) -> None:
    """Close a TCP connection now, whose bytes are all sent and read.

    Twisted's ``loseConnection`` does the same two turns of the reactor later.
    """
    assert transport is not None
    cast(IReadDescriptor, transport).connectionLost(connectionDone)


def abort(transport: ITransport | None) -> None:
    """Close a stream connection at once, and drop what is not sent yet."""
    if transport is not None:
        # Twisted's types declare this method for TCP only; all its streams have it.
        cast(ITCPTransport, transport).abortConnection()


@attrs.frozen(kw_only=True)
class AgiLimits:
    """Time limits of a connection, in seconds."""

    #: From the connect to the end of the header block.
    header_timeout_s: float = 3.0
    #: From a command to its reply, unless the command has a limit of its own.
    command_timeout_s: float = 5.0
    #: From the connect to the end of the session.
    session_timeout_s: float = 30.0
    #: From the failure line until the service closes, if Asterisk does not close.
    linger_s: float = 1.0


class LinkOwner(Protocol):
    """The part of the server that a connection calls."""

    def request_received(self, link: AgiProtocol, request: AgiRequest) -> None:
        """Called when the header block is complete."""

    def session_expired(self, link: AgiProtocol) -> None:
        """Called when the time limit of the session has closed the connection."""

    def link_closed(self, link: AgiProtocol) -> None:
        """Called once, as the last call, when the connection is closed."""


class _State(enum.Enum):
    HEADERS = enum.auto()
    OPEN = enum.auto()
    #: The service has ended the session and waits for Asterisk to close.
    LEAVING = enum.auto()
    CLOSED = enum.auto()


class AgiProtocol(TwistedProtocol):
    """One connection from Asterisk."""

    _log = Logger()

    def __init__(
        self, *, owner: LinkOwner, clock: IReactorTime, limits: AgiLimits, peer: str
    ) -> None:
        self.peer = peer
        #: Whether Asterisk has reported that the channel was hung up.
        self.hung_up = False
        #: Time that the request waited because this process was busy, in seconds.
        self.unread_s = 0.0
        self._owner = owner
        self._clock = clock
        self._limits = limits
        self._parser = AgiParser()
        self._state = _State.HEADERS
        self._waiting: Deferred[AgiReply] | None = None
        self._error: AgiError | None = None
        # One timer for the whole connection. It is moved only to an earlier time. For
        # a later deadline it fires early and is set again.
        self._timer: IDelayedCall | None = None
        self._timer_fires = math.inf
        self._deadline = 0.0
        self._session_deadline = 0.0
        self._session_timeout_s = limits.session_timeout_s
        #: The socket, as long as nothing waits in the transport to be sent.
        self._socket: socket.socket | None = None

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._state is _State.CLOSED

    # -- called by the session

    def send_command(
        self, line: bytes, timeout_s: float | None = None
    ) -> Deferred[AgiReply]:
        """Send one encoded command.

        Args:
            line: From `fastagi.wire.agi.encode_command`.
            timeout_s: Time limit for the reply, in seconds; None for the default. The
                limit of the session still holds.

        Returns:
            A Deferred that fires with the reply, whatever its code. Fails with
            `AgiTimedOut`, `AgiHungUp` (Asterisk closed after a hang-up),
            `AgiMisunderstood` or `AgiConnectionLost`; in each case the connection is
            closed or being closed, and it is unknown whether Asterisk ran the command.
            Cancelling the Deferred closes the connection, too.

        Raises:
            AgiError: The connection had ended before; nothing was sent.
            LocalProtocolError: Another command is still waiting for its reply.
        """
        if self._state is not _State.OPEN:
            raise self._end_error()
        if self._waiting is not None:
            raise LocalProtocolError("the previous command still waits for its reply")
        if timeout_s is None:
            timeout_s = self._limits.command_timeout_s
        waiting: Deferred[AgiReply] = Deferred(self._abandoned)
        self._waiting = waiting
        deadline = self._clock.seconds() + timeout_s
        self._set_deadline(min(deadline, self._session_deadline))
        self._write(line)
        return waiting

    def limit_session(self, limit_s: float) -> None:
        """Replace the time limit of the session, counted from now, in seconds."""
        if self._state is not _State.OPEN:
            return
        self._session_timeout_s = limit_s
        self._session_deadline = self._clock.seconds() + limit_s
        self._set_deadline(self._session_deadline)

    def finish(self) -> None:
        """End the session normally: the script has ended."""
        if self._state is not _State.OPEN:
            return
        error = AgiConnectionLost("The session has ended.")
        if self._waiting is None and self._socket is not None:
            # All is sent and answered: there is nothing to wait for.
            self._state, self._error = _State.LEAVING, error
            close_at_once(self.transport)
        else:
            self._leave(error)
            self._lose()

    def give_up(self, error: AgiError) -> None:
        """End the session so that Asterisk continues with AGISTATUS=FAILURE.

        A command that waits for its reply fails with `error`, as does each later one.
        """
        if self._state not in (_State.HEADERS, _State.OPEN):
            return
        self._log.debug(
            "FastAGI connection from {peer} given up: {reason!s}",
            peer=self.peer,
            reason=error,
        )
        self._write(FAILURE_LINE)
        self._leave(error)

    def abort(self) -> None:
        """Close at once, and drop what is not sent yet."""
        abort(self.transport)

    # -- called by Twisted

    def connectionMade(self) -> None:
        send_without_delay(self.transport)
        self._socket = socket_of(self.transport)
        now = self._clock.seconds()
        self._session_deadline = now + self._session_timeout_s
        self._set_deadline(
            min(now + self._limits.header_timeout_s, self._session_deadline)
        )

    def dataReceived(self, data: bytes) -> None:
        if self._state not in (_State.HEADERS, _State.OPEN):
            return
        try:
            message = self._read(data)
        except RemoteProtocolError as error:
            self._misunderstood(error)
            return
        if message is None:
            return
        # The message is passed on only after all bytes were checked: see `_read`.
        self._deadline = self._session_deadline
        if isinstance(message, AgiRequest):
            self._state = _State.OPEN
            self.unread_s = _seconds_since_last_data(self.transport)
            self._owner.request_received(self, message)
            return
        waiting, self._waiting = self._waiting, None
        assert waiting is not None
        waiting.callback(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._state is _State.HEADERS:
            self._log.debug(
                "FastAGI connection from {peer} closed before its request was complete",
                peer=self.peer,
            )
        if self._error is None:
            self._error = (
                AgiHungUp()
                if self.hung_up
                else AgiConnectionLost("Asterisk closed the connection.")
            )
        self._state = _State.CLOSED
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fail_waiting()
        self._owner.link_closed(self)

    # -- internals

    def _read(self, data: bytes) -> AgiRequest | AgiReply | None:
        """Return the request or reply in these bytes; None if it is not complete.

        Raises:
            RemoteProtocolError: there is more than one, or bytes other than ``HANGUP``
                follow it. Then a value contained a newline, and what follows was not
                written by Asterisk.
        """
        found: AgiRequest | AgiReply | None = None
        parser = self._parser
        parser.receive_data(data)
        while (event := parser.next_event()) is not NEED_DATA:
            if isinstance(event, AgiHangup):
                self.hung_up = True
            elif isinstance(event, AgiReply):
                if event.code < 200:
                    # "100 Trying": the reply comes later.
                    continue
                if found is not None or self._waiting is None:
                    raise RemoteProtocolError("a reply came without a command")
                found = event
            elif isinstance(event, AgiRequest):
                found = event
        if found is not None and not parser.between_messages:
            raise RemoteProtocolError("bytes follow a complete message")
        return found

    def _misunderstood(self, error: RemoteProtocolError) -> None:
        reason = AgiMisunderstood(f"Asterisk was not understood: {error}")
        if self._state is _State.HEADERS and not self._parser.request_began:
            # The peer is not Asterisk, so it gets no failure line.
            self._log.debug(
                "FastAGI connection from {peer} closed: {reason!s}",
                peer=self.peer,
                reason=error,
            )
            self._leave(reason)
            self.abort()
            return
        self.give_up(reason)

    def _abandoned(self, waiting: Deferred[AgiReply]) -> None:
        if self._waiting is waiting:
            self._waiting = None
            self.give_up(AgiConnectionLost("A command was abandoned."))

    def _leave(self, error: AgiError) -> None:
        self._state = _State.LEAVING
        self._error = error
        self._set_deadline(self._clock.seconds() + self._limits.linger_s)
        self._fail_waiting()

    def _fail_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(self._end_error())

    def _end_error(self) -> CallbackError:
        """Return a new exception that says why there is no connection any more."""
        if self._error is None:
            return LocalProtocolError("the request has not come yet")
        return type(self._error)(str(self._error))

    def _write(self, data: bytes) -> None:
        assert self.transport is not None
        if self._socket is not None:
            data = data[send_at_once(self._socket, data) :]
            if not data:
                return
            self._socket = None
        self.transport.write(data)

    def _lose(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def _set_deadline(self, deadline: float) -> None:
        self._deadline = deadline
        if deadline >= self._timer_fires:
            return
        self._timer_fires = deadline
        delay_s = max(0.0, deadline - self._clock.seconds())
        if self._timer is None:
            self._timer = self._clock.callLater(delay_s, self._deadline_reached)
        else:
            self._timer.reset(delay_s)

    def _deadline_reached(self) -> None:
        self._timer, self._timer_fires = None, math.inf
        if self._clock.seconds() < self._deadline:
            self._set_deadline(self._deadline)
        elif self._state is _State.LEAVING:
            self.abort()
        elif self._state is _State.HEADERS:
            self.give_up(
                AgiTimedOut(
                    f"No complete request within {self._limits.header_timeout_s:g} s."
                )
            )
        elif self._deadline < self._session_deadline:
            self.give_up(AgiTimedOut("Asterisk did not answer a command in time."))
        else:
            self.give_up(
                AgiTimedOut(f"The session lasted over {self._session_timeout_s:g} s.")
            )
            self._owner.session_expired(self)
