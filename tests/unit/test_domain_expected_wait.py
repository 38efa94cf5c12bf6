# SPDX-License-Identifier: MIT
"""The expected wait of a place in a queue."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.expected_wait import (
    Agent,
    Arrivals,
    Measured,
    Pace,
    expected_wait_s,
    rounded_minutes,
)
from fastagi.speech.channel_language import language_of

FREE = Agent(free_in_s=0)
BUSY = Agent(free_in_s=None)
#: Ten seconds to answer, and 100 to handle a call, with ringing.
PACE = Pace(handling_s=90, ring_s=10)

waits = st.floats(min_value=0, max_value=1e6)
agents = st.builds(
    Agent,
    free_in_s=st.none() | st.just(0.0) | st.floats(0.1, 600),
    share=st.integers(1, 5).map(lambda queues: 1 / queues),
)
teams = st.lists(agents, min_size=1, max_size=30)
paces = st.builds(
    Pace,
    handling_s=st.floats(0, 7200),
    ring_s=st.floats(0, 60),
    leaving_per_s=st.just(0.0) | st.floats(1e-12, 1),
    arriving_per_s=st.just(0.0) | st.floats(0, 0.1),
)


def worth(wait_s: float | None) -> float:
    """Return a wait with "not known" as the longest."""
    return math.inf if wait_s is None else wait_s


def close(value: float) -> float:
    """Return a value with a tolerance."""
    return pytest.approx(value)  # type: ignore[no-any-return]


# -- the estimate ----------------------------------------------------------------


def test_without_agents_the_wait_is_not_known() -> None:
    assert expected_wait_s(0, [], PACE) is None


def test_with_a_free_agent_the_wait_is_until_the_answer() -> None:
    assert expected_wait_s(0, [FREE, BUSY], PACE) == 10


def test_those_ahead_take_the_free_agents_first() -> None:
    assert expected_wait_s(1, [FREE, BUSY], PACE) == close(10 + 100 / 2)


def test_each_turn_takes_a_handling_time_divided_by_the_agents() -> None:
    assert expected_wait_s(3, [BUSY] * 4, PACE) == close(10 + 4 * 100 / 4)


def test_the_end_of_a_wrap_up_time_is_waited_for_and_no_longer() -> None:
    resting = Agent(free_in_s=3)
    assert expected_wait_s(0, [resting, BUSY], PACE) == close(13)
    assert expected_wait_s(1, [resting, BUSY], PACE) == close(10 + 2 * 50)


def test_a_long_wrap_up_time_counts_no_more_than_a_call() -> None:
    resting = Agent(free_in_s=3600)
    assert expected_wait_s(0, [resting, BUSY], PACE) == close(60)


def test_callers_who_give_up_shorten_the_wait() -> None:
    pace = Pace(handling_s=90, ring_s=10, leaving_per_s=0.01)
    # One leaves the line each 100, 50, 33 seconds: by the agent, or by giving up.
    assert expected_wait_s(2, [BUSY], pace) == close(10 + 100 + 50 + 100 / 3)


def test_an_agent_of_two_busy_queues_is_half_an_agent() -> None:
    half = Agent(free_in_s=None, share=0.5)
    assert expected_wait_s(0, [half, half], PACE) == close(110)
    assert expected_wait_s(0, [BUSY, half], PACE) == close(10 + 100 / 1.5)


def test_three_thirds_of_free_agents_are_one_free_agent() -> None:
    assert expected_wait_s(0, [Agent(free_in_s=0, share=1 / 3)] * 3, PACE) == 10


def test_those_who_are_served_first_lengthen_the_wait_of_a_callback() -> None:
    pace = Pace(handling_s=90, ring_s=10, arriving_per_s=0.005)
    assert expected_wait_s(0, [BUSY], pace) == close(10 + 200)


def test_a_line_that_grows_faster_than_it_is_served_has_no_end() -> None:
    pace = Pace(handling_s=90, ring_s=10, arriving_per_s=0.0099)
    assert expected_wait_s(0, [BUSY], pace) is None
    assert expected_wait_s(0, [FREE], pace) == 10


def test_a_long_line_is_summed_up_as_exactly_as_a_short_one() -> None:
    pace = Pace(handling_s=90, ring_s=10, leaving_per_s=1 / 300)
    exact = sum(1 / (0.1 + k / 300) for k in range(5000))
    assert expected_wait_s(4999, [BUSY] * 10, pace) == pytest.approx(
        10 + exact, rel=1e-4
    )


@given(st.integers(0, 300), teams, paces)
def test_no_wait_is_negative_or_without_end(
    ahead: int, team: list[Agent], pace: Pace
) -> None:
    wait_s = expected_wait_s(ahead, team, pace)
    if wait_s is not None:
        assert math.isfinite(wait_s)
        assert wait_s >= pace.ring_s
    if not pace.arriving_per_s:
        assert wait_s is not None


@given(st.integers(0, 300), teams, paces)
def test_nobody_waits_shorter_for_being_further_back(
    ahead: int, team: list[Agent], pace: Pace
) -> None:
    nearer, further = (expected_wait_s(n, team, pace) for n in (ahead, ahead + 1))
    assert worth(nearer) <= worth(further) * (1 + 1e-9)


@given(st.integers(0, 300), teams, agents, paces)
def test_nobody_waits_longer_for_one_more_agent(
    ahead: int, team: list[Agent], one_more: Agent, pace: Pace
) -> None:
    few, more = (expected_wait_s(ahead, t, pace) for t in (team, [*team, one_more]))
    assert worth(more) <= worth(few) * (1 + 1e-9)


@given(st.integers(0, 300), teams, paces, st.floats(0, 3600))
def test_nobody_waits_longer_for_shorter_calls(
    ahead: int, team: list[Agent], pace: Pace, shorter_s: float
) -> None:
    brief = evolve(pace, handling_s=max(0, pace.handling_s - shorter_s))
    fast, slow = (expected_wait_s(ahead, team, p) for p in (brief, pace))
    assert worth(fast) <= worth(slow) * (1 + 1e-9)


# -- what is measured --------------------------------------------------------------


def measured(*calls_s: float, prior_s: float = 180) -> Measured:
    """Return what is known after these calls."""
    known = Measured()
    for call_s in calls_s:
        known = known.with_call(call_s, prior_s)
    return known


def test_until_calls_are_measured_the_setting_counts() -> None:
    assert Measured().pace(240).handling_s == 240


def test_the_first_calls_move_the_estimate_in_steps() -> None:
    assert measured(100).pace(160).handling_s == close(150)
    assert measured(*[100] * 5).pace(160).handling_s == close(130)


def test_many_calls_outweigh_the_setting() -> None:
    assert measured(*[60] * 200).pace(180).handling_s == pytest.approx(60, rel=0.12)


def test_an_afternoon_of_long_calls_outweighs_a_morning_of_short_ones() -> None:
    known = measured(*[60] * 500, *[300] * 300)
    assert known.pace(180).handling_s > 270


def test_a_call_that_never_ended_does_not_count_for_a_day() -> None:
    usual = measured(*[120] * 50)
    with_one = usual.with_call(86_400, 180)
    assert with_one.pace(180).handling_s < usual.pace(180).handling_s * 1.1


def test_calls_much_longer_than_the_setting_are_believed_when_they_repeat() -> None:
    assert measured(*[3600] * 50, prior_s=60).pace(60).handling_s > 2900


def test_a_negative_time_counts_as_none() -> None:
    assert measured(-5).handling.mean == 0
    assert Measured().with_caller(-5, left=True).waited_s == 0


def test_callers_who_leave_soon_are_seen_to_have_little_patience() -> None:
    known = Measured()
    for _ in range(300):
        known = known.with_caller(60, left=True)
    assert known.pace(180).leaving_per_s == pytest.approx(1 / 60, rel=0.3)


def test_callers_who_all_wait_leave_nobody_to_give_up() -> None:
    known = Measured()
    for _ in range(2000):
        known = known.with_caller(300, left=False)
    assert known.pace(180).leaving_per_s < 1 / 15_000


def test_how_long_phones_ring_is_measured() -> None:
    known = Measured()
    for _ in range(100):
        known = known.with_answer(12)
    assert known.pace(180).ring_s == pytest.approx(12, rel=0.05)


def test_what_was_stored_and_what_was_measured_since_count_together() -> None:
    both = measured(*[100] * 30).merged(measured(*[200] * 10))
    assert both.handling.mean == close(125)
    assert both.handling.weight == 40
    assert measured(50).merged(Measured()) == measured(50)


@given(st.lists(st.floats(-1e9, 1e9), max_size=300), st.floats(1, 7200))
def test_whatever_is_measured_the_pace_can_be_used(
    calls_s: list[float], prior_s: float
) -> None:
    known = Measured()
    for call_s in calls_s:
        known = known.with_call(call_s, prior_s).with_answer(call_s)
        known = known.with_caller(call_s, left=call_s > 0)
    pace = known.pace(prior_s)
    assert pace.handling_s >= 0
    assert pace.ring_s >= 0
    assert expected_wait_s(3, [BUSY], pace) is not None


def test_callers_who_come_each_ten_seconds_are_a_tenth_in_a_second() -> None:
    arrivals = Arrivals(0, 0)
    for number in range(1, 1000):
        arrivals = arrivals.with_one(number * 10)
    assert arrivals.per_s(9990) == pytest.approx(0.1, rel=0.02)


def test_an_hour_without_callers_is_noticed() -> None:
    arrivals = Arrivals(0, 0)
    for number in range(1, 1000):
        arrivals = arrivals.with_one(number * 10)
    assert arrivals.per_s(9990 + 3600) < 0.01


def test_two_callers_in_the_first_seconds_are_no_flood() -> None:
    arrivals = Arrivals(0, 0).with_one(1).with_one(2)
    assert arrivals.per_s(2) < 2.5 / 300


# -- words ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait_s", "minutes"),
    [
        (None, None),
        (0, 0),
        (59.9, 0),
        (60, 1),
        (61, 2),
        (600, 10),
        (601, 15),
        (30 * 60, 30),
        (30 * 60 + 1, 40),
        (60 * 60, 60),
        (60 * 60 + 1, 90),
        (5 * 3600, 300),
    ],
)
def test_a_wait_is_said_in_round_minutes(
    wait_s: float | None, minutes: int | None
) -> None:
    assert rounded_minutes(wait_s) == minutes


@given(waits, waits)
def test_a_longer_wait_is_never_said_to_be_shorter(one: float, other: float) -> None:
    shorter, longer = sorted([one, other])
    said, said_longer = rounded_minutes(shorter), rounded_minutes(longer)
    assert said is not None and said_longer is not None
    assert said <= said_longer


@pytest.mark.parametrize("wait_s", range(0, 3600, 7))
def test_a_wait_is_shown_as_it_is_spoken(wait_s: int) -> None:
    minutes = rounded_minutes(wait_s)
    assert minutes is not None
    english = language_of("en")
    spoken = english.duration(timedelta(seconds=wait_s))
    assert spoken == english.duration(timedelta(minutes=minutes))


@given(waits)
def test_no_wait_is_said_to_be_shorter_than_it_is(wait_s: float) -> None:
    minutes = rounded_minutes(wait_s)
    assert minutes is not None
    assert minutes * 60 >= wait_s or (minutes == 0 and wait_s < 60)
