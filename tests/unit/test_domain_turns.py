# SPDX-License-Identifier: MIT
"""Which turns are near, among live callers and placeholders."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.turns import ANY_TURN, Turn, parse_priority, turn_of

TURNS = st.builds(Turn, st.floats(0, 1000), st.integers(-2, 2))


@pytest.mark.parametrize(
    ("live", "placeholders", "agents", "expected"),
    [
        ([], 0, 1, ANY_TURN),
        ([], 1, 1, None),
        ([], 0, 0, None),
        ([10.0], 0, 1, Turn(10.0)),
        ([20.0, 10.0], 0, 1, Turn(10.0)),
        ([10.0], 0, 2, ANY_TURN),
        ([10.0, 20.0, 30.0], 0, 2, Turn(20.0)),
        ([10.0, 20.0, 30.0], 1, 2, Turn(10.0)),
        ([10.0], 3, 2, None),
    ],
)
def test_turn_comes_near_by_joining_time_and_agents(
    live: list[float], placeholders: int, agents: int, expected: Turn | None
) -> None:
    assert turn_of([Turn(at) for at in live], placeholders, agents) == expected


def test_higher_priority_goes_first() -> None:
    live = [Turn(10.0), Turn(20.0, priority=5), Turn(30.0)]
    assert turn_of(live, 0, 1) == Turn(20.0, priority=5)
    assert turn_of(live, 0, 2) == Turn(10.0)
    assert Turn(40.0, priority=6) < Turn(20.0, priority=5) < Turn(10.0)
    assert Turn(10.0) < Turn(1.0, priority=-1)


@given(
    live=st.lists(TURNS, unique=True),
    placeholders=st.integers(0, 10),
    agents=st.integers(0, 10),
    turn=TURNS,
)
def test_fewer_are_ahead_than_there_are_agents(
    live: list[Turn], placeholders: int, agents: int, turn: Turn
) -> None:
    last = turn_of(live, placeholders, agents)
    ahead = sum(other < turn for other in live) + placeholders
    near = last is not None and turn <= last
    assert near == (ahead < agents)


@given(TURNS)
def test_everybody_goes_before_the_last_of_all(turn: Turn) -> None:
    assert turn <= ANY_TURN


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("", 0),
        ("0", 0),
        ("5", 5),
        ("-3", -3),
        ("+7", 7),
        (" 4", 4),
        ("5 or so", 5),
        ("high", 0),
        ("- 3", 0),
        ("\u0665", 0),
        ("99999999999999999999", 2**31 - 1),
        ("-99999999999999999999", -(2**31)),
    ],
)
def test_priority_is_read_as_queue_does(text: str, priority: int) -> None:
    assert parse_priority(text) == priority
    assert Turn(0.0, priority).priority == priority
