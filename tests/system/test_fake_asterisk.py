# SPDX-License-Identifier: MIT
"""The model of Asterisk sends what a real Asterisk was recorded to send."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from twisted.internet.protocol import Factory, Protocol

from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.scenarios import (
    CALLBACKS,
    CHANNELS,
    CHANNELS_AT_S,
    CLIENT,
    LINE,
    LIVE_CALLS,
    NO_PHONE,
    Agi,
    CallbackScenario,
    LiveScenario,
)
from tests.harness.world import World, a_world
from tests.recordings.dialogue import dialogue_names, read_dialogue

Message = dict[str, str]

#: The compared headers of each event: those that somebody reads, and those that
#: distinguish events.
_READ: Mapping[str, tuple[str, ...]] = {
    "AgentCalled": ("Queue", "Interface", "MemberName"),
    "AgentComplete": ("Queue", "Interface", "Reason"),
    "AgentConnect": ("Queue", "Interface", "MemberName"),
    "AgentRingNoAnswer": ("Queue", "Interface"),
    "BridgeEnter": (),
    "BridgeLeave": (),
    "DeviceStateChange": ("Device", "State"),
    "DialBegin": (),
    "DialEnd": ("DialStatus",),
    "Hangup": ("Cause", "Cause-txt"),
    "Newchannel": ("Exten",),
    "OriginateResponse": ("Response", "Reason", "Context", "Exten"),
    "QueueCallerAbandon": ("Queue", "Position", "OriginalPosition"),
    "QueueCallerJoin": ("Queue", "Position", "Count", "CallerIDNum", "CallerIDName"),
    "QueueCallerLeave": ("Queue", "Position", "Count"),
    "QueueMemberStatus": ("Queue", "Interface", "Status", "Paused", "CallsTaken"),
    "UserEvent": (
        "UserEvent",
        "CallbackID",
        "DialStatus",
        "AlertStatus",
        "Cause",
        "SIP",
    ),
}
#: The headers of the other UserEvent.
_LEFT_LINE = ("UserEvent", "CallbackID", "QueueStatus")
#: Raised outside the message bus that keeps the order of the others, so they may come
#: before or after other events of the same moment.
_UNORDERED = frozenset({"OriginateResponse", "AgentComplete"})
_SEQUENCE_NUMBER = re.compile(r"-[0-9a-f]{8}(?=;|$)")


def messages(data: bytes) -> list[Message]:
    """Parse the messages of an Asterisk."""
    found = []
    for text in data.decode().split("\r\n\r\n"):
        message: Message = {}
        for line in text.split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                message.setdefault(name, value.strip())
        if message:
            found.append(message)
    return found


def _compared(message: Message) -> tuple[str, ...]:
    if message.get("UserEvent") == "CallbackLeftLine":
        return _LEFT_LINE
    return _READ[message["Event"]]


def by_channel(
    said: Iterable[Message],
) -> tuple[dict[str, list[Any]], Counter[Any]]:
    """Return the events of each channel and device in order, and those without one.

    Channels are identified by their kind (``PJSIP/alice``), not by their numbers.
    """
    roles: dict[str, str] = {"": ""}
    ordered: dict[str, list[Any]] = defaultdict(list)
    unordered: Counter[Any] = Counter()
    for message in said:
        if "Event" not in message:
            continue
        name = message["Event"]
        for prefix in ("", "Dest"):
            if f"{prefix}Uniqueid" in message and f"{prefix}Channel" in message:
                channel = _SEQUENCE_NUMBER.sub("", message[f"{prefix}Channel"])
                roles.setdefault(message[f"{prefix}Uniqueid"], channel)
        who = roles[message.get("Uniqueid", "")]
        whom = roles[message.get("DestUniqueid", "")]
        first = roles[message.get("Linkedid", "")] if name != "Newchannel" else ""
        facts = (
            name,
            who,
            whom,
            first,
            *(f"{header}={message[header]}" for header in _compared(message)),
        )
        if name in _UNORDERED:
            unordered[facts] += 1
        else:
            key = who or whom or message.get("Device") or message["Interface"]
            ordered[f"{name} of {key}" if not who and not whom else key].append(facts)
    return dict(ordered), unordered


class _ManagerClient(Protocol):
    """A client of the manager port that stores what it receives."""

    def __init__(self) -> None:
        self.heard = b""

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def say(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


def _encode(headers: Message) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def connect(world: World) -> _ManagerClient:
    """Connect to the model's manager port."""
    clients: list[Any] = []
    factory = Factory.forProtocol(_ManagerClient)
    connecting = world.asterisk.manager_endpoint().connect(factory)
    _ = connecting.addCallback(clients.append)
    world.settle()
    client: _ManagerClient = clients[0]
    return client


