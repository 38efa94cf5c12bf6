# SPDX-License-Identifier: MIT
"""One attempt of a task: a leg to the agent, a leg to the client, and one verdict.

The facts come from several sources: manager events, the dialplan's report, and what
Asterisk stored before a crash. They may come late, twice, out of order or not at all.
So :class:`Progress` only collects facts, and :func:`judge` is a pure function of them.

Contract: an attempt is placed at most once and judged exactly once.

In names, ``member`` is the agent and ``caller`` the client who is called back.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import Final

from attrs import define, field, frozen

from fastagi.domain import causes
from fastagi.domain.reason import Code, Reason, because

#: The name of the node if only one Asterisk is configured.
DEFAULT_NODE: Final = "default"


class Disposition(StrEnum):
    """The result of an attempt; Asterisk's word if there is one."""

    #: Agent and client talked for at least the success duration.
    ANSWERED = "ANSWERED"
    #: They talked for less than the success duration.
    SHORT = "SHORT"
    BUSY = "BUSY"
    NO_ANSWER = "NO ANSWER"
    #: The trunk or the network could not carry the call.
    CONGESTION = "CONGESTION"
    #: The network could not reach the number, or gave no reason.
    UNAVAILABLE = "UNAVAILABLE"
    #: There is no such number.
    INVALID_NUMBER = "INVALID NUMBER"
    #: The client's phone forwards calls; the other destination is not called.
    FORWARDED = "FORWARDED"
    #: An answering machine answered, as far as Asterisk can tell.
    MACHINE = "MACHINE"
    #: Somebody or something answered at the client's number and did not press the key.
    NOT_CONFIRMED = "NOT CONFIRMED"
    #: The agent hung up while the client's phone rang, or before they were connected.
    CANCEL = "CANCEL"
    #: No agent answered, or none accepted the callback: the agent hung up before the
    #: client was dialled, or did not press the key to accept.
    MEMBER_NO_ANSWER = "MEMBER NO ANSWER"
    #: Asterisk refused the Originate.
    NOT_PLACED = "NOT PLACED"
    #: The service ended the attempt before the client was dialled.
    WITHDRAWN = "WITHDRAWN"
    #: Asterisk does not know the call any more and has no record of its end.
    UNKNOWN = "UNKNOWN"


#: Dispositions of attempts in which the client's phone rang, or may have rung.
COUNTED: Final = frozenset(Disposition) - {
    Disposition.MEMBER_NO_ANSWER,
    Disposition.NOT_PLACED,
    Disposition.WITHDRAWN,
}

#: DIALSTATUS of the leg to the client to disposition, if nobody talked.
_DIALSTATUS: Final = {
    "BUSY": Disposition.BUSY,
    "NOANSWER": Disposition.NO_ANSWER,
    "CONGESTION": Disposition.CONGESTION,
    "CHANUNAVAIL": Disposition.UNAVAILABLE,
    "INVALIDARGS": Disposition.UNAVAILABLE,
    "CANCEL": Disposition.CANCEL,
    "ABORT": Disposition.CANCEL,
    # Answered, but never bridged: the client hung up at once.
    "ANSWER": Disposition.SHORT,
}

#: DIALSTATUS values that the network's cause overrides, because an outbound route may
#: also end in them by itself.
_CAUSE_OVERRIDES: Final = frozenset({"BUSY", "CONGESTION", "CHANUNAVAIL"})

#: If sources report different DIALSTATUS, the last one in this order counts: the call
#: got furthest.
_BY_REACH: Final = (
    "",
    "INVALIDARGS",
    "CHANUNAVAIL",
    "CONGESTION",
    "ABORT",
    "CANCEL",
    "NOANSWER",
    "BUSY",
    "ANSWER",
)

#: Dispositions for which the network may have given a cause.
_MAY_HAVE_CAUSE: Final = frozenset(
    {
        Disposition.BUSY,
        Disposition.NO_ANSWER,
        Disposition.CONGESTION,
        Disposition.UNAVAILABLE,
        Disposition.INVALID_NUMBER,
        Disposition.FORWARDED,
    }
)

