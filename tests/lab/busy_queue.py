# SPDX-License-Identifier: MIT
"""A queue that never empties: ``python -m tests.lab.busy_queue --minutes 10``.

Three agents take calls while live callers come so fast that some always wait. At random
times clients join the queue and press 1. At the end a table tells who joined and who
talked when. Exit code 0 only if the order is the promised one:

- ``fairness: place``: everybody is given an agent in the order of joining. As agents
  differ, one handling time later than somebody who joined later is in order, too.
- ``fairness: live_first``: no agent rings for a callback unless another one is free for
  each live caller who waits.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress

import attrs

from tests.lab.asterisk import Asterisk
from tests.lab.config import Queue
from tests.lab.errors import DeadlinePassed, LabError
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp, Press
from tests.lab.service import says
from tests.lab.witness import Seen

QUEUE = Queue(name="support", members=("alice", "bob", "carol"))
FAIRNESS = ("place", "live_first")
#: Clients join in this part of the time.
_FIRST_JOIN, _LAST_JOIN = 0.05, 0.7
#: An agent may be free so long before the end of the call is reported, in seconds.
_REPORTED_S = 0.2
#: Time limit in seconds, for each client, for the calls after the last live caller.
_CLIENT_S = 30.0
_OUR_CHANNEL = "callback-"

Say = Callable[[str], None]


@attrs.frozen(kw_only=True)
class Scale:
    """How long the run lasts, and how many people take part."""

    traffic_s: float
    clients: int
    #: How long each agent talks, in milliseconds.
    talks_ms: tuple[int, int, int]
    #: How long clients wait before they press 1, in milliseconds.
    presses_ms: tuple[int, int]
    #: Number of live callers who wait at any time.
    waiting: int
    seed: int = 1


@attrs.define(kw_only=True)
class Person:
    """A live caller or a client; times are seconds on the witness's clock."""

    number: str
    is_client: bool
    joined_at: float
    #: When an agent's phone began to ring, and when the agent answered.
    rung_at: float
    agent_at: float
    #: When the agent's call ended.
    ended_at: float
    #: When the client of a callback answered.
    talks_at: float


@attrs.frozen
class Story:
    """Who joined and who talked when, and the faults found."""

    fairness: str
    began_at: float
    people: list[Person]

    @property
    def handling_s(self) -> float:
        """The longest time that an agent needed for one call, in seconds."""
        return max(one.ended_at - one.rung_at for one in self.people)

    @property
    def served(self) -> list[Person]:
        """Everybody in the order in which agents answered."""
        return sorted(self.people, key=lambda one: one.agent_at)

    def behind_turn_s(self, person: Person) -> float:
        """Return how much later than somebody who joined later this one was served."""
        later = [p.agent_at for p in self.people if p.joined_at > person.joined_at]
        return max(0.0, person.agent_at - min(later, default=person.agent_at))

    def broken(self) -> list[str]:
        """Return how the promise was broken; empty if it was kept."""
        if self.fairness == "place":
            return self._not_in_order()
        return self._before_live_callers()

    def _not_in_order(self) -> list[str]:
        wrong = []
        for person in self.people:
            late_s = self.behind_turn_s(person)
            if late_s > self.handling_s:
                wrong.append(
                    f"{person.number} was given an agent {late_s:.1f} s after somebody"
                    f" who joined later; one call takes {self.handling_s:.1f} s"
                )
        return wrong

    def _before_live_callers(self) -> list[str]:
        wrong = []
        for client in self.people:
            if not client.is_client:
                continue
            at = client.rung_at
            waiting = sum(
                not one.is_client and one.joined_at < at < one.rung_at
                for one in self.people
            )
            busy = sum(
                one.rung_at <= at < one.ended_at - _REPORTED_S for one in self.people
            )
            free = len(QUEUE.members) - busy
            if waiting > free:
                wrong.append(
                    f"an agent rang for {client.number} while {waiting} live callers"
                    f" waited for {free} other agents"
                )
        return wrong

    def table(self) -> str:
        """Return the clients' rows and a summary of the live callers."""
        joined = sorted(self.people, key=lambda one: one.joined_at)
        served = self.served
        lines = [
            f"fairness: {self.fairness}",
            f"{'client':>12} {'joined':>9} {'agent':>9} {'talk':>9}"
            f" {'waited':>8} {'joined as':>10} {'served as':>10} {'after turn':>11}",
        ]
        for one in joined:
            if one.is_client:
                lines.append(
                    f"{one.number:>12} {one.joined_at - self.began_at:7.1f} s"
                    f" {one.agent_at - self.began_at:7.1f} s"
                    f" {one.talks_at - self.began_at:7.1f} s"
                    f" {one.agent_at - one.joined_at:6.1f} s"
                    f" {joined.index(one) + 1:10} {served.index(one) + 1:10}"
                    f" {self.behind_turn_s(one):9.1f} s"
                )
        live = [one for one in self.people if not one.is_client]
        waits = [one.agent_at - one.joined_at for one in live]
        lines.append(
            f"{len(live)} live callers waited {min(waits):.1f} to {max(waits):.1f} s"
            f" (median {statistics.median(waits):.1f} s); the last was given an agent"
            f" at {max(one.agent_at for one in live) - self.began_at:.1f} s; one call"
            f" took an agent {self.handling_s:.1f} s at most"
        )
        return "\n".join(lines)


