# SPDX-License-Identifier: MIT
"""Measurements behind the expected wait, on real Asterisk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    joins,
    pause,
    settled,
)
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import Service, merged
from tests.lab.witness import event

SETTINGS = merged(
    QUICK,
    {
        "defaults": {
            "success_duration": "0s",
            "handling_time": "60s",
            "fairness": "live_first",
        }
    },
)
#: The agent ends each call after three seconds.
SHORT = Answer(steps=(HangUp(after_ms=3000),))


def status_is(
    service: Service, name: str, expected: Callable[[Any], bool], what: str
) -> None:
    """Wait until the status of a queue has these values."""
    wait_until(lambda: expected(service.status()["queues"][name]), 15, what)


def test_calls_of_callers_and_callbacks_are_measured(lab: Lab) -> None:
    lab.agent("carol", SHORT)
    lab.client(CLIENT)
    service = lab.service(SETTINGS)
    lab.caller("sales", number="101")
    first = lab.witness.wait_for(event("AgentComplete", Queue="sales"))
    # The time counts from the answer, as the phone may be late.
    assert float(first["TalkTime"]) >= 2
    ask(lab, service, "sales")
    settled(service, "completed")
    second = lab.witness.wait_for(event("AgentComplete", Queue="sales"), count=2)
    # AgentComplete may lack the caller's channel (16.28).
    connects = lab.witness.events("AgentConnect")
    assert connects[1]["Uniqueid"].startswith("callback-")
    lab.witness.fence()
    assert service.stop() == 0

    url = service.settings["database"]["url"]
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        rows = database.execute(
            "SELECT handling_weight, handling_s, ring_weight, ring_s, callers_left"
            " FROM measured WHERE queue = 'sales'"
        ).fetchall()
    ((calls, handling_s, answers, ring_s, left),) = rows
    seconds = [float(one["TalkTime"]) for one in (first, second)]
    assert (calls, answers) == (2, 2)
    assert handling_s == sum(seconds) / 2
    rings = [float(one["RingTime"]) for one in lab.witness.events("AgentConnect")]
    assert ring_s == sum(rings) / 2
    # The client who pressed 1 no longer counts as waiting.
    assert round(left, 1) == 1


def test_paused_agents_and_agents_of_several_queues_are_counted_rightly(
    lab: Lab,
) -> None:
    change_queue(lab, "sales", members=("alice",))
    lab.agent("alice", Answer())
    lab.agent("bob", Answer())
    service = lab.service(SETTINGS)
    status_is(service, "support", lambda queue: queue["agents"] == 2, "two agents")
    status_is(
        service, "sales", lambda queue: queue["expected_wait_s"] == 5, "a free agent"
    )
    lab.caller("sales", number="101")
    connected = lab.witness.wait_for(event("AgentConnect", Queue="sales"))

    # Alice talks: she is the only agent of sales, and one of two of support.
    status_is(service, "sales", lambda queue: queue["expected_wait_s"] > 40, "one call")
    status_is(
        service, "support", lambda queue: queue["free"] == ["PJSIP/bob"], "one free"
    )
    lab.caller("sales", number="102")
    joins(lab, "102", 1)
    status_is(
        service, "sales", lambda queue: queue["expected_wait_s"] > 80, "two calls"
    )

    pause(lab, "support")
    status_is(
        service,
        "support",
        lambda queue: (queue["agents"], queue["expected_wait_s"]) == (0, None),
        "all paused",
    )
    status_is(service, "sales", lambda queue: queue["agents"] == 1, "not paused")
    lab.witness.hang_up(connected["DestChannel"])
