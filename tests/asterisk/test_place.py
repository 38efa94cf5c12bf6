# SPDX-License-Identifier: MIT
"""Clients keep their place among live callers, on real Asterisk."""

from __future__ import annotations

from typing import Any

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    dispositions,
    joins,
    pause,
    requested,
    settled,
    story,
)
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, NoAnswer, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

#: The agent stays in the first call until the test ends it, and ends later ones after 2
#: s.
STAYS_FIRST = (Answer(), Answer(steps=(HangUp(after_ms=2000),)))


def with_fairness(fairness: str) -> dict[str, Any]:
    """Return the settings."""
    return merged(QUICK, {"defaults": {"fairness": fairness, "success_duration": "0s"}})


#: Extensions of callers who get a priority, or the place of a task, from the dialplan.
EXTENSIONS = """
[inbound](+)
exten => again,1,Answer()
 same => n,Gosub(callback-place,s,1(sales))
 same => n,Gosub(callback-enter,s,1(sales))
 same => n,Queue(${CALLBACK_QUEUE_ARGS})
 same => n,Hangup()
exten => important,1,Answer()
 same => n,Set(QUEUE_PRIO=5)
 same => n,Goto(sales,1)
"""


def build_line(lab: Lab, service: Service) -> None:
    """Put the client behind two live callers and before two others."""
    for number in ("101", "102"):
        lab.caller("sales", number=number)
        joins(lab, number, 1)
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    for number in ("103", "104"):
        lab.caller("sales", number=number)
        joins(lab, number, 1)


def end_first_call(lab: Lab) -> None:
    """Let the agent take the next caller in line."""
    connect = lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.witness.hang_up(connect["DestChannel"])


def in_line(seen: Seen) -> bool:
    """Return whether a callback has joined a queue."""
    joined = seen.name == "QueueCallerJoin"
    return joined and seen["Uniqueid"].startswith("callback-")


def served(lab: Lab, count: int) -> list[str]:
    """Wait until this many were connected to the agent; return who, in order."""
    lab.witness.wait_for(event("AgentConnect", Queue="sales"), 60, count=count)
    return [one["CallerIDNum"] for one in lab.witness.events("AgentConnect")]


@pytest.mark.parametrize(
    ("fairness", "order"),
    [
        ("place", ["101", "102", CLIENT, "103", "104"]),
        ("live_first", ["101", "102", "103", "104", CLIENT]),
    ],
)
def test_client_is_called_in_the_order_that_the_settings_say(
    lab: Lab, fairness: str, order: list[str]
) -> None:
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness(fairness))
    build_line(lab, service)
    end_first_call(lab)

    assert served(lab, 5) == order
    settled(service, "completed")
    assert dispositions(service) == ["ANSWERED"]


def test_client_keeps_the_place_among_callers_of_the_same_priority(
    lab: Lab,
) -> None:
    lab.asterisk.set_dialplan(extra=EXTENSIONS)
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("sales", number="102")
    assert joins(lab, "102", 1)["Position"] == "1"
    lab.caller("important", number="103")
    assert joins(lab, "103", 1)["Position"] == "1"
    lab.caller("important", Press("1"), number=CLIENT)
    requested(service)
    lab.caller("important", number="104")
    joins(lab, "104", 1)
    assert service.tasks()[0]["priority"] == 5
    end_first_call(lab)

    assert served(lab, 5) == ["101", "103", CLIENT, "104", "102"]
    assert lab.witness.wait_for(in_line)["Position"] == "1"
    settled(service, "completed")


def test_client_who_calls_again_gets_the_place_of_the_task(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=EXTENSIONS)
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("important", Press("1"), number=CLIENT)
    requested(service)
    leg = lab.witness.wait_for(in_line)
    for number in ("102", "103"):
        lab.caller("sales", number=number)
        joins(lab, number, 1)
    lab.caller("again", number="104")
    assert joins(lab, "104", 1)["Position"] == "4"

    lab.caller("again", number=CLIENT)

    # Once when the client pressed the key, and once as a placeholder.
    assert joins(lab, CLIENT, 3)["Position"] == "1"
    lab.witness.wait_for(event("QueueCallerLeave", Uniqueid=leg["Uniqueid"]))
    end_first_call(lab)
    assert served(lab, 5) == ["101", CLIENT, "102", "103", "104"]
    settled(service, "served")
    assert dispositions(service) == ["WITHDRAWN"]


