# SPDX-License-Identifier: MIT
"""When a process dies during callbacks, each task ends once, nobody is rung twice.

One run of the service has a callback at each of twelve moments, from the key to after
the hangup, each with its own queue, agent and client. Then a process dies and starts
again, and the callbacks continue. The phones count how often they were rung.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from tests.asterisk.callback import (
    CLIENT,
    QUICK,
    ask,
    change_queue,
    pause,
    requested,
    settled,
    stories,
    unpause,
)
from tests.asterisk.conftest import ONLY_22
from tests.lab.config import Queue
from tests.lab.lab import Lab
from tests.lab.phones import Agent, Caller, Client, request, response
from tests.lab.proxy import AGI_MESSAGE, Fate, Proxy, Way, holds
from tests.lab.scenarios import Answer, Behaviour, HangUp, Press
from tests.lab.service import Service, merged, says
from tests.lab.witness import Seen, event

pytestmark = [ONLY_22, pytest.mark.crowd]

OTHER = "4930222222"
THIRD = "4930333333"
#: How long a phone rings that must be ringing when the process dies.
LONG_MS = 9000
#: Sounds of nine and of seven seconds.
LONG_PROMPT = "callback-queue/accepted"
LONG_ALERT = "callback-queue/offer"
TALK = Answer(steps=(HangUp(after_ms=1500),))
#: Allowed difference between the service's talk time and that of the client's phone.
CLOSE_S = 0.4


@attrs.frozen(kw_only=True)
class Moment:
    """The moment at which one callback is when the process dies."""

    queue: str
    #: Agents of the queue; the first is the one called at this moment.
    agent: str
    number: str
    rings: Answer = attrs.field(factory=Answer)
    client: Behaviour = TALK


def _moment(number: int, queue: str, agent: str, **more: Any) -> Moment:
    return Moment(queue=queue, agent=agent, number=f"49301000{number:02}", **more)


#: The key was pressed; the service has not read the request.
KEY = _moment(1, "key", "heidi")
#: The request is stored; the caller's channel was not told.
STORED = _moment(2, "stored", "grace")
#: The caller hears the prompt.
PROMPT = _moment(3, "prompt", "frank")
#: The task waits for an agent.
WAITING = _moment(4, "waiting", "dave")
#: Originate was sent; its result was not received.
ORIGINATE = _moment(5, "originate", "alice")
AGENT_RINGS = _moment(6, "agent-rings", "bob", rings=Answer(ring_ms=LONG_MS))
#: The agent has answered and hears the alert.
ALERT = _moment(7, "alert", "carol")
#: The client's number is dialled; its phone has not answered the INVITE yet.
DIALLED = _moment(
    8, "dialled", "dave", client=attrs.evolve(TALK, ring_ms=LONG_MS, tells=False)
)
CLIENT_RINGS = _moment(
    9, "client-rings", "erin", client=attrs.evolve(TALK, ring_ms=LONG_MS)
)
TALKING = _moment(10, "talking", "frank", client=Answer())
#: The client has hung up; the service has not received it.
HUNG_UP = _moment(11, "hung-up", "grace", client=Answer())
#: The end of the attempt is stored.
ENDED = _moment(12, "ended", "heidi")

MOMENTS = (
    *(KEY, STORED, PROMPT, WAITING, ORIGINATE, AGENT_RINGS, ALERT, DIALLED),
    *(CLIENT_RINGS, TALKING, HUNG_UP, ENDED),
)
#: Callers who press just before the crash; all others pressed long before.
LATE_CALLERS = (KEY, STORED, PROMPT)


class Stage:
    """Twelve callbacks, and everybody who takes part in them."""

    def __init__(self, lab: Lab, agi: Proxy, **control: str) -> None:
        lab.voices = False
        self.lab = lab
        lab.asterisk.set_dialplan(
            global_variables={"CALLBACK_AGI": f"agi://127.0.0.1:{agi.port}"}
        )
        lab.asterisk.set_queues(
            Queue(name=one.queue, members=(one.agent,)) for one in MOMENTS
        )
        for one in MOMENTS:
            pause(lab, one.queue)
        rings = {one.agent: one.rings for one in MOMENTS}
        self.agents: dict[str, Agent] = {
            name: lab.agent(name, first, Answer()) for name, first in rings.items()
        }
        self.clients: dict[str, Client] = {
            one.queue: lab.client(one.number, one.client, TALK) for one in MOMENTS
        }
        long = {"caller_ring_time": "20s", "member_ring_time": "30s"}
        sounds = {
            PROMPT.queue: {"accepted": LONG_PROMPT},
            ALERT.queue: {"member_alert": LONG_ALERT},
        }
        self.service: Service = lab.service(
            merged(
                QUICK,
                {
                    "defaults": long,
                    "control": control,
                    "queues": {
                        queue: {"sounds": {**QUICK["defaults"]["sounds"], **own}}
                        for queue, own in sounds.items()
                    },
                },
            )
        )
        self.callers: dict[str, Caller] = {}
        early = [one for one in MOMENTS if one not in LATE_CALLERS]
        for one in early:
            self.press(one)
        for one in early:
            requested(self.service, one.number)

    # -- steps ---------------------------------------------------------------

    def talk(self, one: Moment) -> None:
        """Client and agent talk to each other."""
        unpause(self.lab, one.queue)
        self.clients[one.queue].wait_for(request("ACK"))

    def set_the_stage(self) -> None:
        """Bring those callbacks to their moments that stay there for a while."""
        lab = self.lab
        for one in (ENDED, TALKING, HUNG_UP):
            self.talk(one)
        self.service.wait_for(says("^task.*talking", queue=TALKING.queue))
        for one in (AGENT_RINGS, ALERT, DIALLED, CLIENT_RINGS):
            unpause(lab, one.queue)
        self.agents[AGENT_RINGS.agent].wait_for(response(180, sent=True))
        lab.witness.wait_for(event("AgentConnect", Queue=ALERT.queue))
        self.clients[DIALLED.queue].wait_for_call()
        self.clients[CLIENT_RINGS.queue].wait_for(response(180, sent=True))
        self.service.wait_for(says("^task.*: completed", queue=ENDED.queue))
        self.press(PROMPT)
        requested(self.service, PROMPT.number)
        lab.witness.wait_for(event("Newexten", AppData=f"{LONG_PROMPT},noanswer"))

    def press(self, one: Moment) -> None:
        """Let somebody call the queue and press the key."""
        self.callers[one.queue] = self.lab.caller(
            one.queue, Press("1", after_ms=100), number=one.number
        )

    def joins(self, one: Moment, count: int = 1) -> Seen:
        """Wait until the caller has joined the queue for the count-th time."""
        return self.lab.witness.wait_for(
            event("QueueCallerJoin", Queue=one.queue, CallerIDNum=one.number),
            20,
            count=count,
        )

    def hang_up_the_client(self, one: Moment) -> None:
        """End the call to a client, as the network does."""
        (dialled,) = self.lab.witness.matching(
            lambda seen: (
                seen.name == "DialBegin"
                and one.number in seen["DialString"]
                and seen["DestChannel"].startswith("PJSIP/")
            )
        )
        self.lab.witness.hang_up(dialled["DestChannel"])
        self.clients[one.queue].wait_for(request("BYE"))

    # -- checks --------------------------------------------------------------

    def ended(self, one: Moment, status: str) -> None:
        """Wait until the task of a moment has this status."""
        self.service.wait_for(says(rf"^task \d+: {status}", queue=one.queue), 40)

    def talk_s(self, one: Moment) -> float:
        """Return how long the client's phone was in the call."""
        client = self.clients[one.queue]
        answered = client.wait_for(response(200, sent=True))
        bye = client.wait_for(lambda sip: sip.status is None and sip.method == "BYE")
        return (bye.at - answered.at) / datetime.timedelta(seconds=1)

    def check(
        self,
        told: dict[str, dict[str, Any]],
        one: Moment,
        status: str,
        dispositions: list[str],
        *,
        rung: int,
    ) -> dict[str, Any]:
        """Check the end of one callback; return the output of ``tasks show`` for it.

        Args:
            told: the outputs for all tasks.
            one: the callback.
            status: the expected status of the task.
            dispositions: those of its attempts, in order.
            rung: how often the client's phone was rung.
        """
        story = told[one.number]
        found = [attempt["disposition"] for attempt in story["attempts"]]
        assert (story["task"]["status"], found) == (status, dispositions), story
        free = ("MEMBER NO ANSWER", "NOT PLACED")
        counted = [one for one in dispositions if one not in free]
        assert story["task"]["attempts"] == len(counted), story
        assert len(self.clients[one.queue].invites) == rung, story
        ends = [line for line in story["history"] if line["status"] == status]
        assert [line["text"] for line in ends[1:]] == [], story
        assert story["history"][-1] == ends[0]
        texts = [line["text"] for line in story["history"]]
        repeated = [text for text in texts if texts.count(text) > max(1, len(found))]
        assert not repeated, story
        return story

    def rung_for(self, one: Moment) -> int:
        """Return how often agents' phones were rung for this client."""
        return sum(
            invite.name_and_number()[1] == one.number
            for agent in self.agents.values()
            for invite in agent.invites
        )


