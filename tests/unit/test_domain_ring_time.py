# SPDX-License-Identifier: MIT
"""How long agents' phones have rung."""

from __future__ import annotations

from fastagi.domain.ring_time import RingTime


def rung(*spans: tuple[float, float]) -> RingTime:
    """Return the ring time after rings that began and ended at these times."""
    ring_time = RingTime()
    for began_at, ended_at in spans:
        ring_time.update(began_at, rings=True)
        ring_time.update(ended_at, rings=False)
    return ring_time


def test_nothing_has_rung_at_first() -> None:
    assert RingTime().total_s(100) == 0
    assert RingTime().left_s(10, 100) is None


def test_pauses_do_not_count() -> None:
    ring_time = rung((100, 115), (120, 135))
    assert ring_time.total_s(130) == 15 + 10
    assert ring_time.total_s(500) == 30


def test_ring_in_progress_counts() -> None:
    ring_time = rung((100, 115))
    ring_time.update(200, rings=True)
    assert ring_time.total_s(207) == 22
    assert ring_time.left_s(60, 207) == 38
    assert ring_time.left_s(20, 207) == 0


def test_further_phones_do_not_begin_another_ring() -> None:
    ring_time = RingTime()
    ring_time.update(100, rings=True)
    ring_time.update(104, rings=True)
    ring_time.update(106, rings=False)
    ring_time.update(107, rings=False)
    assert ring_time.total_s(200) == 6


def test_refused_call_counts_five_seconds() -> None:
    ring_time = rung((100, 100.1))
    assert ring_time.total_s(103) == 3
    assert ring_time.left_s(60, 103) == 57
    assert ring_time.total_s(200) == 5
    assert ring_time.left_s(60, 200) is None


def test_calls_refused_one_right_after_the_other_count_as_long_as_they_took() -> None:
    assert rung((100, 100.1), (101, 101.1)).total_s(200) == 6


def test_limit_is_reached_also_when_nothing_rings_any_more() -> None:
    assert rung((100, 115)).left_s(15, 200) == 0


def test_inexact_clock_does_not_leave_a_moment() -> None:
    ring_time = RingTime()
    ring_time.update(0.1, rings=True)
    assert ring_time.left_s(0.2, 0.1 + 0.2 - 1e-9) == 0
