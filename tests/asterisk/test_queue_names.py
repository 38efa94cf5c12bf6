# SPDX-License-Identifier: MIT
"""Queues with names that are not plain ASCII words are called back like any other."""

from __future__ import annotations

import re

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    joins,
    only_task,
    pause,
    requested,
    settled,
    unpause,
)
from tests.lab.config import Queue
from tests.lab.lab import Lab
from tests.lab.processes import wait_until
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import merged, says
from tests.lab.witness import event

TALK = Answer(steps=(HangUp(after_ms=1500),))


@pytest.mark.parametrize("name", ["Продажи", "Süd/Ost"])
def test_queue_of_any_name(lab: Lab, name: str) -> None:
    lab.asterisk.set_queues(
        [*lab.asterisk.queues, Queue(name=name, members=("alice",))]
    )
    lab.asterisk.set_dialplan(
        extra=f"""
[inbound](+)
exten => named,1,Answer()
 same => n,Queue("{name}",t)
 same => n,Hangup()
"""
    )
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, name)
    given = merged(QUICK, {"queues": {name: {}}, "reports": {"queue_log": True}})
    service = lab.service(given)

    # A number that must not be called: the caller is back in the same queue.
    lab.caller("named", Press("1"), number="112")
    joined = joins(lab, "112", 1)
    lab.witness.wait_for(
        event("QueueCallerJoin", Uniqueid=joined["Uniqueid"], Queue=name), count=2
    )
    lab.asterisk.cli(f"channel request hangup {joined['Channel']}")
    lab.caller("named", Press("1"), number=CLIENT)
    requested(service)
    assert only_task(service)["queue"] == name
    unpause(lab, name)

    settled(service, "completed")
    assert len(client.invites) == 1
    # The reports have the name, too.
    log = lab.asterisk.home / "log/queue_log"
    line = re.compile(rf"\|{re.escape(name)}\|[^|]*\|CALLBACKREQUEST")
    wait_until(lambda: line.search(log.read_text()), 5, "a line of the report")
    # A missed call in this queue counts, too.
    pause(lab, name)
    lab.caller("named", HangUp(after_ms=700), number="4930555001")
    service.wait_for(says("^task .*: missed call", number="4930555001"))


def test_asterisk_itself_cuts_the_name_of_a_queue_at_a_comma(lab: Lab) -> None:
    """So the settings refuse such a name with an explanation."""
    lab.asterisk.set_queues(
        [*lab.asterisk.queues, Queue(name="a,b", context="lab-exit")]
    )
    lab.asterisk.set_dialplan(
        extra="""
[inbound](+)
exten => named,1,Answer()
 same => n,Queue("a,b",t)
 same => n,Hangup()
"""
    )
    lab.caller("named", Press("1"), number=CLIENT)
    assert lab.witness.wait_for(event("QueueCallerJoin"))["Queue"] == "a,b"
    assert lab.witness.wait_for(event("UserEvent"))["Queue"] == "a"