#: Dispositions of an attempt that the service ended before the client answered.
_ENDED_BY_SERVICE: Final = frozenset({Disposition.CANCEL, Disposition.WITHDRAWN})

#: The disposition of an attempt whose client answered and was not connected.
_NOT_CONNECTED: Final = {
    Code.CLIENT_PRESSED_NO_KEY: Disposition.NOT_CONFIRMED,
    Code.CLIENT_IS_MACHINE: Disposition.MACHINE,
    Code.CLIENT_GONE_AT_ONCE: Disposition.SHORT,
    Code.AGENT_HUNG_UP_BEFORE_CONNECTING: Disposition.CANCEL,
}

_CODES: Final = {
    Disposition.BUSY: Code.CLIENT_BUSY,
    Disposition.NO_ANSWER: Code.CLIENT_NO_ANSWER,
    Disposition.CONGESTION: Code.CLIENT_CONGESTION,
    Disposition.UNAVAILABLE: Code.CLIENT_UNAVAILABLE,
    Disposition.INVALID_NUMBER: Code.NO_SUCH_NUMBER,
    Disposition.FORWARDED: Code.CLIENT_FORWARDS,
    Disposition.CANCEL: Code.AGENT_HUNG_UP_RINGING,
    Disposition.UNKNOWN: Code.ASTERISK_ENDED,
}


class Stage(StrEnum):
    """How far an attempt is."""

    #: Asterisk is asked for the call; nothing rings yet.
    STARTS = "starts"
    #: It waits in Asterisk's queue until an agent is free.
    WAITS_IN_LINE = "waits_in_line"
    AGENT_RINGS = "agent_rings"
    #: The agent has answered, and hears the alert or is asked for the key.
    ALERT = "alert"
    #: The client is dialled. Asterisk does not tell of the answer before agent and
    #: client hear each other, so a client who is asked for the key is at this stage.
    CLIENT_RINGS = "client_rings"
    TALK = "talk"
    #: The call has ended; the verdict is not stored yet.
    ENDS = "ends"


@frozen(kw_only=True)
class Attempt:
    """One stored attempt."""

    id: int
    task_id: int
    #: The common part of the two channel ids that Originate gets.
    channel_id: str
    started_at: datetime
    ended_at: datetime | None = None
    disposition: Disposition | None = None
    #: Interface of the agent who answered; empty if none did.
    member: str = ""
    talk_s: float = 0.0
    #: The reason for the disposition; None while the attempt is in progress.
    why: Reason | None = None
    #: The name of the Asterisk that places the call.
    node: str = DEFAULT_NODE

    @property
    def reason(self) -> str:
        """The reason in words; empty while the attempt is in progress."""
        return "" if self.why is None else str(self.why)

    @property
    def caller_channel_id(self) -> str:
        """Uniqueid of the half that dials the client (``Local;1``)."""
        return f"{self.channel_id}-1"

    @property
    def member_channel_id(self) -> str:
        """Uniqueid of the half that enters the queue (``Local;2``)."""
        return f"{self.channel_id}-2"


def attempt_of(uniqueid: str) -> str:
    """Return the ``channel_id`` of an attempt from the uniqueid of one half."""
    base, dash, half = uniqueid.rpartition("-")
    return base if dash and half in {"1", "2"} else ""


@frozen(kw_only=True)
class Verdict:
    """The one judgement on an attempt."""

    disposition: Disposition
    talk_s: float
    member: str
    why: Reason

    @property
    def reason(self) -> str:
        """The reason in words."""
        return str(self.why)

    @property
    def success(self) -> bool:
        """Whether the task is done."""
        return self.disposition is Disposition.ANSWERED

    @property
    def counts(self) -> bool:
        """Whether it uses up one of the task's attempts."""
        return self.disposition in COUNTED

    @property
    def withdrawn(self) -> bool:
        """Whether the task continues as if the attempt had never begun."""
        return self.disposition is Disposition.WITHDRAWN


