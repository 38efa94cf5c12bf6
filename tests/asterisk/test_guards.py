# SPDX-License-Identifier: MIT
"""Numbers that are not called, and invalid caller IDs, on a real Asterisk."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    joins,
    originates,
    pause,
    settled,
)
from tests.asterisk.test_request import (
    LIMIT_WITH_REASON,
    played,
    press_and_come_back,
    queue_of_three,
)
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import merged, says
from tests.lab.witness import event

GERMANY = {"number_plan": {"region": "DE"}}
PREMIUM = "09001234567"
TALK = Answer(steps=(HangUp(after_ms=1500),))
#: A call with the encoded caller ID in NASTY, whose caller has pressed the key.
NASTY = """
[lab-nasty]
exten => s,1,Set(CALLERID(num)=${URIDECODE(${NASTY})})
 same => n,Set(CALLERID(name)=${URIDECODE(${NASTY})})
 same => n,Set(QUEUENAME=support)
 same => n,Set(QUEUEPOSITION=1)
 same => n,Goto(callback-request,1,1)
"""
CALLER_IDS = (
    "493012${EXTEN}",
    '4930"123456',
    "49301)2345,6",
    "4930123456&PJSIP/bob",
    "4930123456;x|y\\z",
    "$[1/0]}{4930123456",
    "Zo\u00eb \u0416 4930123456",
)


def test_premium_number_hears_the_truth_and_is_back_in_line(lab: Lab) -> None:
    service = lab.service(merged(QUICK, GERMANY))
    caller = queue_of_three(lab, PREMIUM)

    back = press_and_come_back(lab, caller, LIMIT_WITH_REASON)

    assert back["Position"] == "2"
    played(lab, "callback-queue/cannot-call")
    assert not caller.got_bye
    assert service.tasks() == []
    (refusal,) = service.cli("numbers", "refused", "--json").json()
    assert (refusal["number"], refusal["linkedid"]) == (PREMIUM, back["Linkedid"])
    assert "premium-rate" in refusal["reason"]


def test_no_second_call_begins_within_the_minute(lab: Lab) -> None:
    lab.agent("alice")
    lab.client(CLIENT, TALK)
    service = lab.service(merged(QUICK, {"limits": {"calls_per_minute": 1}}))
    for number in (CLIENT, "4930999999"):
        assert service.cli("tasks", "add", "support", number).exit_code == 0
    settled(service, "completed")
    # The agent is free again, and Asterisk and the service have had time to act.
    assert service.cli("status").exit_code == 0
    assert len(originates(lab)) == 1
    statuses = {task["number"]: task["status"] for task in service.tasks()}
    assert statuses.get("4930999999") == "pending"


@pytest.mark.parametrize("when_down", ["", "keep"])
def test_caller_id_that_is_no_number_is_back_in_line(lab: Lab, when_down: str) -> None:
    """Both with the service, and with the dialplan alone."""
    lab.asterisk.set_dialplan(
        extra=NASTY, global_variables={"CALLBACK_WHEN_DOWN": when_down}
    )
    service = lab.service(QUICK)
    if when_down:
        service.kill()
    for caller_id in CALLER_IDS:
        lab.witness.originate(
            "Local/s@lab-nasty/n", variables={"NASTY": quote(caller_id, safe="")}
        )
    lab.witness.wait_for(
        event("QueueCallerJoin", Queue="support"), count=len(CALLER_IDS)
    )
    assert "ast_expr" not in lab.asterisk.log
    if when_down:
        assert "/callback-request/" not in lab.asterisk.cli(
            "database show callback-request"
        )
        return
    assert service.tasks() == []
    refused = service.cli("numbers", "refused", "--json").json()
    assert len(refused) == len(CALLER_IDS)


def test_number_with_line_breaks_adds_no_event_to_a_list(lab: Lab) -> None:
    """Filters do not apply to lists; 79 characters are enough for a hangup."""
    pause(lab, "support")
    service = lab.service(QUICK)
    waits = lab.caller("support", number=CLIENT)
    victim = lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=CLIENT))
    forged = f"\r\n\r\nEvent: Hangup\r\nUniqueid: {victim['Uniqueid']}\r\n\r\n"
    lab.caller("sales", number="4930" + quote(forged, safe=""))
    joins(lab, "4930", 1)

    # The service requests the lists again.
    lab.asterisk.cli("module reload app_queue.so")

    service.wait_for(says("Hangup in the middle of a list is ignored"))
    lab.asterisk.cli("module reload app_queue.so")
    service.wait_for(says("Hangup in the middle of a list is ignored"), count=2)
    # The caller is still in line, and no call was missed.
    assert not waits.got_bye
    assert service.tasks() == []
    assert service.status()["queues"]["support"]["waiting"] == 1
