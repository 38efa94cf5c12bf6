# SPDX-License-Identifier: MIT
"""Records the manager messages of whole calls.

``python -m tests.recordings.record_callbacks 22`` plays each scenario of
`tests.emulator.scenarios` with real phones on the laboratory's Asterisk. It writes what
a manager user with the service's rights receives into ``dialogues/``. Events that
neither the service nor its tests read are left out; otherwise a recording would be five
times as long.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.emulator.scenarios import (
    CALLBACKS,
    CHANNELS,
    CHANNELS_AT_S,
    CLIENT,
    LINE,
    LIVE_CALLS,
    NO_PHONE,
    Agi,
    Answers,
    Behaviour,
    CallbackScenario,
    Joins,
    LiveScenario,
    Refuses,
)
from tests.lab import config
from tests.lab.asterisk import Asterisk
from tests.lab.phones import Agent, Caller, Client
from tests.lab.scenarios import (
    Answer,
    HangUp,
    NoAnswer,
    Press,
    Refuse,
    Step,
)
from tests.lab.scenarios import Behaviour as LabBehaviour

_DIALOGUES = Path(__file__).with_name("dialogues")
_KEPT = frozenset(
    b"Newchannel DialBegin DialEnd BridgeEnter BridgeLeave Hangup OriginateResponse"
    b" AgentCalled AgentConnect AgentRingNoAnswer AgentComplete"
    b" QueueCallerJoin QueueCallerLeave QueueCallerAbandon QueueMemberStatus"
    b" DeviceStateChange UserEvent CoreShowChannel CoreShowChannelsComplete"
    b" QueueEntry".split()
)
#: Devices whose state changes are left out.
_OTHER_DEVICES = (b"Device: Queue:", b"Device: Local/", b"Device: PJSIP/trunk")
_LONGEST_S = 60.0


class Recorder:
    """A manager connection that stores every byte from Asterisk."""

    def __init__(self, asterisk: Asterisk) -> None:
        user = asterisk.service_user
        self._socket = socket.create_connection(("127.0.0.1", asterisk.ports.ami))
        self._data = b""
        self._mark = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.send("Login", Username=user.name, Secret=user.secret)
        self.wait_for(b"FullyBooted")

    def close(self) -> None:
        self._socket.close()

    def begin(self) -> None:
        """Discard what was stored so far."""
        self._mark = len(self._data)

    def send(self, action: str, *headers: str, **named: str) -> bytes:
        lines = [f"Action: {action}", *(f"{k}: {v}" for k, v in named.items())]
        data = "\r\n".join([*lines, *headers, "", ""]).encode()
        self._socket.sendall(data)
        return data

    def wait_for(self, text: bytes) -> None:
        with self._changed:
            if not self._changed.wait_for(
                lambda: text in self._data[self._mark :], _LONGEST_S
            ):
                raise SystemExit(f"{text!r} did not come: {self._data[self._mark :]!r}")

    def messages(self) -> list[bytes]:
        """Return the relevant messages since :meth:`begin`."""
        said = self._data[self._mark :].split(b"\r\n\r\n")
        return [message for message in said if message and _is_kept(message)]

    def _read(self) -> None:
        while data := self._socket.recv(65536):
            with self._changed:
                self._data += data
                self._changed.notify_all()


def _is_kept(message: bytes) -> bool:
    if not message.startswith(b"Event: "):
        return True
    name = message.partition(b"\r\n")[0].removeprefix(b"Event: ")
    return name in _KEPT and not any(device in message for device in _OTHER_DEVICES)


class Service:
    """A FastAGI server that gives the same answer to every caller."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.says = Agi.ACCEPTED
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rwb", 0) as stream:
                script = b""
                while (line := stream.readline()).strip():
                    if line.startswith(b"agi_network_script:"):
                        script = line.split()[-1]
                self._answer(stream, script)

    def _answer(self, stream: socket.SocketIO, script: bytes) -> None:
        if self.says is Agi.SILENT:
            stream.readline()
            return
        if script == b"position":
            sent = ['CALLBACK_POSITION "1"']
        else:
            sent = ['CALLBACK_PROMPT "beep"', f'CALLBACK_STATUS "{self.says.name}"']
        for words in sent:
            stream.write(f"SET VARIABLE {words}\n".encode())
            stream.readline()


