# SPDX-License-Identifier: MIT
"""Missed calls become callbacks, and clients who were served are not called."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    change_queue,
    dispositions,
    hung_up_by_asterisk,
    joins,
    only_task,
    originates,
    pause,
    requested,
    settled,
    story,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.phones import request
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import LogLine, Service, merged, says
from tests.lab.witness import event

TALK = Answer(steps=(HangUp(after_ms=1500),))
#: Time limit from the caller's hangup to the agent's ring, measured by the phones.
LIMIT = datetime.timedelta(milliseconds=300)
#: Settings with which every call from outside counts.
INBOUND = merged(QUICK, {"missed": {"contexts": ["inbound"]}})

#: Destinations of inbound calls other than the queues themselves.
DIALPLAN = """
[inbound](+)
exten => menu,1,Answer()
 same => n,Wait(60)
exten => direct,1,Dial(PJSIP/dave,1)
 same => n,Hangup()
exten => dave,1,Dial(PJSIP/dave,10)
 same => n,Hangup()
exten => both,1,Dial(PJSIP/carol&PJSIP/dave,10)
 same => n,Hangup()
exten => then-queue,1,Answer()
 same => n,Queue(support,,,,1)
 same => n,Queue(sales,,,,1)
 same => n,Hangup()
exten => then-extension,1,Answer()
 same => n,Queue(support,,,,1)
 same => n,Dial(PJSIP/dave,1)
 same => n,Hangup()
exten => then-voicemail,1,Answer()
 same => n,Queue(support,,,,1)
 same => n,Playback(beep)
 same => n,Wait(60)
exten => through-local,1,Dial(Local/support@inbound/n)
 same => n,Hangup()
exten => park,1,Answer()
 same => n,Park()