@pytest.fixture
def agi(lab: Lab) -> Iterator[Proxy]:
    """Return a proxy between Asterisk and the service's FastAGI port."""
    ports = lab.asterisk.ports
    with Proxy(ports.spare, ports.agi, AGI_MESSAGE) as proxy:
        yield proxy


def test_service_is_killed_at_twelve_moments(lab: Lab, agi: Proxy) -> None:
    stage = Stage(lab, agi)
    service = stage.service
    stage.set_the_stage()
    # From here on the service dies within a second.
    agi.at(Way.IN, holds("EXEC MSet"), Fate.LOST)
    stage.press(STORED)
    requested(service, STORED.number)
    unpause(lab, ORIGINATE.queue)
    lab.witness.wait_for(
        event("QueueCallerJoin", Queue=ORIGINATE.queue, Position="1"), count=2
    )
    service.freeze()
    asks = agi.at(Way.OUT, holds("agi_arg_1: key"))
    stage.press(KEY)
    asks.wait()
    stage.hang_up_the_client(HUNG_UP)
    service.kill()

    lab.witness.wait_for(
        event("UserEvent", UserEvent="CallbackOutcome", DialStatus="ANSWER"), count=2
    )
    service.start()
    stage.hang_up_the_client(TALKING)
    live = [(one, stage.joins(one, 2)) for one in (KEY, STORED)]
    for one in (KEY, STORED, PROMPT, WAITING):
        unpause(lab, one.queue)
    stage.ended(STORED, "served")
    for one, joined in live:
        lab.witness.wait_for(event("AgentConnect", Queue=one.queue))
        lab.witness.hang_up(joined["Channel"])
    called = [one for one in MOMENTS if one not in (KEY, STORED)]
    for one in called:
        stage.ended(one, "completed")

    told = stories(service)
    assert KEY.number not in told
    stage.check(told, STORED, "served", [], rung=0)
    for one in called:
        story = stage.check(told, one, "completed", ["ANSWERED"], rung=1)
        assert stage.rung_for(one) == 1
        (attempt,) = story["attempts"]
        assert attempt["talk_s"] == pytest.approx(stage.talk_s(one), abs=CLOSE_S)
    assert stage.rung_for(KEY) == stage.rung_for(STORED) == 1