@define(kw_only=True)
class Progress:
    """Facts about one attempt; times are seconds of a steady clock.

    The methods may be called late, twice and in any order; the result is the same.
    """

    #: Why Asterisk refused the Originate; None if it did not.
    refused: Reason | None = None
    ringing: set[str] = field(factory=set)
    rung: list[str] = field(factory=list)
    #: Interface of the agent who answered; the first one if several did.
    member: str = ""
    member_answered_at: float | None = None
    #: When the Originate was sent; None if it was not, or before a restart.
    placed_at: float | None = None
    #: Whether the clock of the service's machine was set since.
    clock_was_set: bool = False
    caller_dialled_at: float | None = None
    caller_answered_at: float | None = None
    dialstatus: str = ""
    #: DIALSTATUS as the dialplan read it. It is more exact than the events: for a
    #: number that does not exist behind a Local channel, DialEnd says NOANSWER (22.10
    #: and 16.28), but the variable says CHANUNAVAIL.
    reported_dialstatus: str = ""
    #: HANGUPCAUSE as the dialplan read it; 0 if it reported none.
    reported_cause: int = 0
    #: Final SIP responses to the calls that the dialplan tried.
    reported_sip: set[int] = field(factory=set)
    #: Why the agent who answered did not accept the callback; None if it is not known,
    #: or if he did.
    not_accepted: Code | None = None
    #: Whether the client is dialled first, and waits in the queue for an agent.
    client_first: bool = False
    #: Whether the client pressed the key, or was taken for a person, as far as it was
    #: seen; then the client is connected.
    client_confirmed: bool = False
    #: Why the client who answered was not connected to the agent; None if it is not
    #: known, or if they were connected.
    not_connected: Reason | None = None
    #: Whether a phone answered with another destination.
    forwarded: bool = False
    #: Whether Asterisk called that destination, so that not the client answered.
    forward_followed: bool = False
    #: Talk time as the dialplan measured it; needed if events were missed.
    reported_talk_s: float = 0.0
    #: When the client answered, in epoch seconds of Asterisk's clock; 0: not reported.
    reported_answered_at: float = 0.0
    #: When the half that dials the client was hung up; nothing can follow.
    ended_at: float | None = None
    #: Whether the end was not seen, so that the end of the talk is unknown.
    end_unseen: bool = False
    #: Why the service ended the attempt; None if it did not.
    withdrawn: Reason | None = None
    #: Whether the end was not seen and Asterisk does not know the call any more.
    lost: bool = False
    #: When the last gap in the events began; None if there was none.
    watched_until: float | None = None
    #: Interfaces that have stopped ringing, until they ring again.
    _quiet: set[str] = field(factory=set, init=False)
    #: When agent and client began (True) and ceased (False) to hear each other.
    _bridge: set[tuple[float, bool]] = field(factory=set, init=False)
    #: Interfaces that answered, and when.
    _answers: set[tuple[float, str]] = field(factory=set, init=False)

    @property
    def waits_for_member(self) -> bool:
        """Whether no agent rings or has answered: it will ring the next free agent."""
        return (
            self.ended_at is None
            and self.member_answered_at is None
            and not self.ringing
        )

    @property
    def may_dial_client(self) -> bool:
        """Whether the client is dialled now or talks, or this is about to begin."""
        return self.ended_at is None and (
            self.client_first
            or self.member_answered_at is not None
            or self.caller_dialled_at is not None
        )

    def stage(self, *, in_line: bool) -> Stage:
        """Return how far the attempt is.

        Args:
            in_line: whether it has joined a line in which it waits for an agent.
        """
        if self.ended_at is not None:
            return Stage.ENDS
        if self.was_bridged:
            return Stage.TALK
        if self.ringing:
            return Stage.AGENT_RINGS
        if self.client_first and self.client_confirmed:
            return Stage.WAITS_IN_LINE
        if self.caller_dialled_at is not None:
            return Stage.CLIENT_RINGS
        if self.member_answered_at is not None:
            return Stage.ALERT
        return Stage.WAITS_IN_LINE if in_line else Stage.STARTS

    @property
    def was_bridged(self) -> bool:
        """Whether agent and client ever heard each other."""
        return any(together for _, together in self._bridge)

    @property
    def talk_s(self) -> float:
        """How long they heard each other according to the events, in seconds."""
        talk_s, since = self._talk()
        if since is None or self.ended_at is None:
            return talk_s
        until = self.ended_at
        if self.end_unseen or self.lost:
            until = min(until, self.watched_until or since)
        return talk_s + max(0.0, until - since)

    @property
    def judged_talk_s(self) -> float:
        """The talk time that counts, in seconds.

        The dialplan's report counts if there is one, because events may be read late,
        for example by a service that was stopped for a while.

        But the dialplan measures by the clock of its machine, which may be set. If that
        happened, or the report is longer than the attempt, the events count.
        """
        if self.reported_talk_s <= 0:
            return self.talk_s
        placed_at, ended_at = self.placed_at, self.ended_at
        too_long = (
            placed_at is not None
            and ended_at is not None
            and self.reported_talk_s > ended_at - placed_at
        )
        if not (self.clock_was_set or too_long):
            return self.reported_talk_s
        watched = self.watched_until is None and not (self.end_unseen or self.lost)
        if not (watched and self.was_bridged) or ended_at is None:
            return max(self.talk_s, self.reported_talk_s)
        answered_at = min(at for at, together in self._bridge if together)
        answered_at = _earliest(self.caller_answered_at, answered_at)
        return max(self.talk_s, ended_at - answered_at)

    def member_rings(self, interface: str) -> bool:
        """Note that an agent's phone rings; return whether that is new."""
        news = interface not in self.ringing and self.member_answered_at is None
        self.ringing.add(interface)
        self._quiet.discard(interface)
        if interface not in self.rung:
            self.rung.append(interface)
        return news

    def member_stops_ringing(self, interface: str) -> bool:
        """Note that it stopped ringing unanswered; return whether that is new."""
        news = interface not in self._quiet
        self.ringing.discard(interface)
        self._quiet.add(interface)
        return news

    def rang_in_vain(self, interface: str) -> bool:
        """Return whether an agent's phone has rung and does not ring any more."""
        return interface in self._quiet and interface in self.rung

    def unwatched(self, since: float) -> None:
        """Note a gap in the events."""
        self.ringing.clear()
        self.watched_until = max(since, self.watched_until or since)

    def member_answers(self, interface: str, at: float) -> bool:
        """Note that an agent answered; return whether that is new."""
        news = bool(interface) and interface not in {who for _, who in self._answers}
        self.ringing.clear()
        self.member_answered_at = _earliest(self.member_answered_at, at)
        if interface:
            self._answers.add((at, interface))
            self.member = min(self._answers)[1]
        return news

    def caller_dialled(self, at: float) -> bool:
        """Note that the client is being dialled; return whether that is new."""
        news = self.caller_dialled_at is None
        self.caller_dialled_at = _earliest(self.caller_dialled_at, at)
        return news

    def caller_dial_ended(self, dialstatus: str, at: float) -> None:
        """Note how Dial() of the client ended; empty if Dial() never ran."""
        if dialstatus:
            self.caller_dialled(at)
            self.dialstatus = max(self.dialstatus, dialstatus, key=_reach)
        if dialstatus == "ANSWER" and not self.client_first:
            self.caller_answered_at = _earliest(self.caller_answered_at, at)

    def caller_reported(
        self,
        dialstatus: str,
        talk_s: float,
        at: float,
        *,
        cause: int = 0,
        sip: Collection[int] = (),
        answered_at: float = 0.0,
    ) -> None:
        """Note the dialplan's report on the leg to the client.

        Args:
            dialstatus: DIALSTATUS; empty if Dial() never ran.
            talk_s: seconds from the client's answer; 0 if there was none.
            at: when it was received, in seconds of a steady clock.
            cause: HANGUPCAUSE; 0 if none is known.
            sip: final SIP responses to the calls that were tried.
            answered_at: when the client answered, in epoch seconds of Asterisk's clock;
                0 if not reported.
        """
        if dialstatus:
            self.caller_dialled(at)
            self.reported_dialstatus = max(
                self.reported_dialstatus, dialstatus, key=_reach
            )
        self.reported_talk_s = max(self.reported_talk_s, talk_s)
        self.reported_cause = max(self.reported_cause, cause)
        self.reported_sip.update(sip)
        self.reported_answered_at = max(self.reported_answered_at, answered_at)

    def bridged(self, at: float) -> bool:
        """Note that agent and client hear each other; return whether that is new."""
        news = self._talk()[1] is None
        self.caller_dialled(at)
        self._bridge.add((at, True))
        return news

    def unbridged(self, at: float) -> None:
        """Note that they do not hear each other; after a hold they may again."""
        self._bridge.add((at, False))

    def ended(self, at: float) -> None:
        """Note that the half that dials the client was hung up."""
        self.ended_at = _earliest(self.ended_at, at)

    def _talk(self) -> tuple[float, float | None]:
        """Return the seconds of ended talk, and since when a talk is in progress."""
        talk_s = 0.0
        since: float | None = None
        limit = math.inf if self.ended_at is None else self.ended_at
        for at, together in sorted(self._bridge):
            if at > limit or (at, not together) in self._bridge:
                # Bridged and unbridged at the same time: ignored.
                continue
            if together and since is None:
                since = at
            elif not together and since is not None:
                talk_s += at - since
                since = None
        return talk_s, since


