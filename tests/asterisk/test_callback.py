# SPDX-License-Identifier: MIT
"""A caller presses 1 and is called back, from end to end on real Asterisk."""

from __future__ import annotations

import datetime

import pytest

from tests.asterisk.callback import (
    CLIENT,
    LIVE_FIRST,
    QUICK,
    ask,
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
from tests.lab.phones import request, response
from tests.lab.processes import wait_until
from tests.lab.scenarios import (
    BUSY,
    CONGESTION,
    DECLINE,
    INCOMPLETE,
    NOT_FOUND,
    TEMPORARILY_UNAVAILABLE,
    Answer,
    Forward,
    HangUp,
    NoAnswer,
    Press,
    Refuse,
)
from tests.lab.service import merged, says
from tests.lab.witness import bridges_of_the_client_leg, event

TALK = Answer(steps=(HangUp(after_ms=1500),))
CUT_SHORT = Answer(steps=(HangUp(after_ms=300),))
ROUTE_OF_ITS_OWN = """
[own-routes]
exten => _X.,1,Dial(PJSIP/trunk/sip:${{EXTEN}}@${{DB(lab/${{EXTEN}})}})
 same => n,{end}
"""


def test_caller_presses_1_and_is_called_back(lab: Lab) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=2500),)))
    service = lab.service(QUICK)

    caller = ask(lab, service, display_name="Ada Client")
    hung_up_by_asterisk(caller)
    client.wait_for(response(200, "INVITE", sent=True))

    # Both hear each other, so the bridge carries sound in both directions.
    alice.wait_to_hear(client)
    client.wait_to_hear(alice)
    assert alice.invites[0].name_and_number() == ("Ada Client", CLIENT)
    settled(service, "completed")
    lab.witness.fence()
    assert len(bridges_of_the_client_leg(lab.witness)) == 1
    assert dispositions(service) == ["ANSWERED"]
    assert len(client.invites) == 1


def test_short_talk_stays_short_for_a_service_that_was_stopped_meanwhile(
    lab: Lab,
) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, TALK, Answer())
    service = lab.service(merged(QUICK, {"defaults": {"success_duration": "4s"}}))
    ask(lab, service)
    service.wait_for(says("agent and client are talking"))

    service.freeze()
    bye = client.wait_for(request("BYE", sent=True))
    # The stop lasts longer than a success, counted from the start of the talk.
    until = bye.at + datetime.timedelta(seconds=4)
    wait_until(
        lambda: datetime.datetime.now(bye.at.tzinfo) > until, 10, "the end of the stop"
    )
    service.thaw()

    client.wait_for_call(count=2)
    assert dispositions(service)[0] == "SHORT"
    assert story(service)["attempts"][0]["talk_s"] < 4


@pytest.mark.stopwatch
def test_agent_is_busy_first_and_rings_within_200_ms_of_turning_free(lab: Lab) -> None:
    change_queue(lab, "support", members=("alice",))
    alice = lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    other = lab.caller("support", number="4989111111")
    talking = lab.witness.wait_for(event("AgentConnect"))

    caller = lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    # No agent is rung while the client still hears the prompt.
    hung_up_by_asterisk(caller)
    assert len(alice.invites) == 1
    lab.witness.hang_up(talking["Channel"])

    # Both times are those of the agent's phone.
    free = alice.wait_for(request("BYE"))
    ringing = alice.wait_for_call(count=2)
    assert ringing.at - free.at < datetime.timedelta(milliseconds=200)
    settled(service, "completed")
    assert other.got_bye


def test_no_agent_is_logged_in_and_the_task_waits_for_one(lab: Lab) -> None:
    change_queue(lab, "support", members=())
    alice = lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    assert originates(lab) == []

    lab.asterisk.cli("queue add member PJSIP/alice to support")

    alice.wait_for_call()
    settled(service, "completed")


