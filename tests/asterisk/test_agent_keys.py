# SPDX-License-Identifier: MIT
"""Agents accept a callback by a key, on real Asterisk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    dispositions,
    settled,
    story,
)
from tests.lab.lab import Lab
from tests.lab.phones import Agent, request, response
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import event

TALK = Answer(steps=(HangUp(after_ms=1500),))
#: Longer than every wait for an agent.
LONG = "60s"


def with_keys(**keys: Any) -> dict[str, Any]:
    """Return the settings."""
    known = {"enabled": True, "wait": LONG, "later_delay": "1s", **keys}
    return merged(QUICK, {"defaults": {"agent_keys": known}})


def presses(*keys: str) -> tuple[Answer, ...]:
    """Return the behaviour of an agent who answers each call and presses a key."""
    return tuple(Answer(steps=(Press(key, after_ms=600),)) for key in keys)


def reasons(service: Service) -> list[str]:
    """Return the reason codes of the attempts, in order."""
    return [attempt["reason_code"] for attempt in story(service)["attempts"]]


def only(lab: Lab, *members: str) -> None:
    """Set these members of the queue; they are rung in this order."""
    change_queue(lab, "support", members=members, strategy="linear")


def asked_for_a_key(lab: Lab, agent: Agent) -> None:
    """Wait until the agent has answered, and Asterisk waits for the key."""
    agent.wait_for(response(200, sent=True))
    lab.witness.wait_for(event("AgentConnect"))


@pytest.mark.parametrize("by", ["INFO", "RFC 4733"])
def test_client_is_dialled_when_the_agent_has_pressed_1(lab: Lab, by: str) -> None:
    only(lab, "alice")
    if by == "INFO":
        # The 5 is no choice, so the prompts are played again.
        alice = lab.agent("alice", Answer(steps=(Press("51", after_ms=600),)))
    else:
        alice = lab.agent("alice", Answer(keys_as_rtp=True))
    client = lab.client(CLIENT, TALK)
    service = lab.service(with_keys())

    ask(lab, service, display_name="Ada Client")
    asked_for_a_key(lab, alice)
    if by != "INFO":
        assert client.invites == []
        alice.press("51")
    settled(service, "completed")

    assert len(client.invites) == len(alice.invites) == 1
    assert alice.invites[0].name_and_number() == ("Ada Client", CLIENT)
    assert dispositions(service) == ["ANSWERED"]


@pytest.mark.parametrize("fairness", ["live_first", "place"])
def test_agent_who_can_not_is_passed_over_and_the_next_is_rung(
    lab: Lab, fairness: str
) -> None:
    only(lab, "alice", "bob")
    alice = lab.agent("alice", *presses("3"))
    bob = lab.agent("bob", *presses("1"))
    client = lab.client(CLIENT, TALK)
    service = lab.service(
        merged(with_keys(), {"defaults": {"fairness": fairness, "queue_options": "t"}})
    )

    ask(lab, service)
    settled(service, "completed")

    assert reasons(service) == ["agent_cannot", "talked"]
    assert len(alice.invites) == len(bob.invites) == len(client.invites) == 1
    # The queue's statistics show no second ring of alice.
    lab.witness.fence()
    assert len(lab.witness.events("AgentCalled")) == 2
    assert lab.witness.events("AgentRingNoAnswer") == []


def test_mailbox_that_answers_for_an_agent_is_never_connected(lab: Lab) -> None:
    only(lab, "alice", "bob")
    # A mailbox speaks and presses nothing.
    alice = lab.agent("alice", Answer())
    bob = lab.agent("bob", *presses("1"))
    client = lab.client(CLIENT, TALK)
    service = lab.service(with_keys(wait="1s", no_key="cannot"))

    ask(lab, service)
    settled(service, "completed")

    assert reasons(service) == ["agent_pressed_no_key", "talked"]
    assert len(alice.invites) == len(bob.invites) == len(client.invites) == 1


def test_agent_hangs_up_while_the_prompts_are_played_then_puts_it_off_then_accepts(
    lab: Lab,
) -> None:
    only(lab, "alice")
    hangs_up = Answer(steps=(HangUp(after_ms=300),))
    alice = lab.agent("alice", hangs_up, *presses("2", "1"))
    client = lab.client(CLIENT, TALK)
    whisper = {"asked": True, "attempt": True, "queue": "beep"}
    service = lab.service(merged(with_keys(), {"defaults": {"whisper": whisper}}))

    ask(lab, service)
    alice.wait_for(request("BYE", sent=True))
    settled(service, "completed")

    assert reasons(service) == [
        "agent_hung_up_before_dialling",
        "agent_later",
        "talked",
    ]
    assert len(client.invites) == 1
    # It is said when the agent's phone rings, as the client waited in line.
    prompts = lab.witness.matching(
        lambda one: one.name == "Newexten" and one["Application"] == "BackGround"
    )
    assert all("client-asked&" in one["AppData"] for one in prompts)
    assert "ago&" in prompts[-1]["AppData"], prompts[-1]


def test_key_that_an_agent_pressed_while_the_service_was_killed_counts(
    lab: Lab,
) -> None:
    only(lab, "alice")
    alice = lab.agent("alice", Answer(keys_as_rtp=True), NoAnswer())
    client = lab.client(CLIENT, TALK)
    service = lab.service(with_keys(cannot_pause="1h"))
    ask(lab, service)
    asked_for_a_key(lab, alice)
    service.wait_for(says("PJSIP/alice answered"))

    service.kill()
    alice.press("3")
    alice.wait_for(request("BYE"))
    service.start()

    service.wait_for(says("can not take the callback"))
    assert reasons(service) == ["agent_cannot"]
    assert client.invites == []


def test_service_is_killed_while_the_agent_thinks_and_the_call_goes_on(
    lab: Lab,
) -> None:
    only(lab, "alice")
    alice = lab.agent("alice", Answer(keys_as_rtp=True))
    lab.client(CLIENT, TALK)
    service = lab.service(with_keys())
    ask(lab, service)
    asked_for_a_key(lab, alice)
    service.wait_for(says("PJSIP/alice answered"))

    service.kill()
    service.start()
    service.wait_for(says("its call is under way"))
    alice.press("1")

    settled(service, "completed")
    assert len(alice.invites) == 1


def test_target_is_an_extension_and_asked_for_a_key(lab: Lab) -> None:
    dave = lab.agent("dave", *presses("1"))
    client = lab.client(CLIENT, TALK)
    target = {"queues": {"support": {"target_extension": "PJSIP/dave"}}}
    service = lab.service(merged(with_keys(), target))

    ask(lab, service)
    settled(service, "completed")

    assert reasons(service) == ["talked"]
    assert len(dave.invites) == 1
    assert len(client.invites) == 1