def _phone(behaviour: Behaviour) -> LabBehaviour:
    match behaviour:
        case Answers(after_s=after_s, hangs_up_after_s=hangs_up_after_s):
            steps: tuple[Step, ...] = ()
            if hangs_up_after_s is not None:
                steps = (HangUp(round(hangs_up_after_s * 1000)),)
            return Answer(ring_ms=round(after_s * 1000), steps=steps)
        case Refuses():
            return Refuse(behaviour.value, behaviour.name)
        case _:
            return NoAnswer()


@contextmanager
def _agents(
    asterisk: Asterisk,
    scenario: CallbackScenario | LiveScenario,
    **behaviours: Behaviour,
) -> Iterator[None]:
    present = {name: b for name, b in behaviours.items() if b is not NO_PHONE}
    queue = config.Queue(
        name="support",
        members=tuple(present),
        timeout_s=scenario.member_timeout_s,
        strategy=getattr(scenario, "strategy", "linear"),
        options={"joinempty": getattr(scenario, "joinempty", "yes")},
    )
    asterisk.set_queues([queue])
    with ExitStack() as stack:
        for name, behaviour in present.items():
            stack.enter_context(Agent(asterisk, name, _phone(behaviour)))
        yield


@contextmanager
def _callback(
    asterisk: Asterisk, scenario: CallbackScenario
) -> Iterator[tuple[Recorder, bytes]]:
    agents = {"alice": scenario.alice, "bob": scenario.bob}
    with (
        _agents(asterisk, scenario, **agents),
        Client(asterisk, CLIENT, _phone(scenario.client)) as client,
    ):
        recorder = Recorder(asterisk)
        recorder.begin()
        channel_id = "callback-1-0"
        outbound = f"PJSIP/trunk/sip:{CLIENT}@{client.slot}"
        variables = scenario.variables(channel_id, outbound)
        sent = recorder.send(
            "Originate",
            *(f"Variable: {name}={value}" for name, value in variables.items()),
            ActionID="1",
            Channel=f"Local/{scenario.target}@callback-member/n",
            Context="callback-caller",
            Exten="s",
            Priority="1",
            CallerID=f'"Ann" <{CLIENT}>',
            ChannelId=f"{channel_id}-1",
            OtherChannelId=f"{channel_id}-2",
            Timeout=str((scenario.member_ring_time_s + 5) * 1000),
            Async="true",
        )
        recorder.wait_for(b"Event: Newchannel")
        yield recorder, sent
        _wait_for_the_end(asterisk)


def record_callback(asterisk: Asterisk, scenario: CallbackScenario) -> bytes:
    """Play one callback; return the recording."""
    with _callback(asterisk, scenario) as (recorder, sent):
        _wait_for_the_end(asterisk)
        title = f"a callback: {scenario.title}"
        return _text(asterisk, title, [(sent, recorder.messages())])


def record_channels(asterisk: Asterisk) -> bytes:
    """Request the channels at each stage of a callback; return the recording."""
    turns = []
    with _callback(asterisk, CHANNELS) as (recorder, _sent):
        began = time.monotonic()
        for number, at_s in enumerate(CHANNELS_AT_S):
            time.sleep(began + at_s - time.monotonic())
            recorder.begin()
            sent = recorder.send("CoreShowChannels", ActionID=f"c{number}")
            recorder.wait_for(b"ListItems")
            listed = [m for m in recorder.messages() if b"ActionID: c" in m]
            turns.append((sent, listed))
    return _text(asterisk, CHANNELS.title, turns)


def record_line(asterisk: Asterisk) -> bytes:
    """Let callers and callbacks join one line; return the positions' messages."""
    asterisk.set_queues([config.Queue(name="support")])
    priorities = {joins.priority for joins in LINE if joins.priority}
    asterisk.set_dialplan(
        extra="[inbound](+)\n"
        + "".join(
            f"exten => priority{priority},1,Answer()\n"
            f" same => n,Set(QUEUE_PRIO={priority})\n same => n,Goto(support,1)\n"
            for priority in sorted(priorities)
        )
    )
    recorder = Recorder(asterisk)
    turns = []
    with ExitStack() as stack:
        for joins in LINE:
            recorder.begin()
            sent = b""
            if joins.position is None:
                exten = f"priority{joins.priority}" if joins.priority else "support"
                stack.enter_context(Caller(asterisk, exten, number=joins.number))
            else:
                sent = _send_in_line(recorder, joins)
            recorder.wait_for(b"Event: QueueCallerJoin")
            turns.append((sent, _only(recorder, b"QueueCallerJoin")))
        recorder.begin()
        sent = recorder.send("QueueStatus", ActionID="1", Queue="support")
        recorder.wait_for(b"Event: QueueStatusComplete")
        turns.append((sent, _only(recorder, b"QueueEntry")))
        asterisk.hang_up_everything()
    recorder.close()
    return _text(asterisk, "callers and callbacks in one line", turns)


