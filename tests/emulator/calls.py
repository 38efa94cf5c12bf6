# SPDX-License-Identifier: MIT
"""Calls in the model of Asterisk: callbacks, and people who call in.

Each step of ``dialplan/callback-queue.conf`` for these calls is modelled here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from twisted.internet.interfaces import IDelayedCall

from tests.emulator.agi_client import AgiClientProtocol, AsteriskAgi
from tests.emulator.manager import Action
from tests.emulator.phones import NO_CAUSE, NORMAL, REFUSALS, UNKNOWN, Ring
from tests.emulator.queues import Queue, Visit
from tests.emulator.scenarios import Answers, Refuses
from tests.emulator.wires import Door, ServerEndpoint, Wire

#: Variables that the dialplan reads after AGI().
_TAKEN: Final = (
    "CALLBACK_STATUS",
    "CALLBACK_PROMPT",
    "CALLBACK_POSITION",
    "CALLBACK_PLACE",
    "CALLBACK_PRIORITY",
    "CALLBACK_OFFER",
    "CALLBACK_OFFER_TIME",
    "CALLBACK_OFFER_KEYS",
)
#: The channel that deletes a stored request from AstDB.
FORGETS: Final = "Local/request@callback-forget"
FENCES: Final = "Local/set@callback-fence"

if TYPE_CHECKING:
    from tests.emulator.asterisk import FakeAsterisk

#: QUEUE_PRIO of a callback that lets all live callers go first.
LOWEST_PRIORITY: Final = "-2147483648"
#: Time from a transfer to the end of the agent's own call, in seconds.
_HANGS_UP_S: Final = 0.05
#: How long AMD() listens, in seconds.
_AMD_S: Final = 2.0
#: Extracts the number from an outbound channel such as PJSIP/0301234567@trunk.
_NUMBER: Final = re.compile(r"/(?:trunk/sip:)?(\+?[0-9*#]+)@")


class Callback:
    """One Originate with the dialplan's two legs, from Newchannel to Hangup.

    ``member_half`` is ``Local;2``: it runs Queue() or Dial() to reach an agent.
    ``caller_half`` is ``Local;1``: once an agent has answered it plays the alert and
    dials the client.
    """

    def __init__(self, pbx: FakeAsterisk, action: Action) -> None:
        self._pbx = pbx
        self._action = action
        self._variables = dict(
            _unquote(one).split("=", 1) for one in action.all("Variable")
        )
        self._visit: Visit | None = None
        self._agent: Ring | None = None
        self._client: Ring | None = None
        self._timers: set[IDelayedCall] = set()
        self._dialstatus = ""
        self._alert_status = ""
        #: The last SIP response to the call to the client.
        self._sip = ""
        self._answered_at: float | None = None
        self._responded = False
        self._ended = False
        #: The agent's answer by a key.
        self.agent_said = ""
        #: What came of asking the client for a key.
        self.client_said = ""
        #: Whether the client is being asked.
        self._is_asking = False
        #: Whether the agent has transferred the client to another queue.
        self.transferred = False
        #: Whether the context callback-fence ended it.
        self.is_stale = False
        resource = action.get("Channel").removeprefix("Local/")
        exten, _, rest = resource.partition("@")
        self._how = exten
        context = rest.partition("/")[0]
        name, number = _caller_id(action.get("CallerID"))
        local = f"Local/{exten}@{context}-{pbx.next_local():08x}"
        #: The client is dialled before an agent.
        self._client_first = exten == "client"
        self._first_half = pbx.new_channel(
            f"{local};1",
            uniqueid=action.get("ChannelId"),
            context=context,
            exten=exten,
        )
        second = pbx.new_channel(
            f"{local};2",
            uniqueid=action.get("OtherChannelId"),
            linkedid=self._first_half.uniqueid,
            state="Ring",
            context=context,
            exten=exten,
        )
        halves = (self._first_half, second)
        self.caller_half, self.member_half = (
            halves[::-1] if self._client_first else halves
        )
        for half in (self.caller_half, self.member_half):
            half.number, half.caller = number, name
        self.caller_half.hung_up = self._withdrawn
        self.member_half.hung_up = self._member_half_hung_up
        self._first_half.application = "AppDial2"
        self._first_half.data = "(Outgoing Line)"
        pbx.tell(
            "DialBegin",
            "call",
            *self._first_half.headers("Dest"),
            ("DialString", resource),
        )
        self._later(int(action.get("Timeout") or 30000) / 1000, self._too_long)
        self._run_member_leg()

    @property
    def alert(self) -> str:
        """What the agent hears before the client is dialled."""
        return self._variable("CALLBACK_ALERT")

    def set_variable(self, name: str, value: str) -> None:
        """Set a variable of the half that dials the client."""
        self._variables[name] = value

    def _variable(self, name: str) -> str:
        names = (name, f"_{name}", f"__{name}")
        return next((self._variables[n] for n in names if n in self._variables), "")

    # -- the agent's leg ---------------------------------------------------

    def _run_member_leg(self) -> None:
        pbx, half = self._pbx, self.member_half
        self.is_stale = self._is_too_old
        if self.is_stale:
            pbx.tell(
                "UserEvent",
                "user",
                *half.headers(),
                ("UserEvent", "CallbackStale"),
                ("CallbackID", self._variable("CALLBACK_ID")),
            )
            self._member_leg_failed()
            return
        forget = self._variable("CALLBACK_FORGET")
        if forget == "all":
            pbx.forget("callback-outcome")
        else:
            pbx.astdb.pop(("callback-outcome", forget), None)
        if self._client_first:
            self._alert_over("")
            return
        target = self._variable("CALLBACK_TARGET")
        ring_s = float(self._variable("CALLBACK_MEMBER_RING_TIME"))
        if self._how in ("queue", "place"):
            in_line = self._how == "place"
            limit = "" if in_line else f"{ring_s:.0f}"
            half.at(half.context, self._how, 2, "Queue", f"{target},,,,{limit}")
            queue = pbx.queues.get(target.lower())
            if queue is None:
                # Queue() fails at once for a queue that does not exist.
                self._later(0, self._member_leg_failed)
                return
            half.queue_priority = (
                self._variable("CALLBACK_PRIORITY") if in_line else LOWEST_PRIORITY
            )
            if queue.refuses:
                self._later(0, partial(self._left_queue, queue.refuses))
                return
            self._visit = Visit(
                queue,
                half,
                answered=self._agent_answers,
                left=self._left_queue,
                timeout_s=None if in_line else ring_s,
                position=int(self._variable("CALLBACK_POSITION")) if in_line else None,
                skips=partial(self._skips, queue),
            )
            return
        half.at(half.context, "extension", 2, "Dial", f"{target},{ring_s:.0f}")
        phone = pbx.phone(target)
        if not phone.registered:
            self._later(0, self._member_leg_failed)
            return
        self._agent = Ring(
            phone,
            half,
            context="agents",
            application="AppDial",
            answered=self._extension_answers,
            refused=self._extension_refuses,
        )
        pbx.dial(half, self._agent.channel, "DialBegin", ("DialString", phone.resource))
        self._agent.begin()
        self._later(ring_s, self._extension_rang_in_vain)

    @property
    def base(self) -> str:
        """What the ids of both halves begin with."""
        return self._first_half.uniqueid.removesuffix("-1").removesuffix("-2")

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._ended

    @property
    def _is_too_old(self) -> bool:
        """Whether the context callback-fence ends it."""
        epoch = self._variable("CALLBACK_EPOCH")
        has_fence = "DIALPLAN_EXISTS(callback-fence,s,1)" in self._pbx.dialplan_has
        if not epoch or not has_fence:
            return False
        now = self._pbx.clock.seconds() + self._pbx.skew_s
        newest = self._pbx.astdb.get(("callback-fence", "epoch"), "0")
        late = now > int(self._variable("CALLBACK_NOT_AFTER"))
        return late or int(epoch) < int(newest)

    def _left_queue(self, status: str = "") -> None:
        """Queue() ended without an agent."""
        if not status and self._visit is not None:
            status = self._visit.status
        if self._how == "place":
            if self._pbx.responds_early:
                self._respond("Failure")
            self._pbx.tell(
                "UserEvent",
                "user",
                *self.member_half.headers(),
                ("UserEvent", "CallbackLeftLine"),
                ("CallbackID", self._variable("CALLBACK_ID")),
                ("QueueStatus", status),
            )
        self._member_leg_failed()

    def _skips(self, queue: Queue) -> list[str]:
        """Return the members that the contexts callback-skip and callback-only keep
        from ringing.
        """
        if "b(callback-only^s^1)" in self._variable("CALLBACK_QUEUE_OPTIONS"):
            only = self._variable("CALLBACK_ONLY")
            return [m.interface for m in queue.members if m.phone.resource != only]
        if "b(callback-skip^s^1)" not in self._variable("CALLBACK_QUEUE_OPTIONS"):
            return []
        skipped = self._variable("CALLBACK_SKIP").split("&")
        return [m.interface for m in queue.members if m.phone.resource in skipped]

    def _extension_answers(self, ring: Ring) -> None:
        self._stop_timers()
        self._pbx.dial_end(self.member_half, ring.channel, "ANSWER")
        self._agent_answers(ring)

    def _extension_refuses(self, ring: Ring, how: Refuses) -> None:
        self._pbx.dial_end(self.member_half, ring.channel, REFUSALS[how][0])
        cause = REFUSALS[how][2]
        ring.end(cause)
        self._member_leg_failed(REFUSALS[how][0], cause)

    def _extension_rang_in_vain(self) -> None:
        assert self._agent is not None
        self._pbx.dial_end(self.member_half, self._agent.channel, "NOANSWER")
        self._agent.end(NO_CAUSE)
        self._member_leg_failed()

    def _member_leg_failed(self, status: str = "NOANSWER", cause: int = NORMAL) -> None:
        self._respond("Failure")
        self._end_member_half(cause)
        self._dial_of_caller_half_ends(status)
        self._end_caller_half(cause)

    def _too_long(self) -> None:
        """Originate's own time-out hangs up its channel."""
        if self._visit is not None and not self._visit.over:
            self._visit.abandon()
        elif self._agent is not None:
            self._pbx.dial_end(self.member_half, self._agent.channel, "CANCEL")
            self._agent.end(NO_CAUSE)
        self._member_leg_failed()

    def _agent_answers(self, ring: Ring) -> None:
        self._stop_timers()
        self._agent = ring
        ring.channel.hung_up = self._agent_hangs_up
        self.member_half.state = self.caller_half.state = "Up"
        self._respond("Success")
        self._dial_of_caller_half_ends("ANSWER")
        self._pbx.bridge(ring.channel, self.member_half)
        self._play_alert()

    def _dial_of_caller_half_ends(self, status: str) -> None:
        self._pbx.tell(
            "DialEnd",
            "call",
            *self._first_half.headers("Dest"),
            ("DialStatus", status),
        )

    def _respond(self, response: str) -> None:
        if self._responded:
            return
        self._responded = True
        half = self._first_half
        asked_for = self._action.get("Channel")
        self._pbx.originate_response(
            self._action,
            response,
            channel=half.name if response == "Success" else asked_for,
            uniqueid=half.uniqueid,
            number=half.number,
            caller=half.caller,
        )

    # -- the client's leg --------------------------------------------------

    def _play_alert(self) -> None:
        sound = self._variable("CALLBACK_ALERT")
        if self._variable("CALLBACK_AGENT_KEYS"):
            self._ask_agent(sound)
            return
        self.caller_half.at("callback-caller", "s", 3, "Playback", sound)
        if sound in self._pbx.missing_sounds:
            self._alert_over("FAILED")
        else:
            self._later(self._pbx.alert_s, lambda: self._alert_over("SUCCESS"))

    def _ask_agent(self, prompts: str) -> None:
        """Run the context callback-agent."""
        half = self.caller_half
        half.at("callback-agent", "s", 3, "BackGround", prompts)
        assert self._agent is not None
        behaviour = self._agent.behaviour
        assert isinstance(behaviour, Answers)
        wait_s = self._pbx.alert_s + float(self._variable("CALLBACK_AGENT_WAIT"))
        self._later(wait_s, lambda: self._agent_says("NOTHING"))
        keys = self._variable("CALLBACK_AGENT_KEYS")
        meanings = dict(
            zip(keys, ("ACCEPTED", "LATER", "CANNOT", "CANNOT"), strict=True)
        )
        meanings.pop("-", None)
        if said := meanings.get(behaviour.key):
            self._later(behaviour.key_after_s, lambda: self._agent_says(said))

    def _agent_says(self, said: str) -> None:
        self._stop_timers()
        self.agent_said = said
        if said == "ACCEPTED":
            self._alert_over("SUCCESS")
        else:
            self._client_leg_over("", NORMAL)

    def _alert_over(self, status: str) -> None:
        self._alert_status = status
        half = self.caller_half
        half.number = self._variable("CALLBACK_CALLERID_NUM")
        half.caller = self._variable("CALLBACK_CALLERID_NAME")
        outbound = self._variable("CALLBACK_CHANNEL")
        ring_s = float(self._variable("CALLBACK_CALLER_RING_TIME"))
        self._pbx.astdb["callback-outcome", self._variable("CALLBACK_ID")] = "DIALLING"
        half.at(
            "callback-caller",
            "s",
            8,
            "Dial",
            f"{outbound},{ring_s:.0f},iIU(callback-answered)",
        )
        match = _NUMBER.search(outbound)
        assert match is not None, f"no number in {outbound!r}"
        client = self._pbx.client(match[1])
        if not client.registered:
            # There is no route to the network, so Dial() cannot even create a channel.
            self._client_leg_over("CHANUNAVAIL", NO_CAUSE)
            return
        self._client = Ring(
            client,
            half,
            context="inbound",
            application="AppDial",
            answered=self._client_answers,
            refused=self._client_refuses,
        )
        self._pbx.dial(
            half,
            self._client.channel,
            "DialBegin",
            ("DialString", f"{match[1]}@trunk"),
        )
        self._sip = "+180"
        self._client.begin()
        self._later(ring_s, self._client_rang_in_vain)

    def _client_answers(self, ring: Ring) -> None:
        self._stop_timers()
        amd = self._variable("CALLBACK_AMD")
        if not (amd or self._variable("CALLBACK_CLIENT_KEY")):
            self._connect_client(ring)
            return
        # What the context callback-confirm does.
        self._is_asking = True
        self.client_said = "GONE"
        ring.fact.asked_at, ring.fact.answered_at = ring.fact.answered_at, None
        ring.channel.hung_up = self._asked_client_hangs_up
        if amd:
            self._later(_AMD_S, lambda: self._amd_ends(ring))
        else:
            self._ask_client(ring)

    def _amd_ends(self, ring: Ring) -> None:
        behaviour = ring.behaviour
        assert isinstance(behaviour, Answers)
        if behaviour.is_machine:
            self.client_said = "MACHINE-LONGGREETING-1520-1500"
            self._client_is_not_connected()
        elif self._variable("CALLBACK_CLIENT_KEY"):
            self._ask_client(ring)
        else:
            self._client_confirms(ring)

    def _ask_client(self, ring: Ring) -> None:
        self.client_said = "NOTHING"
        behaviour = ring.behaviour
        assert isinstance(behaviour, Answers)
        times = int(self._variable("CALLBACK_CLIENT_TIMES"))
        wait_s = self._pbx.prompt_s + float(self._variable("CALLBACK_CLIENT_WAIT"))
        self._later(times * wait_s, self._client_is_not_connected)
        if behaviour.key == self._variable("CALLBACK_CLIENT_KEY"):
            self._later(behaviour.key_after_s, lambda: self._client_confirms(ring))

    def _client_confirms(self, ring: Ring) -> None:
        self._stop_timers()
        self._is_asking = False
        self.client_said = "CONFIRMED"
        self._pbx.tell(
            "UserEvent",
            "user",
            *ring.channel.headers(),
            ("UserEvent", "CallbackConfirmed"),
            ("CallbackID", self._variable("CALLBACK_ID")),
        )
        ring.fact.answered_at = self._pbx.now
        self._connect_client(ring)

    def _client_is_not_connected(self) -> None:
        assert self._client is not None
        self._is_asking = False
        self._pbx.dial_end(self.caller_half, self._client.channel, "CONTINUE")
        self._client.end(NORMAL)
        self._client_leg_over("ANSWER", NORMAL)

    def _asked_client_hangs_up(self) -> None:
        """Dial() enters a bridge for a moment, as if they talked."""
        assert self._client is not None
        self._is_asking = False
        self._pbx.dial_end(self.caller_half, self._client.channel, "ANSWER")
        self._pbx.bridge(self._client.channel, self.caller_half)
        self._pbx.unbridge(self._client.channel, self.caller_half)
        self._client.end(NORMAL)
        self._client_leg_over("ANSWER", NORMAL)

    def _agent_is_gone(self) -> None:
        """What the context callback-agent-gone does."""
        assert self._client is not None
        self._is_asking = False
        self.client_said = "AGENT_GONE"
        self._dialstatus = "ANSWER"
        self._pbx.dial_end(self.caller_half, self._client.channel, "ANSWER")
        self._client.end(NORMAL)

    def _member_half_hung_up(self) -> None:
        """The service hangs up the half that rang the agent."""
        if self._is_asking:
            self._agent_is_gone()
            self._client_leg_over("ANSWER", NORMAL)

    def _put_client_in_line(self, ring: Ring) -> None:
        """What the context callback-line does."""
        ring.fact.answered_at = None
        ring.channel.hung_up = self._client_hangs_up
        self._dialstatus = "ANSWER"
        self._sip = "+200"
        pbx, half = self._pbx, self.member_half
        pbx.dial_end(self.caller_half, ring.channel, "ANSWER")
        half.state = self.caller_half.state = "Up"
        self._respond("Success")
        self._dial_of_caller_half_ends("ANSWER")
        pbx.bridge(ring.channel, self.caller_half)
        target = self._variable("CALLBACK_TARGET")
        ring_s = float(self._variable("CALLBACK_MEMBER_RING_TIME"))
        half.at("callback-line", "s", 6, "Queue", f"{target},,,,{ring_s:.0f},,,,1")
        half.queue_priority = "2147483647"
        self._visit = Visit(
            pbx.queues[target.lower()],
            half,
            answered=self._agent_answers_client,
            left=self._client_hangs_up,
            timeout_s=ring_s,
            position=1,
        )

    def _agent_answers_client(self, ring: Ring) -> None:
        """What the context callback-connected does."""
        assert self._client is not None
        self._agent = ring
        ring.channel.hung_up = self._agent_hangs_up
        self._client.fact.answered_at = self._pbx.now
        self._answered_at = self._pbx.now + self._pbx.skew_s
        callback_id = self._variable("CALLBACK_ID")
        kept = f"DIALLING::::::{self._answered_ms}"
        self._pbx.astdb["callback-outcome", callback_id] = kept
        self._pbx.bridge(ring.channel, self.member_half)

    def _connect_client(self, ring: Ring) -> None:
        if self._client_first:
            self._put_client_in_line(ring)
            return
        ring.channel.hung_up = self._client_hangs_up
        self._dialstatus = "ANSWER"
        self._sip = "+200"
        # As in the dialplan, by the machine's clock.
        self._answered_at = self._pbx.now + self._pbx.skew_s
        callback_id = self._variable("CALLBACK_ID")
        kept = f"DIALLING::::::{self._answered_ms}"
        self._pbx.astdb["callback-outcome", callback_id] = kept
        self._pbx.dial_end(self.caller_half, ring.channel, "ANSWER")
        self._pbx.bridge(ring.channel, self.caller_half)

    def _client_refuses(self, ring: Ring, how: Refuses) -> None:
        in_event, in_dialplan, cause = REFUSALS[how]
        self._sip = f"+{how.value}"
        if how is Refuses.MOVED:
            self._pbx.dial(
                self.caller_half,
                ring.channel,
                "DialEnd",
                ("Forward", "sales"),
                ("DialStatus", "CANCEL"),
            )
        self._pbx.dial_end(self.caller_half, ring.channel, in_event)
        ring.end(cause)
        self._client_leg_over(in_dialplan, cause)

    def _client_rang_in_vain(self) -> None:
        assert self._client is not None
        self._pbx.dial_end(self.caller_half, self._client.channel, "NOANSWER")
        self._client.end(NO_CAUSE)
        self._client_leg_over("NOANSWER", NORMAL)

    def _client_leg_over(self, status: str, cause: int) -> None:
        self._dialstatus = status
        self._stop_timers()
        self._run_hangup_handler(cause or NORMAL)
        self._end_caller_half(cause)
        self._end_agent("caller", cause)

    # -- somebody hangs up -------------------------------------------------

    def _client_hangs_up(self) -> None:
        assert self._client is not None
        self._pbx.unbridge(self._client.channel, self.caller_half)
        self._client.end(NORMAL)
        self._run_hangup_handler()
        self._end_caller_half(NORMAL)
        self._end_agent("caller", NORMAL)

    def _agent_hangs_up(self) -> None:
        self._stop_timers()
        self._end_agent("agent", NORMAL)
        if self._is_asking:
            self._agent_is_gone()
        elif self._client is not None:
            if self._client.fact.answered_at is None:
                self._dialstatus = "CANCEL"
                self._pbx.dial_end(self.caller_half, self._client.channel, "CANCEL")
            else:
                self._pbx.unbridge(self.caller_half, self._client.channel)
            self._client.end(NORMAL)
        self._run_hangup_handler()
        self._end_caller_half(NORMAL)

    @property
    def client_first(self) -> bool:
        """Whether the client is dialled before an agent."""
        return self._client_first

    @property
    def is_before_queue(self) -> bool:
        """Whether the client is dialled first and is not in the queue yet."""
        return self._client_first and self._visit is None and not self._ended

    @property
    def talking(self) -> bool:
        """Whether agent and client talk to each other."""
        return (
            not self._ended
            and self._agent is not None
            and self._client is not None
            and self._client.fact.answered_at is not None
        )

    def transfer(self, queue: Queue) -> None:
        """The agent transfers the client; the member's half then counts as a caller."""
        assert self.talking
        agent, visit = self._agent, self._visit
        assert agent is not None
        self.transferred = True
        self._agent = None
        agent.channel.hung_up = lambda: None
        self._pbx.unbridge(agent.channel, self.member_half)
        self.member_half.queue_priority = ""
        self._visit = Visit(
            queue,
            self.member_half,
            answered=self._next_agent_answers,
            left=self._client_hangs_up,
        )

        def hangs_up() -> None:
            if visit is not None:
                visit.complete("agent")
            agent.end(NORMAL)

        # The agent's phone is free a moment after the client is in the queue.
        self._pbx.later(_HANGS_UP_S, hangs_up)

    def _next_agent_answers(self, ring: Ring) -> None:
        self._agent = ring
        ring.channel.hung_up = self._agent_hangs_up
        self._pbx.bridge(ring.channel, self.member_half)

    def cut_off(self) -> None:
        """Asterisk hangs up all channels of the callback."""
        if self._is_asking:
            self._member_half_hung_up()
        elif self._client is None or self._client.fact.answered_at is None:
            self._withdrawn()
        elif not self._ended:
            self._client_hangs_up()

    def _withdrawn(self) -> None:
        """The service hangs up the half that dials the client."""
        if self._ended or self._is_asking:
            # Dial() does not see it while the client is asked for a key.
            return
        if self.transferred:
            self._client_hangs_up()
        elif self._client_first:
            self._withdraw_client()
        elif self._agent is None or self._agent.fact.answered_at is None:
            self._too_long()
        elif self._client is None:
            self._client_leg_over("", NORMAL)
        else:
            self._pbx.dial_end(self.caller_half, self._client.channel, "CANCEL")
            self._client.end(NO_CAUSE)
            self._client_leg_over("CANCEL", NORMAL)

    def _withdraw_client(self) -> None:
        if self._dialstatus == "ANSWER":
            self._client_hangs_up()
            return
        if self._client is not None:
            self._pbx.dial_end(self.caller_half, self._client.channel, "CANCEL")
            self._client.end(NO_CAUSE)
        self._client_leg_over("CANCEL", NORMAL)

    def _end_agent(self, who: str, cause: int) -> None:
        if self._agent is None and (self.transferred or self._client_first):
            # The client waited for an agent, or was not in line yet.
            self._respond("Failure")
            if self._visit is not None and not self._visit.over:
                self._visit.abandon()
            self._end_member_half(cause)
            return
        assert self._agent is not None
        if self._visit is not None:
            self._visit.complete(who)
        if who == "agent":
            self._pbx.unbridge(self._agent.channel, self.member_half)
            self._agent.end(cause)
            self._end_member_half(cause)
        else:
            self._pbx.unbridge(self.member_half, self._agent.channel)
            self._end_member_half(cause)
            self._agent.end(cause)

    def _run_hangup_handler(self, cause: int = NORMAL) -> None:
        """Run the context callback-outcome."""
        talk_ms = 0
        if self._answered_at is not None:
            ended_at = self._pbx.now + self._pbx.skew_s
            talk_ms = round((ended_at - self._answered_at) * 1000)
        callback_id = self._variable("CALLBACK_ID")
        self._pbx.astdb["callback-outcome", callback_id] = (
            f"{self._dialstatus}:{talk_ms}:{self._alert_status}:{cause}:{self._sip}"
            f"::{self._answered_ms}:{self.agent_said}:{self.client_said}"
        )
        self.caller_half.at("callback-outcome", "s", 9, "UserEvent", "")
        self._pbx.tell(
            "UserEvent",
            "user",
            *self.caller_half.headers(),
            ("UserEvent", "CallbackOutcome"),
            ("CallbackID", callback_id),
            ("DialStatus", self._dialstatus),
            ("TalkMs", str(talk_ms)),
            ("AlertStatus", self._alert_status),
            ("Cause", str(cause)),
            ("SIP", self._sip),
            ("AnsweredMs", self._answered_ms),
            # The recordings were made before agents could answer by keys.
            *([("AgentSaid", self.agent_said)] if self.agent_said else []),
            *([("ClientSaid", self.client_said)] if self.client_said else []),
        )

    @property
    def _answered_ms(self) -> str:
        return f"{self._answered_at * 1000:.0f}" if self._answered_at else ""

    def _end_member_half(self, cause: int) -> None:
        self._pbx.hang_up(self.member_half, cause)

    def _end_caller_half(self, cause: int) -> None:
        self._stop_timers()
        self._ended = True
        self._pbx.hang_up(self.caller_half, cause)

    # -- time --------------------------------------------------------------

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            if not self._ended:
                function()

        timer = self._pbx.later(seconds, run)
        self._timers.add(timer)

    def _stop_timers(self) -> None:
        timers, self._timers = self._timers, set()
        for timer in timers:
            timer.cancel()


