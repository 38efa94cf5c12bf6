# SPDX-License-Identifier: MIT
"""Tasks in PostgreSQL: a callback from end to end, and trouble with the server.

The last test has the same trouble with a SQLite file.
"""

from __future__ import annotations

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    dispositions,
    hung_up_by_asterisk,
    pause,
    requested,
    settled,
    unpause,
)
from tests.asterisk.test_request import played, press_and_come_back, queue_of_three
from tests.lab.databases import PostgreSQL
from tests.lab.lab import Lab
from tests.lab.phones import request
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says

OTHER = "4930222222"


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
    # After the trouble the next request is accepted without any intervention.
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    assert [task["number"] for task in service.tasks(status="pending")] == [CLIENT]


def another_is_called(lab: Lab, service: Service) -> None:
    """The database has the first task pending again; the agent gets another one."""
    other = lab.client(OTHER, Answer(steps=(HangUp(after_ms=1200),)))
    service.ask("tasks.add", queue="support", number=OTHER)
    other.wait_for(request("INVITE"))


def test_database_is_set_back_in_a_talk(
    lab: Lab, postgresql: PostgreSQL, postgresql_url: str
) -> None:
    lab.agent("alice")
    lab.agent("bob")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=4000),)))
    service = lab.service(merged(QUICK, {"database": {"url": postgresql_url}}))
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    with postgresql.copy(postgresql_url) as copy:
        unpause(lab, "support")
        service.wait_for(says("agent and client are talking"))
        postgresql.set_back(postgresql_url, copy)
    another_is_called(lab, service)

    service.wait_for(says(r"^task \d+: completed"), count=2)
    assert service.status()["calls_under_way"] == 0
    assert len(client.invites) == 1
    assert dispositions(service) == ["ANSWERED"]
    service.wait_for(says("is stored again: the database was set back"))


def test_sqlite_file_is_put_back_in_a_talk(lab: Lab) -> None:
    lab.agent("alice")
    lab.agent("bob")
    client = lab.client(CLIENT, Answer(steps=(HangUp(after_ms=4000),)))
    service = lab.service(QUICK)
    pause(lab, "support")
    lab.caller("support", Press("1"), number=CLIENT)
    requested(service)
    copy = service.home / "copy.db"
    assert service.cli("db", "backup", str(copy)).exit_code == 0
    unpause(lab, "support")
    service.wait_for(says("agent and client are talking"))
    copy.replace(service.home / "callback-queue.db")
    # The request that notices it fails; the next ones use the new file.
    service.status()
    service.wait_for(says("replaced while in use"))
    another_is_called(lab, service)

    service.wait_for(says(r"^task \d+: completed"), count=2)
    assert service.status()["calls_under_way"] == 0
    assert len(client.invites) == 1
    assert dispositions(service) == ["ANSWERED"]
