# SPDX-License-Identifier: MIT
"""Channels and phones of the model of Asterisk, and calls from one to the other.

Independent of queues, callbacks and the manager port.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from twisted.internet.interfaces import IDelayedCall

from tests.emulator.manager import Header
from tests.emulator.scenarios import TALKS, Answers, Behaviour, Refuses

if TYPE_CHECKING:
    from tests.emulator.asterisk import FakeAsterisk

#: AST_CAUSE_*: why a channel was hung up.
NO_CAUSE: Final = 0
UNALLOCATED: Final = 1
NORMAL: Final = 16
USER_BUSY: Final = 17
CALL_REJECTED: Final = 21
ANSWERED_ELSEWHERE: Final = 26
CONGESTED: Final = 34

CAUSES: Final = {
    NO_CAUSE: "Unknown",
    UNALLOCATED: "Unallocated (unassigned) number",
    NORMAL: "Normal Clearing",
    USER_BUSY: "User busy",
    CALL_REJECTED: "Call Rejected",
    ANSWERED_ELSEWHERE: "Answered elsewhere",
    CONGESTED: "Circuit/channel congestion",
}
_STATES: Final = {"Down": 0, "Ring": 4, "Ringing": 5, "Up": 6}
DEVICE_STATES: Final = {
    "NOT_INUSE": 1,
    "INUSE": 2,
    "UNAVAILABLE": 5,
    "RINGING": 6,
    "RINGINUSE": 7,
}
#: For each end of a call: the status in DialEnd, Dial()'s own status, and the cause.
#: The two differ for a number that does not exist and a call refused (seen on 16.28 and
#: 22.10).
REFUSALS: Final = {
    Refuses.BUSY: ("BUSY", "BUSY", USER_BUSY),
    Refuses.DECLINE: ("NOANSWER", "CHANUNAVAIL", CALL_REJECTED),
    Refuses.CONGESTION: ("CONGESTION", "CONGESTION", CONGESTED),
    Refuses.NOT_FOUND: ("NOANSWER", "CHANUNAVAIL", UNALLOCATED),
    Refuses.MOVED: ("BUSY", "BUSY", USER_BUSY),
}
UNKNOWN: Final = "<unknown>"


@attrs.define(eq=False)
class Bridge:
    """A bridge of two channels."""

    uniqueid: str
    channels: list[Channel] = attrs.field(factory=list)


@attrs.define(eq=False, kw_only=True)
class Channel:
    """One leg of a call."""

    name: str
    uniqueid: str
    linkedid: str
    since: float
    state: str = "Down"
    number: str = UNKNOWN
    caller: str = UNKNOWN
    context: str = ""
    exten: str = ""
    priority: int = 1
    application: str = ""
    data: str = ""
    bridge: Bridge | None = None
    #: QUEUE_PRIO, which Queue() reads when the channel joins.
    queue_priority: str = ""
    #: CALLERID(num-pres).
    presentation: str = "allowed_not_screened"
    #: Called when the person at the end of the channel hangs up.
    hung_up: Callable[[], object] = lambda: None
    #: Called when Asterisk receives a key from the channel.
    key_pressed: Callable[[str], object] = lambda key: None

    def at(
        self, context: str, exten: str, priority: int, application: str, data: str
    ) -> None:
        """Move the channel to this place of the dialplan."""
        self.context, self.exten, self.priority = context, exten, priority
        self.application, self.data = application, data

    def headers(self, prefix: str = "") -> tuple[Header, ...]:
        """Return the channel's headers in events."""
        return (
            (f"{prefix}Channel", self.name),
            (f"{prefix}ChannelState", str(_STATES[self.state])),
            (f"{prefix}ChannelStateDesc", self.state),
            (f"{prefix}CallerIDNum", self.number),
            (f"{prefix}CallerIDName", self.caller),
            (f"{prefix}ConnectedLineNum", self.number),
            (f"{prefix}ConnectedLineName", self.caller),
            (f"{prefix}Language", "en"),
            (f"{prefix}AccountCode", ""),
            (f"{prefix}Context", self.context),
            (f"{prefix}Exten", self.exten),
            (f"{prefix}Priority", str(self.priority)),
            (f"{prefix}Uniqueid", self.uniqueid),
            (f"{prefix}Linkedid", self.linkedid),
        )


# -- phones --------------------------------------------------------------------


@attrs.define(eq=False)
class Ringing:
    """One ringing of a phone, recorded for tests."""

    at: float
    #: Uniqueid of the channel that rings it.
    by: str
    #: When it was answered; for a client who is asked for a key, when it was pressed.
    answered_at: float | None = None
    #: When somebody or something answered who was asked for a key first.
    asked_at: float | None = None
    #: What the phone did.
    behaviour: Behaviour = TALKS
    ended_at: float | None = None
    #: What the phone displays.
    number: str = ""
    caller: str = ""