# -- a live call ---------------------------------------------------------------


class LiveCall:
    """A person who called in and is in a queue."""

    def __init__(
        self,
        pbx: FakeAsterisk,
        queue: str,
        *,
        number: str,
        name: str,
        callingpres: str,
        talks_s: float | None,
        queue_timeout_s: float | None,
        meets_bot: bool,
        priority: str = "",
        asks_place: bool = False,
        answers_offer: str = "",
        answers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._pbx = pbx
        self._queue = pbx.queues[queue.lower()]
        self.queue = queue
        self.number = number
        #: Whether the caller asked the network to withhold the number.
        self.withheld = bool(int(callingpres) & 0x20)
        self._callingpres = callingpres
        self._talks_s = talks_s
        self._queue_timeout_s = queue_timeout_s
        self._timers: set[IDelayedCall] = set()
        self._answers = answers
        #: What the caller heard while the service asked, sound by sound, and which keys
        #: were pressed during which of them.
        self.asked: list[str] = []
        self.given: list[tuple[str, str]] = []
        self.joined_at = pbx.now
        #: When the caller came back from the questions, and the channels ahead then.
        self.came_back: list[tuple[float, list[str]]] = []
        self._agi: AgiRun | None = None
        #: The answer to the last request.
        self._decision = ""
        self._agent: Ring | None = None
        self._variables: dict[str, str] = {}
        self._answers_offer = answers_offer
        #: The key that led to the request.
        self._pressed = ""
        #: When the caller was offered a callback.
        self.offered_at: list[float] = []
        #: Prompts that the caller heard, until their end or until hanging up.
        self.heard: list[str] = []
        #: Positions in line at which the caller joined.
        self.positions: list[int] = []
        self.answered_at: float | None = None
        self.ended_at: float | None = None
        self.channel = pbx.new_channel(
            f"PJSIP/trunk-{pbx.next_number():08x}",
            state="Ring",
            context="inbound",
            exten=self._queue.name,
            number=number or UNKNOWN,
            caller=name or UNKNOWN,
        )
        self._name = name
        self.channel.state = "Up"
        self.channel.queue_priority = priority
        self.channel.hung_up = self.hang_up
        self.channel.key_pressed = self._key_pressed
        if self.withheld:
            self.channel.presentation = "prohib_passed_screen"
        self.visit: Visit | None = None
        if meets_bot:
            self._meet_bot()
        #: Whether the dialplan asks for the place of the caller's task.
        self.asks_place = asks_place
        if asks_place:
            # Run the context callback-place.
            self._variables = {"CALLBACK_QUEUE": queue} | dict.fromkeys(_TAKEN, "")
            self._ask("place", self._placed)
        else:
            self._join(None)

    @property
    def waiting(self) -> bool:
        """Whether the caller is in the queue."""
        return self.visit is not None and not self.visit.over

    @property
    def gone(self) -> bool:
        """Whether the channel is hung up."""
        return self.ended_at is not None

    @property
    def position(self) -> int | None:
        """The caller's position in the queue; None outside of it."""
        return self.visit.position if self.visit and self.waiting else None

    @property
    def talking(self) -> bool:
        """Whether the caller talks to an agent."""
        return self.answered_at is not None and not self.gone

    @property
    def is_asked(self) -> bool:
        """Whether the caller is in the context callback-offer."""
        return not self.gone and self.channel.context == "callback-offer"

    def press(self, key: str = "1") -> None:
        """Press a key; keys other than 1 lead to the context callback-key."""
        if self._leaves_by_key(key):
            self._pressed = key
            self._request()

    def _key_pressed(self, key: str) -> None:
        if key == "D" and self._leaves_by_key(key):
            self.channel.at("callback-offer", "s", 1, "AGI", "")
            self._ask("offer", self._offer)

    def _leaves_by_key(self, key: str) -> bool:
        if self.visit is None or not self.waiting or not self._queue.context:
            return False
        position = self.visit.leave_by_key(key)
        self._variables = {
            "CALLBACK_QUEUE": self.queue,
            "CALLBACK_POSITION": str(position),
        }
        return True

    def _request(self) -> None:
        self._variables |= {"CALLBACK_STATUS": "", "CALLBACK_PROMPT": ""}
        self.channel.at("callback-request", "1", 1, "AGI", "")
        self._ask("request", self._decided)

    def _offer(self) -> None:
        """Run the context callback-offer."""
        prompts = self._variables.get("CALLBACK_OFFER", "")
        if not prompts:
            self._rejoin()
            return
        self.offered_at.append(self._pbx.now)
        for prompt in prompts.split("&"):
            self.heard.append(prompt)
        self._pbx.on_prompt(self, prompts)
        thinks_s = (
            0.5
            if self._answers_offer
            else float(self._variables["CALLBACK_OFFER_TIME"])
        )
        self._later(self._pbx.prompt_s + thinks_s, self._answer_offer)

    def _answer_offer(self) -> None:
        if (
            self._answers_offer
            and self._answers_offer in (self._variables["CALLBACK_OFFER_KEYS"])
        ):
            self._pressed = self._answers_offer
            self._request()
            return
        status = "OK" if self._answers_offer else "TIMEOUT"
        self._ask("offered", self._rejoin, status)

    def hang_up(self) -> None:
        """Let the caller hang up."""
        if self.gone:
            return
        if self._agi is not None:
            self._agi.hang_up()
        if self.visit is not None and self.waiting:
            self.visit.abandon()
            self._end(self._pbx.abandon_cause)
        elif self._agent is not None and self.visit is not None:
            self.visit.complete("caller")
            self._pbx.unbridge(self.channel, self._agent.channel)
            self._end(NORMAL)
            self._agent.end(NORMAL)
        else:
            self._end(NO_CAUSE)

    def _meet_bot(self) -> None:
        """Talk to a voice bot, which ends the talk at once."""
        bot = self._pbx.new_channel(
            f"AudioSocket/127.0.0.1:9092-{self._pbx.next_number():08x}",
            linkedid=self.channel.uniqueid,
            state="Up",
            context="inbound",
            exten="s",
        )
        self._pbx.dial(self.channel, bot, "DialBegin")
        self._pbx.dial_end(self.channel, bot, "ANSWER")
        self._pbx.bridge(bot, self.channel)
        self._pbx.unbridge(bot, self.channel)
        self._pbx.hang_up(bot, NORMAL)

    # -- in the queue ------------------------------------------------------

    def _join(self, position: int | None) -> None:
        self.channel.at("inbound", self._queue.name, 2, "Queue", self._queue.name)
        #: QUEUESTATUS of a caller whom the queue refused.
        self.refused = self._queue.refuses
        if self.refused:
            self._later(0, self._ran_out_of_time)
            return
        self.visit = Visit(
            self._queue,
            self.channel,
            answered=self._agent_answers,
            left=self._ran_out_of_time,
            timeout_s=self._queue_timeout_s,
            position=position,
        )
        self.positions.append(self.visit.position)

    def _placed(self) -> None:
        place = self._variables["CALLBACK_PLACE"]
        if place:
            self.channel.queue_priority = self._variables["CALLBACK_PRIORITY"]
        self._join(int(place) if place else None)

    def _agent_answers(self, ring: Ring) -> None:
        self._agent = ring
        self.answered_at = self._pbx.now
        ring.channel.hung_up = self._agent_hangs_up
        self._pbx.bridge(ring.channel, self.channel)
        if self._talks_s is not None:
            self._later(self._talks_s, self.hang_up)

    def _agent_hangs_up(self) -> None:
        assert self._agent is not None and self.visit is not None
        self.visit.complete("agent")
        self._pbx.unbridge(self._agent.channel, self.channel)
        self._agent.end(NORMAL)
        self._end(NORMAL)

    def _ran_out_of_time(self) -> None:
        self._end(NORMAL)

    # -- after the key -----------------------------------------------------

    def _ask(self, script: str, then: Callable[[], object], argument: str = "") -> None:
        """Run the context callback-ask, or callback-choose."""
        chooses = script == "choose"
        doors = list(self._pbx.doors or [self._pbx.agi] * self._pbx.addresses)
        if chooses:
            del doors[1:]
        until = self._pbx.now + AgiRun.LIMIT_S

        def ended() -> None:
            self._agi = None
            if self.gone:
                return
            if self._variables["CALLBACK_STATUS"] or not doors:
                then()
            else:
                ask((until - self._pbx.now) / len(doors))

        arguments = (
            self._variables["CALLBACK_QUEUE"],
            self._variables["CALLBACK_POSITION"],
            self.channel.linkedid,
            self.channel.queue_priority,
            argument or self._ability(script),
            *([self._pressed] if script in ("request", "choose") else []),
        )

        def ask(limit_s: float) -> None:
            self._variables["CALLBACK_STATUS"] = ""
            self._agi = AgiRun(
                self._pbx,
                script,
                arguments,
                self._agi_headers(),
                self._variables,
                limit_s=limit_s,
                door=doors.pop(0),
                answers=self._answers if chooses else (),
            )
            self._agi.start(ended)

        ask(AgiRun.CHOOSE_LIMIT_S if chooses else AgiRun.LIMIT_S / len(doors))

    def _ability(self, script: str) -> str:
        asks = script in ("request", "choose")
        return "choices" if asks and self._pbx.can_choose else ""

    def _agi_headers(self) -> dict[str, str]:
        return {
            "agi_channel": self.channel.name,
            "agi_uniqueid": self.channel.uniqueid,
            "agi_version": self._pbx.manager.version,
            "agi_callerid": self.number or "unknown",
            "agi_calleridname": self._name or "unknown",
            "agi_callingpres": self._callingpres,
            "agi_context": "callback-ask",
            "agi_extension": "s",
            "agi_priority": "6",
        }

    def _decided(self) -> None:
        if self._variables["CALLBACK_STATUS"] == "CHOOSE":
            self._variables["CALLBACK_STATUS"] = ""
            self._variables["CALLBACK_PROMPT"] = ""
            self._ask("choose", self._has_chosen)
            assert self._agi is not None
            self.asked = self._agi.channel.played
            self.given = self._agi.channel.given
            return
        self._answered(keeps=self._pbx.keeps_requests)

    def _has_chosen(self) -> None:
        self._answered(keeps=False)

    def _answered(self, *, keeps: bool) -> None:
        if self._variables["CALLBACK_STATUS"] in ("ACCEPTED", "ALREADY"):
            self._play(self._variables["CALLBACK_PROMPT"], lambda: self._end(NORMAL))
            return
        if keeps and not self._variables["CALLBACK_STATUS"]:
            self._keep()
            return
        decided = self._variables["CALLBACK_STATUS"]
        prompt = self._variables["CALLBACK_PROMPT"] if decided else ""
        self._play(prompt or "callback-queue/hold-on", self._go_back)

    def _keep(self) -> None:
        """Run the context callback-keep."""
        fields = (
            "1",
            f"{self._pbx.wall_clock}",
            self.queue,
            f"{self._variables['CALLBACK_POSITION']}/{self.channel.queue_priority}",
            self.number,
            "en",
            self.channel.uniqueid,
            self._name,
        )
        key = self.channel.uniqueid
        value = ":".join(quote(field) for field in fields)
        self._pbx.astdb["callback-request", key] = value
        self._pbx.tell(
            "UserEvent",
            "user",
            *self.channel.headers(),
            ("UserEvent", "CallbackKept"),
            ("Key", key),
        )
        self._play("callback-queue/noted", lambda: self._end(NORMAL))

    def _go_back(self) -> None:
        self._decision = self._variables["CALLBACK_STATUS"]
        if self._decision:
            self._ask("position", self._rejoin)
        else:
            self._rejoin()

    def _rejoin(self) -> None:
        position = self._variables["CALLBACK_POSITION"]
        self._join(int(position) if position.isdigit() else None)
        if self._decision == "BACK":
            assert self.visit is not None
            ahead = [
                visit.channel.uniqueid
                for visit in self._queue.visits
                if visit.position < self.visit.position
            ]
            self.came_back.append((self._pbx.now, ahead))

    def _play(self, sound: str, then: Callable[[], object]) -> None:
        self.channel.at("callback-request", "1", 7, "Playback", sound)
        if sound in self._pbx.missing_sounds or not sound:
            then()
            return
        self.heard.append(sound)
        self._pbx.on_prompt(self, sound)
        self._later(self._pbx.prompt_s, then)

    # -- the end -----------------------------------------------------------

    def _end(self, cause: int) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.ended_at = self._pbx.now
        self._pbx.hang_up(self.channel, cause)

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        def run() -> None:
            self._timers.discard(timer)
            if not self.gone:
                function()

        timer = self._pbx.later(seconds, run)
        self._timers.add(timer)


class AgiRun:
    """``AGI(agi://...)`` with the time limit of callback-ask, or of callback-choose."""

    LIMIT_S = 1.0
    CHOOSE_LIMIT_S = 150.0

    def __init__(
        self,
        pbx: FakeAsterisk,
        script: str,
        arguments: tuple[str, ...],
        headers: dict[str, str],
        variables: dict[str, str],
        *,
        limit_s: float,
        door: ServerEndpoint | Door,
        answers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._pbx = pbx
        self._door = door
        self._variables = variables
        self._limit_s = limit_s
        self.channel = AsteriskAgi(
            f"{pbx.agi_node}/{script}" if pbx.agi_node else script,
            arguments,
            headers=headers,
            variables={**variables, "AGIEXITONHANGUP": "yes"},
            answers=answers,
            missing_sounds=pbx.missing_sounds,
        )
        self.client = AgiClientProtocol(self.channel, pbx.later)
        self.wire: Wire | None = None
        self._timer: IDelayedCall | None = None
        self._ran_out = False

    def start(self, then: Callable[[], object]) -> None:
        """Connect; call ``then()`` when AGI() has ended for any reason."""

        def ended(_: object) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._take_variables()
            # The dialplan continues in the channel's own thread.
            self._pbx.later(0, then)

        self._pbx.agi_runs.append(self)
        self.wire = self._door.dial(self.client)
        if self.wire is None:
            self._pbx.later(self._limit_s if self._door.is_silent else 0, then)
            return
        _ = self.client.ended.addCallback(ended)
        self._timer = self._pbx.later(self._limit_s, self._too_long)

    def hang_up(self) -> None:
        """The caller hangs up while AGI() runs."""
        if self.wire is not None and not self.channel.ended:
            self.client.hang_up()

    def cut(self) -> None:
        """Break the connection without a message."""
        assert self.wire is not None
        self.wire.cut()

    def stall(self, seconds: float) -> None:
        """Delay all bytes to and from the service by this time."""
        assert self.wire is not None
        end = self.wire.server
        end.frozen = True
        self._pbx.later(seconds, lambda: setattr(end, "frozen", False))

    def _too_long(self) -> None:
        self._timer = None
        self._ran_out = True
        self.hang_up()

    def _take_variables(self) -> None:
        said = self.channel.variables
        for name in _TAKEN:
            self._variables[name] = said.get(name, "")
        if self._ran_out:
            # Extension T of callback-ask.
            self._variables["CALLBACK_STATUS"] = ""


def _caller_id(text: str) -> tuple[str, str]:
    match = re.fullmatch(r'"(.*)" <(.*)>', text)
    return (match[1], match[2]) if match else ("", text)


def _unquote(assignment: str) -> str:
    """Read one Variable header as Asterisk does: a backslash keeps what follows."""
    return re.sub(r"\\(.)", r"\1", assignment)