[agents](+)
exten => fetch,1,ParkedCall(default,701)
exten => pickup,1,PickupChan(${LAB_RINGING})
"""


@pytest.fixture
def lab(lab: Lab) -> Lab:
    """Return a laboratory whose inbound calls can go all those ways."""
    lab.asterisk.set_dialplan(extra=DIALPLAN)
    return lab


def missed(service: Service, number: str = CLIENT, *, count: int = 1) -> LogLine:
    """Wait until the service reports a missed call of this number."""
    return service.wait_for(says("missed", number=number, level="info"), count=count)


def ended_as(service: Service, outcome: str, *, count: int = 1) -> LogLine:
    """Wait until the service reports the outcome of a call from outside."""
    return service.wait_for(says("^call of", outcome=outcome), count=count)


def check_missed(service: Service, queue: str = "support") -> dict[str, Any]:
    """Check that the only task comes from a missed call."""
    task = only_task(service)
    assert (task["kind"], task["number"]) == ("missed", CLIENT)
    assert task["queue"] == queue
    return task


# -- ways to miss a call


def test_caller_hangs_up_while_waiting_and_is_called_back(lab: Lab) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    pause(lab, "support")
    lab.caller("support", HangUp(after_ms=1200), number=CLIENT, display_name="Ada")

    line = missed(service)
    assert re.fullmatch(r"hung up after \d s in queue support", line["how"])
    task = check_missed(service)
    assert task["name"] == "Ada"
    unpause(lab, "support")

    settled(service, "completed")
    assert len(alice.invites) == len(client.invites) == 1
    assert line["how"] in story(service)["history"][0]["text"]


def test_task_of_a_missed_call_lives_as_long_as_the_window(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(merged(QUICK, {"defaults": {"missed_window": "2s"}}))
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service)
    settled(service, "expired")
    assert originates(lab) == []


@pytest.mark.parametrize(
    ("exten", "how"),
    [
        ("support", "left queue support unanswered after 1 s and the call ended at"),
        ("then-queue", "left queue sales unanswered after 1 s and the call ended at"),
        ("then-extension", "left queue support unanswered after 1 s"),
    ],
)
def test_queue_times_out_and_the_call_ends(lab: Lab, exten: str, how: str) -> None:
    lab.agent("dave", NoAnswer())
    pause(lab, "support")
    pause(lab, "sales")
    service = lab.service(QUICK)
    caller = lab.caller(exten, number=CLIENT, headers=["X-Queue-Timeout: 1"])

    line = missed(service)

    assert how in line["how"]
    hung_up_by_asterisk(caller)
    check_missed(service, "sales" if exten == "then-queue" else "support")


def test_queue_times_out_and_the_caller_leaves_a_message(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(QUICK)
    lab.caller("then-voicemail", HangUp(after_ms=2500), number=CLIENT)
    assert "then-voicemail@inbound" in missed(service)["how"]
    check_missed(service)


@pytest.mark.parametrize("how", ["empty", "full"])
def test_queue_takes_nobody_and_the_call_ends(lab: Lab, how: str) -> None:
    if how == "empty":
        change_queue(lab, "support", members=(), options={"joinempty": "no"})
    else:
        change_queue(lab, "support", options={"maxlen": "1"})
        pause(lab, "support")
    service = lab.service(INBOUND)
    if how == "full":
        lab.caller("support", number="4989000001")
        joins(lab, "4989000001", 1)
    lab.caller("support", number=CLIENT)

    assert "support@inbound unanswered" in missed(service)["how"]
    check_missed(service)


def test_queue_is_emptied_while_the_caller_waits(lab: Lab) -> None:
    lab.agent("alice", NoAnswer())
    # Asterisk checks who is left when a ring has ended.
    change_queue(
        lab,
        "support",
        members=("alice",),
        timeout_s=1,
        options={"leavewhenempty": "paused"},
    )
    service = lab.service(QUICK)
    caller = lab.caller("support", number=CLIENT)
    joins(lab, CLIENT, 1)
    pause(lab, "support")

    line = missed(service)

    assert "left queue support unanswered" in line["how"]
    hung_up_by_asterisk(caller)
    check_missed(service)


def test_caller_hangs_up_in_a_menu(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(INBOUND)
    lab.caller("menu", HangUp(after_ms=300), number=CLIENT)
    assert "the call to menu ended" in missed(service)["how"]
    check_missed(service)


def test_call_is_cut_off(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(QUICK)
    lab.caller("support", number=CLIENT)
    joined = joins(lab, CLIENT, 1)
    lab.witness.hang_up(joined["Channel"])
    assert "hung up after" in missed(service)["how"]
    check_missed(service)


def test_extension_that_was_called_does_not_answer(lab: Lab) -> None:
    lab.agent("dave", NoAnswer())
    pause(lab, "support")
    pause(lab, "sales")
    service = lab.service(
        merged(QUICK, {"missed": {"numbers": ["direct"], "queue": "sales"}})
    )
    lab.caller("direct", number=CLIENT)
    assert "the call to direct ended" in missed(service)["how"]
    check_missed(service, "sales")


def test_caller_reaches_the_queue_through_a_local_channel(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(QUICK)
    lab.caller("through-local", HangUp(after_ms=500), number=CLIENT)
    assert "in queue support" in missed(service)["how"]
    check_missed(service)


def test_two_callers_are_parked_and_nobody_fetches_them(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(INBOUND)
    other = lab.caller("park", number="4989000001")
    lab.witness.wait_for(event("ParkedCall"))
    lab.caller("park", HangUp(after_ms=700), number=CLIENT)
    missed(service)
    check_missed(service)
    assert not other.got_bye


def test_missed_twice_is_one_task_with_the_earlier_place(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(QUICK)
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service)
    first = check_missed(service)
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service, count=2)

    second = check_missed(service)
    assert second["joined_at"] == first["joined_at"]
    assert second["due_at"] == first["due_at"]
    assert second["expires_at"] > first["expires_at"]


def test_request_on_top_of_a_missed_call_makes_it_a_request(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(QUICK)
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service)
    first = check_missed(service)
    caller = lab.caller("support", Press("1"), number=CLIENT)
    service.wait_for(says("again", number=CLIENT))
    hung_up_by_asterisk(caller, 20)

    task = only_task(service)
    assert task["kind"] == "requested"
    assert task["joined_at"] == first["joined_at"]
    assert task["expires_at"] > first["expires_at"]


# -- ways not to miss one


def test_call_left_by_key_is_a_request_and_nothing_else(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(INBOUND)
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    ended_as(service, "requested")
    assert only_task(service)["kind"] == "requested"
    assert [one["move"] for one in story(service)["history"]] == ["create"]


def test_answered_call_is_not_missed(lab: Lab) -> None:
    lab.agent("alice", TALK)
    service = lab.service(INBOUND)
    lab.caller("support", number=CLIENT)
    line = ended_as(service, "answered")
    assert "answered by PJSIP/alice" in line["how"]
    assert service.tasks() == []


@pytest.mark.parametrize(
    ("exten", "who"), [("then-queue", "carol"), ("then-extension", "dave")]
)
def test_call_is_answered_after_a_queue_timed_out(
    lab: Lab, exten: str, who: str
) -> None:
    change_queue(lab, "sales", members=("carol",))
    pause(lab, "support")
    lab.agent(who, Answer(steps=(HangUp(after_ms=500),)))
    service = lab.service(INBOUND)
    lab.caller(exten, number=CLIENT)
    assert f"answered by PJSIP/{who}" in ended_as(service, "answered")["how"]
    assert service.tasks() == []


def test_internal_caller_is_not_called_back(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(INBOUND)
    lab.caller("support", HangUp(after_ms=300), number="101")
    ended_as(service, "internal")
    assert service.tasks() == []


def test_withheld_number_is_not_called_back(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(INBOUND)
    hang_up = HangUp(after_ms=500)
    lab.caller("support", hang_up, number=CLIENT, withheld=True)
    ended_as(service, "withheld")
    lab.caller("menu", hang_up, number=CLIENT, withheld=True)
    ended_as(service, "withheld", count=2)
    assert service.tasks() == []


@pytest.mark.parametrize("options", ["/n", ""])
def test_call_is_answered_by_a_member_behind_a_local_channel(
    lab: Lab, options: str
) -> None:
    change_queue(lab, "support", members=(f"Local/dave@agents{options}",))
    lab.agent("dave", TALK)
    service = lab.service(INBOUND)
    lab.caller("support", number=CLIENT)
    assert "PJSIP/dave" in ended_as(service, "answered")["how"]
    assert service.tasks() == []


def test_short_call_does_not_count(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(merged(QUICK, {"missed": {"min_duration": "5s"}}))
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    ended_as(service, "too short")
    assert service.tasks() == []


def test_queue_and_contexts_that_do_not_count(lab: Lab) -> None:
    pause(lab, "support")
    service = lab.service(
        merged(QUICK, {"queues": {"support": {"missed_calls": False}}})
    )
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    ended_as(service, "not counted")
    lab.caller("menu", HangUp(after_ms=300), number=CLIENT)
    ended_as(service, "not counted", count=2)
    assert service.tasks() == []


def test_call_is_answered_and_transferred_to_one_who_does_not_answer(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("dave", NoAnswer())
    service = lab.service(INBOUND)
    caller = lab.caller("support", number=CLIENT)
    lab.witness.wait_for(event("AgentConnect"))
    talking = lab.witness.wait_for(event("BridgeEnter", CallerIDNum=CLIENT))
    lab.witness.action(
        "BlindTransfer", Channel=talking["Channel"], Context="inbound", Exten="direct"
    )
    hung_up_by_asterisk(caller)
    ended_as(service, "answered")
    assert service.tasks() == []


def test_call_is_picked_up_by_another(lab: Lab) -> None:
    alice = lab.agent("alice", NoAnswer())
    lab.agent("carol", Answer(steps=(HangUp(after_ms=1500),)))
    service = lab.service(INBOUND)
    lab.caller("support", number=CLIENT)
    alice.wait_for_call()
    ringing = lab.witness.wait_for(event("DialBegin", DialString="PJSIP/alice"))
    lab.witness.originate(
        "PJSIP/carol",
        context="agents",
        exten="pickup",
        variables={"LAB_RINGING": ringing["DestChannel"]},
    )
    line = ended_as(service, "answered")
    assert "PJSIP/carol" in line["how"]
    assert service.tasks() == []


def test_call_is_answered_elsewhere(lab: Lab) -> None:
    lab.agent("carol", NoAnswer())
    lab.agent("dave", TALK)
    service = lab.service(INBOUND)
    lab.caller("both", number=CLIENT)
    assert "PJSIP/dave" in ended_as(service, "answered")["how"]
    assert service.tasks() == []


def test_parked_call_is_fetched(lab: Lab) -> None:
    lab.agent("dave", TALK)
    service = lab.service(INBOUND)
    lab.caller("park", number=CLIENT)
    parked = lab.witness.wait_for(event("ParkedCall"))
    assert parked["ParkingSpace"] == "701"
    lab.witness.originate("PJSIP/dave", context="agents", exten="fetch")
    assert "PJSIP/dave" in ended_as(service, "answered")["how"]
    assert service.tasks() == []


# -- served after the missed call --------------------------------------------------


def miss(lab: Lab, service: Service) -> None:
    """Let a call of the client be missed while all agents are paused."""
    pause(lab, "support")
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service)


def test_client_rings_again_and_is_answered_while_the_task_is_due(lab: Lab) -> None:
    alice = lab.agent("alice", TALK)
    client = lab.client(CLIENT)
    service = lab.service(QUICK)
    miss(lab, service)
    lab.caller("support", number=CLIENT)
    joins(lab, CLIENT, 2)
    unpause(lab, "support")

    served = settled(service, "served")
    assert served["reason"] == "the client rang again and PJSIP/alice answered"
    ended_as(service, "answered")
    assert originates(lab) == []
    assert len(alice.invites) == 1
    assert client.invites == []
    assert only_task(service)["reason"] == served["reason"]


@pytest.mark.parametrize("rings", ["agent", "client"])
def test_client_rings_again_and_is_answered_while_a_phone_rings(
    lab: Lab, rings: str
) -> None:
    change_queue(lab, "support", members=("alice",))
    alice = lab.agent("alice", NoAnswer() if rings == "agent" else Answer(), TALK)
    client = lab.client(CLIENT, NoAnswer())
    service = lab.service(QUICK)
    miss(lab, service)
    unpause(lab, "support")
    alice.wait_for_call()
    if rings == "client":
        client.wait_for_call()

    lab.caller("support", number=CLIENT)

    served = settled(service, "served")
    assert "the client rang again and PJSIP/alice answered" in served["reason"]
    ended_as(service, "answered")
    assert len(alice.invites) == 2
    assert len(client.invites) == (rings == "client")
    assert len(originates(lab)) == 1
    (disposition,) = dispositions(service)
    assert disposition == ("CANCEL" if rings == "client" else "WITHDRAWN")


def test_client_is_called_by_hand_and_talks(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("dave")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=2500),)))
    service = lab.service(QUICK)
    miss(lab, service)
    lab.witness.originate(
        "PJSIP/dave", context="outbound-routes", exten=CLIENT, caller_id="<104>"
    )
    client.wait_for_call()
    unpause(lab, "support")

    served = settled(service, "served")
    assert "PJSIP/dave called the client by hand" in served["reason"]
    client.wait_for(request("BYE", sent=True))
    assert originates(lab) == []


def test_client_is_called_by_hand_and_hangs_up_at_once(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("dave")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=300),)), TALK)
    service = lab.service(merged(QUICK, {"defaults": {"success_duration": "1s"}}))
    miss(lab, service)
    lab.witness.originate(
        "PJSIP/dave", context="outbound-routes", exten=CLIENT, caller_id="<104>"
    )
    client.wait_for_call()
    unpause(lab, "support")

    settled(service, "completed")
    # It was not before the end of the call by hand.
    first = client.wait_for(request("BYE", sent=True))
    assert client.wait_for_call(count=2).at > first.at


def test_client_waits_in_a_queue_again_and_is_not_called_meanwhile(lab: Lab) -> None:
    lab.agent("dave")
    client = lab.client(CLIENT, TALK)
    settings = {"queues": {"support": {"target_extension": "PJSIP/dave"}}}
    service = lab.service(merged(QUICK, settings), start=False)
    service.start()
    pause(lab, "support")
    lab.witness.originate("PJSIP/dave", caller_id="<1>")
    lab.witness.wait_for(event("DeviceStateChange", Device="PJSIP/dave", State="INUSE"))
    lab.caller("support", HangUp(after_ms=300), number=CLIENT)
    missed(service)
    again = lab.caller("support", number=CLIENT)
    joined = joins(lab, CLIENT, 2)
    # This also holds if the service knows the call only from the list of channels.
    service.kill()
    service.start()
    for name in lab.asterisk.channels():
        if name.startswith("PJSIP/dave"):
            lab.witness.hang_up(name)
    lab.witness.wait_for(
        event("DeviceStateChange", Device="PJSIP/dave", State="NOT_INUSE")
    )
    lab.witness.fence()
    assert service.status()["queues"]["support"]["free"]
    assert originates(lab) == []

    lab.witness.hang_up(joined["Channel"])

    hung_up_by_asterisk(again)
    settled(service, "completed")
    assert len(client.invites) == 1
    assert only_task(service)["kind"] == "missed"


# -- how soon


@pytest.mark.stopwatch
def test_agent_rings_within_300_ms_of_the_hang_up_in_a_menu(lab: Lab) -> None:
    alice = lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(INBOUND)
    caller = lab.caller("menu", HangUp(after_ms=1000), number=CLIENT)
    gone = caller.wait_for(request("BYE", sent=True))
    ringing = alice.wait_for_call()
    assert ringing.at - gone.at < LIMIT
    settled(service, "completed")


@pytest.mark.stopwatch
def test_agent_rings_again_within_300_ms_of_the_hang_up_in_the_queue(lab: Lab) -> None:
    alice = lab.agent("alice", NoAnswer(), Answer())
    lab.client(CLIENT, TALK)
    change_queue(lab, "support", members=("alice",))
    service = lab.service(QUICK)
    caller = lab.caller("support", HangUp(after_ms=1000), number=CLIENT)
    gone = caller.wait_for(request("BYE", sent=True))
    ringing = alice.wait_for_call(count=2)
    assert ringing.at - gone.at < LIMIT
    settled(service, "completed")