def test_first_agent_does_not_answer_and_the_next_does(lab: Lab) -> None:
    change_queue(lab, "support", timeout_s=1)
    alice = lab.agent("alice", NoAnswer())
    bob = lab.agent("bob")
    lab.client(CLIENT, TALK)
    service = lab.service(QUICK)

    ask(lab, service)
    settled(service, "completed")

    assert len(alice.invites) == len(bob.invites) == 1
    task = story(service)
    assert [attempt["member"] for attempt in task["attempts"]] == ["PJSIP/bob"]
    assert "PJSIP/alice did not answer" in [line["text"] for line in task["history"]]


def test_no_agent_answers_and_it_costs_the_client_no_attempt(lab: Lab) -> None:
    lab.agent("alice", NoAnswer(), Answer())
    lab.agent("bob", NoAnswer(), NoAnswer())
    client = lab.client(CLIENT, TALK)
    service = lab.service(merged(QUICK, {"defaults": {"member_ring_time": "5s"}}))

    ask(lab, service)
    settled(service, "completed", 30)

    assert dispositions(service) == ["MEMBER NO ANSWER", "ANSWERED"]
    task = only_task(service)
    assert (task["attempts"], task["member_attempts"]) == (1, 1)
    assert len(client.invites) == 1


@pytest.mark.parametrize("first", ["agent", "client"])
def test_either_hangs_up_first_and_the_verdict_is_the_same(
    lab: Lab, first: str
) -> None:
    # The agent's leg begins with the alert, before the client answers.
    leaves = Answer(steps=(HangUp(after_ms=2500),))
    lab.agent("alice", leaves if first == "agent" else Answer())
    lab.client(CLIENT, TALK if first == "client" else Answer())
    service = lab.service(QUICK)

    ask(lab, service)
    settled(service, "completed")

    (attempt,) = story(service)["attempts"]
    assert attempt["disposition"] == "ANSWERED"
    assert 0.95 <= attempt["talk_s"] < 5


@pytest.mark.parametrize(
    ("behaviour", "disposition", "reason"),
    [
        (BUSY, "BUSY", "the client was busy (SIP 486)"),
        (NoAnswer(), "NO ANSWER", "the client did not answer"),
        (
            TEMPORARILY_UNAVAILABLE,
            "NO ANSWER",
            "the client did not answer (SIP 480)",
        ),
        (CONGESTION, "CONGESTION", "the network is congested (SIP 503)"),
        (DECLINE, "UNAVAILABLE", "the call to the client was refused (SIP 603)"),
        (CUT_SHORT, "SHORT", "less than the 1 s of a success"),
    ],
)
def test_client_is_not_reached_and_the_next_attempt_succeeds(
    lab: Lab, behaviour: Refuse | NoAnswer | Answer, disposition: str, reason: str
) -> None:
    lab.agent("alice", Answer(), Answer())
    client = lab.client(CLIENT, behaviour, TALK)
    service = lab.service(QUICK)

    ask(lab, service)
    settled(service, "completed")

    attempts = story(service)["attempts"]
    assert [one["disposition"] for one in attempts] == [disposition, "ANSWERED"]
    assert attempts[0]["reason"].endswith(reason)
    first, second = client.invites
    # The delay of one second counts from the end of the first attempt.
    assert second.at - first.at > datetime.timedelta(seconds=1)
    # Each expression of the dialplan has its operands, also if nobody answered.
    assert [line for line in lab.asterisk.log.splitlines() if "yyerror" in line] == []


@pytest.mark.parametrize(
    ("behaviour", "end_of_the_route"),
    [
        (NOT_FOUND, "Hangup()"),
        # Many outbound routes end like this, so the last cause is no longer the first.
        (INCOMPLETE, "Congestion(1)"),
    ],
)
def test_number_that_does_not_exist_is_not_called_again(
    lab: Lab, behaviour: Refuse, end_of_the_route: str
) -> None:
    lab.asterisk.set_dialplan(extra=ROUTE_OF_ITS_OWN.format(end=end_of_the_route))
    lab.agent("alice")
    client = lab.client(CLIENT, behaviour)
    channel = "Local/{number}@own-routes/n"
    service = lab.service(merged(QUICK, {"defaults": {"outbound_channel": channel}}))

    ask(lab, service)
    failed = settled(service, "failed")

    assert failed["reason"].endswith(f"(SIP {behaviour.status}); not tried again")
    assert dispositions(service) == ["INVALID NUMBER"]
    assert len(client.invites) == 1


