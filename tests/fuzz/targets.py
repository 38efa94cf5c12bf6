# SPDX-License-Identifier: MIT
"""The fuzz targets: one function for each parser, and its first inputs.

A target takes any bytes. It raises only on a fault: an exception that the parser does
not promise, or an AssertionError if two ways to parse the same bytes differ.
Independent of the fuzzer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import attrs

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from fastagi.config.errors import ConfigErrors
from fastagi.config.load import parse_settings
from fastagi.doors import codec
from fastagi.doors.http_server import HttpServer
from fastagi.doors.internal_api import InternalApi
from fastagi.doors.live_stream import LivePage
from fastagi.history import cdr, queue_log
from fastagi.node.astdb_requests import KeptRequest
from fastagi.runtime.background import Background
from fastagi.runtime.clock import MachineClock
from fastagi.service.commands import (
    COMMANDS,
    Actor,
    BadRequest,
    CheckSettings,
    Dispatch,
    TaskList,
)
from fastagi.service.live import Snapshot, Subscription
from fastagi.store.errors import StoreUnavailable
from fastagi.wire import agi, ami
from fastagi.wire.errors import LocalProtocolError, RemoteProtocolError
from tests.recordings.dialogue import dialogue_names, read_dialogue
from tests.recordings.past_calls import LATER

_CORPUS = Path(__file__).with_name("corpus")
_HISTORIES = Path(__file__).parents[1] / "recordings" / "histories"
_SAMPLE = Path(__file__).parents[2] / "etc" / "callback-queue.yaml"
#: A secret that no message may contain.
SECRET = "5eb6c1d9-s3cret"


@attrs.frozen
class Target:
    """One parser.

    Attributes:
        run: the function; see the module.
        seeds: gives bytes that are worth changing a little.
        runs: how many inputs the tests look at, in a few seconds.
        max_len: how many bytes an input may have.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    runs: int
    max_len: int = 1200


# -- the two protocols


def _cut(data: bytes) -> Iterator[bytes]:
    """Cut bytes into pieces, at places that the bytes themselves determine."""
    size = 1 + (data[0] if data else 0) % 31
    for start in range(0, len(data), size):
        yield data[start : start + size]


def fuzz_agi(data: bytes) -> None:
    """Parse a session of AGI at once and in pieces."""
    whole = _agi_events([data])
    assert whole == _agi_events(_cut(data)), "it depends on how the bytes were cut"
    for event in whole:
        if isinstance(event, agi.AgiRequest):
            assert isinstance(event.callingpres, int)
            for text in (
                *(event.script, event.channel, event.callerid, event.version),
                *event.args,
                *event.query,
                *event.query.values(),
            ):
                # Characters that a database or a log would refuse later.
                text.encode()


def _agi_events(pieces: Iterator[bytes] | list[bytes]) -> list[object]:
    parser = agi.AgiParser()
    events: list[object] = []
    for piece in pieces:
        parser.receive_data(piece)
        try:
            while (event := parser.next_event()) is not agi.NEED_DATA:
                events.append(event)
        except RemoteProtocolError:
            return events
        assert isinstance(parser.between_messages, bool)
    return events


def fuzz_ami(data: bytes) -> None:
    """Parse a manager's output at once and in pieces, with and without its banner."""
    for banner in (True, False):
        whole = _ami_events([data], banner)
        assert whole == _ami_events(_cut(data), banner), "it depends on the cut"
        for event in whole:
            if isinstance(event, ami.AmiMessage):
                _look_at(event)


def _look_at(message: ami.AmiMessage) -> None:
    assert message.kind in ("event", "response", "other")
    assert repr(message).isascii()
    for name, value in message.headers:
        assert "\r\n" not in value
        value.encode()
        assert value in message.all(name)
    first: dict[str, str] = {}
    for name, value in message.headers:
        first.setdefault(name.lower(), value)
    assert message.first == first
    if message.raw.startswith(b"Event: "):
        assert message.event == message.get("Event")
    # A message that can be written is parsed to the same message.
    try:
        written = ami.encode_action("Ping", message.headers, "1")
    except LocalProtocolError:
        return
    read = ami.AmiMessage(written.removesuffix(b"\r\n\r\n"))
    assert read.headers[2:] == message.headers


