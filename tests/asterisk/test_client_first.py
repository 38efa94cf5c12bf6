# SPDX-License-Identifier: MIT
"""The client is dialled first and waits at the head of the queue, on real Asterisk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asterisk.brief_words import LANGUAGE, record_brief_words, said
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    joins,
    pause,
    settled,
    story,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.phones import request
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import event

#: The extension of callers who go before others.
_URGENT = """
[inbound](+)
exten => urgent,1,Answer()
 same => n,Set(QUEUE_PRIO=5)
 same => n,Queue(support)
"""


@pytest.fixture(autouse=True)
def short_words(lab: Lab) -> None:
    """Play brief sounds in place of the words."""
    record_brief_words(lab)


def client_first(lab: Lab, **defaults: Any) -> Service:
    """Start the service."""
    change_queue(lab, "support", members=("alice",))
    defaults = {
        "first": "client",
        "client_key": {"wait": "10s", "times": 1},
        **defaults,
    }
    return lab.service(merged(QUICK, {"defaults": defaults}))


def test_client_presses_1_and_an_agent_answers(lab: Lab) -> None:
    alice = lab.agent("alice", Answer(steps=(HangUp(after_ms=2500),)))
    client = lab.client(CLIENT, Answer(steps=(Press("1", after_ms=800),)))
    service = client_first(lab)

    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    said(lab, "connect-press")
    assert alice.invites == []
    client.wait_to_hear(alice)
    alice.wait_to_hear(client)
    settled(service, "completed")

    (attempt,) = story(service)["attempts"]
    assert attempt["disposition"] == "ANSWERED"
    assert attempt["member"] == "PJSIP/alice"
    assert 1 <= attempt["talk_s"] < 4


def test_client_hangs_up_before_an_agent_answers(lab: Lab) -> None:
    alice = lab.agent("alice")
    client = lab.client(
        CLIENT, Answer(steps=(Press("1", after_ms=800), HangUp(after_ms=1500)))
    )
    # One agent is enough.
    service = client_first(lab, first="auto", auto_agents=1)
    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    said(lab, "connect-press")
    pause(lab, "support")
    lab.witness.wait_for(
        event("QueueCallerJoin", Uniqueid=originated(lab)), deadline_s=10
    )
    client.wait_for(request("BYE", sent=True))
    service.wait_for(says("hung up before an agent answered"))
    assert story(service)["attempts"][0]["disposition"] == "SHORT"
    assert alice.invites == []


def test_client_waits_before_live_callers(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=_URGENT)
    lab.agent("alice", Answer(steps=(HangUp(after_ms=1500),)))
    lab.client(CLIENT, Answer(steps=(Press("1", after_ms=4000),)))
    service = client_first(lab)
    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    said(lab, "connect-press")
    pause(lab, "support")
    lab.caller("urgent", number="4930888888")
    joins(lab, "4930888888", 1)
    mine = originated(lab)
    joined = lab.witness.wait_for(event("QueueCallerJoin", Uniqueid=mine))
    assert joined["Position"] == "1"
    unpause(lab, "support")
    assert lab.witness.wait_for(event("AgentConnect"))["Uniqueid"] == mine


def test_client_who_is_given_no_agent_hears_so(lab: Lab) -> None:
    lab.agent("alice", NoAnswer())
    client = lab.client(CLIENT, Answer(steps=(Press("1", after_ms=800),)))
    service = client_first(lab, member_ring_time="5s")
    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    said(lab, "no-agent-free")
    said(lab, "call-again")
    client.wait_for(request("BYE"))
    service.wait_for(says("or no agent answered in time"))


def test_client_who_is_transferred_waits_like_any_caller(lab: Lab) -> None:
    alice = lab.agent("alice", Answer())
    client = lab.client(CLIENT, Answer(steps=(Press("1", after_ms=800),)))
    service = client_first(lab)
    pause(lab, "sales")
    lab.caller("sales", number="4930888888")
    joins(lab, "4930888888", 1)
    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    alice.wait_to_hear(client)
    talking = lab.witness.wait_for(event("AgentConnect"))["DestChannel"]
    where = {"Channel": talking, "Context": "inbound", "Exten": "sales"}
    lab.witness.action("BlindTransfer", **where)
    mine = originated(lab)
    joined = lab.witness.wait_for(event("QueueCallerJoin", Queue="sales"), count=2)
    assert (joined["Uniqueid"], joined["Position"]) == (mine, "2")


def test_client_who_presses_1_again_stays_in_line(lab: Lab) -> None:
    alice = lab.agent("alice", Answer(ring_ms=2500, steps=(HangUp(after_ms=1500),)))
    keys = (Press("1", after_ms=800), Press("1", after_ms=1500))
    client = lab.client(CLIENT, Answer(steps=keys))
    service = client_first(lab)

    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])
    lab.witness.wait_for(event("QueueCallerJoin", Uniqueid=originated(lab)), count=2)
    client.wait_to_hear(alice)
    settled(service, "completed")

    assert len(client.invites) == 1
    assert "callback-queue/already-registered" not in lab.asterisk.log


def test_agent_is_called_first_if_too_few_are_free(lab: Lab) -> None:
    alice = lab.agent("alice", Answer())
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=2000),)))
    service = client_first(lab, first="auto", auto_agents=2)

    ask(lab, service)
    client.wait_to_hear(alice)
    settled(service, "completed")

    codes = [one["reason_code"] for one in story(service)["history"]]
    assert codes.index("agent_answered") < codes.index("client_dialled")


def originated(lab: Lab) -> str:
    """Return the uniqueid of the half in the queue."""
    seen = lab.witness.wait_for(
        lambda one: (
            one["Event"] == "Newchannel"
            and one["Uniqueid"].startswith("callback-")
            and one["Uniqueid"].endswith("-2")
        )
    )
    return str(seen["Uniqueid"])
