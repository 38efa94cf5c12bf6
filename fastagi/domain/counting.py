# SPDX-License-Identifier: MIT
"""Which calls count as missed: one rule for live calls and for those in a history.

Both :mod:`fastagi.domain.live_calls` and :mod:`fastagi.history.judge` fill in
:class:`CallFacts` for a call that is over. :func:`count` says what it was to us, and
which queue it concerns. All times are epoch seconds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum

from attrs import frozen

from fastagi.domain.names import folded
from fastagi.domain.reason import Code, Reason, Value, because


class Outcome(StrEnum):
    """What a call that has ended was to us."""

    #: The caller never spoke to a person.
    MISSED = "missed"
    ANSWERED = "answered"
    #: The caller asked to be called back and left.
    REQUESTED = "requested"
    #: The caller is no client: an extension, or nobody who could be called.
    INTERNAL = "internal"
    #: The caller withholds the number: nobody is to use it.
    WITHHELD = "withheld"
    TOO_SHORT = "too short"
    #: It was in none of the queues, contexts and numbers whose calls count.
    NOT_COUNTED = "not counted"
    #: Its beginning, or some of what followed, was not seen.
    UNSEEN = "unseen"


@frozen(kw_only=True)
class Place:
    """Where in the dialplan a channel is."""

    context: str
    exten: str
    priority: str = ""

    def __str__(self) -> str:
        return f"{self.exten}@{self.context}"


@frozen(kw_only=True)
class CountingRules:
    """Which calls may be missed ones."""

    #: Queues, in small letters.
    queues: Collection[str] = frozenset()
    #: Contexts in which calls begin.
    contexts: Collection[str] = frozenset()
    #: Numbers that were called; a pattern must match in full.
    numbers: tuple[re.Pattern[str], ...] = ()
    min_duration_s: float = 0.0

    def count_from(self, born_in: Place) -> bool:
        """Whether a call counts by where it began."""
        return born_in.context in self.contexts or any(
            pattern.fullmatch(born_in.exten) for pattern in self.numbers
        )


@frozen(kw_only=True)
class Visit:
    """A stay in a queue."""

    queue: str
    #: Of the channel that was in the queue.
    uniqueid: str
    joined_at: float
    left_at: float
    #: The caller was in the queue when the call ended.
    to_the_end: bool = True


@frozen(kw_only=True)
class CallFacts:
    """What is known of a call that is over, however it became known."""

    #: Of the caller's channel.
    uniqueid: str
    #: The same for each form of the caller's number; empty if it is no client.
    key: str
    number: str
    name: str = ""
    language: str = ""
    began_at: float
    ended_at: float
    #: Where in the dialplan it was; the exten of the first is what was called. A live
    #: call counts by where it began alone.
    places: tuple[Place, ...] = ()
    visits: tuple[Visit, ...] = ()
    #: The first person the caller spoke to, when, and for how long.
    who: str = ""
    answered_at: float | None = None
    talk_s: float = 0.0
    #: A request made in this call stands (True), or was taken back (False).
    requested: bool | None = None
    #: The caller asked the network not to show the number.
    withheld: bool = False
    #: It left a queue by the key of this service; which queue is not known.
    by_key: bool = False
    #: Asterisk ended with the call in it, at some time between this one and
    #: ``ended_at``; None if the end of the call itself is known.
    cut_off_after: float | None = None
    #: It was seen from its beginning without a gap.
    whole: bool = True
    #: Further ids by which the call may be known.
    ids: frozenset[str] = frozenset()
    #: Where in the dialplan it ended, if that is known.
    ended_in: Place | None = None
    #: Which histories have it, in words; none: it was seen live.
    sources: frozenset[str] = frozenset()


@frozen(kw_only=True)
class Ended:
    """A call that is over, and what it was."""

    outcome: Outcome
    #: Of the caller's channel.
    uniqueid: str
    #: Uniqueid of the channel that was in the queue; else the caller's.
    queue_uniqueid: str
    #: The same for each form of the caller's number; empty if it is no client.
    key: str
    number: str
    name: str
    language: str
    #: The last queue that counts; empty if the call was in none.
    queue: str
    #: Since when the caller waited.
    since: float
    ended_at: float
    #: How it ended.
    why: Reason
    #: The first person the caller spoke to, and when.
    who: str = ""
    answered_at: float | None = None
    talk_s: float = 0.0
    #: A request made in this call was kept, and then taken back.
    taken_back: bool = False
    #: Asterisk ended with the call in it, at some time between this one and
    #: ``ended_at``; None if the end of the call itself is known.
    cut_off_after: float | None = None
    #: It was seen from its beginning without a gap.
    whole: bool = True
    #: Further ids by which the call may be known.
    ids: frozenset[str] = frozenset()

    @property
    def how(self) -> str:
        """How it ended, in words."""
        return str(self.why)


def count(call: CallFacts, rules: CountingRules) -> Ended:
    """Say what a call that is over was to us."""
    counted = [visit for visit in call.visits if folded(visit.queue) in rules.queues]
    return Ended(
        outcome=_outcome(call, bool(counted), rules),
        uniqueid=call.uniqueid,
        queue_uniqueid=counted[-1].uniqueid if counted else call.uniqueid,
        key=call.key,
        number=call.number,
        name=call.name,
        language=call.language,
        queue=counted[-1].queue if counted else "",
        since=counted[0].joined_at if counted else call.began_at,
        ended_at=call.ended_at,
        why=_why(call),
        who=call.who,
        answered_at=call.answered_at,
        talk_s=call.talk_s,
        taken_back=call.requested is False,
        cut_off_after=call.cut_off_after,
        whole=call.whole,
        ids=call.ids,
    )


def _outcome(call: CallFacts, in_counted_queue: bool, rules: CountingRules) -> Outcome:
    if not call.key:
        return Outcome.INTERNAL
    if call.answered_at is not None:
        return Outcome.ANSWERED
    if call.requested:
        return Outcome.REQUESTED
    if not call.whole:
        return Outcome.UNSEEN
    in_counted_place = any(map(rules.count_from, call.places))
    if not (in_counted_queue or call.by_key or in_counted_place):
        return Outcome.NOT_COUNTED
    if call.withheld:
        return Outcome.WITHHELD
    # A call that ended before it began was not short: the clock was set back.
    short = 0 <= call.ended_at - call.began_at < rules.min_duration_s
    if short and call.cut_off_after is None:
        return Outcome.TOO_SHORT
    return Outcome.MISSED


def _why(call: CallFacts) -> Reason:
    why = _end(call)
    if call.sources:
        why = why.with_params(found=",".join(sorted(call.sources)))
    return why


def _end(call: CallFacts) -> Reason:
    place: dict[str, Value] = {}
    if call.ended_in is not None:
        place["place"] = str(call.ended_in)
    if call.answered_at is not None:
        person: dict[str, Value] = {"who": call.who} if call.who else {}
        return because(Code.CALL_ANSWERED, talk_s=call.talk_s, **person)
    if not call.visits:
        called: dict[str, Value] = {}
        if call.places:
            called["called"] = call.places[0].exten
        return because(
            Code.CALL_NOT_ANSWERED,
            waited_s=round(call.ended_at - call.began_at),
            **called,
            **place,
        )
    visit = call.visits[-1]
    waited_s = visit.left_at - visit.joined_at
    if call.cut_off_after is not None:
        code = Code.CALL_CUT_OFF
        waited_s = max(0.0, call.cut_off_after - visit.joined_at)
    elif visit.to_the_end:
        code = Code.CALLER_HUNG_UP
    else:
        code = Code.CALLER_LEFT_QUEUE
    why = because(code, queue=visit.queue, waited_s=round(waited_s))
    if code is Code.CALLER_LEFT_QUEUE:
        why = why.with_params(**place)
    if before := _before(call.visits):
        why = why.with_params(before=before)
    return why


def _before(visits: Sequence[Visit]) -> str:
    """Name the queues in which the caller had waited before the last one."""
    last = visits[-1].queue
    before = list(dict.fromkeys(visit.queue for visit in visits[:-1]))
    return "" if before == [last] else ", ".join(before)
