# SPDX-License-Identifier: MIT
"""The tasks in PostgreSQL: a callback from end to end, and a server that hangs."""

from __future__ import annotations

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    dispositions,
    hung_up_by_asterisk,
    requested,
    settled,
)
from tests.asterisk.test_request import played, press_and_come_back, queue_of_three
from tests.lab.databases import PostgreSQL
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import merged


def test_caller_presses_1_and_is_called_back(lab: Lab, postgresql_url: str) -> None:
    alice = lab.agent("alice")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    service = lab.service(merged(QUICK, {"database": {"url": postgresql_url}}))

    hung_up_by_asterisk(ask(lab, service))

    settled(service, "completed")
    assert dispositions(service) == ["ANSWERED"]
    assert alice.invites[0].name_and_number()[1] == CLIENT


def test_server_hangs_while_the_key_is_pressed(
    lab: Lab, postgresql: PostgreSQL, postgresql_url: str
) -> None:
    lab.agent("alice")
    lab.client(CLIENT, Answer(steps=(HangUp(after_ms=1500),)))
    service = lab.service(merged(QUICK, {"database": {"url": postgresql_url}}))
    caller = queue_of_three(lab, "4930999999")
    postgresql.freeze()
    try:
        back = press_and_come_back(lab, caller)
        played(lab, "callback-queue/hold-on")
    finally:
        postgresql.thaw()

    assert back["Position"] == "2"
    assert not caller.got_bye
    # Well again, the next one is heard without anybody having done anything.
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    assert [task["number"] for task in service.tasks(status="pending")] == [CLIENT]
