# SPDX-License-Identifier: MIT
"""Facts about one past call, from any history.

Also merges the facts of several histories about one call. :mod:`fastagi.history.judge`
judges them. All times are epoch seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import evolve, field, frozen

from fastagi.domain.counting import Place, Visit

#: Maximum numbers of queue visits and of names that are kept of one call.
_MAX_VISITS: Final = 50
_MAX_NAMES: Final = 50
#: Tolerance when times are compared, in seconds: files have whole seconds.
_TOLERANCE_S: Final = 1.5


@frozen(kw_only=True)
class PastCall:
    """A past call in a history."""

    #: All uniqueids and linkedids of the call.
    ids: frozenset[str]
    #: Uniqueid of the caller's channel.
    uniqueid: str
    #: Interface of the caller, such as ``PJSIP/101``; empty if it is not known.
    caller: str = ""
    number: str = ""
    name: str = ""
    began_at: float
    #: None: the call may still be in progress.
    ended_at: float | None
    #: If Asterisk itself ended during the call: the last time at which the call is
    #: known to have existed. It ended between then and ``ended_at``.
    cut_off_after: float | None = None
    #: Where it was in the dialplan; the exten of the first place is the called number.
    places: tuple[Place, ...] = ()
    visits: tuple[Visit, ...] = ()
    #: The first person the caller spoke to, when, and for how long.
    who: str = ""
    answered_at: float | None = None
    #: The histories that say that a person answered.
    answered_in: frozenset[str] = field(factory=frozenset)
    talk_s: float = 0.0
    #: Numbers that it dialled, in any form.
    dialled: tuple[str, ...] = ()
    #: Whether the caller withheld the number.
    withheld: bool = False
    #: Whether it left a queue, which one is not known, by this service's key.
    by_key: bool = False
    #: The names of the histories that contain it.
    sources: frozenset[str] = field(factory=frozenset)


def together(*histories: Iterable[PastCall]) -> list[PastCall]:
    """Merge the facts of several histories; return the calls by their beginnings.

    Args:
        histories: the calls of each history. Where they differ, the first one counts.
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
        places=(*first.places, *second.places)[:_MAX_NAMES],
        visits=_visits(first, second),
        who=talking.who,
        answered_at=talking.answered_at,
        answered_in=first.answered_in | second.answered_in,
        talk_s=max(first.talk_s, second.talk_s),
        dialled=tuple(dict.fromkeys((*first.dialled, *second.dialled)))[:_MAX_NAMES],
        withheld=first.withheld or second.withheld,
        by_key=first.by_key or second.by_key,
        sources=first.sources | second.sources,
    )


def _cut_off_after(first: PastCall, second: PastCall) -> float | None:
    """Return ``cut_off_after`` of the merged call; None if one history has its end."""
    known = {one.cut_off_after for one in (first, second) if one.ended_at is not None}
    return None if None in known else max(filter(None, known), default=None)


def _visits(first: PastCall, second: PastCall) -> tuple[Visit, ...]:
    # Two histories contain the same visits; one history contains different visits.
    if first.sources != second.sources:
        return first.visits or second.visits
    visits: list[Visit] = []
    for one in sorted((*first.visits, *second.visits), key=lambda one: one.joined_at):
        # A queue_log in a file and in a table contains the same visit twice.
        if not any(_is_same(one, other) for other in visits):
            visits.append(one)
    return tuple(visits[:_MAX_VISITS])


def _is_same(one: Visit, other: Visit) -> bool:
    return (
        (one.queue, one.uniqueid) == (other.queue, other.uniqueid)
        and abs(one.joined_at - other.joined_at) < _TOLERANCE_S
        and abs(one.left_at - other.left_at) < _TOLERANCE_S
    )