def log_in(world: World) -> _ManagerClient:
    """Log in to the model's manager port in plain text."""
    user = world.asterisk.manager.user
    client = connect(world)
    login = {"Action": "Login", "Username": user.name, "Secret": user.secret}
    client.say(_encode(login))
    world.settle()
    assert b"FullyBooted" in client.heard
    client.heard = b""
    return client


def play_callback(scenario: CallbackScenario, originate: bytes, version: str) -> bytes:
    """Let the model run the recorded Originate; return its messages."""
    with a_world(version) as world:
        asterisk = world.asterisk
        asterisk.alert_s = 0.4
        if scenario.alert != "beep":
            asterisk.missing_sounds.add(scenario.alert)
        _add_agents(asterisk, scenario, alice=scenario.alice, bob=scenario.bob)
        asterisk.client(CLIENT).always(scenario.client)
        client = log_in(world)
        client.say(originate)
        world.run(60)
        return client.heard


def play_live_call(scenario: LiveScenario, version: str) -> bytes:
    """Let the model play a live call; return its messages."""
    with a_world(version) as world:
        asterisk = world.asterisk
        _add_agents(asterisk, scenario, alice=scenario.alice)
        client = log_in(world)
        _ = asterisk.agi.listen(_Service(scenario.agi))
        talks_s = None if scenario.alice is NO_PHONE else scenario.hangs_up_after_s
        call = asterisk.call("support", CLIENT, name="Ann", talks_s=talks_s)
        if scenario.presses_after_s is not None:
            world.clock.callLater(scenario.presses_after_s, call.press)
        world.run(scenario.hangs_up_after_s + (scenario.presses_after_s or 0))
        call.hang_up()
        world.run(60)
        return client.heard


def _add_agents(
    asterisk: FakeAsterisk, scenario: CallbackScenario | LiveScenario, **behaviours: Any
) -> None:
    strategy = getattr(scenario, "strategy", "linear")
    queue = asterisk.add_queue(
        "support", strategy=strategy, timeout_s=scenario.member_timeout_s
    )
    if getattr(scenario, "joinempty", "yes") != "yes":
        queue.turns_away = "JOINEMPTY"
    for name, behaviour in behaviours.items():
        if behaviour is not NO_PHONE:
            queue.add(f"PJSIP/{name}", dynamic=False)
            asterisk.phone(f"PJSIP/{name}").always(behaviour)


class _Service(Factory):
    """A FastAGI service that gives the same answer to every caller."""

    noisy = False

    def __init__(self, says: Agi) -> None:
        self._says = says

    def buildProtocol(self, addr: object) -> Protocol:
        return _ServiceConnection(self._says)


class _ServiceConnection(Protocol):
    def __init__(self, says: Agi) -> None:
        self._says = says
        self._left: list[str] | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self._says is Agi.SILENT:
            return
        if self._left is None:
            if b"script: position" in data:
                self._left = ['CALLBACK_POSITION "1"']
            else:
                status = f'CALLBACK_STATUS "{self._says.name}"'
                self._left = ['CALLBACK_PROMPT "beep"', status]
        if self._left:
            self.transport.write(f"SET VARIABLE {self._left.pop(0)}\n".encode())
        else:
            self.transport.loseConnection()


_SCENARIOS = {scenario.name: scenario for scenario in CALLBACKS}
_LIVE = {scenario.name: scenario for scenario in LIVE_CALLS}


def _scenario(name: str) -> str:
    """Return the scenario of a recording: callback-22.10-happy is happy."""
    return name.split("-", 2)[2]


def _play(name: str) -> tuple[list[Message], list[Message]]:
    """Return the messages of the model and of the real Asterisk in a scenario."""
    recording = read_dialogue(name)
    kind, version, scenario = name.split("-", 2)
    if kind == "callback":
        said = play_callback(_SCENARIOS[scenario], recording.from_client, version)
    else:
        said = play_live_call(_LIVE[scenario], version)
    return messages(said), messages(recording.from_asterisk)


_RECORDED = dialogue_names("callback-*") + dialogue_names("live-*")


