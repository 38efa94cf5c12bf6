# SPDX-License-Identifier: MIT
"""``GET /v1/live``: a snapshot, or a stream of changes that no slow reader holds up."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, cast

import attrs
import pytest

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fastagi.doors import live_json
from fastagi.doors.http_server import HttpServer
from fastagi.doors.internal_api import InternalApi
from fastagi.doors.live_stream import MAX_STREAMS, LivePage
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import MachineClock
from fastagi.service.commands import Dispatch
from fastagi.service.live import Change, Entities, Removed, Snapshot, TooSlow
from fastagi.store.errors import StoreUnavailable
from tests.harness.control_client import AnswerReader, HttpAnswer, answers_in
from tests.unit.test_live_json import CALLER, SERVICE

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SNAPSHOT = Snapshot(id=7, at=AT, all=Entities(service=SERVICE))


def change(number: int, callers: int = 0) -> Change:
    """Return a change of callers."""
    changed = {f"{number}.{caller}": CALLER for caller in range(callers)}
    return Change(
        id=number, at=AT, set=Entities(callers=changed), remove=Removed(tasks=(16,))
    )


class _Subscription:
    def __init__(self) -> None:
        self.messages: deque[Snapshot | Change | Exception] = deque([SNAPSHOT])
        self.is_closed = False
        self._waiting: Deferred[Snapshot | Change] | None = None

    def next(self) -> Deferred[Snapshot | Change]:
        self._waiting = Deferred()
        waiting = self._waiting
        self._deliver()
        return waiting

    def put(self, *messages: Snapshot | Change | Exception) -> None:
        self.messages += messages
        self._deliver()

    def close(self) -> None:
        self.is_closed = True
        self.put(Stopping())

    def _deliver(self) -> None:
        if self.messages and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            message = self.messages.popleft()
            if isinstance(message, Exception):
                waiting.errback(message)
            else:
                waiting.callback(message)


class _Service:
    """A control socket in memory; the test is the live state."""

    def __init__(self) -> None:
        self.clock = Clock()
        clock = MachineClock(cast(IReactorTime, self.clock))
        self.background = Background(clock)
        self.subscriptions: list[_Subscription] = []
        self.problem: Exception | None = None
        api = InternalApi(Dispatch(), LivePage(self, self.background, clock))
        self.server = HttpServer(api.answer, self.background, clock)

    def snapshot(self) -> Deferred[Snapshot]:
        return succeed(SNAPSHOT) if self.problem is None else fail(self.problem)

    def subscribe(self) -> _Subscription:
        self.subscriptions.append(_Subscription())
        return self.subscriptions[-1]

    def work(self) -> None:
        """Run everything that is due now."""
        while self.background._pauses:
            self.clock.advance(0)

    def connect(self, accept: str = "text/event-stream") -> _Client:
        """Return a client that has asked for the live state."""
        protocol: Any = self.server.buildProtocol(None)
        client = _Client(self, protocol, StringTransport())
        protocol.makeConnection(client.transport)
        head = f"GET /v1/live HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n\r\n"
        protocol.dataReceived(head.encode())
        self.work()
        return client


@attrs.frozen
class _Client:
    service: _Service
    protocol: Any
    transport: StringTransport
    reader: AnswerReader = attrs.field(factory=AnswerReader)

    def read(self) -> str:
        """Return what has arrived since the last time."""
        before = len(self.reader.begun)
        data = self.transport.value()
        self.transport.clear()
        if data:
            list(self.reader.feed(data))
        return self.reader.begun[before:].decode()

    @property
    def answer(self) -> HttpAnswer:
        """The whole answer."""
        (answer,) = answers_in(self.transport.value())
        return answer


@pytest.fixture
def service() -> Iterator[_Service]:
    service = _Service()
    yield service
    service.server.stopFactory()
    service.work()
    assert all(one.is_closed for one in service.subscriptions)
    assert not service.background._running


def test_snapshot_is_told_as_json(service: _Service) -> None:
    answer = service.connect("application/json").answer
    assert answer.headers["content-type"] == "application/json"
    assert answer.value == live_json.snapshot_json(SNAPSHOT)


def test_snapshot_that_can_not_be_made_is_an_error(service: _Service) -> None:
    service.problem = StoreUnavailable("the disk is full")
    answer = service.connect("*/*").answer
    assert (answer.status, answer.value["code"]) == (503, "database")


def test_stream_begins_with_a_snapshot_and_tells_each_change(service: _Service) -> None:
    client = service.connect()
    event, number, data, *rest = client.read().split("\n")
    assert (event, number, rest) == ("event: snapshot", "id: 7", ["", ""])
    assert json.loads(data.removeprefix("data: ")) == live_json.snapshot_json(SNAPSHOT)
    (subscription,) = service.subscriptions
    for number in (8, 9):
        subscription.put(change(number, 1))
        service.work()
        event, its_id, data, *rest = client.read().split("\n")
        assert (event, its_id, rest) == ("event: change", f"id: {number}", ["", ""])
        assert json.loads(data.removeprefix("data: ")) == live_json.change_json(
            change(number, 1)
        )


def test_long_message_is_written_in_pieces_and_no_heartbeat_in_it(
    service: _Service,
) -> None:
    client = service.connect()
    client.read()
    service.subscriptions[0].put(change(8, 1000))
    first = client.read()
    service.work()
    rest = client.read()
    assert len(first) < len(rest)
    assert ": heartbeat" not in first + rest
    data = (first + rest).split("\n")[2].removeprefix("data: ")
    assert len(json.loads(data)["set"]["callers"]) == 1000


def test_heartbeat_is_sent_each_ten_seconds_without_a_change(service: _Service) -> None:
    client = service.connect()
    client.read()
    for _ in range(20):
        service.clock.advance(9)
        assert client.read() == ""
        service.clock.advance(1)
        assert client.read() == ": heartbeat\n\n"
    service.clock.advance(9)
    service.subscriptions[0].put(change(8))
    service.work()
    client.read()
    service.clock.advance(9)
    assert client.read() == ""


def test_client_that_does_not_read_is_disconnected(service: _Service) -> None:
    client = service.connect()
    client.protocol.pauseProducing()
    service.subscriptions[0].put(change(8), change(9))
    client.read()
    service.clock.advance(29)
    assert client.read() == ""
    assert not client.transport.disconnected
    service.clock.advance(1)
    assert client.transport.disconnected
    client.protocol.connectionLost()
    assert service.subscriptions[0].is_closed
    assert not service.background._running
    assert not service.clock.getDelayedCalls()


def test_client_that_reads_too_slowly_is_disconnected(
    service: _Service,
) -> None:
    client = service.connect()
    service.subscriptions[0].put(TooSlow())
    assert client.transport.disconnected
    assert service.subscriptions[0].is_closed
    assert not service.background._running


def test_nothing_is_computed_for_a_client_that_is_gone(service: _Service) -> None:
    client = service.connect()
    client.protocol.connectionLost()
    assert service.subscriptions[0].is_closed
    assert not service.background._running
    assert not service.clock.getDelayedCalls()


@pytest.mark.parametrize("is_reading", [True, False])
def test_stop_of_the_service_ends_the_stream(
    service: _Service, *, is_reading: bool
) -> None:
    client = service.connect()
    if not is_reading:
        client.protocol.pauseProducing()
        service.subscriptions[0].put(change(8))
        service.work()
    service.server.stopFactory()
    service.work()
    assert client.transport.disconnecting
    assert client.transport.disconnected is not is_reading
    assert client.transport.value().endswith(b"\r\n0\r\n\r\n") is is_reading
    assert service.subscriptions[0].is_closed
    assert not service.background._running


def test_too_many_streams_are_refused(service: _Service) -> None:
    clients = [service.connect() for _ in range(MAX_STREAMS)]
    answer = service.connect().answer
    assert (answer.status, answer.value["code"]) == (429, "busy")
    # A single snapshot is possible.
    assert service.connect("application/json").answer.status == 200
    clients[0].protocol.connectionLost()
    assert service.connect().read().startswith("event: snapshot")


def test_live_state_takes_only_get(service: _Service) -> None:
    client = service.connect()
    client.protocol.connectionLost()
    protocol: Any = service.server.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    protocol.dataReceived(b"POST /v1/live HTTP/1.1\r\nHost: x\r\n\r\n")
    (answer,) = answers_in(transport.value())
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