def _earliest(known: float | None, told: float) -> float:
    return told if known is None else min(known, told)


def _reach(dialstatus: str) -> tuple[int, str]:
    """Return a sort key of DIALSTATUS by how far the call got; unknown ones first."""
    known = dialstatus in _BY_REACH
    return (_BY_REACH.index(dialstatus) if known else 1, dialstatus)


def judge(progress: Progress, success_duration_s: float) -> Verdict:
    """Return the verdict on a finished attempt.

    It does not matter who hung up first: the talk time counts.

    Args:
        progress: all facts about the attempt.
        success_duration_s: minimum talk time of a success, in seconds.
    """
    talk_s = progress.judged_talk_s
    unwatched = progress.lost and talk_s < success_duration_s
    if progress.forward_followed:
        return Verdict(
            disposition=Disposition.FORWARDED,
            talk_s=0.0,
            member=progress.member,
            why=_reason(Disposition.FORWARDED, progress),
        )
    if progress.not_connected is not None:
        disposition = _NOT_CONNECTED[progress.not_connected.code]
        if progress.withdrawn:
            disposition = Disposition.CANCEL
        return Verdict(
            disposition=disposition,
            talk_s=0.0,
            member=progress.member,
            why=_reason(disposition, progress),
        )
    if (talk_s > 0 or progress.was_bridged) and not unwatched:
        disposition = (
            Disposition.ANSWERED if talk_s >= success_duration_s else Disposition.SHORT
        )
        # Rounded down: 4.96 s must not be shown as 5 s, which would be a success.
        why = because(Code.TALKED, talk_s=math.floor(talk_s * 10) / 10)
        if disposition is Disposition.SHORT:
            why = because(
                Code.TALKED_TOO_SHORT, needed_s=success_duration_s, **why.params
            )
        if progress.lost:
            why = why.with_params(asterisk_ended=True)
        return Verdict(
            disposition=disposition,
            talk_s=talk_s,
            member=progress.member,
            why=why,
        )
    dialled = progress.caller_dialled_at is not None
    dialstatus = progress.reported_dialstatus or progress.dialstatus
    if dialstatus != "ANSWER" and (
        progress.forwarded
        or (dialstatus in _CAUSE_OVERRIDES and causes.says_moved(progress.reported_sip))
    ):
        disposition = Disposition.FORWARDED
    elif progress.withdrawn and progress.client_first and dialstatus == "ANSWER":
        # The client waited for an agent.
        disposition = Disposition.CANCEL
    elif dialstatus and not (progress.lost and dialstatus == "ANSWER"):
        disposition = _disposition_of_dial(dialstatus, progress)
    elif progress.withdrawn and not (dialled or progress.lost):
        disposition = _disposition_of_withdrawal(progress.withdrawn)
    elif progress.refused and not dialled:
        disposition = Disposition.NOT_PLACED
    elif progress.lost:
        disposition = Disposition.UNKNOWN
    elif dialled:
        disposition = Disposition.CANCEL
    else:
        disposition = Disposition.MEMBER_NO_ANSWER
    return Verdict(
        disposition=disposition,
        talk_s=talk_s,
        member=progress.member,
        why=_reason(disposition, progress),
    )


