# SPDX-License-Identifier: MIT
"""The parts of ``make bench BENCH=cluster`` work, with few of each; goals aside."""

from __future__ import annotations

import pytest

from tests.bench import goals
from tests.bench.goals import at_most, is_so, percentile
from tests.bench.measured import figures


def test_each_measurement_says_a_figure() -> None:
    size = "cluster.Size(instances=(1, 2), tasks=20, kills=1, presses=2)"
    lines = figures("cluster", size, 240)
    begins = [
        "> claims, 1 instance ",
        "> claims, 2 instances ",
        "> kill -9 to the other's first call, 1 times p50 ",
        "> key on A to Originate on B, 2 callers p50 ",
    ]
    assert len(lines) == len(begins), lines
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(begin), lines
    assert all(line.endswith("; each task once: yes") for line in lines[:2])
    assert lines[3].endswith("; none called from A: yes")


def test_percentile_is_the_value_at_the_nearest_rank() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 0.5), percentile(values, 0.99)) == (50, 99)
    assert (percentile([7.0], 0.5), percentile([7.0, 9.0], 0.99)) == (7, 9)


def test_missed_goals_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goals, "missed", [])
    assert at_most("ring", 150.0, 150.0, "ms") == "goal 150 ms: reached"
    assert is_so("each task once", True) == "each task once: yes"
    assert goals.missed == []

    assert at_most("ring", 150.4, 150.0, "ms") == "goal 150 ms: MISSED"
    assert is_so("each task once", False) == "each task once: NO"
    assert goals.missed == ["ring: 150.4 ms, the goal is 150 ms", "each task once"]