def _ami_events(pieces: Iterator[bytes] | list[bytes], banner: bool) -> list[object]:
    parser = ami.AmiParser(expect_banner=banner)
    events: list[object] = []
    for piece in pieces:
        parser.receive_data(piece)
        try:
            while (event := parser.next_event()) is not ami.NEED_DATA:
                events.append(event)
        except RemoteProtocolError:
            return events
    return events


def _dialogues(pattern: str) -> Iterator[bytes]:
    for name in dialogue_names(pattern):
        yield read_dialogue(name).from_asterisk


def _agi_seeds() -> Iterator[bytes]:
    for said in _dialogues("agi-*"):
        yield said.replace(b"\r\n", b"\n")


def _ami_seeds() -> Iterator[bytes]:
    for said in _dialogues("ami-*"):
        yield said
        # Separate messages are easier to mutate.
        for message in said.split(b"\r\n\r\n")[:4]:
            yield message + b"\r\n\r\n"


# -- the settings


def fuzz_settings(data: bytes) -> None:
    """Load settings: they are valid, or each fault has a message."""
    for environ in ({}, {"CALLBACK_QUEUE_AMI_SECRET": SECRET}):
        try:
            found = parse_settings(data, environ=environ)
        except ConfigErrors as errors:
            assert errors.problems
            for error in errors.problems:
                assert error.what
                assert "\n" not in str(error)
                assert SECRET not in str(error)
                str(error).encode()
        else:
            assert SECRET not in repr(found)
            assert SECRET not in str(found)


def _settings_seeds() -> Iterator[bytes]:
    sample = _SAMPLE.read_text("utf-8").replace("change-me", SECRET)
    lines = [line for line in sample.split("\n") if not line.lstrip().startswith("# ")]
    yield "\n".join(lines).encode()
    yield "\n".join(line.replace("#", "", 1) for line in lines).encode()
    yield (
        f"ami: {{secret: {SECRET}}}\n"
        "queues: {support: {outbound_channel: PJSIP/{number}@trunk}}\n"
    ).encode()
    yield f"ami:\n  secret: &a {SECRET}\nlog: *a\nqueues:\n  ? [x]\n".encode()


# -- histories and AstDB


def fuzz_queue_log(data: bytes) -> None:
    """Parse lines of queue_log into calls."""
    lines = data.split(b"\n")
    for line in lines:
        at = queue_log.time_of(line)
        assert at is None or at == at
    for call in queue_log.past_calls(lines, LATER):
        repr(call).encode()


def fuzz_cdr(data: bytes) -> None:
    """Parse lines of Master.csv into calls."""
    records = []
    for line in data.split(b"\n"):
        cdr.time_of_csv(line)
        record = cdr.parse_csv(line)
        if record is not None:
            records.append(record)
    for call in cdr.past_calls(cdr.read_rows(records).rows):
        repr(call).encode()


