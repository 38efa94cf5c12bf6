# SPDX-License-Identifier: MIT
"""The measurement of a big site works, with a small one; goals aside."""

from __future__ import annotations

from tests.bench.calls import count_events, recorded_call
from tests.bench.measured import figures

_SIZE = (
    "site.Size(queues=8, agents=20, open_tasks=40, settles_s=0, calls_per_s=5,"
    " calls_s=1, free=3)"
)
_SETTINGS = {
    "defaults": {
        "outbound_channel": "PJSIP/{number}@trunk",
        "fairness": "live_first",
    }
}


def test_each_measurement_says_a_figure() -> None:
    calls, free = figures("site", f"{_SIZE}, {_SETTINGS!r}", 120)
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