def may_be_shutdown(progress: Progress, verdict: Verdict) -> bool:
    """Whether the attempt may have failed only because Asterisk is shutting down.

    After ``core stop gracefully`` Asterisk creates no channels: no agent can be rung,
    and Dial() of the client ends at once as CHANUNAVAIL, without a cause.
    """
    if verdict.disposition is Disposition.MEMBER_NO_ANSWER:
        return True
    return (
        verdict.disposition is Disposition.UNAVAILABLE
        and not progress.reported_cause
        and not progress.reported_sip
    )


def created_no_channel(
    progress: Progress, verdict: Verdict, *, client_channel: str
) -> bool:
    """Whether Dial() of the client ended before there was a channel to the client.

    Args:
        progress: of the attempt.
        verdict: on it.
        client_channel: the uniqueid of the channel to the client; "": none was seen.
    """
    return (
        not client_channel
        and verdict.disposition in (Disposition.UNAVAILABLE, Disposition.CONGESTION)
        and progress.reported_dialstatus == "CHANUNAVAIL"
        and progress.placed_at is not None
        and progress.watched_until is None
        and not progress.reported_sip
    )


def _disposition_of_withdrawal(why: Reason) -> Disposition:
    """Return the disposition of an attempt that the service ended.

    It is a try in vain if that was because no agent answered.
    """
    if why.code is Code.NO_AGENT_ANSWERED:
        return Disposition.MEMBER_NO_ANSWER
    return Disposition.WITHDRAWN


