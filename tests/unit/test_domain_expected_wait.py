# SPDX-License-Identifier: MIT
"""The expected wait of a place in a queue."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastagi.domain.expected_wait import rounded_minutes

waits = st.floats(min_value=0, max_value=1e6)


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


@given(waits)
def test_no_wait_is_said_to_be_shorter_than_it_is(wait_s: float) -> None:
    minutes = rounded_minutes(wait_s)
    assert minutes is not None
    assert minutes * 60 >= wait_s or (minutes == 0 and wait_s < 60)