@pytest.mark.parametrize("name", _RECORDED)
def test_a_call_is_told_as_recorded(name: str) -> None:
    """The same events in the same order for each channel, with the same facts."""
    fake, real = _play(name)
    (ordered, unordered), (real_ordered, real_unordered) = (
        by_channel(fake),
        by_channel(real),
    )
    assert ordered.keys() == real_ordered.keys()
    for channel, events in ordered.items():
        assert events == real_ordered[channel]
    assert unordered == real_unordered


@pytest.mark.parametrize("name", _RECORDED)
def test_no_header_is_invented(name: str) -> None:
    """Each event of the model has only headers that the real one has."""
    fake, real = _play(name)
    known: dict[str, set[str]] = defaultdict(set)
    for message in real:
        known[message.get("Event", "")] |= set(message)
    for message in fake:
        assert set(message) <= known[message.get("Event", "")]


def _line(said: Iterable[Message]) -> tuple[list[Any], list[Any]]:
    """Return the position at which each joined, and the line at the end."""
    joined, stand = [], []
    for message in said:
        if message.get("Event") == "QueueCallerJoin":
            joined.append(
                (message["CallerIDNum"], message["Position"], message["Count"])
            )
        elif message.get("Event") == "QueueEntry":
            stand.append(
                (message["CallerIDNum"], message["Position"], message["Priority"])
            )
    return joined, stand


@pytest.mark.parametrize("name", dialogue_names("line-*"))
def test_callers_and_callbacks_stand_in_line_as_recorded(name: str) -> None:
    """By position and priority, as app_queue inserts them."""
    recording = read_dialogue(name)
    # One Originate for each callback, and the final request.
    *originates, question = [t.data for t in recording.turns if not t.from_asterisk]
    with a_world(name.split("-")[1]) as world:
        world.asterisk.add_queue("support")
        client = log_in(world)
        for joins in LINE:
            if joins.position is None:
                world.asterisk.call(
                    "support", joins.number, priority=joins.priority, talks_s=None
                )
            else:
                client.say(originates.pop(0))
            world.settle()
        client.say(question)
        world.settle()
        fake = _line(messages(client.heard))
    joined, stand = _line(messages(recording.from_asterisk))
    assert len(joined) == len(stand) == len(LINE)
    assert fake == (joined, stand)