@attrs.define(eq=False)
class Phone:
    """The phone of an agent or a client."""

    pbx: FakeAsterisk
    interface: str
    #: Whether Asterisk reports its state. It does not know the state of clients'
    #: phones.
    watched: bool = True
    #: Its behaviour on each ring, in order; after that ``otherwise`` applies.
    plan: deque[Behaviour] = attrs.field(factory=deque)
    otherwise: Behaviour = TALKS
    registered: bool = True
    #: Time from its INVITE to its "180 Ringing", during which it looks idle.
    alerts_after_s: float = 0.0
    #: Whether its owner is busy with a call of another system.
    elsewhere: bool = False
    rung: list[Ringing] = attrs.field(factory=list)
    channels: list[Channel] = attrs.field(factory=list)
    told: str = "NOT_INUSE"

    @property
    def resource(self) -> str:
        """The interface without its technology."""
        return self.interface.partition("/")[2]

    @property
    def state(self) -> str:
        """Its device state."""
        if not self.registered:
            return "UNAVAILABLE"
        rings = any(channel.state == "Ringing" for channel in self.channels)
        talks = self.elsewhere or any(c.state == "Up" for c in self.channels)
        if rings:
            return "RINGINUSE" if talks else "RINGING"
        return "INUSE" if talks else "NOT_INUSE"

    def will(self, *behaviours: Behaviour) -> Phone:
        """Set its behaviour on the next rings."""
        self.plan.extend(behaviours)
        return self

    def always(self, behaviour: Behaviour) -> Phone:
        """Set its behaviour when ``will`` has set none."""
        self.otherwise = behaviour
        return self

    def busy(self, elsewhere: bool = True) -> Phone:
        """Let its owner begin, or end, a call of another system."""
        self.elsewhere = elsewhere
        self.pbx.device_changed(self)
        return self

    def unplug(self) -> None:
        """Make it unreachable."""
        self.registered = False
        self.pbx.device_changed(self)

    def plug_in(self) -> None:
        """Make it reachable again."""
        self.registered = True
        self.pbx.device_changed(self)

    def hang_up(self) -> None:
        """Hang up."""
        for channel in list(self.channels):
            if channel.state == "Up":
                channel.hung_up()

    def next_behaviour(self) -> Behaviour:
        """Return its behaviour on a ring that begins now."""
        return self.plan.popleft() if self.plan else self.otherwise


class Ring:
    """An attempt of one channel to reach one phone: from Newchannel to Hangup."""

    def __init__(
        self,
        phone: Phone,
        by: Channel,
        *,
        context: str,
        application: str,
        answered: Callable[[Ring], object],
        refused: Callable[[Ring, Refuses], object],
    ) -> None:
        pbx = phone.pbx
        self.phone = phone
        self._pbx = pbx
        self._answered = answered
        self._refused = refused
        self._behaviour = phone.next_behaviour()
        self._timer: IDelayedCall | None = None
        self.channel = pbx.new_channel(
            f"{phone.interface}-{pbx.next_number():08x}",
            linkedid=by.linkedid,
            context=context,
            exten="s",
            number=by.number,
            caller=by.caller,
        )
        self.channel.application = application
        self.channel.data = "(Outgoing Line)"
        self.fact = Ringing(
            pbx.now,
            by.uniqueid,
            number=by.number,
            caller=by.caller,
            behaviour=self._behaviour,
        )
        phone.rung.append(self.fact)

    @property
    def behaviour(self) -> Behaviour:
        """The behaviour of the phone on this ring."""
        return self._behaviour

    def begin(self) -> None:
        """Let the phone behave as set."""
        behaviour = self._behaviour
        if isinstance(behaviour, Refuses):
            self._timer = self._pbx.later(0, lambda: self._refused(self, behaviour))
        elif self.phone.alerts_after_s:
            self._timer = self._pbx.later(self.phone.alerts_after_s, self._alert)
        else:
            self._alert()

    def _alert(self) -> None:
        behaviour = self._behaviour
        self.channel.state = "Ringing"
        self.phone.channels.append(self.channel)
        self._pbx.device_changed(self.phone)
        if isinstance(behaviour, Answers):
            self._timer = self._pbx.later(behaviour.after_s, self._answer)

    def _answer(self) -> None:
        self._timer = None
        self.channel.state = "Up"
        self.fact.answered_at = self._pbx.now
        behaviour = self._behaviour
        assert isinstance(behaviour, Answers)
        if behaviour.hangs_up_after_s is not None:
            self._timer = self._pbx.later(
                behaviour.hangs_up_after_s, self._hang_up_by_itself
            )
        self._answered(self)
        self._pbx.device_changed(self.phone)

    def _hang_up_by_itself(self) -> None:
        self._timer = None
        self.channel.hung_up()

    def end(self, cause: int) -> None:
        """The channel ends and the phone is free again."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        self.fact.ended_at = self._pbx.now
        self._pbx.hang_up(self.channel, cause)
        if self.channel in self.phone.channels:
            self.phone.channels.remove(self.channel)
            self._pbx.device_changed(self.phone)
