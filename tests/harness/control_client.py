# SPDX-License-Identifier: MIT
"""A client of the control socket, for tests in memory and on the reactor.

Reads HTTP with h11, which shares no code with the service's own parser.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import h11

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure


@attrs.frozen
class HttpAnswer:
    """One answer.

    Attributes:
        status: its HTTP status.
        headers: by name in lower case.
        body: its body, decoded.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        """The JSON value in the body."""
        return json.loads(self.body)

    @property
    def as_command(self) -> dict[str, Any]:
        """The answer to a command: ``ok``, and ``result`` or ``error`` and ``code``."""
        if self.status == 200:
            return {"ok": True, "result": self.value}
        problem = self.value
        assert self.headers["content-type"] == "application/problem+json"
        assert problem["status"] == self.status
        return {"ok": False, "error": problem["detail"], "code": problem["code"]}


def command_bytes(command: str, **fields: Any) -> bytes:
    """Return the request of a command, after which the connection is closed."""
    body = json.dumps(fields).encode()
    return (
        f"POST /v1/commands/{command} HTTP/1.1\r\nHost: callback-queue\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


class AnswerReader:
    """Reads the answers in bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._unread = b""
        self._parser = h11.Connection(h11.CLIENT)
        self._head: h11.Response | None = None
        self._body = b""
        self._ask()

    def _ask(self) -> None:
        # The parser has to know that there was a request.
        for event in (h11.Request(method="GET", target="/", headers=[("Host", "x")]),):
            self._parser.send(event)
        self._parser.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> Iterator[HttpAnswer]:
        """Yield each answer that is complete; data b"" is the end of the connection."""
        self._parser.receive_data(data)
        while True:
            event = self._parser.next_event()
            match event:
                case h11.Response():
                    self._head, self._body = event, b""
                case h11.Data():
                    self._body += event.data
                case h11.EndOfMessage():
                    assert self._head is not None
                    yield HttpAnswer(
                        self._head.status_code,
                        {k.decode(): v.decode() for k, v in self._head.headers},
                        self._body,
                    )
                    if self._parser.their_state is not h11.DONE:
                        return
                    self._parser.start_next_cycle()
                    self._ask()
                case h11.InformationalResponse():
                    continue
                case _:
                    return

    @property
    def begun(self) -> bytes:
        """What has arrived of the body of an answer that is not complete."""
        return self._body


def answers_in(data: bytes) -> list[HttpAnswer]:
    """Return the complete answers in these bytes."""
    return list(AnswerReader().feed(data)) if data else []


class ControlClient(Protocol):
    """The command line's end of the control socket: one command, one answer.

    Attributes:
        answered: fires with the answer, as `HttpAnswer.as_command` has it.
    """

    def __init__(
        self, command: str, fields: Mapping[str, Any], *, hangs_up: bool = False
    ) -> None:
        self._request = command_bytes(command, **fields)
        self._hangs_up = hangs_up
        self._reader = AnswerReader()
        self.answered: Deferred[Any] = Deferred()
        #: The answer; None: none yet.
        self.answer: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        for answer in self._reader.feed(data):
            self.answer = answer.as_command
            self.answered.callback(self.answer)
            if self._hangs_up:
                self.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.answer is None:
            self.answered.addErrback(lambda _: None)
            self.answered.errback(reason)

    def close(self) -> None:
        """Close the connection."""
        assert self.transport is not None
        self.transport.loseConnection()