def test_caller_joins_at_the_end_while_the_service_is_down(lab: Lab) -> None:
    lab.asterisk.set_dialplan(extra=EXTENSIONS)
    pause(lab, "sales")
    lab.caller("sales", number="101")
    joins(lab, "101", 1)
    lab.caller("again", number=CLIENT)
    assert joins(lab, CLIENT, 1)["Position"] == "2"


def test_client_in_line_moves_up_the_callers_behind_and_hears_no_music(
    lab: Lab,
) -> None:
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    # The next in turn joins the line at once.
    leg = lab.witness.wait_for(in_line)
    assert leg["Position"] == "1"
    lab.caller("sales", number="102")
    assert joins(lab, "102", 1)["Position"] == "2"
    assert service.status()["queues"]["sales"]["waiting"] == 1
    hears_music = [one["Uniqueid"] for one in lab.witness.events("MusicOnHoldStart")]
    assert len(hears_music) == 3
    assert leg["Uniqueid"] not in hears_music
    end_first_call(lab)
    assert served(lab, 3) == ["101", CLIENT, "102"]
    settled(service, "completed")


def test_client_leaves_the_line_when_all_agents_are_paused(lab: Lab) -> None:
    lab.agent("carol", *STAYS_FIRST)
    lab.client(CLIENT)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    leg = lab.witness.wait_for(in_line)

    pause(lab, "sales")

    lab.witness.wait_for(event("QueueCallerLeave", Uniqueid=leg["Uniqueid"]))
    settled(service, "pending")
    assert dispositions(service) == ["WITHDRAWN"]


def test_live_caller_goes_before_a_callback_whose_agent_does_not_answer(
    lab: Lab,
) -> None:
    change_queue(lab, "sales", timeout_s=2)
    lab.agent("carol", NoAnswer(), *STAYS_FIRST[1:])
    lab.client(CLIENT)
    service = lab.service(with_fairness("live_first"))
    ask(lab, service, "sales")
    # The agent's phone rings for the callback when the live caller joins.
    lab.witness.wait_for(event("AgentCalled", CallerIDNum=CLIENT))
    lab.caller("sales", number="101")
    joins(lab, "101", 1)

    assert served(lab, 2) == ["101", CLIENT]
    settled(service, "completed")


def test_client_leaves_the_line_for_a_while_when_no_agent_answers(lab: Lab) -> None:
    change_queue(lab, "sales", timeout_s=2)
    lab.agent("carol", Answer(), NoAnswer(), NoAnswer(), *STAYS_FIRST[1:])
    lab.client(CLIENT)
    service = lab.service(
        merged(with_fairness("place"), {"defaults": {"member_ring_time": "5s"}})
    )
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("sales", Press("1"), number=CLIENT)
    requested(service)
    lab.witness.wait_for(in_line)
    for number in ("102", "103"):
        lab.caller("sales", number=number)
        joins(lab, number, 1)
    end_first_call(lab)

    settled(service, "pending")
    assert dispositions(service)[0] == "MEMBER NO ANSWER"
    # The place is before those who still wait.
    assert lab.witness.wait_for(in_line, count=2)["Position"] == "1"
    settled(service, "completed")
    order = served(lab, 4)
    assert order.index(CLIENT) < order.index("103")
    assert dispositions(service) == ["MEMBER NO ANSWER", "ANSWERED"]
    assert story(service)["task"]["member_attempts"] == 1


def test_clients_of_two_queues_keep_their_places_with_the_agent_of_both(
    lab: Lab,
) -> None:
    change_queue(lab, "support", members=("carol",))
    lab.agent("carol", *STAYS_FIRST)
    other = "4930999999"
    for number in (CLIENT, other):
        lab.client(number)
    service = lab.service(with_fairness("place"))
    lab.caller("sales", number="101")
    lab.witness.wait_for(event("AgentConnect", Queue="sales"))
    lab.caller("sales", Press("1"), number=CLIENT)
    lab.caller("support", Press("1"), number=other)
    # Each is the next in a line, and the agent may serve either line next.
    lab.witness.wait_for(in_line, count=2)
    for queue, number in (("sales", "102"), ("support", "103")):
        lab.caller(queue, number=number)
        assert joins(lab, number, 1)["Position"] == "2"
    end_first_call(lab)

    lab.witness.wait_for(event("AgentConnect"), 60, count=5)
    order = [one["CallerIDNum"] for one in lab.witness.events("AgentConnect")]
    assert order.index(CLIENT) < order.index("102")
    assert order.index(other) < order.index("103")
    service.wait_for(says(r"^task \d+: completed"), 20, count=2)
    assert [dispositions(service, task_id) for task_id in (1, 2)] == [["ANSWERED"]] * 2
