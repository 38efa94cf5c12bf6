# SPDX-License-Identifier: MIT
"""The manager link breaks, goes silent, is late or repeats all, on a real Asterisk.

A proxy between the service and the manager port causes this at one message of a
callback. In every case the callback must end, and the client must be rung once for each
attempt that reached Asterisk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    change_queue,
    pause,
    requested,
    settled,
    stories,
    unpause,
)
from tests.asterisk.conftest import ONLY_22
from tests.lab.lab import Lab
from tests.lab.phones import Client
from tests.lab.proxy import AMI_MESSAGE, Fate, Proxy, Way, holds
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import event

pytestmark = [ONLY_22, pytest.mark.crowd]

TALK = Answer(steps=(HangUp(after_ms=1200),))
TALK_S = 1.2
#: Allowed difference of the dialplan's measurements from it.
CLOSE_S = 0.4

ANSWERED = ("ANSWERED",)
#: Asterisk never received the first one.
AGAIN = ("MEMBER NO ANSWER", "ANSWERED")


def says_of_callback(name: str, half: str, *more: str) -> Callable[[bytes], bool]:
    """Return a predicate: this event about one half of a callback."""
    told = holds(f"Event: {name}\r\n", *more)
    return lambda message: (
        told(message)
        and any(
            line.startswith(b"Uniqueid: callback-") and line.endswith(half.encode())
            for line in message.split(b"\r\n")
        )
    )


ORIGINATE = holds("Action: Originate\r\n", "callback-member")


@attrs.frozen
class Trouble:
    """What happens to one message of a callback."""

    way: Way
    message: Callable[[bytes], object]
    fate: Fate
    dispositions: tuple[str, ...] = ANSWERED


BREAKS = [
    Trouble(Way.OUT, ORIGINATE, Fate.LAST),
    Trouble(Way.OUT, ORIGINATE, Fate.HALF, AGAIN),
    Trouble(Way.IN, says_of_callback("AgentCalled", "-2"), Fate.HALF),
    Trouble(Way.IN, says_of_callback("AgentConnect", "-2"), Fate.HALF),
    Trouble(Way.IN, says_of_callback("DialBegin", "-1"), Fate.HALF),
    Trouble(Way.IN, says_of_callback("BridgeEnter", "-1"), Fate.LAST),
    Trouble(Way.IN, says_of_callback("UserEvent", "-1", "CallbackOutcome"), Fate.HALF),
    Trouble(Way.IN, says_of_callback("Hangup", "-1"), Fate.HALF),
]
SILENCES = [
    Trouble(Way.OUT, ORIGINATE, Fate.LOST, AGAIN),
    Trouble(Way.IN, says_of_callback("Newchannel", "-1"), Fate.LOST),
    Trouble(Way.IN, says_of_callback("BridgeEnter", "-1"), Fate.LOST),
]


@pytest.fixture
def link(lab: Lab) -> Iterator[Proxy]:
    """Return a proxy between the service and Asterisk's manager port."""
    ports = lab.asterisk.ports
    with Proxy(ports.spare, ports.ami, AMI_MESSAGE) as proxy:
        yield proxy


def serve(lab: Lab, link: Proxy, **ami: str) -> Service:
    """Run the service behind the proxy."""
    lab.voices = False
    settings = {
        "ami": {"port": link.port, **ami},
    }
    return lab.service(merged(QUICK, settings))


def check(
    story: dict[str, Any], client: Client, dispositions: tuple[str, ...], what: str
) -> None:
    """Check the end of a callback, and that its events have each step once."""
    message = f"{what}: {story}"
    attempts = story["attempts"]
    assert [one["disposition"] for one in attempts] == list(dispositions), message
    assert story["task"]["attempts"] == 1, message
    assert len(client.invites) == 1, message
    assert attempts[-1]["talk_s"] == pytest.approx(TALK_S, abs=CLOSE_S), message
    steps = Counter((line["attempt_id"], line["text"]) for line in story["history"])
    assert [step for step in steps if steps[step] > 1] == [], message


def play(lab: Lab, service: Service, link: Proxy, troubles: Sequence[Trouble]) -> None:
    """Run one callback after another, each with its trouble, on one service."""
    change_queue(lab, "support", members=("alice",))
    alice = lab.agent("alice")
    numbers = [f"493010{number:04}" for number in range(len(troubles))]
    clients = []
    for number, trouble in zip(numbers, troubles, strict=True):
        clients.append(lab.client(number, TALK))
        pause(lab, "support")
        lab.caller("support", Press("1", after_ms=100), number=number)
        task_id = requested(service, number)["task_id"]
        moment = link.at(trouble.way, trouble.message, trouble.fate)
        unpause(lab, "support")
        moment.wait()
        service.wait_for(says(rf"^task {task_id}: completed"), 30)

    told = stories(service)
    for number, client, trouble in zip(numbers, clients, troubles, strict=True):
        what = f"{trouble.fate} {troubles.index(trouble)}"
        check(told[number], client, trouble.dispositions, what)
    # An agent is rung for each attempt that reached Asterisk, and for no other.
    assert len(alice.invites) == len(troubles)


def test_link_breaks_at_eight_moments(lab: Lab, link: Proxy) -> None:
    service = serve(lab, link)
    play(lab, service, link, BREAKS)
    assert link.connections == 1 + len(BREAKS)


def test_link_goes_silent_at_three_moments(lab: Lab, link: Proxy) -> None:
    # A service that soon notices when Asterisk is silent.
    service = serve(lab, link, ping_interval="1s", timeout="2s")
    play(lab, service, link, SILENCES)
    assert link.connections == 1 + len(SILENCES)


def test_everything_is_said_twice(lab: Lab, link: Proxy) -> None:
    service = serve(lab, link)
    link.always(Way.IN, Fate.TWICE)
    play(lab, service, link, [Trouble(Way.OUT, ORIGINATE, Fate.PASSES)])
    assert link.connections == 1


def test_all_after_the_agents_answer_comes_when_the_talk_is_over(
    lab: Lab, link: Proxy
) -> None:
    service = serve(lab, link)
    change_queue(lab, "support", members=("alice",))
    lab.agent("alice")
    client = lab.client(CLIENT, TALK)
    pause(lab, "support")
    lab.caller("support", Press("1", after_ms=100), number=CLIENT)
    requested(service)
    late = link.at(Way.IN, says_of_callback("AgentConnect", "-2"), Fate.HELD)
    unpause(lab, "support")
    late.wait()
    lab.witness.wait_for(event("UserEvent", UserEvent="CallbackOutcome"))
    link.release()
    settled(service, "completed")

    check(stories(service)[CLIENT], client, ANSWERED, "late")
