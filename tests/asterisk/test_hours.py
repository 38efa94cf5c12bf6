# SPDX-License-Identifier: MIT
"""A queue that is closed, on a real Asterisk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    joins,
    only_task,
    originates,
    pause,
    settled,
)
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import merged, says


def test_request_waits_while_the_queue_is_closed_and_is_called_when_it_opens(
    lab: Lab,
) -> None:
    alice = lab.agent("alice")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    today = datetime.now(UTC)
    closed = [f"{today + timedelta(days=days):%Y-%m-%d}" for days in (0, 1)]
    hours = {
        "time_zone": "UTC",
        "days": dict.fromkeys(closed, "closed"),
        "carry_over": "all",
    }
    service = lab.service(merged(QUICK, {"defaults": {"opening_hours": hours}}))
    ask(lab, service)

    # The agents are free, and the service knows it.
    lab.witness.fence()
    assert service.status()["queues"]["support"]["open"] is False
    assert only_task(service)["queue_closed"] is True
    assert originates(lab) == []
    assert "waits for the queue to open" in service.cli("tasks", "list").out

    service.write_settings({"defaults": {"opening_hours": {"enabled": False}}})
    service.reload()
    service.wait_for(says("settings loaded again"))
    settled(service, "completed")
    assert len(alice.invites) == len(client.invites) == 1


def test_request_that_would_be_too_old_at_the_opening_hears_that_we_are_closed(
    lab: Lab,
) -> None:
    today = datetime.now(UTC)
    closed = [f"{today + timedelta(days=days):%Y-%m-%d}" for days in (0, 1)]
    hours = {"time_zone": "UTC", "days": dict.fromkeys(closed, "closed")}
    service = lab.service(merged(QUICK, {"defaults": {"opening_hours": hours}}))
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)

    back = joins(lab, CLIENT, 2)

    assert back["Position"] == "1"
    assert "Playing 'callback-queue/closed." in lab.asterisk.log
    assert service.tasks() == []
