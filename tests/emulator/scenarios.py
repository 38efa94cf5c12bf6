# SPDX-License-Identifier: MIT
"""The recorded callbacks and live calls, as data.

Each scenario is played twice: by real phones on a real Asterisk, recorded once
(`tests.recordings.record_callbacks`), and by `tests.emulator.asterisk` in a test that
compares the manager messages of both. This module imports neither.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import attrs

#: The client of every scenario.
CLIENT = "5551002"


@attrs.frozen(kw_only=True)
class Answers:
    """Rings, answers, and hangs up after ``talk_s`` if given."""

    after_s: float = 0.3
    hangs_up_after_s: float | None = None
    #: The key by which an agent accepts a callback, or a client is connected, and when,
    #: in seconds from the answer. A mailbox presses none.
    key: str = "1"
    key_after_s: float = 1.5
    #: Whether Asterisk's AMD() takes it for an answering machine.
    is_machine: bool = False


class Refuses(enum.Enum):
    """Ends the call without an answer, by a SIP code."""

    BUSY = 486
    #: Refused by the person, or by the network.
    DECLINE = 603
    CONGESTION = 503
    #: The number does not exist.
    NOT_FOUND = 404
    #: The phone forwards the call; Dial() is told to ignore that.
    MOVED = 302


class Rings(enum.Enum):
    """Rings until the other side gives up."""

    FOR_EVER = enum.auto()


class Absent(enum.Enum):
    """There is no phone at this number."""

    NO_PHONE = enum.auto()


Behaviour = Answers | Refuses | Rings | Absent
TALKS = Answers()
#: Talks for a moment.
HANGS_UP = Answers(hangs_up_after_s=1.5)
NO_ANSWER = Rings.FOR_EVER
NO_PHONE = Absent.NO_PHONE


@attrs.frozen(kw_only=True)
class CallbackScenario:
    """One Originate, and how everybody behaves."""

    name: str
    title: str
    #: Agents of the queue ``support``, in the order of the queue.
    alice: Behaviour = TALKS
    bob: Behaviour = NO_PHONE
    client: Behaviour = NO_ANSWER
    #: ``extension``: the target is the phone of alice alone. ``place``: the callback
    #: waits in line.
    target: str = "queue"
    #: ``joinempty`` of the queue.
    joinempty: str = "yes"
    strategy: str = "linear"
    #: How long the queue rings one member.
    member_timeout_s: int = 15
    #: How long the whole member leg may take.
    member_ring_time_s: int = 20
    caller_ring_time_s: int = 20
    alert: str = "beep"

    def variables(self, channel_id: str, outbound_channel: str) -> Mapping[str, str]:
        """Return the channel variables of the Originate."""
        queue = self.target != "extension"
        place = {"CALLBACK_POSITION": "1", "CALLBACK_PRIORITY": "0"}
        return {
            **(place if self.target == "place" else {}),
            "__CALLBACK_ID": channel_id,
            "__CALLBACK_TASK": "7",
            "CALLBACK_TARGET": "support" if queue else "PJSIP/alice",
            "CALLBACK_QUEUE_OPTIONS": "",
            "CALLBACK_MEMBER_RING_TIME": str(self.member_ring_time_s),
            "CALLBACK_CALLER_RING_TIME": str(self.caller_ring_time_s),
            "CALLBACK_CHANNEL": outbound_channel,
            "CALLBACK_ALERT": self.alert,
            "CALLBACK_ALERT_LANGUAGE": "",
            "CALLBACK_CALLERID_NAME": "Support",
            "CALLBACK_CALLERID_NUM": "4930123",
            "CALLBACK_FORGET": "",
        }


CALLBACKS = [
    CallbackScenario(
        name="happy",
        title="the client answers, they talk, the client hangs up",
        client=HANGS_UP,
    ),
    CallbackScenario(
        name="agent-hangs-up",
        title="the client answers, they talk, the agent hangs up",
        alice=Answers(hangs_up_after_s=3),
        client=TALKS,
    ),
    CallbackScenario(
        name="agent-leaves-in-alert",
        title="the agent hangs up while the alert is played",
        alice=Answers(hangs_up_after_s=0.2),
    ),
    CallbackScenario(
        name="agent-leaves-in-ring",
        title="the agent hangs up while the client's phone rings",
        alice=HANGS_UP,
    ),
    CallbackScenario(
        name="client-busy", title="the client is busy", client=Refuses.BUSY
    ),
    CallbackScenario(
        name="client-no-answer",
        title="the client does not answer",
        caller_ring_time_s=2,
    ),
    CallbackScenario(
        name="client-congestion",
        title="the network refuses the call to the client",
        client=Refuses.CONGESTION,
    ),
    CallbackScenario(
        name="client-unavailable",
        title="there is no such number",
        client=Refuses.NOT_FOUND,
    ),
    CallbackScenario(
        name="second-agent",
        title="the first agent does not answer, the second does",
        alice=NO_ANSWER,
        bob=TALKS,
        client=HANGS_UP,
        member_timeout_s=2,
    ),
    CallbackScenario(
        name="agent-declines",
        title="the first agent declines, the second answers",
        alice=Refuses.BUSY,
        bob=TALKS,
        client=HANGS_UP,
    ),
    CallbackScenario(
        name="ringall",
        title="both agents' phones ring, the second agent answers",
        alice=NO_ANSWER,
        bob=TALKS,
        client=HANGS_UP,
        strategy="ringall",
    ),
    CallbackScenario(
        name="nobody-answers",
        title="no agent answers within the time of the member leg",
        alice=NO_ANSWER,
        member_timeout_s=15,
        member_ring_time_s=3,
    ),
    CallbackScenario(
        name="place",
        title="a callback in line is given an agent, the client answers, they talk",
        target="place",
        client=HANGS_UP,
    ),
    CallbackScenario(
        name="place-not-joined",
        title="the queue has no agent and takes nobody in line (joinempty)",
        target="place",
        alice=NO_PHONE,
        joinempty="strict",
    ),
    CallbackScenario(
        name="extension",
        title="one extension takes the callback and talks",
        target="extension",
        client=HANGS_UP,
    ),
    CallbackScenario(
        name="extension-no-answer",
        title="the one extension does not answer",
        target="extension",
        alice=NO_ANSWER,
        member_ring_time_s=2,
    ),
    CallbackScenario(
        name="extension-busy",
        title="the one extension is busy",
        target="extension",
        alice=Refuses.BUSY,
    ),
    CallbackScenario(
        name="no-alert",
        title="the sound file of the alert is missing",
        client=HANGS_UP,
        alert="callback-queue/no-such-file",
    ),
]


#: The scenario in which the list of channels is requested, at each of `CHANNELS_AT_S`.
CHANNELS = CallbackScenario(
    name="channels",
    title="CoreShowChannels while the agent's phone rings, in the alert, while the"
    " client's phone rings, and in the talk",
    alice=Answers(after_s=1),
    client=Answers(after_s=1.5, hangs_up_after_s=1.5),
)
CHANNELS_AT_S = (0.5, 1.2, 2.2, 3.7)


@attrs.frozen
class Joins:
    """Somebody joins the line of the queue ``support``, which has no agent."""

    number: str
    priority: str = ""
    #: The position that a callback asks for; None: a live caller.
    position: int | None = None

    def variables(self) -> Mapping[str, str]:
        """Return the channel variables of a callback's Originate."""
        scenario = CallbackScenario(name="", title="", target="place")
        return {
            **scenario.variables(f"callback-1-{self.number}", "PJSIP/1@trunk"),
            "CALLBACK_POSITION": str(self.position),
            "CALLBACK_PRIORITY": self.priority or "0",
        }


