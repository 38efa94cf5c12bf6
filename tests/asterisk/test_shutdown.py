# SPDX-License-Identifier: MIT
"""``core stop gracefully`` during a call: callbacks wait, and use up no attempt."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.asterisk.callback import CLIENT, QUICK, dispositions, only_task, settled
from tests.lab.errors import DeadlinePassed
from tests.lab.lab import Lab
from tests.lab.processes import pauses
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import says
from tests.lab.witness import event

OTHER = "4930222222"


@contextmanager
def shutting_down(lab: Lab, command: str) -> Iterator[None]:
    """Give a command that returns only at Asterisk's end, and abort it."""
    given = threading.Thread(
        target=lambda: lab.asterisk.cli(command, deadline_s=60), name=command
    )
    given.start()
    try:
        yield
    finally:
        lab.asterisk.cli("core abort shutdown")
        given.join(10)
    assert not given.is_alive()


def wait_until_it_refuses(lab: Lab) -> None:
    """Wait until the command has taken effect: the console then refuses others, too."""
    for _ in pauses(10):
        if "shutdown" in lab.asterisk.cli("core show uptime"):
            return
    raise DeadlinePassed("Asterisk does not shut down")


@pytest.mark.parametrize("command", ["core stop gracefully", "core restart gracefully"])
def test_graceful_shutdown_costs_no_task_a_try(lab: Lab, command: str) -> None:
    lab.agent("alice")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1200),)))
    service = lab.service(QUICK)
    # A caller waits in another queue, so Asterisk does not end yet.
    lab.caller("plain", number=OTHER)
    lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=OTHER))

    with shutting_down(lab, command):
        wait_until_it_refuses(lab)
        service.ask("tasks.add", queue="support", number=CLIENT)
        service.wait_for(says("no callback is placed.*Asterisk is shutting down"))
        # The service tries once more and is refused once more.
        service.wait_for(says("^sent Ping"))
        task = only_task(service)
        assert (task["status"], task["member_attempts"]) == ("pending", 0)
        assert dispositions(service) == ["WITHDRAWN"]

    settled(service, "completed", 30)
    assert only_task(service)["member_attempts"] == 0
    assert dispositions(service) == ["WITHDRAWN", "ANSWERED"]
