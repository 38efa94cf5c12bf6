# SPDX-License-Identifier: MIT
"""The agent who talked to the client last gets the callback first, on real Asterisk."""

from __future__ import annotations

import pytest

from tests.asterisk.callback import CLIENT, QUICK, ask, change_queue, settled, story
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, NoAnswer
from tests.lab.service import merged, says
from tests.lab.witness import event

TALK = Answer(steps=(HangUp(after_ms=1500),))


@pytest.mark.parametrize("fairness", ["live_first", "place"])
def test_last_agent_is_rung_alone_and_then_the_others(lab: Lab, fairness: str) -> None:
    """Bob talks to the client, and then lets the phone ring for the callback."""
    # The first of a linear queue is rung first.
    change_queue(
        lab, "support", members=("alice", "bob"), strategy="linear", timeout_s=2
    )
    alice = lab.agent("alice", Answer())
    first = Answer(steps=() if fairness == "place" else (HangUp(after_ms=800),))
    bob = lab.agent("bob", first, NoAnswer())
    client = lab.client(CLIENT, TALK, TALK)
    service = lab.service(
        merged(
            QUICK,
            {
                "defaults": {
                    "fairness": fairness,
                    "queue_options": "t",
                    "preferred_agent": {"enabled": True, "wait": "1h"},
                }
            },
        )
    )
    # The client talks to bob, as alice is paused: in a callback, or in a call.
    lab.asterisk.cli("queue pause member PJSIP/alice queue support")
    if fairness == "place":
        service.cli("tasks", "add", "support", CLIENT)
        settled(service, "completed")
        ended = 1
    else:
        lab.caller("support", number=CLIENT)
        ended = 0
    lab.witness.wait_for(event("AgentComplete"))
    lab.asterisk.cli("queue unpause member PJSIP/alice queue support")

    ask(lab, service)
    service.wait_for(says("did not take the callback"))
    service.wait_for(says("^task .*: completed"), count=ended + 1)

    assert len(bob.invites) == 2
    assert len(alice.invites) == 1
    assert len(client.invites) == ended + 1
    codes = [step["reason_code"] for step in story(service, ended + 1)["history"]]
    assert "preferred_agent_first" in codes
    # For the statistics of the queue alice was not rung for the client before that.
    lab.witness.fence()
    rung = [one["Interface"] for one in lab.witness.events("AgentCalled")]
    assert rung == ["PJSIP/bob", "PJSIP/bob", "PJSIP/alice"]
