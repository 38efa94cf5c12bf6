# SPDX-License-Identifier: MIT
"""The parts of ``make bench BENCH=cluster`` work, with few of each; goals aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import goals
from tests.bench.goals import at_most, is_so, percentile

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM = """
from tests.bench import cluster, goals
from tests.bench.rig import run

async def measure():
    size = cluster.Size(instances=(1, 2), tasks=20, kills=1, presses=2)
    await cluster.measure(size, lambda *told: print(">", *told, flush=True))
    return 0

raise SystemExit(run(measure()))
"""


def test_each_measurement_says_a_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("> ")]
    begins = [
        "> claims, 1 instance ",
        "> claims, 2 instances ",
        "> kill -9 to the other's first call, 1 times p50 ",
        "> key on A to Originate on B, 2 callers p50 ",
    ]
    assert len(lines) == len(begins), done.stdout
    for line, begin in zip(lines, begins, strict=True):
        assert line.startswith(begin), done.stdout
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
