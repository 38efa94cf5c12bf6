# SPDX-License-Identifier: MIT
"""What options of queues.conf do with callbacks: ``python -m tests.lab.queue_options``.

Each case is played on Asterisk 22 and 16 with each ``fairness``, and one line says what
happened. docs/queue-options.md has the results. Exit code 0 only if each case went as
that page says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping

import attrs

from tests.lab.asterisk import Asterisk
from tests.lab.config import DEFAULT_QUEUES, Queue
from tests.lab.errors import LabError
from tests.lab.lab import Lab
from tests.lab.scenarios import Answer, HangUp
from tests.lab.service import Service, says
from tests.lab.witness import Seen, event

CLIENT, SECOND = "4930123456", "4930222222"
STRATEGIES = ("leastrecent", "fewestcalls", "random", "rrmemory")
FAIRNESS = ("live_first", "place")
#: The agents' phones, in the order of queues.conf.
_AGENTS = ("alice", "bob")
_TALK = Answer(steps=(HangUp(after_ms=1300),))
_DEADLINE_S = 30.0


@attrs.define
class Stage:
    """A laboratory with two agents, and the service."""

    lab: Lab
    service: Service
    fairness: str
    _live: dict[str, str] = attrs.field(factory=dict)

    def live(self, number: str, queue: str = "support") -> None:
        """Have somebody call in and wait."""
        self.lab.caller(queue, number=number)
        joined = self.lab.witness.wait_for(event("QueueCallerJoin", CallerIDNum=number))
        self._live[number] = joined["Channel"]

    def ends(self, number: str) -> None:
        """End the call of a live caller."""
        self.lab.asterisk.cli(f"channel request hangup {self._live[number]}")

    def asks(self, number: str = CLIENT, queue: str = "support") -> None:
        """Have a callback wait for an agent."""
        self.lab.client(number, _TALK)
        self.service.cli("tasks", "add", queue, number)
        if self.fairness == "place":
            self.lab.witness.wait_for(_joins_line(number))

    def connected(self, count: int) -> list[tuple[str, str]]:
        """Wait for so many answers of agents: who was connected with which agent."""
        self.lab.witness.wait_for(event("AgentConnect"), _DEADLINE_S, count=count)
        self.lab.witness.fence()
        return [
            (one["CallerIDNum"], one["Interface"].removeprefix("PJSIP/"))
            for one in self.lab.witness.events("AgentConnect")
        ]

    def completed(self, count: int = 1) -> None:
        """Wait for the end of callbacks."""
        self.service.wait_for(says("^task .*: completed"), _DEADLINE_S, count=count)

    def pauses(self, agent: str, *, paused: bool = True) -> None:
        """Pause an agent in all queues, or end that."""
        how = "pause" if paused else "unpause"
        self.lab.asterisk.cli(f"queue {how} member PJSIP/{agent}")


def _joins_line(number: str) -> Callable[[Seen], bool]:
    joins = event("QueueCallerJoin", CallerIDNum=number)
    return lambda one: bool(joins(one)) and _is_ours(one)


def _is_ours(one: Seen) -> bool:
    return str(one["Uniqueid"]).startswith("callback-")


@attrs.frozen(kw_only=True)
class Case:
    """One option, and what is tried with it."""

    name: str
    queues: tuple[Queue, ...]
    play: Callable[[Stage], str]
    #: What has to happen, by `fairness`.
    expected: Mapping[str, str]
    #: The contents of queuerules.conf.
    rules: str = ""


def _order(stage: Stage) -> str:
    """Both agents talk; a client asks, then a live caller joins; one agent after the
    other becomes free.
    """
    stage.live("101")
    stage.live("102")
    stage.connected(2)
    stage.asks()
    stage.live("103")
    stage.ends("101")
    stage.connected(3)
    stage.ends("102")
    order = [number for number, _ in stage.connected(4)[2:]]
    stage.completed()
    return " before ".join("client" if one == CLIENT else "caller" for one in order)


def _turns(stage: Stage) -> str:
    """Both agents are free; two clients ask, one after the other."""
    stage.lab.client(CLIENT, _TALK)
    stage.lab.client(SECOND, _TALK)
    stage.service.cli("tasks", "add", "support", CLIENT)
    stage.completed(1)
    stage.service.cli("tasks", "add", "support", SECOND)
    stage.completed(2)
    (_, first), (_, second) = stage.connected(2)
    return "the same agent" if first == second else "one agent after the other"


def _weight(stage: Stage) -> str:
    """Alice serves both queues and talks; a client asks in ``support``, then a live
    caller joins ``heavy``; alice becomes free.
    """
    stage.pauses("bob")
    stage.live("101")
    stage.connected(1)
    stage.asks()
    stage.live("103", "heavy")
    stage.ends("101")
    stage.connected(2)
    if stage.connected(2)[-1][0] != CLIENT:
        stage.ends("103")
    order = [number for number, _ in stage.connected(3)[1:]]
    stage.completed()
    return " before ".join("client" if one == CLIENT else "caller" for one in order)


def _weight_of_callback(stage: Stage) -> str:
    """The same, but the client asks in ``heavy``, after the live caller joined
    ``support``.
    """
    stage.pauses("bob")
    stage.live("101")
    stage.connected(1)
    stage.live("103")
    stage.asks(queue="heavy")
    stage.ends("101")
    stage.connected(2)
    if stage.connected(2)[-1][0] != CLIENT:
        stage.ends("103")
    order = [number for number, _ in stage.connected(3)[1:]]
    stage.completed()
    return " before ".join("client" if one == CLIENT else "caller" for one in order)


def _penalty(stage: Stage) -> str:
    """Alice, with the lower penalty, is free; then she talks, and bob is free."""
    stage.lab.client(CLIENT, _TALK)
    stage.lab.client(SECOND, _TALK)
    stage.service.cli("tasks", "add", "support", CLIENT)
    stage.completed(1)
    stage.live("101")
    stage.connected(2)
    stage.service.cli("tasks", "add", "support", SECOND)
    stage.completed(2)
    first, _, second = (agent for _, agent in stage.connected(3))
    return f"{first}, and {second} while alice talks"


def _rule(stage: Stage) -> str:
    """Alice talks; a rule of 0 s excludes bob, and one of 4 s allows him.

    First a client asks, then a live caller joins. Asterisk rings bob before it looks at
    the rules.
    """
    stage.live("101")
    stage.connected(1)
    stage.asks()
    stage.completed()
    stage.live("102")
    stage.connected(3)
    witness = stage.lab.witness
    told = []
    for who, is_one in (("client", _is_ours), ("caller", _is_second_caller)):
        (joined,) = filter(is_one, witness.events("QueueCallerJoin"))
        (rung,) = filter(is_one, witness.events("AgentCalled"))
        waited_s = (rung.clock - joined.clock).total_seconds()
        told.append(f"{who} {'after' if waited_s > 3 else 'before'} the change")
    return ", ".join(told)


def _is_second_caller(one: Seen) -> bool:
    return str(one["CallerIDNum"]) == "102"


def _cases() -> list[Case]:
    in_turn = {"live_first": "caller before client", "place": "client before caller"}
    both = ("alice", "bob")
    cases = []
    for strategy in STRATEGIES:
        queue = Queue(name="support", members=both, strategy=strategy)
        cases.append(
            Case(
                name=f"strategy = {strategy}, order",
                queues=(queue,),
                play=_order,
                expected=in_turn,
            )
        )
        if strategy != "random":
            cases.append(
                Case(
                    name=f"strategy = {strategy}, agents",
                    queues=(queue,),
                    play=_turns,
                    expected=dict.fromkeys(FAIRNESS, "one agent after the other"),
                )
            )
    light = Queue(name="support", members=both)
    heavy = Queue(name="heavy", members=("alice",), options={"weight": "10"})
    penalties = ("PJSIP/alice,0", "PJSIP/bob,5")
    return [
        *cases,
        Case(
            name="weight, live caller in the heavier queue",
            queues=(light, heavy),
            play=_weight,
            expected=dict.fromkeys(FAIRNESS, "caller before client"),
        ),
        Case(
            name="weight, callback in the heavier queue",
            queues=(light, heavy),
            play=_weight_of_callback,
            expected=in_turn,
        ),
        Case(
            name="penalties of members",
            queues=(Queue(name="support", members=penalties),),
            play=_penalty,
            expected=dict.fromkeys(FAIRNESS, "alice, and bob while alice talks"),
        ),
        Case(
            name="penaltychange",
            queues=(
                Queue(
                    name="support", members=penalties, options={"defaultrule": "late"}
                ),
            ),
            rules="[late]\npenaltychange => 0,1\npenaltychange => 4,10\n",
            play=_rule,
            expected=dict.fromkeys(
                FAIRNESS, "client before the change, caller before the change"
            ),
        ),
    ]


def play(asterisk: Asterisk, case: Case, fairness: str) -> str:
    """Play one case, and return what happened."""
    others = [
        q for q in DEFAULT_QUEUES if q.name not in {one.name for one in case.queues}
    ]
    asterisk.set_queues([*case.queues, *others])
    (asterisk.home / "etc/queuerules.conf").write_text(case.rules)
    asterisk.cli("queue reload rules")
    lab = Lab(asterisk)
    try:
        for name in _AGENTS:
            lab.agent(name, *[Answer()] * 6)
        service = lab.service(
            {
                "defaults": {
                    "fairness": fairness,
                    "success_duration": "1s",
                    "member_retry_delay": "1s",
                    "sounds": {"member_alert": "beep"},
                }
            }
        )
        return case.play(Stage(lab, service, fairness))
    finally:
        lab.close()
        asterisk.reset()


def main(arguments: Iterable[str] | None = None) -> int:
    """Play all cases; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of the name of a case")
    options = parser.parse_args(None if arguments is None else list(arguments))
    if not any(options.only in case.name for case in _cases()):
        parser.error(f"no case has {options.only!r} in its name")
    faults = 0
    for major in (22, 16):
        asterisk = Asterisk(major, queues=DEFAULT_QUEUES)
        asterisk.start()
        try:
            for case in _cases():
                for fairness in FAIRNESS if options.only in case.name else ():
                    try:
                        happened = play(asterisk, case, fairness)
                    except LabError as error:
                        happened = f"failed: {str(error).splitlines()[0]}"
                    as_expected = happened == case.expected[fairness]
                    faults += not as_expected
                    print(
                        f"{asterisk.version:8} {case.name:42} {fairness:10}"
                        f" {'' if as_expected else 'UNEXPECTED: '}{happened}",
                        flush=True,
                    )
        finally:
            asterisk.close()
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