def test_phones_may_forward_a_later_transfer_of_a_client_who_has_answered(
    lab: Lab,
) -> None:
    """Asterisk 16.28 has no EXPORT()."""
    lab.agent("alice")
    client = lab.client(CLIENT, Answer())
    channel = f"PJSIP/trunk/sip:{{number}}@{client.slot}"
    service = lab.service(merged(QUICK, {"defaults": {"outbound_channel": channel}}))
    ask(lab, service)
    service.wait_for(says("agent and client are talking"))

    channels = lab.asterisk.channels()
    contexts = {
        channel: lab.witness.action(
            "Getvar", Channel=channel, Variable="FORWARD_CONTEXT"
        ).get("Value", "")
        for channel in channels
    }
    # The agent, the client and both halves of the Local channel between them.
    assert len(channels) >= 4
    assert set(contexts.values()) == {""}, contexts


@pytest.mark.parametrize(
    ("channel", "user"),
    [
        # To an extension of the trunk's context.
        ("PJSIP/trunk/sip:{number}@{slot}", "sales"),
        ("Local/{number}@own-routes/n", "sales"),
        ("Local/{number}@own-routes", "sales"),
        # To a string that Dial() takes for a channel, in any context.
        ("PJSIP/trunk/sip:{number}@{slot}", "Local%2Fcarol%40agents"),
    ],
)
def test_clients_phone_forwards_the_callback_and_nobody_else_is_called(
    lab: Lab, channel: str, user: str
) -> None:
    lab.asterisk.set_dialplan(extra=ROUTE_OF_ITS_OWN.format(end="Hangup()"))
    lab.agent("alice")
    carol = lab.agent("carol", NoAnswer())
    client = lab.client(CLIENT, Forward(user))
    channel = channel.replace("{slot}", str(client.slot))
    defaults = {
        "outbound_channel": channel,
        "retry": {"forwarded": {"attempts": 1}},
    }
    service = lab.service(merged(QUICK, {"defaults": defaults}))

    ask(lab, service)
    failed = settled(service, "failed")

    assert "the client's phone forwards calls" in failed["reason"]
    assert failed["reason"].endswith("not tried again")
    assert dispositions(service) == ["FORWARDED"]
    assert len(client.invites) == 1
    # A call would have reached the phone before the attempt ended.
    lab.witness.fence()
    assert carol.invites == []


def test_clients_phone_forwards_to_a_channel_behind_a_route_and_the_call_is_ended(
    lab: Lab,
) -> None:
    lab.asterisk.set_dialplan(extra=ROUTE_OF_ITS_OWN.format(end="Hangup()"))
    lab.agent("alice")
    carol = lab.agent("carol", NoAnswer())
    # The route's Dial() takes it for a channel; only the service can end that call.
    lab.client(CLIENT, Forward("Local%2Fcarol%40agents"))
    defaults = {
        "outbound_channel": "Local/{number}@own-routes/n",
        "retry": {"forwarded": {"attempts": 1}},
    }
    service = lab.service(merged(QUICK, {"defaults": defaults}))

    ask(lab, service)
    settled(service, "failed")

    assert dispositions(service) == ["FORWARDED"]
    for _ in carol.invites:
        carol.wait_for(request("CANCEL"))


_ENTERED = """
[entered]
exten => sales,1,Gosub(callback-enter,s,1(sales))
 same => n,Queue(${CALLBACK_QUEUE_ARGS})
"""