def play(lab: Lab, fairness: str, scale: Scale, say: Say = lambda text: None) -> Story:
    """Let live callers and clients come; return what the witness saw.

    Raises:
        LabError: somebody was not served at all.
    """
    dice = random.Random(scale.seed)
    lab.voices = False
    lab.lifetime_s = int(scale.traffic_s + scale.clients * _CLIENT_S) + 60
    for name, talk_ms in zip(QUEUE.members, scale.talks_ms, strict=True):
        lab.agent(name, Answer(ring_ms=200, steps=(HangUp(after_ms=talk_ms),)))
    clients = [f"49301000{number:02}" for number in range(1, scale.clients + 1)]
    for number in clients:
        lab.client(number)
    # Short sounds: an agent hangs up after a while, whatever is still being played.
    sounds = {"accepted": "beep", "member_alert": "beep"}
    settings = {"fairness": fairness, "success_duration": "0s", "sounds": sounds}
    service = lab.service({"defaults": settings})
    began_at = time.monotonic()
    end = began_at + scale.traffic_s
    times = [dice.uniform(_FIRST_JOIN, _LAST_JOIN) for _ in clients]
    due = [began_at + scale.traffic_s * part for part in sorted(times)]
    waiting = list(clients)
    live: set[str] = set()
    while (now := time.monotonic()) < end:
        while waiting and due[0] <= now:
            number = waiting.pop(0)
            due.pop(0)
            after_ms = dice.randint(*scale.presses_ms)
            lab.caller(QUEUE.name, Press("1", after_ms=after_ms), number=number)
            say(f"{now - began_at:6.1f} s: {number} calls, and presses 1 soon")
        left = _leaving(lab, live)
        for _ in range(scale.waiting + len(left) - len(live)):
            number = f"100{len(live) + 1:03}"
            live.add(number)
            lab.witness.originate(
                f"Local/{QUEUE.name}@inbound/n",
                caller_id=f'"Live" <{number}>',
                timeout_s=600,
            )
        until = min([end, *due[:1]])
        with suppress(DeadlinePassed):
            lab.witness.wait_for(
                lambda seen: _leaves(seen, live),
                max(0.0, until - time.monotonic()),
                count=len(left) + 1,
            )
    say(f"{scale.traffic_s:6.1f} s: no more live callers come")
    service.wait_for(
        says(r"^task \d+: completed", status="completed"),
        scale.clients * _CLIENT_S,
        count=scale.clients,
    )
    lab.witness.wait_for(
        lambda seen: seen.name == "AgentComplete",
        60,
        count=len(live) + scale.clients,
    )
    return _told(lab, fairness, began_at, clients, sorted(live))


def _leaves(seen: Seen, live: set[str]) -> bool:
    return seen.name == "QueueCallerLeave" and seen["CallerIDNum"] in live


def _leaving(lab: Lab, live: set[str]) -> list[Seen]:
    return [one for one in lab.witness.events() if _leaves(one, live)]


def _told(
    lab: Lab, fairness: str, began_at: float, clients: list[str], live: list[str]
) -> Story:
    """Make the story of all events."""
    lab.witness.fence()
    events = lab.witness.events()
    people = []
    for number in [*clients, *live]:
        mine = [one for one in events if one.headers.get("CallerIDNum") == number]
        is_client = number in clients
        ours = [
            one for one in mine if one["Uniqueid"].startswith(_OUR_CHANNEL) is is_client
        ]
        called_in = [
            one for one in mine if not one["Uniqueid"].startswith(_OUR_CHANNEL)
        ]
        rung = _first(number, ours, "AgentCalled")
        connected = _first(number, ours, "AgentConnect")
        people.append(
            Person(
                number=number,
                is_client=is_client,
                joined_at=_first(number, called_in, "QueueCallerJoin").at,
                rung_at=rung.at,
                agent_at=connected.at,
                ended_at=_end(number, events, connected).at,
                talks_at=_client_answers(events, rung) if is_client else 0.0,
            )
        )
    return Story(fairness, began_at, people)


def _end(number: str, events: list[Seen], connected: Seen) -> Seen:
    """Return the end of a talk: the agent's next such event.

    On Asterisk 16 the event may lack the caller's headers: that channel is gone.
    """
    later = [
        one
        for one in events
        if one.at > connected.at
        and one.headers.get("Interface") == connected["Interface"]
    ]
    return _first(number, later, "AgentComplete")


def _first(number: str, events: list[Seen], name: str) -> Seen:
    for one in events:
        if one.name == name:
            return one
    raise LabError(f"{number}: no {name} was seen")


def _client_answers(events: list[Seen], rung: Seen) -> float:
    caller_half = rung["Uniqueid"].removesuffix("-2") + "-1"
    for one in events:
        if one.name == "BridgeEnter" and one["Uniqueid"] == caller_half:
            return one.at
    raise LabError(f"{caller_half}: the client did not answer")


def main() -> int:
    """Run it with each fairness; return 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.busy_queue")
    parser.add_argument("--minutes", type=float, default=10, help="of live callers")
    parser.add_argument("--clients", type=int, default=10, help="who press 1")
    parser.add_argument("--asterisk", type=int, default=22, help="major version")
    parser.add_argument("--fairness", choices=FAIRNESS, action="append")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    scale = Scale(
        traffic_s=60 * options.minutes,
        clients=options.clients,
        talks_ms=(5000, 7000, 9000),
        presses_ms=(500, 2000),
        waiting=4,
        seed=options.seed,
    )
    broken: list[str] = []
    for fairness in options.fairness or FAIRNESS:
        with Asterisk(options.asterisk, queues=[QUEUE]) as asterisk:
            print(f"\nAsterisk {asterisk.version}, fairness: {fairness}", flush=True)
            lab = Lab(asterisk)
            try:
                story = play(lab, fairness, scale, lambda text: print(text, flush=True))
            finally:
                lab.close()
        print(f"\n{story.table()}", flush=True)
        wrong = story.broken()
        print("\n".join(wrong) or "The promise was kept.", flush=True)
        broken += wrong
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
