# SPDX-License-Identifier: MIT
"""Asterisk's end of a manager connection in memory; the test performs each step."""

from __future__ import annotations

from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from fastagi.wire.ami import NEED_DATA, AmiMessage, AmiParser
from tests.harness.messages import message_of, written


@implementer(ITCPTransport)
class ManagerEnd(StringTransport):
    """The transport of one connection, and Asterisk's side of it."""

    #: Whether a small message waits until the one before it is acknowledged.
    has_delay = True

    def __init__(self, protocol: IProtocol) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "127.0.0.1", 5038))
        self.protocol = protocol
        self.closed = False
        self._parser = AmiParser(expect_banner=False)
        self._asked: list[AmiMessage] = []
        protocol.makeConnection(self)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_delay = not enabled

    def say(self, *headers: tuple[str, str]) -> None:
        """Send one message."""
        self.say_bytes(written(message_of(headers)))

    def say_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self.protocol.dataReceived(data)

    def banner(self) -> None:
        """Send the greeting."""
        self.say_bytes(b"Asterisk Call Manager/11.0.0\r\n")

    def event(self, name: str, *headers: tuple[str, str]) -> None:
        """Send an event."""
        self.say(("Event", name), *headers)

    def asked(self, name: str) -> AmiMessage:
        """Return the client's next action, which must have this name."""
        self._parser.receive_data(self.value())
        self.clear()
        while (message := self._parser.next_event()) is not NEED_DATA:
            self._asked.append(cast(AmiMessage, message))
        assert self._asked, f"the client sent no {name}"
        action = self._asked.pop(0)
        assert action.get("Action") == name, action
        return action

    def asked_nothing(self) -> bool:
        """Return whether the client sent nothing else."""
        return not self._asked and not self.value()

    def answer(
        self, action: AmiMessage, response: str, *headers: tuple[str, str]
    ) -> None:
        """Send the response to an action."""
        self.say(("Response", response), ("ActionID", action.action_id), *headers)

    def close(self) -> None:
        """Close the connection from Asterisk's side."""
        self._lose(Failure(ConnectionDone()))

    def loseConnection(self) -> None:
        """The client closes the connection."""
        self._lose(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        """The client drops the connection."""
        self._lose(Failure(ConnectionDone()))

    def _lose(self, reason: Failure) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(reason)


@implementer(IStreamClientEndpoint)
class ManagerEndpoint:
    """An endpoint whose connections wait until the test accepts or refuses them."""

    def __init__(self) -> None:
        self.links: list[ManagerEnd] = []
        self.waiting: list[tuple[IProtocolFactory, Deferred[IProtocol]]] = []
        self.cancelled = 0

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Begin to connect."""
        attempt: Deferred[IProtocol] = Deferred(self._cancel)
        self.waiting.append((protocolFactory, attempt))
        return attempt

    def _cancel(self, attempt: Deferred[IProtocol]) -> None:
        self.cancelled += 1
        self.waiting = [entry for entry in self.waiting if entry[1] is not attempt]

    def accept(self) -> ManagerEnd:
        """Accept the only connection."""
        ((factory, attempt),) = self.waiting
        self.waiting = []
        protocol = factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5038))
        assert protocol is not None
        link = ManagerEnd(protocol)
        self.links.append(link)
        attempt.callback(protocol)
        return link

    def refuse(self) -> None:
        """Refuse the only connection."""
        ((_, attempt),) = self.waiting
        self.waiting = []
        attempt.errback(Failure(ConnectionRefusedError()))

    @property
    def open_links(self) -> list[ManagerEnd]:
        """The links that are not closed."""
        return [link for link in self.links if not link.closed]
