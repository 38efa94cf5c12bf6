# SPDX-License-Identifier: MIT
"""Two Asterisks and one service: called from where an agent is free, and only once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    hung_up_by_asterisk,
    joins,
    only_task,
    originates,
    pause,
    requested,
    settled,
    story,
)
from tests.lab.asterisk import Asterisk
from tests.lab.lab import Lab
from tests.lab.program import FORK
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, default_settings, merged, says

#: Two Asterisks at the same time.
pytestmark = pytest.mark.crowd

OTHER = "4930765432"
TALKS = Answer(steps=(HangUp(after_ms=1500),))


@pytest.fixture(params=["berlin", ""], ids=["named", "nameless"])
def berlin(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Lab]:
    """The laboratory of another Asterisk, whose dialplan names its node."""
    address = f"agi://127.0.0.1:{lab.asterisk.ports.agi}"
    asterisk = Asterisk(
        22,
        global_variables={"CALLBACK_AGI": f"{address}/berlin"},
        system_name=request.param,
    )
    try:
        asterisk.start()
        other = Lab(asterisk, launcher=FORK)
        yield other
        other.close()
    finally:
        asterisk.close()


def node_of(lab: Lab) -> Mapping[str, Any]:
    return {
        "ami": default_settings(lab.asterisk, lab.asterisk.home)["ami"],
        "history": {"enabled": False},
    }


def service_of(lab: Lab, berlin: Lab) -> Service:
    """Start one service for both, by the settings of the sample's form."""
    address = f"agi://127.0.0.1:{lab.asterisk.ports.agi}"
    lab.asterisk.set_dialplan(
        global_variables={"CALLBACK_AGI": f"{address}/default"},
    )
    nodes = {"default": node_of(lab), "berlin": node_of(berlin)}
    without = {"ami": None, "history": None, "nodes": nodes}
    service = lab.service(merged(QUICK, without), start=False)
    service.start(ready=False)
    for node in nodes:
        service.wait_for(says(f"connected to Asterisk {node} at"))
    service.wait_until_ready()
    return service


named = pytest.mark.parametrize("berlin", ["berlin"], indirect=True, ids=["named"])
nameless = pytest.mark.parametrize("berlin", [""], indirect=True, ids=["nameless"])


@named
def test_request_on_one_asterisk_is_called_once_where_an_agent_is_free(
    lab: Lab, berlin: Lab
) -> None:
    here, there = lab.client(CLIENT, TALKS), berlin.client(CLIENT, TALKS)
    berlin.agent("alice")
    pause(lab, "support")
    service = service_of(lab, berlin)

    hung_up_by_asterisk(lab.caller("support", Press("1"), number=CLIENT))
    requested(service)
    settled(service, "completed")

    assert only_task(service)["attempts"] == 1
    assert len(there.invites) == 1
    assert not here.invites
    assert not originates(lab)
    assert len(originates(berlin)) == 1


@named
def test_request_in_berlin_is_told_apart_by_the_address_of_its_dialplan(
    lab: Lab, berlin: Lab
) -> None:
    here = lab.client(CLIENT, TALKS)
    lab.agent("alice")
    pause(berlin, "support")
    service = service_of(lab, berlin)

    hung_up_by_asterisk(berlin.caller("support", Press("1"), number=CLIENT))
    line = requested(service)
    assert line["linkedid"].startswith("berlin-"), line
    settled(service, "completed")
    assert len(here.invites) == 1


@named
def test_client_in_a_call_on_one_asterisk_is_not_called_from_the_other(
    lab: Lab, berlin: Lab
) -> None:
    there, other = berlin.client(CLIENT, TALKS), berlin.client(OTHER, TALKS)
    berlin.agent("alice")
    pause(lab, "support")
    service = service_of(lab, berlin)
    lab.caller("support", number=CLIENT)
    waiting = joins(lab, CLIENT, 1)

    service.ask("tasks.add", queue="support", number=CLIENT)
    service.ask("tasks.add", queue="support", number=OTHER)
    # The one behind in line is called, so nothing but the call kept the first one.
    settled(service, "completed")
    assert len(other.invites) == 1
    assert not there.invites
    why = story(service, 1)["task"]["why_not_yet"]
    assert why["code"] == "client_in_a_call", why

    lab.witness.hang_up(waiting["Channel"])
    service.wait_for(says("^task 1: completed"))
    assert len(there.invites) == 1


@named
def test_one_asterisk_is_killed_and_the_other_goes_on(lab: Lab, berlin: Lab) -> None:
    there = berlin.client(CLIENT, TALKS)
    berlin.agent("alice")
    service = service_of(lab, berlin)
    lab.asterisk.kill()
    service.wait_for(says("lost the connection to Asterisk default|Asterisk default"))

    service.ask("tasks.add", queue="support", number=CLIENT)
    settled(service, "completed")
    assert len(there.invites) == 1
    links = {node["name"]: node["connected"] for node in service.status()["nodes"]}
    assert links == {"default": False, "berlin": True}

    lab.asterisk.start()
    service.wait_for(says("connected to Asterisk default at"), 40, count=2)


@nameless
def test_second_asterisk_without_a_systemname_places_no_call(
    lab: Lab, berlin: Lab
) -> None:
    here, there = lab.client(CLIENT, TALKS), berlin.client(CLIENT, TALKS)
    lab.agent("alice")
    berlin.agent("alice")
    service = service_of(lab, berlin)
    service.wait_for(says("no call is placed: the Asterisk"))
    (refused,) = [one for one in service.status()["nodes"] if one["error"]]
    told = service.cli("check").out
    assert "it has no systemname, like default: so no callback is placed" in told

    service.ask("tasks.add", queue="support", number=CLIENT)
    settled(service, "completed")
    rung, quiet = (there, here) if refused["name"] == "default" else (here, there)
    assert len(rung.invites) == 1
    assert not quiet.invites
