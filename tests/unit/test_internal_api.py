# SPDX-License-Identifier: MIT
"""The internal API: every request gets one answer, and no client blocks others."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
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

import fastagi.app  # noqa: F401 - so that all classes of errors are known
from fastagi.domain.blocked_numbers import BlockedNumber
from fastagi.domain.task import IllegalMove, Move, Status
from fastagi.doors import codec
from fastagi.doors.http_server import MAX_CONNECTIONS, HttpServer
from fastagi.doors.internal_api import InternalApi
from fastagi.doors.live_stream import LivePage
from fastagi.errors import CallbackError
from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import MachineClock
from fastagi.service import commands
from fastagi.service.commands import (
    COMMANDS,
    Actor,
    BadRequest,
    BlockedNumbers,
    CheckSettings,
    Dispatch,
    TaskList,
)
from fastagi.store.errors import NoSuchTask, StoreUnavailable
from tests.harness.control_client import (
    AnswerReader,
    HttpAnswer,
    answers_in,
    command_bytes,
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

        dispatch = Dispatch(dict.fromkeys(COMMANDS.values(), handle))
        api = InternalApi(dispatch, cast(LivePage, None))
        self.server = HttpServer(api.answer, self.background, clock)

    def work(self) -> None:
        """Run everything that is due now."""
        while self.background._pauses:
            self.clock.advance(0)

    def connect(self) -> _Client:
        """Return a new client."""
        protocol: Any = self.server.buildProtocol(None)
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
    def answers(self) -> list[HttpAnswer]:
        """What the service said, if it said it to the end."""
        return answers_in(self.transport.value())

    def ask(self, data: bytes) -> HttpAnswer:
        """Send bytes; return the only answer to them."""
        self.transport.clear()
        self.send(data)
        (answer,) = self.answers
        return answer

    @property
    def is_aborted(self) -> bool:
        """Whether the service has closed the connection without waiting."""
        return bool(self.transport.disconnected)


def post(command: str, body: bytes | None = None, **fields: object) -> bytes:
    """Return a request on a connection that stays open."""
    if body is None:
        body = json.dumps(fields).encode()
    head = f"POST /v1/commands/{command} HTTP/1.1\r\nHost: x\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("command", "body", "words"),
    [
        ("tasks.show", {"id": 3_000_000_000}, "which is 1 to 2,147,483,647"),
        ("tasks.show", {"id": 0}, "can not be a task's id"),
        ("tasks.show", {"id": 10**400}, "can not be a task's id"),
        ("tasks.show", {"id": True}, "a task's id is a number"),
        ("tasks.show", {"id": "5"}, "a task's id is a number"),
        ("tasks.show", {"id": [[[]]]}, "a task's id is a number"),
        ("tasks.show", {}, "a task's id is a number"),
        ("tasks.show", b"", "a task's id is a number"),
        ("tasks.show", b'{"id": 1e400}', "a task's id is a number"),
        ("tasks.show", b'{"id": NaN}', "it is not JSON"),
        ("tasks.show", b'{"id": ' + b"9" * 9000 + b"}", "it is not JSON"),
        ("tasks.list", {"limit": 1e9}, "can not be the limit"),
        ("tasks.list", {"queue": 5}, "queue must be text (got 5)"),
        ("tasks.list", {"all": "yes"}, "all must be true or false"),
        ("tasks.list", {"status": "done"}, "no status 'done' (there are: "),
        ("tasks.list", {"number": {"a": 1}}, "number must be text (got {'a': 1})"),
        ("tasks.list", {"before_id": -1}, "can not be before_id"),
        ("tasks.list", {"first": 1}, "tasks.list has no field 'first'"),
        ("tasks.add", {"name": "a\0b"}, "name holds a control character"),
        ("tasks.add", {"queue": "\ud800"}, "queue holds a control character"),
        ("tasks.add", {"number": "1" * 101}, "number has 101 characters"),
        ("tasks.cancel", {"id": 1, "reason": "x" * 501}, "reason has 501 char"),
        ("status", {"actor": 7}, "actor must be text"),
        ("status", {"command": "tasks.list"}, "status has no field 'command'"),
        ("status", b"[" * 16_000, "it is nested too deeply"),
        ("status", b'{"a":' * 3_000, "it is nested too deeply"),
        ("status", b"[1]", "it is not a JSON object"),
        ("status", b"17", "it is not a JSON object"),
        ("status", b" ", "it is not JSON"),
        ("status", b'{"actor": "\xff"}', "it is not UTF-8 text"),
        ("status", b"\xef\xbb\xbf{}", "it is not JSON"),
        ("status", "{}".encode("utf-16-le"), "it is not JSON"),
    ],
)
def test_what_can_not_be_done_is_told_why(
    command: str, body: bytes | dict[str, object], words: str
) -> None:
    client = _Service().connect()
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    answer = client.ask(post(command, body))
    detail = answer.value["detail"]
    assert words in detail
    assert answer.value == {
        "title": "Bad Request",
        "status": 400,
        "detail": detail,
        "code": "bad-request",
    }
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail.isascii()
    assert len(detail) < 400
    # The connection is still usable.
    assert client.ask(post("tasks.list")).value == []


@pytest.mark.parametrize("inside", [rb"\"", rb"\\", b"a", b'"', b"["])
def test_text_without_an_end_does_not_hold_up_callers(inside: bytes) -> None:
    body = (b'"' + inside * codec.LONGEST_REQUEST)[: codec.LONGEST_REQUEST]
    began = time.process_time()
    with pytest.raises(BadRequest):
        codec.read_request("settings.check", body)
    # It took four seconds, and an hour for the longest body.
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("request_line", "status", "code", "words"),
    [
        ("POST /v1/commands/tasks.drop", 404, "no-such-command", "(there are: status,"),
        ("POST /v1/commands/%ff", 404, "no-such-command", "not a command"),
        ("POST /v1/commands/tasks.list/1", 404, "no-such-page", "no such page"),
        ("POST /v1/commands//tasks.list", 404, "no-such-page", "no such page"),
        ("GET /", 404, "no-such-page", "no such page"),
        ("GET /v1/commands/tasks.list", 405, "wrong-method", "takes only POST"),
        ("DELETE /v1/commands/tasks.list", 405, "wrong-method", "takes only POST"),
        ("BREW /v1/commands/tasks.list", 405, "wrong-method", "takes only POST"),
    ],
)
def test_what_is_not_there_is_told(
    request_line: str, status: int, code: str, words: str
) -> None:
    client = _Service().connect()
    answer = client.ask(f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    problem = answer.value
    assert (answer.status, problem["status"], problem["code"]) == (status, status, code)
    assert words in problem["detail"]
    assert answer.headers.get("allow") == ("POST" if status == 405 else None)
    assert client.ask(post("tasks.list")).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\0\xff\r\n\r\n",
        b"GET\r\n\r\n",
        b"[" * 16_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 60 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n",
    ],
)
def test_what_is_no_http_is_told_and_hung_up_on(data: bytes) -> None:
    client = _Service().connect()
    answer = client.ask(data)
    assert answer.value["code"] == "bad-request"
    assert "no HTTP request" in answer.value["detail"]
    assert client.transport.disconnecting
    client.transport.clear()
    client.send(post("tasks.list"))
    assert not client.transport.value()
    assert client.service.asked == []


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
_bodies = st.fixed_dictionaries(
    {}, optional=dict.fromkeys([*_FIELDS, "actor", "more"], _values)
)


@given(
    st.sampled_from(sorted(COMMANDS)),
    st.one_of(st.binary(max_size=200), _bodies.map(lambda b: json.dumps(b).encode())),
)
@example("tasks.list", b'{"status": []}')
@settings(deadline=None)
def test_each_request_gets_one_answer_whatever_is_in_it(
    command: str, body: bytes
) -> None:
    """Every command that is carried out can be stored and printed."""
    service = _Service()
    answer = service.connect().ask(post(command, body))
    assert answer.status in {200, 400}
    for asked, actor in service.asked:
        if isinstance(asked, CheckSettings):
            # A file, of which nothing is stored.
            continue
        for value in [actor.name, *attrs.astuple(asked)]:
            if isinstance(value, str):
                value.encode()
                assert value.isprintable() or max(value) >= "\u00ad"
            elif type(value) is int:
                assert 1 <= value <= 2**31 - 1


_HTTP_PARTS = [
    *(b"POST /v1/commands/tasks.list HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"\r\n"),
    *(b"Content-Length: 2\r\n", b"Content-Length: 99999999\r\n", b"{}", b"{", b"0\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"2\r\n{}\r\n"),
    *(b"Expect: 100-continue\r\n", b" folded\r\n", b"\n", b"\xff", b"5;x=y\r\n"),
]


@given(st.lists(st.one_of(st.sampled_from(_HTTP_PARTS), st.binary(max_size=20))))
@settings(deadline=None)
def test_whatever_arrives_ends_with_an_answer_or_a_time_out(parts: list[bytes]) -> None:
    service = _Service()
    client = service.connect()
    for part in parts:
        client.send(part)
    service.clock.advance(31)
    service.work()
    assert client.transport.disconnecting
    said = client.transport.value()
    assert b" 500 " not in said
    assert said.startswith((b"HTTP/1.", b'{"ok": false')) or not said


@pytest.mark.parametrize("kind", COMMANDS.values(), ids=COMMANDS)
def test_a_command_is_read_as_it_was_written(kind: Any) -> None:
    given = {"id": 7, "limit": 5, "queue": "suppört", "number": "+4930", "all": True}
    given |= {"action": "cancel", "ids": [3, 2], "status": "failed,pending"}
    names = {one.name for one in attrs.fields(kind)}
    command = kind(**{name: given[name] for name in names & given.keys()})
    body = codec.write_body(command, Actor("ada"))
    assert codec.read_request(kind.NAME, body) == codec.Request(command, Actor("ada"))


def test_text_of_several_lines_becomes_one_line() -> None:
    reason = commands.BlockNumber(number="1", reason=" asked\n us\tto ").reason
    assert reason == "asked us to"


def test_actor_is_who_the_command_line_says() -> None:
    service = _Service()
    service.connect().ask(post("status", actor="ada"))
    service.connect().ask(post("status"))
    assert [actor.name for _, actor in service.asked] == ["ada", ""]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connection_is_closed_after_the_answer_if_the_client_wants_that(
    version: str,
) -> None:
    client = _Service().connect()
    data = command_bytes("tasks.list").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
    client.send(data)
    assert b"\r\n\r\n" in client.transport.value()
    assert b"[" in client.transport.value()
    assert client.transport.disconnecting


# -- sizes -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_bytes", "limit", "stays_open"),
    [
        (post("tasks.list", b" " * 32_769), "32,768", True),
        (
            post("tasks.list", b"")[:-5] + b"1048577\r\nExpect: 100-continue\r\n\r\n",
            "1,048,576",
            False,
        ),
        (
            b"POST /v1/commands/status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"10000\r\n" + b" " * 65_536 + b"\r\n") * 17,
            "1,048,576",
            False,
        ),
    ],
    ids=["one-command", "announced", "chunked"],
)
def test_request_that_is_too_long_is_refused(
    request_bytes: bytes, limit: str, stays_open: bool
) -> None:
    client = _Service().connect()
    answer = client.ask(request_bytes)
    assert (answer.status, answer.value["code"]) == (413, "too-long")
    assert f"longer than {limit} bytes" in answer.value["detail"]
    # A client that asks before it sends its body is not told to send it.
    assert b"100 Continue" not in client.transport.value()
    assert client.transport.disconnecting is not stays_open
    assert client.service.asked == []


def test_settings_file_may_be_longer_than_other_commands() -> None:
    """256 kB, in whatever way JSON writes them."""
    client = _Service().connect()
    largest = "\U0001f600" * 65_536
    assert client.ask(post("settings.check", text=largest)).status == 200
    (asked, _actor) = client.service.asked[0]
    assert asked.text == largest
    answer = client.ask(post("settings.check", text=largest + "x"))
    assert (answer.status, answer.value["code"]) == (400, "bad-request")
    assert "262,145 bytes" in answer.value["detail"]
    answer = client.ask(post("settings.check", text="\ud800"))
    assert "text is no UTF-8 text" in answer.value["detail"]


# -- times -----------------------------------------------------------------


def test_half_a_request_is_not_waited_for_for_ever() -> None:
    """Nor is one of which a byte arrives now and then."""
    service = _Service()
    client = service.connect()
    for byte in b"POST":
        client.send(bytes([byte]))
        service.clock.advance(7)
    assert not client.transport.value()
    service.clock.advance(3)
    (answer,) = client.answers
    assert answer.value["code"] == "too-slow"
    assert answer.value["detail"] == "no complete command within 30 s"
    assert client.transport.disconnecting


def test_who_says_nothing_is_hung_up_on() -> None:
    service = _Service()
    client = service.connect()
    service.clock.advance(31)
    assert (client.transport.value(), client.transport.disconnecting) == (b"", True)
    client = service.connect()
    client.ask(post("tasks.list"))
    client.transport.clear()
    service.clock.advance(31)
    assert (client.transport.value(), client.transport.disconnecting) == (b"", True)


def test_commands_of_one_client_are_carried_out_one_after_the_other() -> None:
    working: list[Deferred[Any]] = []

    def do(command: Any, actor: Actor) -> Deferred[Any]:
        working.append(Deferred())
        return working[-1]

    service = _Service(do)
    client = service.connect()
    client.send(post("tasks.list") * 3)
    assert len(working) == 1
    # It takes long, and is not given up.
    service.clock.advance(3600)
    for number in range(3):
        assert len(client.answers) == number
        working[number].callback(TaskList(tasks=()))
        service.work()
    assert len(client.answers) == 3
    assert not client.transport.disconnecting


def test_who_sends_commands_and_does_not_wait_is_not_read_any_more() -> None:
    service = _Service(lambda command, actor: Deferred())
    client = service.connect()
    client.send(post("tasks.list"))
    assert client.transport.producerState == "producing"
    client.send(post("tasks.list") * 500)
    assert client.transport.producerState == "paused"


# -- connections -----------------------------------------------------------


def test_too_many_clients_are_told_so() -> None:
    service = _Service()
    clients = [service.connect() for _ in range(MAX_CONNECTIONS)]
    late = service.connect()
    (answer,) = late.answers
    assert (answer.status, answer.value["code"]) == (429, "busy")
    assert "commands are being carried out already" in answer.value["detail"]
    assert late.transport.disconnecting
    assert clients[0].ask(post("tasks.list")).status == 200
    clients[0].protocol.connectionLost()
    assert service.connect().ask(post("tasks.list")).status == 200


def test_command_line_of_an_earlier_version_is_told_so() -> None:
    """It sends a line of JSON, and prints ``error`` of the line that it gets."""
    client = _Service().connect()
    client.send(b'{"command": "status"}\n')
    answer = json.loads(client.transport.value())
    assert answer["ok"] is False
    assert "another version" in answer["error"]
    assert "systemctl restart callback-queue" in answer["error"]
    assert client.transport.disconnecting
    assert client.service.asked == []


# -- long answers ----------------------------------------------------------


def long_list(command: Any, actor: Actor) -> BlockedNumbers:
    """Return a list of several pieces."""
    number = BlockedNumber(number="1", number_key="1", reason="", at=AT)
    return BlockedNumbers(numbers=(number,) * 1000)


def test_a_long_list_is_written_in_pieces() -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(post("numbers.list"))
    first = len(client.transport.value())
    client.send(b"")
    assert first < len(client.transport.value()) / 2
    (answer,) = client.answers
    assert answer.value == [{"number": "1", "reason": "", "at": codec.iso(AT)}] * 1000


@pytest.mark.parametrize("ended_by", ["patience", "stop"])
def test_a_client_that_does_not_read_holds_nobody_up(ended_by: str) -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(post("numbers.list"))
    client.protocol.pauseProducing()
    client.send(b"")
    written = len(client.transport.value())
    service.clock.advance(29)
    assert len(client.transport.value()) == written
    assert not client.transport.disconnecting
    if ended_by == "patience":
        service.clock.advance(2)
    else:
        service.server.stopFactory()
    assert client.is_aborted
    assert not service.background._running


def test_a_client_that_reads_slowly_gets_all() -> None:
    service = _Service(long_list)
    client = service.connect()
    client.protocol.dataReceived(post("numbers.list"))
    for _ in range(3):
        client.protocol.pauseProducing()
        client.send(b"")
        service.clock.advance(20)
        client.protocol.resumeProducing()
    client.send(b"")
    (answer,) = client.answers
    assert len(answer.value) == 1000


# -- errors ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status", "code", "detail"),
    [
        (NoSuchTask("there is no task 7"), 404, "no-such-task", "there is no task 7"),
        (
            IllegalMove(Status.SERVED, Move.CANCEL),
            409,
            "illegal-move",
            "a task that is served can not be cancelled",
        ),
        (StoreUnavailable("disk full"), 503, "database", "disk full"),
        (ZeroDivisionError(), 500, "failed", "The service failed; see its log."),
        (Stopping(), 503, "stopping", "the service stops"),
    ],
)
def test_errors_have_a_code(
    error: Exception, status: int, code: str, detail: str
) -> None:
    def do(command: Any, actor: Actor) -> None:
        raise error

    client = _Service(do).connect()
    answer = client.ask(post("tasks.list"))
    assert answer.status == status
    assert (answer.value["code"], answer.value["detail"]) == (code, detail)


def _errors(kind: type[CallbackError]) -> Iterator[type[CallbackError]]:
    for error in kind.__subclasses__():
        yield error
        yield from _errors(error)


def test_each_code_of_an_error_has_a_status() -> None:
    codes = {error.code for error in _errors(CallbackError)}
    assert {"no-such-task", "refused", "busy", "failed"} <= codes <= set(codec.STATUS)


def test_error_in_the_middle_of_an_answer_breaks_the_connection() -> None:
    """What is written already can not be taken back; half an answer is no answer."""

    def do(command: Any, actor: Actor) -> BlockedNumbers:
        numbers = long_list(command, actor).numbers
        return BlockedNumbers(numbers=(*numbers, cast(BlockedNumber, None)))

    client = _Service(do).connect()
    client.send(post("numbers.list"))
    assert client.is_aborted
    assert client.answers == []


# -- the end ---------------------------------------------------------------


def test_command_in_progress_is_answered_when_the_service_stops() -> None:
    working: Deferred[Any] = Deferred()
    service = _Service(lambda command, actor: working)
    idle, busy = service.connect(), service.connect()
    busy.send(post("tasks.list"))
    service.server.stopFactory()
    assert idle.transport.disconnecting
    assert not busy.transport.disconnecting
    working.callback(TaskList(tasks=()))
    service.work()
    (answer,) = busy.answers
    assert answer.value == []
    assert busy.transport.disconnecting


def test_command_of_a_client_that_is_gone_is_carried_out_to_its_end() -> None:
    working: Deferred[Any] = Deferred()
    ended: list[object] = []
    service = _Service(lambda command, actor: working.addCallback(_note(ended)))
    client = service.connect()
    client.send(post("tasks.list"))
    client.protocol.connectionLost()
    working.callback(TaskList(tasks=()))
    service.work()
    assert ended
    assert not service.background._running


def _note(ended: list[object]) -> Callable[[Any], Any]:
    def note(answer: Any) -> Any:
        ended.append(answer)
        return answer

    return note


def test_what_needs_the_service_says_so_without_it() -> None:
    work = Deferred.fromCoroutine(Dispatch().do(commands.ShowStatus(), Actor()))
    failures: list[Any] = []
    work.addErrback(failures.append)
    assert failures[0].check(BadRequest, CallbackError)
    assert "status needs the running service" in failures[0].getErrorMessage()


def test_reader_of_the_tests_sees_an_answer_that_is_not_complete() -> None:
    reader = AnswerReader()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert list(reader.feed(head + b"[")) == []
    assert reader.begun == b"["
    (answer,) = reader.feed(b"]")
    assert answer.value == []
