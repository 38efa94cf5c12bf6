# SPDX-License-Identifier: MIT
"""One verdict from facts that come late, twice, in any order or not at all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.attempt import (
    Attempt,
    Disposition,
    Progress,
    Verdict,
    attempt_of,
    judge,
)
from fastagi.domain.reason import Code, because, said

Fact = Callable[[Progress], object]


def rings(interface: str) -> Fact:
    return lambda progress: progress.member_rings(interface)


def stops(interface: str) -> Fact:
    return lambda progress: progress.member_stops_ringing(interface)


def member(interface: str, at: float) -> Fact:
    return lambda progress: progress.member_answers(interface, at)


def dialled(at: float) -> Fact:
    return lambda progress: progress.caller_dialled(at)


def dial_ended(status: str, at: float) -> Fact:
    return lambda progress: progress.caller_dial_ended(status, at)


def placed(at: float) -> Fact:
    return lambda progress: setattr(progress, "placed_at", at)


def clock_set(progress: Progress) -> None:
    progress.clock_was_set = True


def together(at: float) -> Fact:
    return lambda progress: progress.bridged(at)


def apart(at: float) -> Fact:
    return lambda progress: progress.unbridged(at)


def hung_up(at: float) -> Fact:
    return lambda progress: progress.ended(at)


def reported(talk_s: float) -> Fact:
    def tell(progress: Progress) -> None:
        progress.reported_talk_s = talk_s

    return tell


def outcome(status: str, at: float, cause: int = 0, *sip: int) -> Fact:
    return lambda progress: progress.caller_reported(
        status, 0.0, at, cause=cause, sip=sip
    )


def forwards(progress: Progress) -> None:
    progress.forwarded = True


def not_connected(code: Code, **params: str) -> Fact:
    def tell(progress: Progress) -> None:
        progress.not_connected = because(code, **params)

    return tell


def forward_followed(progress: Progress) -> None:
    progress.forward_followed = True


def refused(progress: Progress) -> None:
    progress.refused = said("no such channel technology")


def lost(progress: Progress) -> None:
    progress.lost = True


def end_unseen(progress: Progress) -> None:
    progress.end_unseen = True


def unwatched(since: float) -> Fact:
    return lambda progress: progress.unwatched(since)


def told(*facts: Fact) -> Progress:
    progress = Progress()
    for fact in facts:
        fact(progress)
    return progress


ANSWERS = [rings("PJSIP/1"), member("PJSIP/1", 10)]
DIALS = [*ANSWERS, dialled(12)]
#: The facts, the expected disposition, and words that its reason must contain.
CASES: dict[str, tuple[list[Fact], str, str]] = {
    "nothing": ([], "MEMBER NO ANSWER", "no agent could be rung"),
    "hung up at once": ([hung_up(5)], "MEMBER NO ANSWER", "no agent could be rung"),
    "refused": ([refused], "NOT PLACED", "no such channel technology"),
    "refused, hung up": ([refused, hung_up(1)], "NOT PLACED", "did not place"),
    "agents rung": (
        [rings("PJSIP/1"), stops("PJSIP/1"), rings("PJSIP/2"), hung_up(30)],
        "MEMBER NO ANSWER",
        "(rung: PJSIP/1, PJSIP/2)",
    ),
    "agent left before the dial": (
        [*ANSWERS, hung_up(11)],
        "MEMBER NO ANSWER",
        "the agent hung up before the client was dialled",
    ),
    "the dialplan never dialled": (
        [*ANSWERS, dial_ended("", 11), hung_up(11)],
        "MEMBER NO ANSWER",
        "the agent hung up before the client was dialled",
    ),
    "agent left while it rang": ([*DIALS, hung_up(20)], "CANCEL", "the agent hung up"),
    "cancel": ([*DIALS, dial_ended("CANCEL", 20)], "CANCEL", "the agent hung up"),
    "abort": ([*DIALS, dial_ended("ABORT", 20)], "CANCEL", "the agent hung up"),
    "busy": ([*DIALS, dial_ended("BUSY", 20)], "BUSY", "busy"),
    "no answer": ([*DIALS, dial_ended("NOANSWER", 20)], "NO ANSWER", "did not answer"),
    "congestion": (
        [*DIALS, dial_ended("CONGESTION", 20)],
        "CONGESTION",
        "could not reach",
    ),
    "no channel": (
        [*DIALS, dial_ended("CHANUNAVAIL", 20)],
        "UNAVAILABLE",
        "could not be reached",
    ),
    "bad dial string": (
        [*DIALS, dial_ended("INVALIDARGS", 20)],
        "UNAVAILABLE",
        "could not be reached",
    ),
    "a word we do not know": (
        [*DIALS, dial_ended("TORTURE", 20)],
        "UNAVAILABLE",
        "could not be reached",
    ),
    "a number that does not exist": (
        [*DIALS, dial_ended("NOANSWER", 20), outcome("CHANUNAVAIL", 20, 1, 404)],
        "INVALID NUMBER",
        "there is no such number (SIP 404)",
    ),
    "a number of a wrong form, without SIP": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 28)],
        "INVALID NUMBER",
        "not complete, or of a wrong form (cause 28)",
    ),
    "a number that has changed": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 22, 410)],
        "INVALID NUMBER",
        "has changed (SIP 410)",
    ),
    "an exchange that is broken": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 38, 500)],
        "CONGESTION",
        "(congestion) (SIP 500)",
    ),
    "a trunk that is not there": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 3)],
        "CONGESTION",
        "no route to the client's number (cause 3)",
    ),
    "a phone that is off": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 20)],
        "UNAVAILABLE",
        "not in the network (cause 20)",
    ),
    "a call that was refused": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 21, 603)],
        "UNAVAILABLE",
        "the call to the client was refused (SIP 603)",
    ),
    "no answer by word of the network": (
        [*DIALS, outcome("NOANSWER", 20, 19, 480)],
        "NO ANSWER",
        "did not answer (SIP 480)",
    ),
    "a route that ends in Congestion() after a wrong number": (
        [*DIALS, dial_ended("CONGESTION", 20), outcome("CONGESTION", 20, 16, 404)],
        "INVALID NUMBER",
        "there is no such number (SIP 404)",
    ),
    "a route that ends in Congestion() after busy": (
        [*DIALS, outcome("CONGESTION", 20, 16, 486)],
        "BUSY",
        "the client was busy (SIP 486)",
    ),
    "a route that ends in Busy() after no answer": (
        [*DIALS, outcome("BUSY", 20, 16, 480)],
        "NO ANSWER",
        "did not answer (SIP 480)",
    ),
    "two trunks of different minds": (
        [*DIALS, outcome("CONGESTION", 20, 16, 404, 503)],
        "CONGESTION",
        "(congestion) (SIP 404, 503)",
    ),
    "two trunks of one mind": (
        [*DIALS, outcome("CONGESTION", 20, 16, 404, 404)],
        "INVALID NUMBER",
        "there is no such number (SIP 404)",
    ),
    "a SIP answer that we do not know": (
        [*DIALS, outcome("CONGESTION", 20, 16, 699)],
        "CONGESTION",
        "(congestion) (SIP 699)",
    ),
    "rang before it was refused": (
        [*DIALS, outcome("CHANUNAVAIL", 20, 0, 180, 404)],
        "INVALID NUMBER",
        "there is no such number (SIP 404)",
    ),
    "no answer in time": (
        [*DIALS, outcome("NOANSWER", 20, 16, 180)],
        "NO ANSWER",
        "the client did not answer",
    ),
    "agent left while it rang, with a cause": (
        [*DIALS, outcome("CANCEL", 20, 1, 404)],
        "CANCEL",
        "the agent hung up",
    ),
    "a phone that forwards": (
        [*DIALS, outcome("BUSY", 20, 17, 302)],
        "FORWARDED",
        "the client's phone forwards calls; callbacks are not forwarded (SIP 302)",
    ),
    "a phone that forwards, without SIP": (
        [*DIALS, forwards, outcome("BUSY", 20, 17)],
        "FORWARDED",
        "forwards calls",
    ),
    "a phone that forwards, behind a route that ends in Congestion()": (
        [*DIALS, dial_ended("CONGESTION", 20), outcome("CONGESTION", 20, 16, 302)],
        "FORWARDED",
        "forwards calls",
    ),
    "a phone that forwards, and the next trunk finds busy": (
        [*DIALS, outcome("BUSY", 20, 17, 302, 486)],
        "BUSY",
        "the client was busy",
    ),
    "a phone that forwards, and the next trunk reaches it": (
        [*DIALS, forwards, dial_ended("ANSWER", 20), together(20), hung_up(30)],
        "ANSWERED",
        "they talked for 10.0 s",
    ),
    "somebody else answers the forwarded call": (
        [
            *DIALS,
            forwards,
            forward_followed,
            dial_ended("ANSWER", 20),
            together(20),
            hung_up(30),
        ],
        "FORWARDED",
        "forwards calls",
    ),
    "answered, and no key was pressed": (
        [
            *DIALS,
            not_connected(Code.CLIENT_PRESSED_NO_KEY),
            dial_ended("ANSWER", 20),
            together(20),
            hung_up(30),
        ],
        "NOT CONFIRMED",
        "did not press the key",
    ),
    "an answering machine": (
        [
            *DIALS,
            not_connected(Code.CLIENT_IS_MACHINE, amd_cause="TOOLONG-5000"),
            outcome("ANSWER", 20),
        ],
        "MACHINE",
        "an answering machine answered at the client's number (AMD: TOOLONG-5000)",
    ),
    "gone before AMD() had listened": (
        [*DIALS, not_connected(Code.CLIENT_GONE_AT_ONCE), dial_ended("ANSWER", 20)],
        "SHORT",
        "gone at once",
    ),
    "the agent hung up before the client pressed the key": (
        [
            *DIALS,
            not_connected(Code.AGENT_HUNG_UP_BEFORE_CONNECTING),
            outcome("ANSWER", 20),
        ],
        "CANCEL",
        "the agent hung up after the client's answer",
    ),
    "answered, never bridged": (
        [*DIALS, dial_ended("ANSWER", 20), hung_up(20)],
        "SHORT",
        "gone at once",
    ),
    "bridged and gone in one moment": (
        [*DIALS, together(20), apart(20), hung_up(20)],
        "SHORT",
        "they talked for 0.0 s, less than the 5 s",
    ),
    "talked too little": (
        [*DIALS, together(20), apart(24.96), hung_up(25)],
        "SHORT",
        "they talked for 4.9 s, less than the 5 s",
    ),
    "talked just enough": (
        [*DIALS, together(20), apart(25), hung_up(25)],
        "ANSWERED",
        "they talked for 5.0 s",
    ),
    "the hang-up ends the talk": (
        [*DIALS, together(20), hung_up(26)],
        "ANSWERED",
        "they talked for 6.0 s",
    ),
    "talk in two parts": (
        [*DIALS, together(20), apart(23), together(30), apart(33), hung_up(33)],
        "ANSWERED",
        "they talked for 6.0 s",
    ),
    "only the dialplan saw them talk": (
        [*ANSWERS, dial_ended("ANSWER", 40), reported(8.0), hung_up(40)],
        "ANSWERED",
        "they talked for 8.0 s",
    ),
    "only the dialplan saw them talk, briefly": (
        [*ANSWERS, dial_ended("ANSWER", 40), reported(2.0), hung_up(40)],
        "SHORT",
        "less than",
    ),
    "the end of a short talk was read late": (
        [placed(0), *DIALS, together(20), reported(2.0), apart(28), hung_up(28)],
        "SHORT",
        "they talked for 2.0 s",
    ),
    "the beginning of a talk was read late": (
        [placed(0), *DIALS, together(27), reported(8.0), apart(28), hung_up(28)],
        "ANSWERED",
        "they talked for 8.0 s",
    ),
    "the longer of two measures": (
        [*DIALS, together(20), apart(22), reported(7.0), hung_up(40)],
        "ANSWERED",
        "they talked for 7.0 s",
    ),
    "a little more talk than there was, by a clock that was set": (
        [
            placed(0),
            clock_set,
            *DIALS,
            together(20),
            apart(22),
            reported(7),
            hung_up(22),
        ],
        "SHORT",
        "they talked for 2.0 s",
    ),
    "told late that they talk": (
        [placed(0), *DIALS, together(39), apart(40), reported(20.0), hung_up(40)],
        "ANSWERED",
        "they talked for 20.0 s",
    ),
    "more talk than there was time for, by a clock that was set": (
        [placed(0), *DIALS, together(20), apart(22), reported(3600.0), hung_up(22)],
        "SHORT",
        "they talked for 2.0 s",
    ),
    "rung in spite of a refusal": (
        [refused, dialled(5), hung_up(9)],
        "CANCEL",
        "client's phone rang",
    ),
    "busy in spite of a refusal": ([refused, dial_ended("BUSY", 5)], "BUSY", "busy"),
    "lost": ([lost, hung_up(99)], "UNKNOWN", "Asterisk ended"),
    "lost while the client rang": (
        [*DIALS, lost, hung_up(99)],
        "UNKNOWN",
        "in the middle",
    ),
    "lost, but the dial was over": (
        [*DIALS, dial_ended("BUSY", 15), lost, hung_up(99)],
        "BUSY",
        "busy",
    ),
    "lost after the answer": (
        [*DIALS, dial_ended("ANSWER", 15), lost, hung_up(99)],
        "UNKNOWN",
        "nobody watched how long they talked",
    ),
    "lost while they talked": (
        [*DIALS, together(20), lost, hung_up(9999)],
        "UNKNOWN",
        "nobody watched how long they talked",
    ),
    "lost while they talked, for long enough before the link was lost": (
        [*DIALS, together(20), unwatched(26), lost, hung_up(9999)],
        "ANSWERED",
        "they talked for 6.0 s at least, until Asterisk ended",
    ),
    "lost while they talked, for too short before the link was lost": (
        [*DIALS, together(20), unwatched(24), lost, hung_up(9999)],
        "UNKNOWN",
        "nobody watched how long they talked",
    ),
    "lost twice while they talked": (
        [*DIALS, together(20), unwatched(22), unwatched(28), lost, hung_up(9999)],
        "ANSWERED",
        "they talked for 8.0 s at least",
    ),
    "lost after the link was lost before they talked": (
        [*DIALS, unwatched(14), together(20), lost, hung_up(9999)],
        "UNKNOWN",
        "nobody watched how long they talked",
    ),
    "lost after a talk that was enough": (
        [*DIALS, together(20), apart(26), together(27), lost, hung_up(9999)],
        "ANSWERED",
        "they talked for 6.0 s",
    ),
    "end unseen, the dialplan kept a short talk": (
        [*DIALS, together(20), end_unseen, reported(3.0), hung_up(9999)],
        "SHORT",
        "they talked for 3.0 s",
    ),
    "end unseen, the dialplan kept a long talk": (
        [*DIALS, together(20), end_unseen, reported(300.0), hung_up(9999)],
        "ANSWERED",
        "they talked for 300.0 s",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_seen_comes_to(case: str) -> None:
    facts, disposition, words = CASES[case]

    verdict = judge(told(*facts), 5.0)

    assert verdict.disposition.value == disposition
    assert words in verdict.reason


def test_every_disposition_is_reached() -> None:
    # That we withdrew an attempt is told by nobody.
    assert {disposition for _, disposition, _ in CASES.values()} == {
        disposition.value for disposition in Disposition
    } - {"WITHDRAWN"}


def _core(verdict: Verdict) -> tuple[object, ...]:
    return verdict.disposition, verdict.talk_s, verdict.member


def test_a_reason_names_no_source_where_the_network_said_nothing() -> None:
    verdict = judge(told(*DIALS, outcome("NOANSWER", 20, 16, 180)), 5.0)

    assert verdict.reason == "the client did not answer"


@pytest.mark.parametrize("case", CASES)
def test_the_order_in_which_facts_come_does_not_matter(case: str) -> None:
    facts, _, _ = CASES[case]
    expected = judge(told(*facts), 5.0)

    if len(facts) <= 5:
        orders = list(itertools.permutations(facts))
    else:
        chance = random.Random(len(facts))
        orders = [tuple(chance.sample(facts, len(facts))) for _ in range(300)]
    for shuffled in orders:
        assert _core(judge(told(*shuffled), 5.0)) == _core(expected)


@pytest.mark.parametrize("case", CASES)
def test_a_fact_told_twice_changes_nothing(case: str) -> None:
    facts, _, _ = CASES[case]

    assert judge(told(*facts, *facts), 5.0) == judge(told(*facts), 5.0)
    assert _core(judge(told(*reversed(facts), *facts), 5.0)) == _core(
        judge(told(*facts), 5.0)
    )


_MOMENTS = st.integers(0, 6).map(float)
_FACTS = st.one_of(
    st.builds(member, st.sampled_from(["", "PJSIP/1", "PJSIP/2"]), _MOMENTS),
    st.builds(dialled, _MOMENTS),
    st.builds(
        dial_ended,
        st.sampled_from(["", "ANSWER", "BUSY", "NOANSWER", "CHANUNAVAIL", "X", "Y"]),
        _MOMENTS,
    ),
    st.builds(together, _MOMENTS),
    st.builds(apart, _MOMENTS),
    st.builds(hung_up, _MOMENTS),
    st.builds(unwatched, _MOMENTS),
    st.sampled_from([refused, lost, end_unseen, rings("PJSIP/1"), stops("PJSIP/1")]),
)


@given(st.lists(_FACTS, max_size=10), st.randoms(use_true_random=False))
def test_any_facts_in_any_order_told_any_number_of_times(facts, chance) -> None:
    again = facts + chance.choices(facts, k=len(facts)) if facts else []
    chance.shuffle(again)

    assert _core(judge(told(*again), 3.0)) == _core(judge(told(*facts), 3.0))


@given(st.lists(_FACTS, max_size=10))
def test_a_caller_whose_phone_rang_has_had_an_attempt(facts) -> None:
    progress = told(*facts)

    if progress.caller_dialled_at is not None:
        assert judge(progress, 3.0).counts


@given(st.lists(_FACTS, max_size=12))
def test_talk_is_never_negative_nor_longer_than_the_call(facts) -> None:
    assert 0 <= judge(told(*facts, hung_up(6)), 3.0).talk_s <= 6


def test_a_transfer_within_one_moment_does_not_interrupt_the_talk() -> None:
    progress = told(together(10), apart(15), together(15), hung_up(20))

    assert judge(progress, 5.0).talk_s == 10


def test_together_and_apart_in_one_moment_is_no_talk_until_the_hang_up() -> None:
    progress = told(together(10), apart(10), hung_up(300))

    assert judge(progress, 5.0).disposition is Disposition.SHORT


def test_no_success_duration_makes_every_talk_a_success() -> None:
    progress = told(together(10), apart(10), hung_up(10))

    assert judge(progress, 0.0).disposition is Disposition.ANSWERED


def test_it_waits_for_a_member_until_one_rings_answers_or_it_is_over() -> None:
    progress = Progress()
    assert progress.waits_for_member

    progress.member_rings("PJSIP/1")
    assert not progress.waits_for_member
    progress.member_rings("PJSIP/2")
    progress.member_stops_ringing("PJSIP/1")
    assert not progress.waits_for_member
    progress.member_stops_ringing("PJSIP/2")
    assert progress.waits_for_member

    progress.member_answers("PJSIP/1", 10)
    assert not progress.waits_for_member


def test_an_ended_attempt_waits_for_nobody() -> None:
    assert not told(hung_up(3)).waits_for_member


def test_it_tells_how_long_they_have_talked() -> None:
    progress = told(together(10))
    assert progress.talk_s == 0

    progress.unbridged(14)
    assert progress.talk_s == 4

    progress.bridged(20)
    assert progress.talk_s == 4

    progress.ended(21)
    assert progress.talk_s == 5


def test_what_is_told_again_is_no_news() -> None:
    progress = Progress()
    for tell in (
        lambda: progress.member_rings("PJSIP/1"),
        lambda: progress.member_stops_ringing("PJSIP/1"),
        lambda: progress.member_rings("PJSIP/1"),
        lambda: progress.member_answers("PJSIP/1", 10),
        lambda: progress.caller_dialled(11),
        lambda: progress.bridged(12),
    ):
        assert (tell(), tell()) == (True, False)
    progress.unbridged(13)
    assert progress.bridged(14)


def test_a_ring_that_is_told_after_the_answer_is_no_news() -> None:
    assert not told(member("PJSIP/1", 10)).member_rings("PJSIP/1")


def test_an_answer_is_news_though_it_was_known_that_somebody_answered() -> None:
    assert told(member("", 10)).member_answers("PJSIP/1", 10)


def test_the_member_known_before_a_restart_is_kept() -> None:
    progress = Progress(member="PJSIP/1")
    progress.lost = True

    assert judge(progress, 5.0).member == "PJSIP/1"


def test_an_attempt_that_we_ended_says_so() -> None:
    ringing = Progress(withdrawn=said("the client rang in"))
    ringing.member_rings("PJSIP/alice")
    verdict = judge(ringing, 5)
    assert verdict.disposition is Disposition.WITHDRAWN
    assert verdict.reason == "the client rang in"
    ringing.member_answers("PJSIP/alice", 1)
    ringing.caller_dialled(2)
    verdict = judge(ringing, 5)
    assert (verdict.disposition, verdict.reason) == (
        Disposition.CANCEL,
        "the client rang in",
    )


def test_an_attempt_that_went_on_tells_its_own_end() -> None:
    progress = Progress(withdrawn=said("the client rang in"))
    progress.bridged(1)
    progress.ended(9)
    assert judge(progress, 5).reason == "they talked for 8.0 s"


def test_channel_ids_of_both_halves_lead_back_to_the_attempt() -> None:
    attempt = Attempt(
        id=1,
        task_id=1,
        channel_id="callback-1f-2",
        started_at=datetime(2026, 3, 1, tzinfo=UTC),
    )

    assert attempt_of(attempt.caller_channel_id) == attempt.channel_id
    assert attempt_of(attempt.member_channel_id) == attempt.channel_id
    assert attempt.caller_channel_id != attempt.member_channel_id


@pytest.mark.parametrize("uniqueid", ["", "1712.5", "a-3", "a-11", "a-", "-", "a1"])
def test_a_channel_that_is_not_ours_has_no_attempt(uniqueid: str) -> None:
    assert attempt_of(uniqueid) == ""