@pytest.mark.parametrize(
    ("how", "context"),
    [
        ("BlindTransfer", "inbound"),
        ("BlindTransfer", "entered"),
        ("Redirect", "inbound"),
    ],
)
def test_client_transferred_to_another_queue_waits_there_like_any_caller(
    lab: Lab, how: str, context: str
) -> None:
    lab.asterisk.set_dialplan(extra=_ENTERED)
    other = "4930999999"
    alice = lab.agent("alice")
    carol = lab.agent("carol")
    client = lab.client(CLIENT, Answer())
    lab.client(other, Answer())
    service = lab.service(merged(QUICK, LIVE_FIRST))
    ask(lab, service)
    service.wait_for(says("agent and client are talking"))
    alice.wait_to_hear(client)
    pause(lab, "sales")
    lab.caller("sales", Press("1"), number=other)
    requested(service, other)

    if how == "BlindTransfer":
        # The agent transfers the client.
        talking = lab.witness.wait_for(event("AgentConnect"))["DestChannel"]
        where = {"Channel": talking, "Context": context, "Exten": "sales"}
        lab.witness.action("BlindTransfer", **where)
    else:
        # A panel redirects the client's own channel.
        dialled = lab.witness.matching(
            lambda one: one.name == "DialEnd" and one["DialStatus"] == "ANSWER"
        )[-1]["DestChannel"]
        where = {"Context": context, "Exten": "sales", "Priority": "1"}
        lab.witness.action("Redirect", Channel=dialled, **where)
    lab.witness.wait_for(event("QueueCallerJoin", Queue="sales"), count=2)
    wait_until(
        lambda: service.status()["queues"]["sales"]["waiting"] == 1,
        10,
        "a caller in sales",
    )
    # Asterisk 16.28 has no EXPORT(): there only callback-enter ends the low priority.
    if lab.asterisk.major != 16 or context == "entered":
        lab.caller("sales", number="4930888888")
        assert joins(lab, "4930888888", 1)["Position"] == "2"
    unpause(lab, "sales")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))

    # The agent has the client, and nobody is rung for the caller behind.
    carol.wait_to_hear(client)
    lab.witness.fence()
    service.status()
    assert len(originates(lab)) == 1
    assert len(carol.invites) == 1


def test_attempts_are_used_up(lab: Lab) -> None:
    lab.agent("alice", Answer(), Answer(), Answer())
    client = lab.client(CLIENT, BUSY, BUSY, BUSY)
    service = lab.service(merged(QUICK, {"defaults": {"attempts": 2}}))

    ask(lab, service)
    failed = settled(service, "failed")

    assert "all 2 attempts used up" in failed["reason"]
    assert len(client.invites) == 2
    assert only_task(service)["ended_at"] is not None


def test_agent_hangs_up_while_the_clients_phone_rings(lab: Lab) -> None:
    lab.agent("alice", Answer(steps=(HangUp(after_ms=2000),)), Answer())
    client = lab.client(CLIENT, NoAnswer(), TALK)
    service = lab.service(QUICK)

    ask(lab, service)
    settled(service, "completed")

    assert dispositions(service) == ["CANCEL", "ANSWERED"]
    assert client.matching(request("CANCEL"))


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_task_is_cancelled_while_the_agent_rings_and_the_client_is_not_called(
    lab: Lab, killed: bool
) -> None:
    change_queue(lab, "support", members=("alice",))
    alice = lab.agent("alice", NoAnswer())
    client = lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    ask(lab, service)
    alice.wait_for_call()

    if killed:
        # The command changes only the database; nobody tells Asterisk.
        service.kill()
        assert service.cli("tasks", "cancel", "1").exit_code == 0
        service.start()
    else:
        assert service.cli("tasks", "cancel", "1").exit_code == 0

    alice.wait_for(request("CANCEL"))
    cancelled = settled(service, "cancelled")
    assert cancelled["reason"].startswith("cancelled by hand (")
    assert dispositions(service) == ["WITHDRAWN"]
    assert client.invites == []


