# SPDX-License-Identifier: MIT
"""Bytes that are sent at once overtake nothing, and none is lost."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from zope.interface import implementer

from fastagi.agi.protocol import (
    AgiLimits,
    AgiProtocol,
    send_at_once,
    socket_of,
)
from fastagi.wire.agi import AgiRequest, encode_command


@implementer(ITCPTransport)
class Transport:
    """A TCP connection that keeps what it is given to send."""

    def __init__(self, handle: object) -> None:
        self._handle = handle
        self.written = b""
        self.lost: list[str] = []
        self.has_delay = True
        self.protocol: AgiProtocol | None = None

    def getHandle(self) -> object:
        return self._handle

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.has_delay = not enabled

    def write(self, data: bytes) -> None:
        self.written += data

    def loseConnection(self) -> None:
        self.lost.append("in time")

    def connectionLost(self, reason: Any) -> None:
        self.lost.append("at once")
        assert self.protocol is not None
        self.protocol.connectionLost(reason)


class Owner:
    """Notes what a connection tells the server."""

    def __init__(self) -> None:
        self.requests: list[AgiRequest] = []
        self.closed = 0

    def request_received(self, _link: AgiProtocol, request: AgiRequest) -> None:
        self.requests.append(request)

    def session_expired(self, _link: AgiProtocol) -> None:
        raise AssertionError

    def link_closed(self, _link: AgiProtocol) -> None:
        self.closed += 1


def connected(handle: object) -> tuple[AgiProtocol, Transport, Owner]:
    """Return a connection whose request has come."""
    owner, transport = Owner(), Transport(handle)
    link = AgiProtocol(owner=owner, clock=Clock(), limits=AgiLimits(), peer="127.0.0.1")
    transport.protocol = link
    link.makeConnection(transport)  # type: ignore[arg-type]
    link.dataReceived(b"agi_network: yes\nagi_network_script: x\n\n")
    assert len(owner.requests) == 1
    return link, transport, owner


def pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    return ours, theirs


def test_no_command_waits_for_the_one_before_it_to_be_acknowledged() -> None:
    _link, transport, _owner = connected(None)
    assert not transport.has_delay


def test_a_command_is_on_its_way_when_it_was_sent() -> None:
    ours, theirs = pair()
    with ours, theirs:
        link, transport, owner = connected(ours)
        reply = link.send_command(encode_command("NOOP"))
        assert theirs.recv(100) == b"NOOP\n"
        link.dataReceived(b"200 result=0\n")
        assert reply.result.ok  # type: ignore[attr-defined]
        link.finish()
    assert transport.written == b""
    assert transport.lost == ["at once"]
    assert owner.closed == 1
    assert link.closed


def test_what_does_not_fit_waits_and_nothing_overtakes_it() -> None:
    ours, theirs = pair()
    with ours, theirs:
        link, transport, _ = connected(ours)
        while send_at_once(ours, b"x" * 65536):
            pass
        link.send_command(encode_command("NOOP"))
        assert transport.written == b"NOOP\n"
        # There is room again, but the line above has to go first.
        theirs.recv(1 << 20)
        link.dataReceived(b"200 result=0\n")
        link.send_command(encode_command("ANSWER"))
        assert transport.written == b"NOOP\nANSWER\n"
        link.dataReceived(b"200 result=0\n")
        link.finish()
        assert transport.lost == ["in time"]


def test_the_transport_finds_out_that_the_peer_is_gone() -> None:
    ours, theirs = pair()
    with ours:
        theirs.close()
        assert send_at_once(ours, b"x") == 0
        link, transport, _ = connected(ours)
        link.send_command(encode_command("NOOP"))
    assert transport.written == b"NOOP\n"


def test_a_session_that_ends_before_its_reply_is_not_closed_at_once() -> None:
    ours, theirs = pair()
    with ours, theirs:
        link, transport, _ = connected(ours)
        reply = link.send_command(encode_command("NOOP"))
        reply.addErrback(lambda _failure: None)
        link.finish()
        assert transport.lost == ["in time"]


def test_other_transports_have_no_socket() -> None:
    assert socket_of(None) is None
    assert socket_of(Transport(None)) is None  # type: ignore[arg-type]
