# SPDX-License-Identifier: MIT
"""A call counts the same whether it was followed live or is read from a history."""

from __future__ import annotations

import re

from attrs import frozen
from hypothesis import event, given
from hypothesis import strategies as st

from fastagi.domain.counting import (
    CountingRules,
    Ended,
    Outcome,
    Place,
    Visit,
)
from fastagi.domain.live_calls import LiveCalls
from fastagi.history.facts import PastCall
from fastagi.history.judge import judge

CLIENT = "4930123456"
BEGAN = 1000.0
MENU = Place(context="menu", exten="100")
RULES = CountingRules(
    queues={"support", "sales"},
    contexts={"inbound"},
    numbers=(re.compile("0800[0-9]+"),),
    min_duration_s=5.0,
)


@frozen(kw_only=True)
class Call:
    """What happens in a call, in seconds since its beginning."""

    number: str = CLIENT
    began_in: Place = MENU
    #: Queue, seconds from joining to leaving, seconds until what comes next.
    visits: tuple[tuple[str, float, float], ...] = ()
    #: How long the caller talked to a person after all of this, in seconds.
    talk_s: float | None = None
    withheld: bool = False
    #: From the last of these to the end; less than 0: the clock is set back.
    rest_s: float = 1.0


def client_key(number: str) -> str:
    return number if len(number) >= 5 else ""


def is_own(uniqueid: str) -> bool:
    return uniqueid.startswith("callback-")


def followed_live(call: Call) -> Ended:
    calls = LiveCalls(client_key=client_key, is_own=is_own)
    more = {"number": call.number, "caller": ""}

    def born(uniqueid: str, linkedid: str, number: str, at: float) -> None:
        calls.born(
            uniqueid,
            linkedid,
            name=f"PJSIP/{uniqueid}-1",
            place=call.began_in,
            number=number,
            caller="",
            language="",
            at=at,
        )

    at = BEGAN
    born("a", "a", call.number, at)
    if call.withheld:
        calls.number_withheld("a")
    for number, (queue, waits_s, then_s) in enumerate(call.visits):
        calls.joined_queue("a", queue, at=at, **more)
        at += waits_s
        place = Place(context="queues", exten=queue, priority=f"{number}")
        calls.left_queue("a", queue, place, at)
        at += then_s
    if call.talk_s is not None:
        born("m", "a", "", at)
        for uniqueid in ("a", "m"):
            name = f"PJSIP/{uniqueid}-1"
            calls.entered_bridge(uniqueid, "b", name=name, linkedid="a", at=at)
        at += call.talk_s
        calls.left_bridge("m", "b", at)
    end = Place(context="end", exten="h")
    ended = calls.hung_up("a", end, RULES, at + call.rest_s)
    assert ended is not None
    return ended


def read_later(call: Call) -> Ended:
    at = BEGAN
    visits = []
    for queue, waits_s, then_s in call.visits:
        visits.append(
            Visit(
                queue=queue,
                uniqueid="a",
                joined_at=at,
                left_at=at + waits_s,
                to_the_end=False,
            )
        )
        at += waits_s + then_s
    past = PastCall(
        ids=frozenset({"a"}),
        uniqueid="a",
        number=call.number,
        began_at=BEGAN,
        ended_at=at + (call.talk_s or 0.0) + call.rest_s,
        places=(call.began_in,),
        visits=tuple(visits),
        who="" if call.talk_s is None else "PJSIP/m",
        answered_at=None if call.talk_s is None else at,
        talk_s=call.talk_s or 0.0,
        withheld=call.withheld,
        sources=frozenset({"queue_log"}),
    )
    (ended,) = judge([past], RULES, client_key=client_key, is_own=is_own).known
    return ended


_seconds = st.integers(0, 30).map(float)
_calls = st.builds(
    Call,
    number=st.sampled_from([CLIENT] * 4 + ["101", ""]),
    began_in=st.sampled_from(
        [
            Place(context="inbound", exten="s"),
            MENU,
            Place(context="menu", exten="080012345"),
        ]
    ),
    visits=st.lists(
        st.tuples(st.sampled_from(["support", "Sales", "other"]), _seconds, _seconds),
        max_size=3,
    ).map(tuple),
    talk_s=st.none() | _seconds,
    withheld=st.booleans(),
    rest_s=st.integers(-3600, 30).map(float),
)


@given(_calls)
def test_a_call_counts_the_same_live_and_in_a_history(call: Call) -> None:
    live, past = followed_live(call), read_later(call)
    event(live.outcome.value)
    assert past.outcome is live.outcome
    assert (past.queue, past.queue_uniqueid) == (live.queue, live.queue_uniqueid)
    assert (past.key, past.since, past.ended_at) == (
        live.key,
        live.since,
        live.ended_at,
    )
    assert (past.answered_at, past.talk_s) == (live.answered_at, live.talk_s)
    # A history does not know where in the dialplan a call ended.
    words = re.sub(r"( and the call ended)? at h@end", "", live.how)
    assert past.how == f"{words} (found in queue_log)"


def test_a_call_in_which_the_clock_was_set_back_is_not_too_short() -> None:
    call = Call(visits=(("support", 20.0, 1.0),), rest_s=-3600.0)
    assert followed_live(call).outcome is Outcome.MISSED
    assert read_later(call).outcome is Outcome.MISSED


def test_a_call_that_ended_at_once_is_too_short() -> None:
    call = Call(visits=(("support", 2.0, 1.0),))
    assert followed_live(call).outcome is Outcome.TOO_SHORT
    assert read_later(call).outcome is Outcome.TOO_SHORT