def test_request_expires_and_nobody_is_called(lab: Lab) -> None:
    pause(lab, "support")
    alice = lab.agent("alice")
    service = lab.service(merged(QUICK, {"defaults": {"request_expiry": "3s"}}))

    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    expired = settled(service, "expired")
    assert expired["reason"]

    # The task is too old: a free agent is not rung for it.
    unpause(lab, "support")
    lab.witness.fence()
    service.status()
    assert originates(lab) == []
    assert alice.invites == []


def test_target_is_an_extension(lab: Lab) -> None:
    dave = lab.agent("dave")
    alice = lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    service = lab.service(
        merged(QUICK, {"queues": {"support": {"target_extension": "PJSIP/dave"}}})
    )

    ask(lab, service)
    settled(service, "completed")

    assert len(dave.invites) == len(client.invites) == 1
    assert alice.invites == []
    assert story(service)["attempts"][0]["member"] == "PJSIP/dave"


def test_target_is_an_extension_behind_a_local_channel(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra="[phones]\nexten => 7,hint,PJSIP/dave\n")
    dave = lab.agent("dave")
    lab.client(CLIENT, TALK)
    target = {
        "target_extension": "Local/dave@agents/n",
        "state_interface": "hint:7@phones",
    }
    service = lab.service(merged(QUICK, {"queues": {"support": target}}))

    ask(lab, service)
    settled(service, "completed")

    assert len(dave.invites) == 1


def test_alert_is_missing_and_the_call_goes_on(lab: Lab) -> None:
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(
        merged(QUICK, {"defaults": {"sounds": {"member_alert": "no-such-file"}}})
    )

    ask(lab, service)
    settled(service, "completed")

    warning = service.wait_for(says("could not be played"))
    assert warning["level"] == "warn"
    assert warning["sound"] == "no-such-file"


def test_two_queues_have_settings_of_their_own(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("carol")
    lab.client("4930000001", TALK)
    lab.client("4930000002", BUSY)
    service = lab.service(
        merged(
            QUICK,
            {
                "queues": {
                    "support": {"outbound_caller_id": '"Help Desk" <4930999>'},
                    "sales": {"attempts": 1, "outbound_caller_id": "4930888"},
                }
            },
        )
    )

    ask(lab, service, "support", "4930000001")
    ask(lab, service, "sales", "4930000002")
    settled(service, "completed")
    settled(service, "failed")

    by_queue = {task["queue"]: task for task in service.tasks()}
    assert by_queue["support"]["status"] == "completed"
    assert by_queue["sales"]["status"] == "failed"


def test_outbound_caller_id_is_the_queues_own(lab: Lab) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    service = lab.service(
        merged(
            QUICK,
            {"queues": {"support": {"outbound_caller_id": '"Help Desk" <4930999>'}}},
        )
    )

    ask(lab, service, display_name="Ada Client")
    settled(service, "completed")

    assert client.invites[0].name_and_number() == ("Help Desk", "4930999")


def test_settings_are_reloaded_while_a_callback_is_in_progress(lab: Lab) -> None:
    lab.agent("alice", Answer(), Answer())
    client = lab.client(CLIENT, BUSY, Answer(ring_ms=1500, steps=(HangUp(1500),)))
    service = lab.service(merged(QUICK, {"defaults": {"attempts": 2}}))
    ask(lab, service)
    client.wait_for_call(count=2)

    # With one attempt the task would fail; this one began with two.
    service.write_settings({"defaults": {"attempts": 1, "success_duration": "1h"}})
    service.reload()
    service.wait_for(says("settings loaded again"))

    settled(service, "completed")
    assert dispositions(service) == ["BUSY", "ANSWERED"]


def test_wrong_settings_are_not_taken_on_reload(lab: Lab) -> None:
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(QUICK)
    service.write_settings({"defaults": {"attempts": -1}})
    service.reload()
    refused = service.wait_for(says("attempts"))
    assert "callback-queue.yaml" in refused["message"]
    service.wait_for(says("the old ones stay in force"))

    ask(lab, service)
    settled(service, "completed")