def _disposition_of_dial(dialstatus: str, progress: Progress) -> Disposition:
    """Return the disposition of a Dial() that did not lead to a talk."""
    cause = causes.told(progress.reported_cause, progress.reported_sip)
    if not cause or dialstatus not in _CAUSE_OVERRIDES:
        return _DIALSTATUS.get(dialstatus, Disposition.UNAVAILABLE)
    if cause in causes.INVALID_NUMBER:
        return Disposition.INVALID_NUMBER
    if cause == causes.USER_BUSY:
        return Disposition.BUSY
    if cause == causes.NO_ANSWER:
        return Disposition.NO_ANSWER
    if cause in causes.NETWORK:
        return Disposition.CONGESTION
    return Disposition.UNAVAILABLE


def _reason(disposition: Disposition, progress: Progress) -> Reason:
    if progress.withdrawn and disposition in _ENDED_BY_SERVICE:
        return progress.withdrawn
    if progress.not_connected is not None:
        return progress.not_connected
    if disposition is Disposition.NOT_PLACED and progress.refused:
        return because(Code.NOT_PLACED, cause=progress.refused)
    if disposition is Disposition.SHORT and progress.client_first:
        return because(Code.NO_AGENT_FOR_CLIENT)
    if disposition is Disposition.SHORT:
        return because(Code.CLIENT_GONE_AT_ONCE)
    if disposition is Disposition.MEMBER_NO_ANSWER:
        if progress.not_accepted is not None:
            who = {"who": progress.member} if progress.member else {}
            return because(progress.not_accepted, **who)
        if progress.member_answered_at is not None:
            return because(Code.AGENT_HUNG_UP_BEFORE_DIALLING)
        if progress.rung:
            return because(Code.NO_AGENT_ANSWERED, rung=", ".join(progress.rung))
        return because(Code.NO_AGENT_RUNG)
    if disposition is Disposition.UNKNOWN and (
        progress.was_bridged
        or progress.dialstatus == "ANSWER"
        or progress.reported_answered_at
    ):
        return because(Code.TALK_NOT_SEEN)
    if disposition in _MAY_HAVE_CAUSE:
        return _refusal(disposition, progress)
    return because(_CODES[disposition])


def _refusal(disposition: Disposition, progress: Progress) -> Reason:
    cause, sip = progress.reported_cause, progress.reported_sip
    code = causes.code(causes.told(cause, sip)) or _CODES[disposition]
    source = causes.source(cause, sip)
    return because(code, source=source) if source else because(code)
