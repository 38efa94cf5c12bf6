# SPDX-License-Identifier: MIT
"""The measurement of a big site works, with a small one; goals aside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.bench.calls import count_events, recorded_call

_REPOSITORY = Path(__file__).resolve().parents[2]
_PROGRAM = """
from tests.bench import site
from tests.bench.rig import run

async def measure():
    size = site.Size(
        queues=8, agents=20, open_tasks=40, settles_s=0, calls_per_s=5, calls_s=1,
        free=3,
    )
    defaults = {"outbound_channel": "PJSIP/{number}@trunk", "fairness": "live_first"}
    settings = {"defaults": defaults}
    await site.measure(size, settings, lambda *told: print(">", *told, flush=True))
    return 0

raise SystemExit(run(measure()))
"""


def test_each_measurement_says_a_figure() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    calls, free = [line for line in done.stdout.splitlines() if line[0] == ">"]
    assert calls.startswith("> 20 agents, ")
    assert "% of one processor; goal 30 %: " in calls
    assert free.startswith("> agent free to Originate, 40 open tasks median ")
    assert " of 3; goal 20 ms: " in free


def test_a_recorded_call_ends_with_a_member_who_is_free_or_busy() -> None:
    for stays_busy, status in ((False, b"1"), (True, b"2")):
        begin, end = recorded_call(7, "sales", "PJSIP/9", stays_busy=stays_busy)
        assert count_events(begin) + count_events(end) == 21
        assert begin.endswith(b"\r\n\r\n")
        last = end.rpartition(b"Event: QueueMemberStatus")[2]
        assert b"\r\nInterface: PJSIP/9\r\n" in last
        assert b"\r\nStatus: %s\r\n" % status in last
