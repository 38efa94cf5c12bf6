# SPDX-License-Identifier: MIT
"""What a history tells of one call, whichever history it is.

Owns the form of these facts, and how the facts of several histories about one call
become one. What they mean is judged elsewhere. All times are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import evolve, field, frozen

from fastagi.domain.counting import Place, Visit

#: More in one call tells nothing new.
_MOST_VISITS: Final = 50
_MOST_NAMES: Final = 50
#: A file has whole seconds, a table their parts.
_SAME_S: Final = 1.5


@frozen(kw_only=True)
class PastCall:
    """A call as a history has it."""

    #: Every uniqueid and linkedid by which the call is known.
    ids: frozenset[str]
    #: Of the caller's channel.
    uniqueid: str
    #: Interface of the caller, such as ``PJSIP/101``; empty if it is not known.
    caller: str = ""
    number: str = ""
    name: str = ""
    began_at: float
    #: None: it may go on still.
    ended_at: float | None
    #: Asterisk ended with the call in it, at some time between this one and
    #: ``ended_at``; None if the end of the call itself is known.
    cut_off_after: float | None = None
    #: Where it was in the dialplan; the exten of the first is what was called.
    places: tuple[Place, ...] = ()
    visits: tuple[Visit, ...] = ()
    #: The first person the caller spoke to, when, and for how long.
    who: str = ""
    answered_at: float | None = None
    #: Which histories say that a person answered.
    answered_in: frozenset[str] = field(factory=frozenset)
    talk_s: float = 0.0
    #: Numbers it called, in any form.
    dialled: tuple[str, ...] = ()
    #: The caller asked the network not to show the number.
    withheld: bool = False
    #: It left a queue by the key of this service; which queue is not known.
    by_key: bool = False
    #: Which histories have it, in words.
    sources: frozenset[str] = field(factory=frozenset)


def together(*histories: Iterable[PastCall]) -> list[PastCall]:
    """Make one call of all that is known of it, in the order of their beginnings.

    Args:
        histories: the one that is believed first where they differ comes first.
    """
    calls: dict[int, PastCall] = {}
    by_id: dict[str, int] = {}
    for number, call in enumerate(call for history in histories for call in history):
        known = {by_id[one] for one in call.ids if one in by_id}
        for other in sorted(known):
            call = _merged(calls.pop(other), call)
        calls[number] = call
        by_id.update(dict.fromkeys(call.ids, number))
    return sorted(calls.values(), key=lambda call: call.began_at)


def _merged(first: PastCall, second: PastCall) -> PastCall:
    talking = first if first.answered_at is not None else second
    ends = [one.ended_at for one in (first, second) if one.ended_at is not None]
    return evolve(
        first,
        ids=first.ids | second.ids,
        caller=first.caller or second.caller,
        number=first.number or second.number,
        name=first.name or second.name,
        began_at=min(first.began_at, second.began_at),
        ended_at=max(ends, default=None),
        cut_off_after=_cut_off_after(first, second),
        places=(*first.places, *second.places)[:_MOST_NAMES],
        visits=_visits(first, second),
        who=talking.who,
        answered_at=talking.answered_at,
        answered_in=first.answered_in | second.answered_in,
        talk_s=max(first.talk_s, second.talk_s),
        dialled=tuple(dict.fromkeys((*first.dialled, *second.dialled)))[:_MOST_NAMES],
        withheld=first.withheld or second.withheld,
        by_key=first.by_key or second.by_key,
        sources=first.sources | second.sources,
    )


def _cut_off_after(first: PastCall, second: PastCall) -> float | None:
    """Return when Asterisk was still alive, unless one of the two saw the end."""
    known = {one.cut_off_after for one in (first, second) if one.ended_at is not None}
    return None if None in known else max(filter(None, known), default=None)


def _visits(first: PastCall, second: PastCall) -> tuple[Visit, ...]:
    # Two histories tell of the same stays, each in its own way; one history of
    # different ones.
    if first.sources != second.sources:
        return first.visits or second.visits
    visits: list[Visit] = []
    for one in sorted((*first.visits, *second.visits), key=lambda one: one.joined_at):
        # queue_log in a file and in a table tells of the same stay twice.
        if not any(_is_same(one, other) for other in visits):
            visits.append(one)
    return tuple(visits[:_MOST_VISITS])


def _is_same(one: Visit, other: Visit) -> bool:
    return (
        (one.queue, one.uniqueid) == (other.queue, other.uniqueid)
        and abs(one.joined_at - other.joined_at) < _SAME_S
        and abs(one.left_at - other.left_at) < _SAME_S
    )
