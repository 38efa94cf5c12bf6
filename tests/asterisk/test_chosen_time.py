# SPDX-License-Identifier: MIT
"""A callback at a chosen time, on a real Asterisk."""

from __future__ import annotations

import json
from datetime import datetime

from tests.asterisk.callback import CLIENT, QUICK, settled
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import says


def test_client_is_called_at_the_chosen_time_and_not_before(lab: Lab) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    service = lab.service(QUICK)
    added = service.cli("tasks", "add", "support", CLIENT, "--at", "+5s", "--json")

    settled(service, "completed")

    chosen_at = json.loads(added.out)["task"]["chosen_at"]
    (attempt,) = service.task(1)["attempts"]
    assert datetime.fromisoformat(attempt["started_at"]) >= datetime.fromisoformat(
        chosen_at
    )
    assert service.task(1)["history"][0]["reason_code"] == "waits_for_chosen_time"
    assert len(client.invites) == 1


def test_task_is_moved_and_called_at_once(lab: Lab) -> None:
    lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    service = lab.service(QUICK)
    service.cli("tasks", "add", "support", CLIENT, "--at", "+1h")
    assert client.invites == []

    moved = service.cli("tasks", "reschedule", "1", "--now")

    assert moved.out == "task 1 is due now\n"
    service.wait_for(says("to be called as soon as possible, by hand"))
    settled(service, "completed")
    assert len(client.invites) == 1
