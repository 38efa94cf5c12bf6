# SPDX-License-Identifier: MIT
"""HTTP on the control socket: connections, requests and answers, with their limits.

Twisted parses and writes HTTP. This module limits sizes, connections and times, answers
whatever arrives (also what is no HTTP), and writes long answers only as fast as the
client reads them. It does not know which requests there are: see
:mod:`fastagi.doors.internal_api`.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from io import BytesIO
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from zope.interface import implementer

from fastagi.doors import codec
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock
from fastagi.service.commands import Actor, Busy

#: Time limit for a client to send a whole request, or to read what was written, in
#: seconds. A connection without a request is closed after it, too.
CLIENT_TIMEOUT_S: Final = 30.0
#: Maximum number of connections. The command line opens one for each command.
MAX_CONNECTIONS: Final = 50
#: Maximum length of the request line and all headers, in bytes.
_LONGEST_HEAD: Final = 8192
_MAX_HEADERS: Final = 50
_JSON: Final = b"application/json"
_PROBLEM: Final = b"application/problem+json"
#: Process id, user id and group id of the client (unix(7), SO_PEERCRED).
_CREDENTIALS: Final = struct.Struct("3i")
#: The answer to a command line of 0.1.0, which sends a JSON object on one line.
_OTHER_PROTOCOL: Final = {
    "ok": False,
    "error": "the running service is of another version than this command - restart it"
    " with 'systemctl restart callback-queue', or use the command that was installed"
    " with it",
}


class TooSlow(CallbackError):
    """A request did not arrive in time."""

    code = "too-slow"


class NotHttp(CallbackError):
    """A client did not send HTTP."""

    code = "bad-request"


class ServiceStops(CallbackError):
    """The service stops, so the command was not carried out, or not to its end."""

    code = "stopping"


class Failed(CallbackError):
    """The service failed; see its log."""


@implementer(IPushProducer)
class HttpRequest(http.Request):
    """One request, and the answer to it.

    Attributes:
        actor: the user of the client, as the kernel knows it.
        is_gone: whether the client is gone, so that nothing more can be written.
        on_end: called when the client is gone, or the service stops, for an answer that
            has no end of its own.
    """

    _log = Logger()
    channel: Any
    content: Any
    transport: Any

    def __init__(self, channel: HttpChannel) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)
        self.actor = channel.actor
        self.is_gone = False
        self.on_end: Callable[[], object] = lambda: None
        self._server = channel.server
        self._timer: IDelayedCall | None = None
        #: Fires when the transport's buffer is empty again; None while it accepts data.
        self._drained: Deferred[None] | None = None

    # -- called by the parser ----------------------------------------------

    def gotLength(self, length: int | None) -> None:
        """Prepare for the body; by default a long one is written to a file."""
        self.content = BytesIO()
        if length is not None and length > codec.LONGEST_BODY:
            # The client may ask whether to send the body: no.
            self.requestHeaders.removeHeader(b"expect")
            self._refuse_long_body()

    def handleContentChunk(self, data: bytes) -> None:
        """Store a part of the body."""
        if self.content.tell() + len(data) > codec.LONGEST_BODY:
            self._refuse_long_body()
        else:
            self.content.write(data)

    def _refuse_long_body(self) -> None:
        self.channel.refuse(codec.too_long(codec.LONGEST_BODY))

    def process(self) -> None:
        """Answer the request, as it is complete."""
        if self.channel.is_closing:
            return
        self.registerProducer(self, True)
        self._server.background.start("a request to the control socket", self._answer())

    def connectionLost(self, reason: Failure) -> None:
        """Forget the client. A command that has begun is carried out to its end."""
        self._abandon()
        super().connectionLost(reason)

    # -- called by the transport -------------------------------------------

    def pauseProducing(self) -> None:
        """Stop writing: the client has not read what was written yet."""
        if self._drained is None and not self.is_gone:
            self._drained = Deferred()
            self._timer = self._server.clock.call_later(CLIENT_TIMEOUT_S, self.abort)

    def resumeProducing(self) -> None:
        """Continue writing."""
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        """Stop writing for good."""
        self._abandon()

    # -- for the code that answers -----------------------------------------

    @property
    def words(self) -> tuple[str, ...]:
        """The path, cut at each slash."""
        return tuple(self.path.decode("utf-8", "replace").split("/")[1:])

    @property
    def body(self) -> bytes:
        """The body."""
        data: bytes = self.content.getvalue()
        return data

    @property
    def is_paused(self) -> bool:
        """Whether the client has not read what was written yet."""
        return self._drained is not None

    def accepts(self, kind: bytes) -> bool:
        """Return whether the client asks for this type of content."""
        asked: bytes = self.getHeader(b"accept") or b""
        return kind in asked.lower()

    async def say(
        self, pieces: Iterable[bytes], kind: bytes = _JSON, status: int = http.OK
    ) -> None:
        """Write an answer as fast as the client reads it; do not block the reactor."""
        has_begun = False
        for piece in pieces:
            if self.is_gone:
                return
            if has_begun:
                await self._server.background.pause(0)
            else:
                self.begin(kind, status)
                has_begun = True
            await self.put(piece)

    def begin(self, kind: bytes, status: int = http.OK) -> None:
        """Set the head of the answer."""
        self.setResponseCode(status)
        self.setHeader(b"content-type", kind)
        self.setHeader(b"cache-control", b"no-store")

    async def put(self, data: bytes) -> None:
        """Write a part of the answer; wait while the client reads too slowly."""
        if not self.is_gone:
            self.write(data)
        if self._drained is not None:
            await self._drained

    def stop(self) -> None:
        """End the answer now if the client does not read it, or if it has no end."""
        if self.is_paused:
            self.abort()
        else:
            self.on_end()

    def abort(self) -> None:
        """Close the connection at once."""
        transport = self.transport
        self._abandon()
        transport.abortConnection()

    # -- inside ------------------------------------------------------------

    async def _answer(self) -> None:
        try:
            await self._server.answer(self)
        except CallbackError as error:
            await self._say_error(error)
        except Stopping:
            await self._say_error(ServiceStops("the service stops"))
        except Exception:
            self._log.failure("{path} failed", path="/" + "/".join(self.words))
            await self._say_error(Failed())
        if self.channel is not None:
            self.unregisterProducer()
            if not self.is_gone:
                self.finish()

    async def _say_error(self, error: CallbackError) -> None:
        if self.startedWriting:
            # Part of the answer is written, so the error can not be told any more.
            self.abort()
            return
        problem = codec.problem_json(error)
        await self.say([json.dumps(problem).encode()], _PROBLEM, problem["status"])

    def _abandon(self) -> None:
        if not self.is_gone:
            self.is_gone = True
            self.resumeProducing()
            self.on_end()


#: Answers a request: reads it, and writes with `HttpRequest.say` or `put`.
Answer: TypeAlias = Callable[[HttpRequest], Awaitable[None]]


class HttpChannel(http.HTTPChannel):
    """One connection.

    Attributes:
        actor: the user of the client, as the kernel knows it.
        is_closing: whether nothing more is read.
    """

    MAX_LENGTH = _LONGEST_HEAD
    totalHeadersSize = _LONGEST_HEAD
    maxHeaders = _MAX_HEADERS
    #: Twisted's timer begins again with each byte; `_timer` does not.
    timeOut = None
    transport: Any

    def __init__(self, server: HttpServer) -> None:
        super().__init__()
        self.server = server
        self.actor = Actor()
        self.is_closing = False
        self._is_new = True
        #: Whether a part of a request has arrived.
        self._has_part = False
        self._is_answering = False
        self._timer: IDelayedCall | None = None

    def requestFactory(self, *_: object) -> HttpRequest:  # type: ignore[override]
        """Return a new request."""
        return HttpRequest(self)

    # -- called by the transport -------------------------------------------

    def connectionMade(self) -> None:
        """Admit the connection, and wait for a request."""
        self.actor = self.server.actor_at(self.transport)
        super().connectionMade()
        if self.server.admit(self):
            self._start_timer()
        else:
            self.refuse(
                Busy(
                    f"{MAX_CONNECTIONS} commands are being carried out already - try"
                    " again"
                )
            )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        self.is_closing = True
        self._stop_timer()
        super().connectionLost(reason)
        self.server.forget(self)

    def dataReceived(self, data: bytes) -> None:
        """Pass data to the parser."""
        if self.is_closing:
            return
        if self._is_new and data.startswith(b"{"):
            self._write_and_close(json.dumps(_OTHER_PROTOCOL).encode() + b"\n")
            return
        self._is_new = False
        self._has_part = not self._is_answering
        super().dataReceived(data)

    # -- called by the parser ----------------------------------------------

    def allContentReceived(self) -> None:
        """Answer a request, as it is complete."""
        self._stop_timer()
        self._has_part = False
        self._is_answering = True
        super().allContentReceived()

    def requestDone(self, request: http.Request) -> None:
        """Wait for the next request, or close the connection."""
        self._is_answering = False
        # The next request may have arrived already: then this stops the timer again.
        self._start_timer()
        self.is_closing = self.is_closing or not self.persistent
        super().requestDone(request)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a request whose head is too long."""
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's own answer has no words.
        self.refuse(NotHttp("this is no HTTP request that the service understands"))

    # -- the end -----------------------------------------------------------

    def refuse(self, error: CallbackError) -> None:
        """Write an error, and close the connection."""
        problem = codec.problem_json(error)
        body = json.dumps(problem).encode()
        head = (
            f"HTTP/1.1 {problem['status']} {problem['title']}\r\n"
            f"Content-Type: {_PROBLEM.decode()}\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        self._write_and_close(head.encode() + body)

    def stop(self) -> None:
        """Close the connection, after the answer that is being written."""
        self.persistent = False
        if not self._is_answering:
            self._write_and_close(b"")
        for request in list(self.requests):
            request.stop()

    def _write_and_close(self, data: bytes) -> None:
        if self.is_closing:
            return
        self.is_closing = True
        if data:
            self.transport.write(data)
        self._start_timer()
        self.loseConnection()

    # -- time limit --------------------------------------------------------

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.server.clock.call_later(CLIENT_TIMEOUT_S, self._timed_out)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _timed_out(self) -> None:
        if self.is_closing:
            # The client does not read what was written last.
            self.transport.abortConnection()
        elif self._has_part:
            self.refuse(TooSlow(f"no complete command within {CLIENT_TIMEOUT_S:g} s"))
        else:
            self._write_and_close(b"")


class HttpServer(Factory):
    """Builds one channel for each connection."""

    noisy = False

    def __init__(self, answer: Answer, background: Background, clock: Clock) -> None:
        self.answer = answer
        self.background = background
        self.clock = clock
        self._channels: set[HttpChannel] = set()
        # Looked up now, as this may ask a directory service.
        self._names = {0: "root"} | {os.getuid(): _user_name(os.getuid())}

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Return a channel for a new connection."""
        channel = HttpChannel(self)
        channel.factory = self
        return channel

    def log(self, request: http.Request) -> None:
        """Write no access log."""

    def stopFactory(self) -> None:
        """Close all connections; commands in progress are carried out before."""
        for channel in list(self._channels):
            channel.stop()

    def admit(self, channel: HttpChannel) -> bool:
        """Add a connection; return False if there are too many."""
        if len(self._channels) >= MAX_CONNECTIONS:
            return False
        self._channels.add(channel)
        return True

    def forget(self, channel: HttpChannel) -> None:
        """Remove a connection."""
        self._channels.discard(channel)

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
