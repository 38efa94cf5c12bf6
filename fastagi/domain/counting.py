# SPDX-License-Identifier: MIT
"""Which calls count as missed: one rule for live calls and for those in a history.

Both :mod:`fastagi.domain.live_calls` and :mod:`fastagi.history.judge` fill in
:class:`CallFacts` for an ended call. :func:`count` returns its outcome and the queue it
belongs to. All times are epoch seconds.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from enum import StrEnum

from attrs import frozen

from fastagi.domain.names import folded
from fastagi.domain.reason import Code, Reason, Value, because


class Outcome(StrEnum):
    """The outcome of an ended call."""

    #: The caller never spoke to a person.
    MISSED = "missed"
    ANSWERED = "answered"
    #: The caller asked to be called back and left.
    REQUESTED = "requested"
    #: The caller is not a client: an extension, or a number that cannot be called.
    INTERNAL = "internal"
    #: The caller withheld the number, so it must not be used.
    WITHHELD = "withheld"
    TOO_SHORT = "too short"
    #: It was in none of the queues, contexts and numbers whose calls count.
    NOT_COUNTED = "not counted"
    #: Not all of the call was seen.
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
    """Which calls count as missed if nobody answers."""

    #: Names of queues, in lower case.
    queues: Collection[str] = frozenset()
    #: Contexts in which calls begin.
    contexts: Collection[str] = frozenset()
    #: Patterns of called numbers; a pattern must match the whole number.
    numbers: tuple[re.Pattern[str], ...] = ()
    min_duration_s: float = 0.0

    def count_from(self, born_in: Place) -> bool:
        """Whether a call counts because of the place where it began."""
        return born_in.context in self.contexts or any(
            pattern.fullmatch(born_in.exten) for pattern in self.numbers
        )


@frozen(kw_only=True)
class Visit:
    """A stay in a queue."""

    queue: str
    #: Uniqueid of the channel that was in the queue.
    uniqueid: str
    joined_at: float
    left_at: float
    #: Whether the caller was in the queue when the call ended.
    to_the_end: bool = True


@frozen(kw_only=True)
class CallFacts:
    """The facts about an ended call, seen live or read from histories."""

    #: Uniqueid of the caller's channel.
    uniqueid: str
    #: The client key; empty if the caller is not a client.
    key: str
    number: str
    name: str = ""
    language: str = ""
    began_at: float
    ended_at: float
    #: Where in the dialplan it was; the exten of the first place is the called number.
    #: For a live call only the first place is known.
    places: tuple[Place, ...] = ()
    visits: tuple[Visit, ...] = ()
    #: The first person the caller spoke to, when, and for how long.
    who: str = ""
    answered_at: float | None = None
    talk_s: float = 0.0
    #: True: the caller made a request; False: it was taken back; None: no request.
    requested: bool | None = None
    #: Whether the caller withheld the number.
    withheld: bool = False
    #: Whether it left a queue, which one is not known, by this service's key.
    by_key: bool = False
    #: If Asterisk itself ended during the call: the last time at which the call is
    #: known to have existed. It ended between then and ``ended_at``.
    cut_off_after: float | None = None
    #: Whether it was seen from its beginning without a gap.
    whole: bool = True
    #: Further ids of the call.
    ids: frozenset[str] = frozenset()
    #: Where in the dialplan it ended, if that is known.
    ended_in: Place | None = None
    #: The histories that contain it, in words; empty if it was seen live.
    sources: frozenset[str] = frozenset()


@frozen(kw_only=True)
class Ended:
    """An ended call with its outcome."""

    outcome: Outcome
    #: Uniqueid of the caller's channel.
    uniqueid: str
    #: Uniqueid of the channel that was in the queue; the caller's if none was.
    queue_uniqueid: str
    #: The client key; empty if the caller is not a client.
    key: str
    number: str
    name: str
    language: str
    #: The last queue that counts; empty if the call was in none.
    queue: str
    #: When the caller began to wait.
    since: float
    ended_at: float
    #: The reason that says how it ended.
    why: Reason
    #: The first person the caller spoke to, and when.
    who: str = ""
    answered_at: float | None = None
    talk_s: float = 0.0
    #: Whether a request was made in this call and then taken back.
    taken_back: bool = False
    #: As in :class:`CallFacts`.
    cut_off_after: float | None = None
    #: Whether it was seen from its beginning without a gap.
    whole: bool = True
    #: Further ids of the call.
    ids: frozenset[str] = frozenset()

    @property
    def how(self) -> str:
        """How it ended, in words."""
        return str(self.why)


def count(call: CallFacts, rules: CountingRules) -> Ended:
    """Return the outcome of an ended call, and its queue."""
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
    # If the call ended before it began, the clock was set back: its length is unknown.
    short = 0 <= call.ended_at - call.began_at < rules.min_duration_s
    if short and call.cut_off_after is None:
        return Outcome.TOO_SHORT
    return Outcome.MISSED


def _why(call: CallFacts) -> Reason:
    why = _how_it_ended(call)
    if call.sources:
        why = why.with_params(found=",".join(sorted(call.sources)))
    return why


def _how_it_ended(call: CallFacts) -> Reason:
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
    if before := _earlier_queues(call.visits):
        why = why.with_params(before=before)
    return why


def _earlier_queues(visits: Sequence[Visit]) -> str:
    """Return the names of the queues in which the caller waited before the last one."""
    last = visits[-1].queue
    before = list(dict.fromkeys(visit.queue for visit in visits[:-1]))
    return "" if before == [last] else ", ".join(before)
