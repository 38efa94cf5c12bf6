# SPDX-License-Identifier: MIT
"""One attempt of a task: member leg, caller leg, and the one verdict on both.

An attempt is followed from several sources (manager events, the dialplan's own
report, what Asterisk kept over a crash). They may come late, twice, out of order
or not at all, so :class:`Progress` only ever gathers facts, and :func:`judge` is
a pure function of what was gathered.

Contract: an attempt is placed at most once and judged exactly once.
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

#: The only Asterisk there is, as long as no other is named.
DEFAULT_NODE: Final = "default"


class Disposition(StrEnum):
    """How an attempt ended; Asterisk's word where Asterisk has one."""

    #: The two talked for at least the success duration.
    ANSWERED = "ANSWERED"
    #: The two talked, but for less.
    SHORT = "SHORT"
    BUSY = "BUSY"
    NO_ANSWER = "NO ANSWER"
    #: The way to the number is in trouble.
    CONGESTION = "CONGESTION"
    #: The network knows the number and could not reach it, or gave no reason.
    UNAVAILABLE = "UNAVAILABLE"
    #: There is no such number.
    INVALID_NUMBER = "INVALID NUMBER"
    #: The caller's phone answered with another destination; nobody is called there.
    FORWARDED = "FORWARDED"
    #: The member hung up while the caller's phone rang.
    CANCEL = "CANCEL"
    #: No member answered, or the member left before the caller was dialled.
    MEMBER_NO_ANSWER = "MEMBER NO ANSWER"
    #: Asterisk refused the Originate.
    NOT_PLACED = "NOT PLACED"
    #: We ended it, or did not place it, before the caller was dialled.
    WITHDRAWN = "WITHDRAWN"
    #: Asterisk no longer knows the call and kept no record of its end.
    UNKNOWN = "UNKNOWN"


#: Those in which the caller's phone was, or may have been, rung.
COUNTED: Final = frozenset(Disposition) - {
    Disposition.MEMBER_NO_ANSWER,
    Disposition.NOT_PLACED,
    Disposition.WITHDRAWN,
}

#: DIALSTATUS of the caller leg to disposition, where nobody talked.
_DIALSTATUS: Final = {
    "BUSY": Disposition.BUSY,
    "NOANSWER": Disposition.NO_ANSWER,
    "CONGESTION": Disposition.CONGESTION,
    "CHANUNAVAIL": Disposition.UNAVAILABLE,
    "INVALIDARGS": Disposition.UNAVAILABLE,
    "CANCEL": Disposition.CANCEL,
    "ABORT": Disposition.CANCEL,
    # Answered, yet never bridged: gone in the same moment.
    "ANSWER": Disposition.SHORT,
}

#: What the network said is better known than these, which are also what an outbound
#: route ends in on its own.
_EXPLAINED: Final = frozenset({"BUSY", "CONGESTION", "CHANUNAVAIL"})

