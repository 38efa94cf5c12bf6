# SPDX-License-Identifier: MIT
"""Whose turn comes near, among live callers and placeholders."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.turns import turn_of


@pytest.mark.parametrize(
    ("live", "placeholders", "agents", "expected"),
    [
        ([], 0, 1, math.inf),
        ([], 1, 1, None),
        ([], 0, 0, None),
        ([10.0], 0, 1, 10.0),
        ([20.0, 10.0], 0, 1, 10.0),
        ([10.0], 0, 2, math.inf),
        ([10.0, 20.0, 30.0], 0, 2, 20.0),
        ([10.0, 20.0, 30.0], 1, 2, 10.0),
        ([10.0], 3, 2, None),
    ],
)
def test_turn_comes_near_by_joining_time_and_agents(
    live: list[float], placeholders: int, agents: int, expected: float | None
) -> None:
    assert turn_of(live, placeholders, agents) == expected


@given(
    live=st.lists(st.floats(0, 1000), unique=True),
    placeholders=st.integers(0, 10),
    agents=st.integers(0, 10),
    joined_at=st.floats(0, 1000),
)
def test_fewer_are_ahead_than_there_are_agents(
    live: list[float], placeholders: int, agents: int, joined_at: float
) -> None:
    until = turn_of(live, placeholders, agents)
    ahead = sum(other < joined_at for other in live) + placeholders
    near = until is not None and joined_at <= until
    assert near == (ahead < agents)