def fuzz_kept(data: bytes) -> None:
    """Parse an entry of AstDB, written by the dialplan or by anybody else."""
    try:
        kept = KeptRequest.read(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert kept.at.timestamp() >= 0
    assert kept.position >= 0
    repr(kept).encode()


def fuzz_control(data: bytes) -> None:
    """Parse a command of the control socket: its name, a line break, its body."""
    name, _, body = data.partition(b"\n")
    try:
        request = codec.read_request(name.decode("utf-8", "replace"), body)
    except BadRequest as error:
        assert codec.problem_json(error)["status"] in {400, 404, 413}
        assert str(error).isascii()
        # The longest one lists all commands.
        assert len(str(error)) < 600
        return
    command, actor = request.command, request.actor
    # Of a settings file nothing is stored.
    is_file = isinstance(command, CheckSettings)
    values = [actor.name, *(() if is_file else attrs.astuple(command))]
    while values:
        value = values.pop()
        if isinstance(value, tuple):
            values += value
        elif isinstance(value, str):
            # Characters that a database, a log or a terminal would refuse later.
            assert "\0" not in value
            assert "\n" not in value
            value.encode()
        elif value is not None:
            assert 0 <= value < 2**31
    # A decoded command is encoded and decoded to the same command.
    written = codec.write_body(command, actor)
    assert codec.read_request(command.NAME, written) == request


class _NoLiveState:
    """A live state that is never known."""

    def snapshot(self) -> Deferred[Snapshot]:
        return fail(StoreUnavailable("the disk is full"))

    def subscribe(self) -> Subscription:
        raise StoreUnavailable("the disk is full")


def fuzz_http(data: bytes) -> None:
    """Pass bytes to the control socket, as any client may send them."""
    timers = Clock()
    clock = MachineClock(cast(IReactorTime, timers))
    background = Background(clock)
    carried_out: list[object] = []

    async def handle(command: object, _actor: Actor) -> TaskList:
        carried_out.append(command)
        return TaskList(tasks=())

    api = InternalApi(
        Dispatch(dict.fromkeys(COMMANDS.values(), handle)),
        LivePage(_NoLiveState(), background, clock),
    )
    channel: Any = HttpServer(api.answer, background, clock).buildProtocol(None)
    transport = StringTransport()
    channel.makeConnection(transport)
    for piece in _cut(data):
        if not transport.disconnecting:
            channel.dataReceived(piece)
    while background._pauses:
        timers.advance(0)
    answers = transport.value()
    assert answers.count(b"HTTP/1.") >= len(carried_out)
    assert b" 500 " not in answers
    # A client that says nothing more is hung up on, whatever it has said.
    timers.advance(31)
    assert transport.disconnecting
    channel.connectionLost(Failure(ConnectionDone()))
    assert not timers.getDelayedCalls()


def _control_seeds() -> Iterator[bytes]:
    for name, kind in COMMANDS.items():
        given = {"id": 7, "limit": 5, "queue": "support", "number": "+4930123456"}
        given |= {"action": "cancel", "ids": [3, 2], "text": "queues:"}
        names = {one.name for one in attrs.fields(kind)}
        command = kind(**{name: given[name] for name in names & given.keys()})
        assert name == command.NAME
        yield name.encode() + b"\n" + codec.write_body(command, Actor("ada"))
    yield b'tasks.list\n{"status": "pending", "all": true, "limit": 1e9}'
    yield b'numbers.block\n{"number": "\\ud83d\\ude00", "reason": null}'


def _http_seeds() -> Iterator[bytes]:
    for seed in _control_seeds():
        name, _, body = seed.partition(b"\n")
        yield (
            b"POST /v1/commands/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
        ) % (name, len(body), body)
    yield (
        b"POST /v1/commands/status HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        b"Expect: 100-continue\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    yield b"GET /v1/live HTTP/1.0\r\nConnection: close\r\n\r\n"
    yield b'{"command": "status"}\n'


def _histories(name: str) -> Iterator[bytes]:
    for path in sorted(_HISTORIES.glob(f"*/{name}")):
        data = path.read_bytes()
        yield data
        yield b"\n".join(data.split(b"\n")[:3])


def _kept_seeds() -> Iterator[bytes]:
    yield b"1:1800000000:support:2:%2B4930123456:en:1800000000.1:J%C3%B6rg%20M"
    yield b"1:1800000000:support:::::"


TARGETS = {
    "agi": Target(fuzz_agi, _agi_seeds, 1_000),
    "ami": Target(fuzz_ami, _ami_seeds, 800),
    "settings": Target(fuzz_settings, _settings_seeds, 200),
    "queue_log": Target(fuzz_queue_log, lambda: _histories("queue_log"), 1_000),
    "cdr": Target(fuzz_cdr, lambda: _histories("Master.csv"), 800),
    "control": Target(fuzz_control, _control_seeds, 2_000, 400),
    "http": Target(fuzz_http, _http_seeds, 1_000, 600),
    "kept": Target(fuzz_kept, _kept_seeds, 10_000, 300),
}


def seeds_of(name: str) -> Iterator[bytes]:
    """Yield the first inputs of a target: its seeds, and the stored findings."""
    yield from TARGETS[name].seeds()
    for path in sorted((_CORPUS / name).glob("*")):
        yield path.read_bytes()
