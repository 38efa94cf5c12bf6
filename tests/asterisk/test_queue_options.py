# SPDX-License-Identifier: MIT
"""What options of queues.conf do with clients who keep their place.

docs/queue-options.md has the results.
"""

from __future__ import annotations

from tests.asterisk.callback import (
    CLIENT,
    change_queue,
    dispositions,
    joins,
    requested,
    settled,
    story,
)
from tests.asterisk.test_place import (
    STAYS_FIRST,
    end_first_call,
    in_line,
    served,
    with_fairness,
)
from tests.lab.lab import Lab
from tests.lab.scenarios import Press
from tests.lab.service import Service, says
from tests.lab.witness import event


def busy_agent(lab: Lab, **options: str) -> Service:
    """Let the only agent talk to the first caller."""
    if options:
        named = {name.replace("_", "-"): value for name, value in options.items()}
        change_queue(lab, "sales", options=named)
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    return service


def test_client_does_not_take_the_last_place_unless_next(lab: Lab) -> None:
    service = busy_agent(lab, maxlen="2")
    lab.caller("sales", number="102")
    joins(lab, "102", 1)
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    lab.caller("sales", number="103")
    joins(lab, "103", 1)
    end_first_call(lab)
    assert served(lab, 4) == ["101", "102", CLIENT, "103"]
    settled(service, "completed")
    assert dispositions(service) == ["ANSWERED"]


def test_queue_that_takes_nobody_costs_the_client_no_try(lab: Lab) -> None:
    service = busy_agent(lab)
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    lab.witness.wait_for(in_line)
    change_queue(
        lab, "sales", options={"leavewhenempty": "inuse", "joinempty": "inuse"}
    )
    service.wait_for(says("sends all callers away"), 30)
    service.wait_for(says("takes no caller now"), 30)
    assert {*dispositions(service)} <= {"WITHDRAWN", "under way"}
    end_first_call(lab)
    settled(service, "completed", 60)
    assert story(service)["task"]["member_attempts"] == 0