#: Where sources tell different DIALSTATUS, the one that got furthest is believed.
_FURTHEST_LAST: Final = (
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

#: In which the network may have said why.
_REFUSED: Final = frozenset(
    {
        Disposition.BUSY,
        Disposition.NO_ANSWER,
        Disposition.CONGESTION,
        Disposition.UNAVAILABLE,
        Disposition.INVALID_NUMBER,
        Disposition.FORWARDED,
    }
)

#: What an attempt comes to that we end while the caller's phone rings, or before.
_WITHDRAWN: Final = frozenset({Disposition.CANCEL, Disposition.WITHDRAWN})

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


@frozen(kw_only=True)
class Attempt:
    """One stored attempt."""

    id: int
    task_id: int
    #: Base of the two channel ids given to Originate.
    channel_id: str
    started_at: datetime
    ended_at: datetime | None = None
    disposition: Disposition | None = None
    #: Interface of the member who answered; empty if none did.
    member: str = ""
    talk_s: float = 0.0
    #: Why it ended so; None while it is under way.
    why: Reason | None = None
    #: The Asterisk that makes the call.
    node: str = DEFAULT_NODE

    @property
    def reason(self) -> str:
        """Why it ended so, in words; empty while it is under way."""
        return "" if self.why is None else str(self.why)

    @property
    def caller_channel_id(self) -> str:
        """Uniqueid of the half that dials the caller (``Local;1``)."""
        return f"{self.channel_id}-1"

    @property
    def member_channel_id(self) -> str:
        """Uniqueid of the half that enters the queue (``Local;2``)."""
        return f"{self.channel_id}-2"


def attempt_of(uniqueid: str) -> str:
    """Return the attempt's ``channel_id`` for the uniqueid of one of its halves."""
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
        """Why, in words."""
        return str(self.why)

    @property
    def success(self) -> bool:
        """Whether the task is done."""
        return self.disposition is Disposition.ANSWERED

    @property
    def counts(self) -> bool:
        """Whether it costs the caller one of the attempts."""
        return self.disposition in COUNTED

    @property
    def withdrawn(self) -> bool:
        """Whether it is as if it had never begun."""
        return self.disposition is Disposition.WITHDRAWN


@define(kw_only=True)
class Progress:
    """Facts gathered about one attempt; times are seconds of a steady clock.

    The facts may be told late, twice and in any order: what they add up to is the
    same.
    """

    #: Why Asterisk refused the Originate; None if it did not.
    refused: Reason | None = None
    ringing: set[str] = field(factory=set)
    rung: list[str] = field(factory=list)
    #: Interface of the member who answered, the first if several are told.
    member: str = ""
    member_answered_at: float | None = None
    #: When it was sent to Asterisk; None if it was not, or before a restart.
    placed_at: float | None = None
    #: The service's own machine has had its clock set since.
    clock_was_set: bool = False
    caller_dialled_at: float | None = None
    caller_answered_at: float | None = None
    dialstatus: str = ""
    #: DIALSTATUS as the dialplan itself read it. It knows better than the events:
    #: for a number that does not exist behind a Local channel DialEnd says NOANSWER
    #: (22.10 and 16.28), the variable CHANUNAVAIL.
    reported_dialstatus: str = ""
    #: HANGUPCAUSE as the dialplan read it; 0 if it told none.
    reported_cause: int = 0
    #: SIP's answers to the calls that the dialplan tried.
    reported_sip: set[int] = field(factory=set)
    #: A phone answered with another destination.
    forwarded: bool = False
    #: Asterisk called that destination all the same: who answered is not the client.
    forward_followed: bool = False
    #: Talk time as the dialplan measured it, when events were missed.
    reported_talk_s: float = 0.0
    #: When the caller answered, in epoch seconds of Asterisk's clock; 0 if not told.
    reported_answered_at: float = 0.0
    #: Our half that dials the caller is gone: nothing can follow.
    ended_at: float | None = None
    #: The end itself was missed: until when the two talked is not known.
    end_unseen: bool = False
    #: Why we ended it ourselves; None if we did not.
    withdrawn: Reason | None = None
    #: Nobody saw the end: Asterisk was asked and knows the call no more.
    lost: bool = False
    #: Since then, or before it, not everything was told; None if all was.
    watched_until: float | None = None
    #: Members who are known to have ceased to ring, until they ring again.
    _quiet: set[str] = field(factory=set, init=False)
    #: When the two began (True) and ceased (False) to hear each other.
    _bridge: set[tuple[float, bool]] = field(factory=set, init=False)
    #: Interfaces said to have answered, and when.
    _answers: set[tuple[float, str]] = field(factory=set, init=False)

    @property
    def waits_for_member(self) -> bool:
        """Neither rings a member nor has one: it will take the next free one."""
        return (
            self.ended_at is None
            and self.member_answered_at is None
            and not self.ringing
        )

    @property
    def was_bridged(self) -> bool:
        """Whether member and caller ever heard each other."""
        return any(together for _, together in self._bridge)

    @property
    def talk_s(self) -> float:
        """How long they heard each other, as far as it was seen."""
        talk_s, since = self._talk()
        if since is None or self.ended_at is None:
            return talk_s
        until = self.ended_at
        if self.end_unseen or self.lost:
            until = min(until, self.watched_until or since)
        return talk_s + max(0.0, until - since)

    @property
    def judged_talk_s(self) -> float:
        """The talk time that counts.

        The dialplan measures it where it happens, while an event may be read late, such
        as by a service that was stopped for a while: its report is believed, and how
        long the events were apart counts only if there is none.

        The dialplan measures by its machine's clock, which may be set meanwhile. Then,
        and where there was no time for what it tells, what was seen counts.
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
        answered_at = _earlier(self.caller_answered_at, answered_at)
        return max(self.talk_s, ended_at - answered_at)

    def member_rings(self, interface: str) -> bool:
        """A member's phone rings for this attempt; return whether that is news."""
        news = interface not in self.ringing and self.member_answered_at is None
        self.ringing.add(interface)
        self._quiet.discard(interface)
        if interface not in self.rung:
            self.rung.append(interface)
        return news

    def member_stops_ringing(self, interface: str) -> bool:
        """The ring ended without an answer; return whether that is news."""
        news = interface not in self._quiet
        self.ringing.discard(interface)
        self._quiet.add(interface)
        return news

    def unwatched(self, since: float) -> None:
        """What happens is not told for a while."""
        self.ringing.clear()
        self.watched_until = max(since, self.watched_until or since)

    def member_answers(self, interface: str, at: float) -> bool:
        """A member took the call; return whether that is news."""
        news = bool(interface) and interface not in {who for _, who in self._answers}
        self.ringing.clear()
        self.member_answered_at = _earlier(self.member_answered_at, at)
        if interface:
            self._answers.add((at, interface))
            self.member = min(self._answers)[1]
        return news

    def caller_dialled(self, at: float) -> bool:
        """The caller's phone is being rung; return whether that is news."""
        news = self.caller_dialled_at is None
        self.caller_dialled_at = _earlier(self.caller_dialled_at, at)
        return news

    def caller_dial_ended(self, dialstatus: str, at: float) -> None:
        """Dial of the caller came to ``dialstatus``; empty: it never ran."""
        if dialstatus:
            self.caller_dialled(at)
            self.dialstatus = max(self.dialstatus, dialstatus, key=_reach)
        if dialstatus == "ANSWER":
            self.caller_answered_at = _earlier(self.caller_answered_at, at)

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
        """The dialplan told how the caller leg went.

        Args:
            dialstatus: empty if Dial never ran.
            talk_s: seconds from the client's answer, 0 if there was none.
            at: seconds of a steady clock.
            cause: HANGUPCAUSE, 0 if none is known.
            sip: SIP's answers to the calls that were tried.
            answered_at: of the client, in epoch seconds of Asterisk's clock; 0 if
                that is not told.
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
        """Member and caller hear each other; return whether that is news."""
        news = self._talk()[1] is None
        self.caller_dialled(at)
        self._bridge.add((at, True))
        return news

    def unbridged(self, at: float) -> None:
        """They no longer do; a hold or transfer may bring them back."""
        self._bridge.add((at, False))

    def ended(self, at: float) -> None:
        """The half that dials the caller was hung up."""
        self.ended_at = _earlier(self.ended_at, at)

    def _talk(self) -> tuple[float, float | None]:
        """Return the seconds of talk that came to an end, and since when more runs."""
        talk_s = 0.0
        since: float | None = None
        limit = math.inf if self.ended_at is None else self.ended_at
        for at, together in sorted(self._bridge):
            if at > limit or (at, not together) in self._bridge:
                # Together and apart in one moment changes nothing.
                continue
            if together and since is None:
                since = at
            elif not together and since is not None:
                talk_s += at - since
                since = None
        return talk_s, since


def _earlier(known: float | None, told: float) -> float:
    return told if known is None else min(known, told)


def _reach(dialstatus: str) -> tuple[int, str]:
    """Order DIALSTATUS by how far the call got; one we do not know, not far."""
    known = dialstatus in _FURTHEST_LAST
    return (_FURTHEST_LAST.index(dialstatus) if known else 1, dialstatus)


def judge(progress: Progress, success_duration_s: float) -> Verdict:
    """Return the verdict on a finished attempt.

    It does not matter who hung up first: what counts is how long the two talked.

    Args:
        progress: everything that was seen of it.
        success_duration_s: least talk time of a success, in seconds.
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
    if (talk_s > 0 or progress.was_bridged) and not unwatched:
        disposition = (
            Disposition.ANSWERED if talk_s >= success_duration_s else Disposition.SHORT
        )
        # Cut, not rounded: 4.96 s must not read as the 5 s it falls short of.
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
        or (dialstatus in _EXPLAINED and causes.says_moved(progress.reported_sip))
    ):
        disposition = Disposition.FORWARDED
    elif dialstatus and not (progress.lost and dialstatus == "ANSWER"):
        disposition = _of_dial(dialstatus, progress)
    elif progress.withdrawn and not (dialled or progress.lost):
        disposition = Disposition.WITHDRAWN
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
    """Whether the attempt may have ended only because Asterisk is shutting down.

    From ``core stop gracefully`` on Asterisk makes no new channel: no agent can be
    rung, and Dial() of the client ends at once as CHANUNAVAIL, without a cause.
    """
    if verdict.disposition is Disposition.MEMBER_NO_ANSWER:
        return True
    return (
        verdict.disposition is Disposition.UNAVAILABLE
        and not progress.reported_cause
        and not progress.reported_sip
    )


def _of_dial(dialstatus: str, progress: Progress) -> Disposition:
    """Return what Dial() came to, as far as it is not a talk."""
    cause = causes.told(progress.reported_cause, progress.reported_sip)
    if not cause or dialstatus not in _EXPLAINED:
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
    if progress.withdrawn and disposition in _WITHDRAWN:
        return progress.withdrawn
    if disposition is Disposition.NOT_PLACED and progress.refused:
        return because(Code.NOT_PLACED, cause=progress.refused)
    if disposition is Disposition.SHORT:
        return because(Code.CLIENT_GONE_AT_ONCE)
    if disposition is Disposition.MEMBER_NO_ANSWER:
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
    if disposition in _REFUSED:
        return _refusal(disposition, progress)
    return because(_CODES[disposition])


def _refusal(disposition: Disposition, progress: Progress) -> Reason:
    cause, sip = progress.reported_cause, progress.reported_sip
    code = causes.code(causes.told(cause, sip)) or _CODES[disposition]
    source = causes.source(cause, sip)
    return because(code, source=source) if source else because(code)
