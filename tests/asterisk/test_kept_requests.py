# SPDX-License-Identifier: MIT
"""Asterisk stores requests while the service does not answer."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    hung_up_by_asterisk,
    joins,
    only_task,
    pause,
    settled,
    story,
    unpause,
)
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import says
from tests.lab.witness import event

TALK = Answer(steps=(HangUp(after_ms=1500),))
#: A short sound, so that tests need not wait for the whole prompt.
KEEP: Mapping[str, str] = {"CALLBACK_WHEN_DOWN": "keep", "CALLBACK_NOTED": "beep"}


def kept(lab: Lab) -> int:
    """Return how many requests Asterisk stores."""
    shown = lab.asterisk.cli("database show callback-request")
    return shown.count("/callback-request/")


def forgotten(lab: Lab) -> None:
    """Wait until Asterisk stores no request any more."""
    wait_until(lambda: kept(lab) == 0, 5, "forgetting the request")


def test_key_is_pressed_without_a_service_and_the_next_start_calls_back(
    lab: Lab,
) -> None:
    lab.asterisk.set_dialplan(global_variables=KEEP)
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, "support")
    caller = lab.caller(
        "support", Press("1"), number=CLIENT, display_name='Ann: "50%", \\ ${x}'
    )
    hung_up_by_asterisk(caller)
    assert kept(lab) == 1

    service = lab.service(QUICK)
    service.wait_for(says("kept by Asterisk until now"))
    forgotten(lab)
    task = only_task(service)
    assert (task["kind"], task["number"]) == ("requested", CLIENT)
    assert task["name"].startswith("Ann: 50")
    unpause(lab, "support")
    settled(service, "completed")

    assert len(client.invites) == 1
    assert "Asterisk kept the request" in story(service)["history"][0]["text"]
    # The Originate that deletes the entry counts as no call.
    assert lab.witness.events("AgentCalled", Uniqueid="") == []
    assert lab.witness.events("UserEvent", UserEvent="CallbackKept")


def test_priority_is_kept_with_the_request(lab: Lab) -> None:
    lab.asterisk.set_dialplan(
        global_variables=KEEP,
        extra="[inbound](+)\nexten => important,1,Answer()\n"
        " same => n,Set(QUEUE_PRIO=-5)\n same => n,Goto(support,1)\n",
    )
    pause(lab, "support")
    caller = lab.caller("important", Press("1"), number=CLIENT)
    hung_up_by_asterisk(caller)
    service = lab.service(QUICK)
    service.wait_for(says("kept by Asterisk until now"))
    assert only_task(service)["priority"] == -5


def test_shipped_prompt_is_heard_in_the_callers_language(lab: Lab) -> None:
    lab.asterisk.set_dialplan(global_variables={"CALLBACK_WHEN_DOWN": "keep"})
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT, headers=["X-Language: ru"])
    wait_until(
        lambda: any(
            "Playing 'callback-queue/noted." in line and "(language 'ru')" in line
            for line in lab.asterisk.log.splitlines()
        ),
        5,
        "the prompt in Russian",
    )


@pytest.mark.parametrize(
    ("number", "withheld"), [("anonymous", False), (CLIENT, True), ("12;34567", False)]
)
def test_without_a_plain_number_the_caller_is_back_in_line(
    lab: Lab, number: str, withheld: bool
) -> None:
    lab.asterisk.set_dialplan(global_variables=KEEP)
    pause(lab, "support")
    caller = lab.caller("support", Press("1"), number=number, withheld=withheld)
    lab.witness.wait_for(event("QueueCallerJoin"), count=2)
    assert kept(lab) == 0
    assert not caller.got_bye


def test_service_hangs_and_stores_the_request_late_and_it_is_one_task(
    lab: Lab,
) -> None:
    lab.asterisk.set_dialplan(global_variables=KEEP)
    service = lab.service(QUICK)
    pause(lab, "support")
    caller = lab.caller("support", Press("1", after_ms=1000), number=CLIENT)
    joins(lab, CLIENT, 1)
    service.freeze()
    hung_up_by_asterisk(caller)
    assert kept(lab) == 1
    service.thaw()
    forgotten(lab)
    assert only_task(service)["status"] == "pending"