def test_asterisk_is_killed_at_these_moments(lab: Lab, agi: Proxy) -> None:
    stage = Stage(lab, agi)
    service = stage.service
    stage.set_the_stage()
    stage.hang_up_the_client(HUNG_UP)
    agi.at(Way.IN, holds("EXEC MSet"), Fate.HELD)
    stage.press(STORED)
    requested(service, STORED.number)
    asks = agi.at(Way.OUT, holds("agi_arg_1: key"), Fate.HELD)
    stage.press(KEY)
    asks.wait()
    unpause(lab, ORIGINATE.queue)
    lab.witness.wait_for(
        event("QueueCallerJoin", Queue=ORIGINATE.queue, Position="1"), count=2
    )
    lab.asterisk.kill()
    agi.release()
    service.wait_for(says("lost the connection"))
    for caller in stage.callers.values():
        caller.close()

    lab.asterisk.start()
    for one in MOMENTS:
        stage.ended(one, "completed")

    told = stories(service)
    for one in (KEY, STORED, PROMPT, WAITING, ENDED, HUNG_UP):
        stage.check(told, one, "completed", ["ANSWERED"], rung=1)
    for one in (ORIGINATE, AGENT_RINGS, ALERT):
        dispositions = ["MEMBER NO ANSWER", "ANSWERED"]
        stage.check(told, one, "completed", dispositions, rung=1)
    for one in (DIALLED, CLIENT_RINGS):
        stage.check(told, one, "completed", ["UNKNOWN", "ANSWERED"], rung=2)
    # They had talked long enough before the crash, and the service had seen it.
    stage.check(told, TALKING, "completed", ["ANSWERED"], rung=1)