def _send_in_line(recorder: Recorder, joins: Joins) -> bytes:
    variables = joins.variables()
    channel_id = variables["__CALLBACK_ID"]
    return recorder.send(
        "Originate",
        *(f"Variable: {name}={value}" for name, value in variables.items()),
        ActionID="1",
        Channel="Local/place@callback-member/n",
        Context="callback-caller",
        Exten="s",
        Priority="1",
        CallerID=f'"Ann" <{joins.number}>',
        ChannelId=f"{channel_id}-1",
        OtherChannelId=f"{channel_id}-2",
        Timeout="60000",
        Async="true",
    )


def _only(recorder: Recorder, event: bytes) -> list[bytes]:
    name = b"Event: " + event + b"\r\n"
    return [one for one in recorder.messages() if one.startswith(name)]


def record_live_call(
    asterisk: Asterisk, service: Service, scenario: LiveScenario
) -> bytes:
    """Play one live call; return the recording."""
    service.says = scenario.agi
    steps: list[Step] = []
    if scenario.presses_after_s is not None:
        steps.append(Press("1", round(scenario.presses_after_s * 1000)))
    steps.append(HangUp(round(scenario.hangs_up_after_s * 1000)))
    with _agents(asterisk, scenario, alice=scenario.alice):
        recorder = Recorder(asterisk)
        recorder.begin()
        with Caller(
            asterisk, "support", *steps, number=CLIENT, display_name="Ann"
        ) as caller:
            caller.wait_for_end(_LONGEST_S)
        _wait_for_the_end(asterisk)
        return _text(asterisk, scenario.title, [(b"", recorder.messages())])


def _wait_for_the_end(asterisk: Asterisk) -> None:
    end = time.monotonic() + _LONGEST_S
    while asterisk.channels() and time.monotonic() < end:
        time.sleep(0.1)
    # The last device states come from other threads.
    time.sleep(0.5)


def _text(
    asterisk: Asterisk, title: str, turns: Sequence[tuple[bytes, Sequence[bytes]]]
) -> bytes:
    version = asterisk.version
    lines = [f"Asterisk {version}, AMI, with events left out: {title}".encode()]
    for sent, messages in turns:
        if sent:
            said = sent.removesuffix(b"\r\n").split(b"\r\n")
            lines += [b"> " + line for line in said]
        for message in messages:
            lines += [b"< " + line for line in message.split(b"\r\n")] + [b"< "]
    # As in the other recordings: no blank at the end of a line.
    text = b"\n".join(_visible(line) for line in lines)
    return text + b"\n"


def _visible(line: bytes) -> bytes:
    if line in (b"< ", b"> "):
        return line.rstrip()
    return line[:-1] + b"\\x20" if line.endswith(b" ") else line


def main(arguments: Sequence[str]) -> None:
    """Record everything, or the scenarios named, on one major version."""
    major, wanted = int(arguments[0]), set(arguments[1:])
    service = Service()
    agi = {"CALLBACK_AGI": f"agi://127.0.0.1:{service.port}"}
    with Asterisk(major, global_variables=agi) as asterisk:
        short = ".".join(asterisk.version.split(".")[:2])
        if not wanted or "line" in wanted:
            (_DIALOGUES / f"line-{short}.txt").write_bytes(record_line(asterisk))
            asterisk.reset()
        for scenario in (*CALLBACKS, *LIVE_CALLS, CHANNELS):
            if wanted and scenario.name not in wanted:
                continue
            name = f"callback-{short}-{scenario.name}"
            if scenario is CHANNELS:
                name, text = f"channels-{short}", record_channels(asterisk)
            elif isinstance(scenario, CallbackScenario):
                text = record_callback(asterisk, scenario)
            else:
                name = f"live-{short}-{scenario.name}"
                text = record_live_call(asterisk, service, scenario)
            (_DIALOGUES / f"{name}.txt").write_bytes(text)
            asterisk.reset()


if __name__ == "__main__":
    main(sys.argv[1:])