def _originate(scenario: CallbackScenario) -> bytes:
    lines = [
        "Action: Originate",
        "ActionID: 1",
        f"Channel: Local/{scenario.target}@callback-member/n",
        "Context: callback-caller",
        "Exten: s",
        "ChannelId: callback-1-0-1",
        "OtherChannelId: callback-1-0-2",
        "Async: true",
    ]
    variables = scenario.variables("callback-1-0", f"PJSIP/{CLIENT}@trunk")
    lines += [f"Variable: {name}={value}" for name, value in variables.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def _shown(said: Iterable[Message]) -> list[dict[str, tuple[str, ...]]]:
    """Return the channels in each CoreShowChannels, by their names."""
    shown: list[dict[str, tuple[str, ...]]] = []
    for message in said:
        if message.get("EventList") == "start":
            shown.append({})
        elif message.get("Event") == "CoreShowChannel":
            name = _SEQUENCE_NUMBER.sub("", message["Channel"])
            facts = [
                message[header]
                for header in ("ChannelStateDesc", "Context", "Application")
            ]
            bridged = "in a bridge" if message["BridgeId"] else ""
            shown[-1][name] = (*facts, bridged)
    return shown


@pytest.mark.parametrize("name", dialogue_names("channels-*"))
def test_channels_are_shown_as_recorded(name: str) -> None:
    """At each stage of a callback, for both halves, the agent and the client."""
    recording = read_dialogue(name)
    with a_world(name.split("-")[1]) as world:
        world.asterisk.alert_s = 0.5
        _add_agents(world.asterisk, CHANNELS, alice=CHANNELS.alice)
        world.asterisk.client(CLIENT).always(CHANNELS.client)
        client = log_in(world)
        client.say(_originate(CHANNELS))
        client.heard = b""
        for at_s in CHANNELS_AT_S:
            world.run(at_s - world.t)
            client.say(b"Action: CoreShowChannels\r\nActionID: c\r\n\r\n")
            world.settle()
        fake = _shown(messages(client.heard))
    assert fake == _shown(messages(recording.from_asterisk))


def _replies(name: str) -> Iterable[tuple[list[Message], list[Message]]]:
    """Return each action of a recorded dialogue with its response."""
    turns = read_dialogue(name).turns
    for asked, said in itertools.pairwise(turns):
        if not asked.from_asterisk:
            yield messages(asked.data), messages(said.data)


def _shape(said: Iterable[Message]) -> list[tuple[str, ...]]:
    """Return the parts that are the same at any time."""
    return [
        (
            *message,
            message.get("Response", ""),
            message.get("Event", ""),
            message.get("EventList", ""),
            message.get("Message", ""),
        )
        for message in said
    ]


@pytest.mark.parametrize("version", ["16.28", "22.10"])
def test_the_manager_answers_as_recorded(version: str) -> None:
    """The same headers in the same order, for all that the model knows completely."""
    recorded: dict[tuple[str, ...], list[Message]] = {}
    for dialogue in ("login-md5", "before-login", "login-refused", "command"):
        for actions, said in _replies(f"ami-{version}-{dialogue}"):
            for action in actions:
                recorded.setdefault((dialogue, action["Action"]), said)
    entry = {"Family": "CALLBACK", "Key": "7"}
    dialogues: dict[str, list[Message]] = {
        "before-login": [{"Action": "Ping"}],
        "login-refused": [
            {"Action": "Challenge", "AuthType": "MD5"},
            {"Action": "Login", "AuthType": "MD5", "Username": "x", "Key": "0"},
        ],
        "login-md5": [
            {"Action": "Challenge", "AuthType": "MD5"},
            {"Action": "Login", "AuthType": "MD5", "Username": "callback-queue"},
            {"Action": "Ping"},
            {"Action": "Logoff"},
        ],
        "command": [
            {"Action": "DBPut", **entry, "Val": "a b"},
            {"Action": "DBGet", **entry},
            {"Action": "DBDel", **entry},
        ],
    }
    for dialogue, actions in dialogues.items():
        with a_world(version) as world:
            client = log_in(world) if dialogue == "command" else connect(world)
            for action in actions:
                if action["Action"] == "Login" and "Key" not in action:
                    key = hashlib.md5(b"753201456secret").hexdigest()
                    action["Key"] = key
                client.heard = b""
                client.say(_encode({**action, "ActionID": "1"}))
                world.run(1)
                expected = recorded[dialogue, action["Action"]]
                assert _shape(messages(client.heard)) == _shape(expected)


@pytest.mark.parametrize("version", ["16.28", "22.10"])
def test_queue_status_is_answered_as_recorded(version: str) -> None:
    """The order of the list, and no header that the real one does not have."""
    known: dict[str, set[str]] = defaultdict(set)
    for _, said in _replies(f"ami-{version}-queue-status"):
        for message in said:
            known[message.get("Event", "")] |= set(message)
    with a_world(version) as world:
        world.asterisk.add_queue("support", ["PJSIP/alice", "PJSIP/bob"])
        world.asterisk.add_queue("empty")
        client = log_in(world)
        world.asterisk.call("empty")
        world.settle()
        client.heard = b""
        client.say(_encode({"Action": "QueueStatus", "ActionID": "1"}))
        world.settle()
        answer = messages(client.heard)
    assert [message.get("Event") for message in answer] == [
        None,
        *("QueueParams", "QueueMember", "QueueMember"),
        *("QueueParams", "QueueEntry"),
        "QueueStatusComplete",
    ]
    for message in answer:
        assert set(message) <= known[message.get("Event", "")]


def test_the_scenarios_are_recorded() -> None:
    """Each at least once, and the important ones with both versions."""
    for version in ("16.28", "22.10"):
        for name in ("happy", "agent-hangs-up", "client-busy", "nobody-answers"):
            assert f"callback-{version}-{name}" in _RECORDED
        assert f"live-{version}-key-accepted" in _RECORDED
        assert f"callback-{version}-place" in _RECORDED
        assert f"line-{version}" in dialogue_names("line-*")
    assert {_scenario(n) for n in _RECORDED} == set(_SCENARIOS) | set(_LIVE)


def test_talk_time_is_from_the_clients_answer_to_the_end() -> None:
    """As the dialplan measures it, in milliseconds."""
    for said in _play("callback-22.10-agent-hangs-up"):
        (outcome,) = [m for m in said if m.get("Event") == "UserEvent"]
        assert abs(int(outcome["TalkMs"]) - 2280) < 50