def test_service_is_stopped_at_these_moments(lab: Lab, agi: Proxy) -> None:
    stage = Stage(lab, agi, stop_timeout="3s")
    service = stage.service
    stage.set_the_stage()
    unpause(lab, ORIGINATE.queue)
    lab.witness.wait_for(event("AgentCalled", Queue=ORIGINATE.queue))
    service.order_to_stop()
    service.wait_for(says("following them for 3 s at most"))
    # There is no new attempt for a free agent, but requests are still taken.
    unpause(lab, WAITING.queue)
    stage.hang_up_the_client(HUNG_UP)
    stage.ended(HUNG_UP, "completed")
    stage.press(KEY)
    requested(service, KEY.number)
    assert service.wait(10) == 0
    assert stage.rung_for(WAITING) == 0
    assert not stage.clients[CLIENT_RINGS.queue].matching(request("BYE"))

    service.start()
    for one in (PROMPT, KEY):
        unpause(lab, one.queue)
    stage.hang_up_the_client(TALKING)
    held = [one for one in MOMENTS if one is not STORED]
    for one in held:
        stage.ended(one, "completed")
    told = stories(service)
    for one in held:
        stage.check(told, one, "completed", ["ANSWERED"], rung=1)
        assert stage.rung_for(one) == 1


def test_asterisk_is_restarted_in_a_talk_after_its_queues_were_read_anew(
    lab: Lab,
) -> None:
    change_queue(lab, "support", members=("alice",))
    alice = lab.agent("alice")
    lab.agent("carol")
    client, other = lab.client(CLIENT, Answer()), lab.client(OTHER, TALK)
    third = lab.client(THIRD, TALK)
    service = lab.service(QUICK)
    ask(lab, service)
    client.wait_to_hear(alice)
    for command in ("queue reload all", "module reload app_queue.so"):
        lab.asterisk.cli(command)
    lab.caller("support", Press("1", after_ms=100), number=THIRD)
    requested(service, THIRD)
    # This talk is longer than a success, and the other two began before it.
    ask(lab, service, "sales", OTHER)
    settled(service, "completed")
    # After the reloads the only agent still counts as in a call.
    assert len(alice.invites) == 1

    lab.asterisk.cli("core restart now")
    service.wait_for(says("Asterisk restarts"))
    service.wait_for(says(r"^task \d+: completed"), 30, count=3)

    told = stories(service)
    for number, phone in ((CLIENT, client), (OTHER, other), (THIRD, third)):
        dispositions = [one["disposition"] for one in told[number]["attempts"]]
        assert dispositions[-1] == "ANSWERED"
        assert len(phone.invites) == 1
    # Asterisk hung up both legs before it ended, and kept the talk time.
    (attempt,) = told[CLIENT]["attempts"]
    assert attempt["reason"].startswith("they talked for")
    assert "at least" not in attempt["reason"]