#: Callbacks and live callers who join one line, one after the other.
LINE = (
    Joins("101"),
    Joins("102"),
    Joins("201", position=2),
    Joins("103"),
    Joins("104", priority="5"),
    # Asks for the first position, and is put behind the caller of a higher priority.
    Joins("202", position=1),
    Joins("203", priority="5", position=2),
    Joins("204", priority="5", position=1),
    Joins("105", priority="-1"),
    Joins("205", priority="-1", position=3),
    Joins("206", position=99),
)


class Agi(enum.Enum):
    """The service's answer to a caller who pressed the key."""

    ACCEPTED = enum.auto()
    REFUSED = enum.auto()
    #: The service accepts the connection and says nothing.
    SILENT = enum.auto()


@attrs.frozen(kw_only=True)
class LiveScenario:
    """One live caller in the queue ``support``; alice is its only agent."""

    name: str
    title: str
    alice: Behaviour = NO_PHONE
    #: Seconds in the queue before the caller presses the key.
    presses_after_s: float | None = None
    agi: Agi = Agi.ACCEPTED
    #: Seconds before the caller hangs up, from the answer or the key.
    hangs_up_after_s: float
    member_timeout_s: int = 15


LIVE_CALLS = [
    LiveScenario(
        name="answered",
        title="a live caller is answered, talks and hangs up",
        alice=TALKS,
        hangs_up_after_s=2,
    ),
    LiveScenario(
        name="abandoned",
        title="a live caller hangs up while an agent rings",
        alice=NO_ANSWER,
        hangs_up_after_s=1,
    ),
    LiveScenario(
        name="key-accepted",
        title="a live caller presses the key and is promised a callback",
        presses_after_s=0.5,
        hangs_up_after_s=5,
    ),
    LiveScenario(
        name="key-refused",
        title="a live caller presses the key, is refused, and hangs up in the queue",
        presses_after_s=0.5,
        agi=Agi.REFUSED,
        hangs_up_after_s=3,
    ),
    LiveScenario(
        name="key-in-ring",
        title="a live caller presses the key while an agent rings",
        alice=NO_ANSWER,
        presses_after_s=0.5,
        hangs_up_after_s=5,
    ),
    LiveScenario(
        name="key-unheard",
        title="a live caller presses the key and the service says nothing",
        presses_after_s=0.5,
        agi=Agi.SILENT,
        hangs_up_after_s=4,
    ),
]
