# SPDX-License-Identifier: MIT
"""Judges past calls: which ones were missed, and which clients were served.

The rules are those for live calls (:mod:`fastagi.domain.counting`), but histories
contain less: whether a number was withheld is known only if the dialplan wrote it into
the CDR. All times are epoch seconds and are arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import field, frozen

from fastagi.domain.contacts import Contact, PastContact
from fastagi.domain.counting import (
    CallFacts,
    CountingRules,
    Ended,
    Outcome,
    Visit,
    count,
)
from fastagi.domain.names import folded
from fastagi.history import queue_log
from fastagi.history.facts import PastCall


@frozen
class Judged:
    """The result of judging past calls."""

    #: The missed calls, the earliest first; their clients may have been served since.
    missed: list[Ended] = field(factory=list)
    contacts: list[PastContact] = field(factory=list)
    #: All calls that have ended and could be judged.
    known: list[Ended] = field(factory=list)


def judge(
    calls: Iterable[PastCall],
    rules: CountingRules,
    *,
    client_key: Callable[[str], str],
    is_own: Callable[[str], bool],
) -> Judged:
    """Judge calls.

    Args:
        calls: the calls, in the order of their beginnings.
        rules: which calls count.
        client_key: returns the client key of a number, or "" if the number cannot be a
            client's.
        is_own: whether an id belongs to a callback of this service.
    """
    judged = Judged()
    for call in calls:
        if call.ended_at is None or any(map(is_own, call.ids)):
            continue
        key = client_key(call.number)
        ended = count(_facts(call, key, call.ended_at, rules), rules)
        judged.known.append(ended)
        if ended.outcome is Outcome.MISSED:
            judged.missed.append(ended)
        if call.answered_at is not None:
            at = call.answered_at
            judged.contacts.extend(_contacts(call, key, at, client_key))
    judged.missed.sort(key=lambda ended: ended.ended_at)
    return judged


def _contacts(
    call: PastCall, key: str, at: float, client_key: Callable[[str], str]
) -> Iterable[PastContact]:
    if key:
        yield PastContact(
            contact=Contact.RANG,
            key=key,
            who=call.who,
            at=at,
            talk_s=call.talk_s,
            confirmed=call.answered_in != {queue_log.NAME},
        )
    for other in {client_key(number) for number in call.dialled} - {"", key}:
        yield PastContact(
            contact=Contact.CALLED,
            key=other,
            who=call.caller,
            at=at,
            talk_s=call.talk_s,
            confirmed=call.answered_in != {queue_log.NAME},
        )


def _facts(
    call: PastCall, key: str, ended_at: float, rules: CountingRules
) -> CallFacts:
    return CallFacts(
        uniqueid=call.uniqueid,
        key=key,
        number=call.number,
        name=call.name,
        began_at=call.began_at,
        ended_at=ended_at,
        places=call.places,
        visits=_visits(call, rules, ended_at),
        who=call.who,
        answered_at=call.answered_at,
        talk_s=call.talk_s,
        withheld=call.withheld,
        by_key=call.by_key,
        cut_off_after=call.cut_off_after,
        ids=call.ids,
        sources=call.sources,
    )


def _visits(call: PastCall, rules: CountingRules, ended_at: float) -> tuple[Visit, ...]:
    """Return the visits to queues.

    A CDR names the queue only if the call ended in it. It always has the extension,
    which usually has the same name as the queue (in FreePBX always).
    """
    if call.visits:
        return call.visits
    return tuple(
        Visit(
            queue=place.exten,
            uniqueid=call.uniqueid,
            joined_at=call.began_at,
            left_at=ended_at,
            to_the_end=False,
        )
        for place in call.places
        if folded(place.exten) in rules.queues
    )
