# SPDX-License-Identifier: MIT
"""Operators move tasks in line and assign them to an agent, on real Asterisk."""

from __future__ import annotations

from tests.asterisk.callback import QUICK, change_queue, joins, story
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import merged, says
from tests.lab.witness import Seen, event

A, B, C = "4930111111", "4930222222", "4930333333"
TALK = Answer(steps=(HangUp(after_ms=1200),))


def in_line(seen: Seen) -> bool:
    """Return whether a callback has joined a queue."""
    joined = seen.name == "QueueCallerJoin"
    return joined and seen["Uniqueid"].startswith("callback-")


def test_moved_task_is_called_next_and_an_assigned_one_by_its_agent(lab: Lab) -> None:
    """Alice is busy, a caller waits, bob is paused, and three clients are to be called.

    The third one is moved to the front of the line and leaves it when it is assigned to
    bob; the second one is moved to the front then.
    """
    change_queue(
        lab, "support", members=("alice", "bob"), strategy="linear", timeout_s=5
    )
    alice = lab.agent(
        "alice", Answer(), Answer(), Answer(steps=(HangUp(after_ms=500),)), Answer()
    )
    bob = lab.agent("bob", Answer())
    for number in (A, B, C):
        lab.client(number, TALK)
    service = lab.service(merged(QUICK, {"defaults": {"fairness": "place"}}))
    lab.asterisk.cli("queue pause member PJSIP/bob queue support")
    lab.caller("support", number="101")
    connect = lab.witness.wait_for(event("AgentConnect", Queue="support"))
    lab.caller("support", number="102")
    joins(lab, "102", 1)
    for number in (A, B, C):
        service.cli("tasks", "add", "support", number)

    service.cli("tasks", "move", "3", "--front")
    assert lab.witness.wait_for(in_line)["Position"] == "1"
    service.cli("tasks", "assign", "3", "--agent", "PJSIP/bob")
    service.wait_for(says("task 3: an operator changed who is asked"))
    service.cli("tasks", "move", "2", "--front")
    assert lab.witness.wait_for(in_line, count=2)["Position"] == "1"
    lab.witness.hang_up(connect["DestChannel"])
    lab.witness.wait_for(event("AgentConnect", Queue="support"), 60, count=4)
    served = [one["CallerIDNum"] for one in lab.witness.events("AgentConnect")]
    assert served == ["101", B, "102", A]
    service.wait_for(says("^task 1: completed"))
    assert not bob.invites

    lab.asterisk.cli("queue unpause member PJSIP/bob queue support")
    service.wait_for(says("^task 3: completed"))

    assert (len(alice.invites), len(bob.invites)) == (4, 1)
    told = story(service, 3)
    withdrawn, last = told["attempts"]
    assert withdrawn["reason_code"] == "assignment_changed"
    assert (last["member"], last["disposition"]) == ("PJSIP/bob", "ANSWERED")
    actors = [
        step["reason_params"].get("actor")
        for step in told["history"]
        if step["move"] in ("move", "assign")
    ]
    assert len(actors) == 2
    assert all(actors)
