# SPDX-License-Identifier: MIT
"""The settings name a PJSIP endpoint, or a queue, that Asterisk does not have."""

from __future__ import annotations

from tests.asterisk.callback import CLIENT, QUICK, pause, settled, unpause
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import merged, says


def test_wrong_trunk_rings_nobody_until_it_is_mended_and_reloaded(lab: Lab) -> None:
    agent = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1200),)))
    wrong = merged(QUICK, {"defaults": {"outbound_channel": "PJSIP/{number}@trnk"}})
    service = lab.service(wrong)
    warned = service.wait_for(says("clients can not be called", trunk="trnk"))
    assert "Asterisk has no PJSIP endpoint trnk" in warned["message"]
    assert service.status()["queues"]["support"]["missing_trunk"] == "trnk"

    service.cli("tasks", "add", "support", CLIENT)
    # Each change of the agents lets the scheduler look again.
    pause(lab, "support")
    unpause(lab, "support")
    lab.witness.fence()
    (task,) = service.tasks()
    assert task["why_not_yet"]["code"] == "no_trunk"
    assert agent.invites == []

    channel = f"PJSIP/trunk/sip:{{number}}@{client.slot}"
    service.write_settings({"defaults": {"outbound_channel": channel}})
    service.reload()
    settled(service, "completed")
    assert len(client.invites) == 1

    # A wrong name of a queue is a warning at the reload, too.
    service.write_settings({"queues": {"suport": {}}})
    service.reload()
    warned = service.wait_for(says("^Asterisk has no queue", name="suport"))
    assert "no queue suport (but support)" in warned["message"]
