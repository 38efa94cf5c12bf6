# SPDX-License-Identifier: MIT
"""What comes before a client is connected to the agent, on real Asterisk.

The client presses a key, or Asterisk listens for an answering machine.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.asterisk.brief_words import LANGUAGE, record_brief_words, said
from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    settled,
    story,
)
from tests.lab.lab import Lab
from tests.lab.phones import request
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import Service, merged, says

#: What the client hears before the key.
ASKED = "connect-press"


@pytest.fixture(autouse=True)
def short_words(lab: Lab) -> None:
    """Play brief sounds in place of the words."""
    record_brief_words(lab)


def with_key(lab: Lab, **key: Any) -> Service:
    """Start the service with a key for clients."""
    known = {"enabled": True, "wait": "30s", "times": 1, **key}
    return start(lab, client_key=known)


def start(lab: Lab, **defaults: Any) -> Service:
    """Start the service; one agent is a member of the queue."""
    change_queue(lab, "support", members=("alice",))
    return lab.service(merged(QUICK, {"defaults": defaults}))


def ends(service: Service) -> list[tuple[str, str]]:
    """Return how the attempts ended, and the codes of why."""
    return [
        (attempt["disposition"], attempt["reason_code"])
        for attempt in story(service)["attempts"]
    ]


def begin(lab: Lab, service: Service) -> None:
    """Have a caller ask for a callback."""
    ask(lab, service, headers=[f"X-Language: {LANGUAGE}"])


def test_mailbox_is_not_connected_and_a_client_who_presses_1_is(lab: Lab) -> None:
    alice = lab.agent("alice")
    client = lab.client(
        CLIENT,
        # A mailbox says something, and presses nothing.
        Answer(),
        # The 5 has no meaning.
        Answer(steps=(Press("51", after_ms=400), HangUp(after_ms=600))),
        Answer(keys_as_rtp=True),
    )
    # Long enough to hear the second ring, if the machine was too busy for the first.
    service = with_key(lab, wait="4s", times=2)

    begin(lab, service)
    said(lab, ASKED)
    # The agent hears that it still rings, and not the client.
    alice.media.wait_to_hear(440, 9)
    said(lab, ASKED, 2)
    client.wait_for(request("BYE"))
    # By SIP INFO.
    service.wait_for(says("the client pressed the key and is connected"))
    # By RFC 4733.
    client.wait_for_call(count=3)
    said(lab, ASKED, 5)
    client.press("5")
    said(lab, ASKED, 6)
    client.press("1")
    client.wait_to_hear(alice)
    alice.wait_to_hear(client)
    service.wait_for(says("agent and client are talking"), count=2)

    attempts = story(service)["attempts"]
    assert ends(service)[:2] == [
        ("NOT CONFIRMED", "client_pressed_no_key"),
        ("SHORT", "talked_too_short"),
    ]
    # The time in which the client was asked is not talk.
    assert attempts[0]["talk_s"] == 0
    assert 0 < attempts[1]["talk_s"] < 1


def test_whoever_hangs_up_while_the_client_is_asked_ends_the_call_for_the_other(
    lab: Lab,
) -> None:
    alice = lab.agent(
        "alice", Answer(), Answer(steps=(HangUp(after_ms=2000),)), Answer()
    )
    client = lab.client(
        CLIENT, Answer(steps=(HangUp(after_ms=800),)), Answer(), Answer()
    )
    service = with_key(lab)

    begin(lab, service)
    alice.wait_for(request("BYE"))
    # Then the agent hangs up.
    client.wait_for(request("BYE"))
    service.wait_for(says("the agent hung up after the client's answer"))
    # Then an operator cancels the task.
    said(lab, ASKED, 3)
    assert service.cli("tasks", "cancel", "1").exit_code == 0
    client.wait_for(request("BYE"), count=2)
    alice.wait_for(request("BYE"), count=2)
    settled(service, "cancelled")

    assert [end for end, _ in ends(service)] == ["NOT CONFIRMED", "CANCEL", "CANCEL"]
    assert "agent and client are talking" not in str(story(service))


def test_mailbox_answers_while_the_service_is_down(lab: Lab) -> None:
    alice = lab.agent("alice", Answer(), NoAnswer())
    client = lab.client(CLIENT, Answer(), NoAnswer())
    service = with_key(lab, wait="1s")
    begin(lab, service)
    said(lab, ASKED)

    service.kill()
    client.wait_for(request("BYE"))
    alice.wait_for(request("BYE"))
    service.start()

    service.wait_for(says("did not press the key"))
    assert ends(service)[0] == ("NOT CONFIRMED", "client_pressed_no_key")


def test_answering_machine_is_not_connected_and_a_person_is(lab: Lab) -> None:
    alice = lab.agent("alice")
    # It speaks without a pause.
    client = lab.client(CLIENT, Answer())
    # Without a Local channel between Dial() and the trunk.
    channel = f"PJSIP/trunk/sip:{{number}}@{client.slot}"
    service = start(lab, amd=True, outbound_channel=channel)

    begin(lab, service)
    client.wait_for(request("BYE"))
    # "Hello?", and then silence.
    client.media.words_s = 0.5
    client.wait_for_call(count=2)
    client.wait_to_hear(alice, 10)
    service.wait_for(says("agent and client are talking"))

    assert ends(service)[0] == ("MACHINE", "client_is_machine")
    assert "AMD: LONGGREETING-" in story(service)["attempts"][0]["reason"]
    assert len(client.invites) == 2
