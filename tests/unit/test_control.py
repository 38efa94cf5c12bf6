# SPDX-License-Identifier: MIT
"""The control socket: every line gets one answer, and no client blocks others."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.doors import codec
from fastagi.doors.control import MAX_CONNECTIONS, ControlFactory
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service import commands
from fastagi.service.commands import (
    COMMANDS,
    Actor,
    BadRequest,
    BlockedNumbers,
    Dispatch,
    TaskList,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


class _Service:
    """A control socket in memory, whose commands do what a test says."""

    def __init__(
        self,
        do: Callable[[Any, Actor], Any] = lambda command, actor: TaskList(tasks=()),
    ) -> None:
        self.clock = Clock()
        clock = MachineClock(cast(IReactorTime, self.clock))
        self.background = Background(clock)
        self.asked: list[tuple[Any, Actor]] = []

        async def handle(command: Any, actor: Actor) -> Any:
            self.asked.append((command, actor))
            answer = do(command, actor)
            return await answer if isinstance(answer, Deferred) else answer

        table = dict.fromkeys(COMMANDS.values(), handle)
        self.factory = ControlFactory(Dispatch(table), self.background, clock)

    def work(self) -> None:
        """Run everything that is due now."""
        while self.background._pauses:
            self.clock.advance(0)

    def connect(self) -> _Client:
        """Return a new client."""
        protocol: Any = self.factory.buildProtocol(None)
        client = _Client(self, protocol, StringTransport())
        protocol.makeConnection(client.transport)
        return client


@attrs.frozen
class _Client:
    service: _Service
    protocol: Any
    transport: StringTransport

    def send(self, data: bytes) -> None:
        """Send bytes and let the service work."""
        self.protocol.dataReceived(data)
        self.service.work()

    @property
    def answers(self) -> list[Any]:
        """What the service said."""
        data = self.transport.value()
        assert data.endswith(b"\n") or not data
        return [json.loads(line) for line in data.splitlines()]

    def ask(self, line: bytes) -> Any:
        """Send one line; return the only answer to it."""
        self.transport.clear()
        self.send(line + b"\n")
        (answer,) = self.answers
        return answer


def said(**fields: object) -> bytes:
    """Return one line of JSON."""
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (said(command="tasks.show", id=3_000_000_000), "which is 1 to 2,147,483,647"),
        (said(command="tasks.show", id=0), "can not be a task's id"),
        (said(command="tasks.show", id=10**400), "can not be a task's id"),
        (said(command="tasks.show", id=True), "a task's id is a number"),
        (said(command="tasks.show", id="5"), "a task's id is a number"),
        (said(command="tasks.show"), "a task's id is a number"),
        (b'{"command": "tasks.show", "id": 1e400}', "a task's id is a number"),
        (b'{"command": "tasks.show", "id": NaN}', "it is not JSON"),
        (b'{"command": "tasks.show", "id": ' + b"9" * 9000 + b"}", "it is not JSON"),
        (said(command="tasks.list", limit=1e9), "can not be the limit"),
        (said(command="tasks.list", queue=5), "queue must be text (got 5)"),
        (said(command="tasks.list", all="yes"), "all must be true or false"),
        (said(command="tasks.list", status="done"), "no status 'done' (there are: "),
        (said(command="tasks.list", number={"a": 1}), "nested list or object"),
        (said(command="tasks.list", before_id=-1), "can not be before_id"),
        (said(command="tasks.list", first=1), "tasks.list has no field 'first'"),
        (said(command="tasks.add", name="a\0b"), "name holds a control character"),
        (said(command="tasks.add", queue="\ud800"), "queue holds a control character"),
        (said(command="tasks.add", number="1" * 101), "number has 101 characters"),
        (said(command="tasks.cancel", id=1, reason="x" * 501), "reason has 501 char"),
        (said(command="status", actor=7), "actor must be text"),
        (said(command="tasks.drop"), "'tasks.drop' (there are: status, tasks.list"),
        (said(command=["status"]), "nested list or object"),
        (said(), "not a command of this service: None"),
        (b"[" * 16_000, "a nested list or object"),
        (b'{"a":' * 3_000, "a nested list or object"),
        (b"[1]", "it is not a JSON object"),
        (b"17", "it is not a JSON object"),
        (b"", "it is not JSON"),
        (b"GET / HTTP/1.1\r", "it is not JSON"),
        (b'{"command": "\xff"}', "it is not UTF-8 text"),
        (b"\xef\xbb\xbf{}", "it is not JSON"),
        ('{"command": "status"}'.encode("utf-16-le"), "it is not JSON"),
    ],
)
def test_what_can_not_be_done_is_told_why(line: bytes, words: str) -> None:
    client = _Service().connect()
    answer = client.ask(line)
    assert (answer["ok"], words in answer["error"]) == (False, True), answer
    assert answer["error"].isascii()
    assert len(answer["error"]) < 400
    # The connection is still usable.
    assert client.ask(said(command="tasks.list")) == {"ok": True, "result": []}


_values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(["support", "+4930123456", "pending", 2**31, "\0", "\ud800"]),
)
_FIELDS = sorted({one.name for kind in COMMANDS.values() for one in attrs.fields(kind)})
_requests = st.fixed_dictionaries(
    {"command": st.one_of(st.sampled_from(sorted(COMMANDS)), _values)},
    optional=dict.fromkeys([*_FIELDS, "actor", "more"], _values),
)


@given(
    st.one_of(
        st.binary(max_size=200).map(lambda data: data.replace(b"\n", b" ")),
        _requests.map(lambda request: json.dumps(request).encode()),
    )
)
@example(b'{"command": "tasks.list", "status": []}')
@settings(deadline=None)
def test_each_line_gets_one_answer_whatever_is_in_it(line: bytes) -> None:
    """Every command that is carried out can be stored and printed."""
    service = _Service()
    answer = service.connect().ask(line)
    assert answer.keys() in ({"ok", "result"}, {"ok", "error"})
    assert answer.get("error") != "the service failed; see its log"
    for command, actor in service.asked:
        for value in [actor.name, *attrs.astuple(command)]:
            if isinstance(value, str):
                value.encode()
                assert value.isprintable() or max(value) >= "\u00ad"
            elif type(value) is int:
                assert 1 <= value <= 2**31 - 1


@pytest.mark.parametrize("kind", COMMANDS.values(), ids=COMMANDS)
def test_a_command_is_read_as_it_was_written(kind: Any) -> None:
    given = {"id": 7, "limit": 5, "queue": "suppört", "number": "+4930", "all": True}
    names = {one.name for one in attrs.fields(kind)}
    command = kind(**{name: given[name] for name in names & given.keys()})
    line = codec.write_request(command, Actor("ada"))
    assert line.endswith(b"}\n")
    assert codec.read_request(line[:-1]) == codec.Request(command, Actor("ada"))


def test_text_of_several_lines_becomes_one_line() -> None:
    reason = commands.BlockNumber(number="1", reason=" asked\n us\tto ").reason
    assert reason == "asked us to"


def test_actor_is_who_the_command_line_says() -> None:
    service = _Service()
    service.connect().ask(said(command="status", actor="ada"))
    service.connect().ask(said(command="status"))
    assert [actor.name for _, actor in service.asked] == ["ada", ""]


def test_a_request_without_end_is_refused_before_it_fills_the_memory() -> None:
    client = _Service().connect()
    client.send(b"x" * 16_385)
    (answer,) = client.answers
    assert "longer than 16,384 bytes" in answer["error"]
    assert client.transport.disconnecting


def test_half_a_request_is_not_waited_for_for_ever() -> None:
    service = _Service()
    client = service.connect()
    client.send(b'{"command": ')
    service.clock.advance(29)
    assert not client.transport.disconnecting
    service.clock.advance(2)
    (answer,) = client.answers
    assert answer["error"] == "no complete command within 30 s"
    assert client.transport.disconnecting


def test_who_says_nothing_is_hung_up_on() -> None:
    service = _Service()
    client = service.connect()
    service.clock.advance(31)
    assert (client.transport.value(), client.transport.disconnecting) == (b"", True)


def test_commands_of_one_client_are_carried_out_one_after_the_other() -> None:
    working: list[Deferred[Any]] = []

    def do(command: Any, actor: Actor) -> Deferred[Any]:
        working.append(Deferred())
        return working[-1]

    service = _Service(do)
    client = service.connect()
    client.send((said(command="tasks.list") + b"\n") * 3)
    assert (len(working), client.transport.producerState) == (1, "paused")
    # It takes long, and is not given up.
    service.clock.advance(3600)
    for number in range(3):
        assert len(client.answers) == number
        working[number].callback(TaskList(tasks=()))
        service.work()
    assert len(client.answers) == 3
    assert client.transport.producerState == "producing"


def test_too_many_clients_are_told_so() -> None:
    service = _Service()
    clients = [service.connect() for _ in range(MAX_CONNECTIONS)]
    late = service.connect()
    (answer,) = late.answers
    assert "commands are being carried out already" in answer["error"]
    assert late.transport.disconnecting
    assert clients[0].ask(said(command="tasks.list"))["ok"]
    clients[0].protocol.connectionLost()
    assert service.connect().ask(said(command="tasks.list"))["ok"]


def long_list(command: Any, actor: Actor) -> BlockedNumbers:
    """Return a list of several pieces."""
    number = BlockedNumber(number="1", number_key="1", reason="", at=AT)
    return BlockedNumbers(numbers=(number,) * 1000)


def test_a_long_list_is_written_in_pieces() -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(said(command="numbers.list") + b"\n")
    first = len(client.transport.value())
    client.send(b"")
    assert first < len(client.transport.value()) / 2
    (answer,) = client.answers
    assert answer == {
        "ok": True,
        "result": [{"number": "1", "reason": "", "at": codec.iso(AT)}] * 1000,
    }


@pytest.mark.parametrize("ended_by", ["patience", "stop"])
def test_a_client_that_does_not_read_holds_nobody_up(ended_by: str) -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(said(command="numbers.list") + b"\n")
    client.protocol.pauseProducing()
    client.send(b"")
    written = len(client.transport.value())
    service.clock.advance(29)
    assert len(client.transport.value()) == written
    assert not client.transport.disconnecting
    if ended_by == "patience":
        service.clock.advance(2)
    else:
        service.factory.stopFactory()
    assert client.transport.disconnecting
    assert not service.background._running


def test_a_client_that_reads_slowly_gets_all() -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(said(command="numbers.list") + b"\n")
    client.protocol.pauseProducing()
    client.send(b"")
    client.protocol.resumeProducing()
    client.send(b"")
    (answer,) = client.answers
    assert len(answer["result"]) == 1000


def test_a_fault_of_ours_is_told_too() -> None:
    def do(command: Any, actor: Actor) -> None:
        raise ZeroDivisionError

    client = _Service(do).connect()
    answer = client.ask(said(command="tasks.list"))
    assert answer == {"ok": False, "error": "the service failed; see its log"}


def test_what_needs_the_service_says_so_without_it() -> None:
    work = Deferred.fromCoroutine(Dispatch().do(commands.ShowStatus(), Actor()))
    failures: list[Any] = []
    work.addErrback(failures.append)
    assert failures[0].check(BadRequest, CallbackError)
    assert "status needs the running service" in failures[0].getErrorMessage()
