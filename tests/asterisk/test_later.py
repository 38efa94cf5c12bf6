# SPDX-License-Identifier: MIT
"""The client of a callback asks again during the talk, and is called afterwards."""

from __future__ import annotations

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    hung_up_by_asterisk,
    pause,
    requested,
    settled,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.phones import Client, request
from tests.lab.scenarios import Answer, Behaviour, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

TALK = Answer(steps=(HangUp(after_ms=1500),))


def begin_to_talk(lab: Lab, first: Behaviour) -> tuple[Service, Client]:
    """Let alice and the client talk; the agents of `sales` are still paused."""
    change_queue(lab, "support", members=("alice",))
    lab.agent("alice")
    lab.agent("carol")
    client = lab.client(CLIENT, first, TALK)
    sounds = {**QUICK["defaults"]["sounds"], "already_registered": "beep"}
    quick = {"defaults": {"sounds": sounds, "success_duration": "0s"}}
    service = lab.service(merged(QUICK, quick))
    ask(lab, service)
    service.wait_for(says("agent and client are talking"))
    pause(lab, "sales")
    return service, client


def check_called_again(lab: Lab, service: Service, client: Client) -> None:
    """Check that carol of `sales` calls the client after the talk."""
    settled(service, "completed")
    assert len(client.invites) == 1
    first, second = sorted(service.tasks(), key=lambda task: task["id"])
    assert (first["status"], first["queue"]) == ("completed", "support")
    assert (second["status"], second["queue"]) == ("pending", "sales")
    unpause(lab, "sales")
    service.wait_for(says(r"^task 2: completed"), 20)
    assert len(client.invites) == 2
    (attempt,) = service.task(2)["attempts"]
    assert (attempt["disposition"], attempt["member"]) == ("ANSWERED", "PJSIP/carol")
    assert len(service.tasks()) == 2


def channel_of(lab: Lab, phone: str) -> Seen:
    """Return an event about the channel of a phone that talks."""
    return lab.witness.wait_for(
        lambda seen: (
            seen.name == "BridgeEnter" and seen["Channel"].startswith(f"PJSIP/{phone}-")
        )
    )


def test_second_caller_with_the_number_presses_1_during_the_talk(lab: Lab) -> None:
    service, client = begin_to_talk(lab, Answer())
    caller = lab.caller("sales", Press("1"), number=CLIENT, display_name="Ada")

    requested(service, count=2)
    hung_up_by_asterisk(caller, 20)
    lab.witness.hang_up(channel_of(lab, "trunk")["Channel"])
    client.wait_for(request("BYE"))

    check_called_again(lab, service, client)
    assert service.task(2)["task"]["name"] == "Ada"


def test_client_is_transferred_to_another_queue_and_presses_1_there(lab: Lab) -> None:
    keys = (Press("1", after_ms=1500), Press("1", after_ms=1500))
    service, client = begin_to_talk(lab, Answer(steps=keys))
    lab.witness.action(
        "BlindTransfer",
        Channel=channel_of(lab, "alice")["Channel"],
        Context="inbound",
        Exten="sales",
    )
    lab.witness.wait_for(event("QueueCallerJoin", Queue="sales"))

    requested(service, count=2)

    check_called_again(lab, service, client)
