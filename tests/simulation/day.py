# SPDX-License-Identifier: MIT
"""Compares the expected wait of callers with the real one, in days of call centres.

    python -m tests.simulation.day --seeds 20      (or: make expected-wait)

The load rises and falls twice a day. Agents come, go, and take breaks when they are
done with a call. Handling times are log-normal, a few calls are forgotten for an hour
or two, and callers give up. Only what the service itself learns from events is used for
the estimates. A caller who gives up is compared with the time at which the turn would
have come.

The estimates:

- QL: the length of the line divided by the pace of the agents;
- QLm: the same, corrected for callers who give up;
- QLm, talks: QLm with what is left of each talk, by how long it has lasted;
- chosen: QLm with the ends of wrap-up times, which is what the service uses;
- LES: the wait of the last caller who got an agent;
- HOL: how long the first in line has waited.

Behind callers: clients who let all callers go first (``fairness: live_first``).
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import fmean
from typing import Final

from attrs import define, evolve, field, frozen

from fastagi.domain.expected_wait import (
    Agent,
    Arrivals,
    Measured,
    Pace,
    expected_wait_s,
)

HOUR: Final = 3600.0
OPENS: Final = 8 * HOUR
CLOSES: Final = 18 * HOUR
#: The handling time in the settings, which is wrong for all of these centres.
ASSUMED_S: Final = 180.0
CHOSEN: Final = "chosen"


@frozen(kw_only=True)
class Center:
    """The parameters of a call centre."""

    name: str
    agents: int
    #: Mean talk time in seconds, and its standard deviation divided by the mean.
    talk_s: float = 240.0
    variation: float = 1.0
    wrapuptime_s: float = 15.0
    #: Mean patience of callers, in seconds.
    patience_s: float = 400.0
    #: Offered work divided by the capacity of all agents, at the busiest hour.
    load: float = 1.0
    #: Number of queues. Every second agent serves all of them, the others one.
    queues: int = 1
    #: Share of the callers who ask to be called back, behind all callers.
    asks: float = 0.0


CENTERS: Final = (
    Center(name="3 agents", agents=3, load=0.95),
    Center(name="12 agents", agents=12),
    Center(name="12 agents, too few", agents=12, load=1.3),
    Center(name="12 agents, calls alike", agents=12, variation=0.5),
    Center(name="40 agents", agents=40, load=1.1),
    Center(name="2 queues share 6 of 12 agents", agents=12, load=1.05, queues=2),
    Center(name="12 agents, callbacks wait", agents=12, load=0.9, asks=0.15),
)


@define(eq=False)
class Person:
    """A caller, or a client who waits behind the callers."""

    queue: int
    joined_at: float
    is_behind: bool = False
    ahead: int = 0
    gone: bool = False
    served: bool = False
    #: The expected wait when the person joined, by the name of the estimate.
    expected_s: dict[str, float] = field(factory=dict)
    #: When an agent answered, or would have answered; None: never.
    wait_s: float | None = None


@define(eq=False)
class Worker:
    """An agent."""

    queues: tuple[int, ...]
    state: str = "off"
    #: When the talk began, or when the wrap-up time ends.
    at: float = 0.0
    #: The break to take after this call, in seconds; infinite: goes home.
    break_s: float | None = None


class Day:
    """One day of one centre, from one seed."""

    def __init__(self, center: Center, seed: int) -> None:
        self.center = center
        self.people: list[Person] = []
        self._random = random.Random(f"{center.name} {seed}")
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.now = 0.0
        queues = range(center.queues)
        self._workers = [
            Worker(tuple(queues) if n % 2 else (n // 2 % center.queues,))
            for n in range(center.agents)
        ]
        self._lines: list[list[Person]] = [[] for _ in queues]
        self._measured = [Measured() for _ in queues]
        self._arrivals = [Arrivals(OPENS, OPENS) for _ in queues]
        self._last_wait_s: list[float | None] = [None for _ in queues]
        self._plan()

    def play(self) -> Day:
        """Run the whole day."""
        while self._events:
            self.now, _, event = heapq.heappop(self._events)
            event()
        return self

    # -- the plan of the day -------------------------------------------------

    def _plan(self) -> None:
        rnd = self._random
        for number, worker in enumerate(self._workers):
            comes = OPENS + (rnd.choice([-60, -60, 0, 1800, 5400]) if number else -60)
            goes = CLOSES + 1800 if number % 3 == 0 else comes + 8.2 * HOUR
            self._at(comes, partial(self._free, worker))
            self._at(min(goes, CLOSES + 1800), partial(self._rest, worker, math.inf))
            lunch = comes + rnd.uniform(3, 5) * HOUR
            self._at(lunch, partial(self._rest, worker, rnd.uniform(1500, 2400)))
            for _ in range(3):
                pause = partial(self._rest, worker, rnd.uniform(240, 700))
                self._at(rnd.uniform(comes, goes), pause)
        most = self._rate(10.2 * HOUR) * 1.3
        at = OPENS
        while (at := at + rnd.expovariate(most)) < CLOSES:
            if rnd.random() < self._rate(at) / most:
                self._at(at, self._join)

    def _rate(self, at: float) -> float:
        """Return the callers per second: most in the morning and in the afternoon."""
        center, hour = self.center, at / HOUR
        shape = (
            0.45
            + 0.75 * math.exp(-(((hour - 10.2) / 1.3) ** 2))
            + 0.65 * math.exp(-(((hour - 14.8) / 1.5) ** 2))
        )
        busy_s = center.talk_s + center.wrapuptime_s + 5
        return center.load * shape * 0.8 * center.agents / busy_s

    def _talk_s(self) -> float:
        center, rnd = self.center, self._random
        if rnd.random() < 0.002:
            return rnd.uniform(1, 2) * HOUR
        # Calls are longer in the morning than in the afternoon.
        day = (self.now - OPENS) / (CLOSES - OPENS)
        mean = center.talk_s * (1 + 0.15 * math.sin(day * math.tau))
        variance = math.log1p(center.variation**2)
        return rnd.lognormvariate(math.log(mean) - variance / 2, math.sqrt(variance))

    # -- events --------------------------------------------------------------

    def _at(self, at: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), event))

    def _join(self) -> None:
        rnd = self._random
        person = Person(rnd.randrange(self.center.queues), self.now)
        person.is_behind = rnd.random() < self.center.asks
        self._expect(person)
        self.people.append(person)
        self._lines[person.queue].append(person)
        if not person.is_behind:
            known = self._arrivals[person.queue]
            self._arrivals[person.queue] = known.with_one(self.now)
            patience_s = rnd.weibullvariate(self.center.patience_s / 0.92, 1.3)
            if rnd.random() < 0.03:
                patience_s = rnd.uniform(1, 5)
            self._at(self.now + patience_s, partial(self._give_up, person))
        for worker in self._workers:
            if worker.state == "idle":
                self._free(worker)

    def _give_up(self, person: Person) -> None:
        if not person.served:
            person.gone = True
            if person.wait_s is None:
                self._note_caller(person, left=True)

    def _free(self, worker: Worker) -> None:
        worker.state = "idle"
        ring_s = self._random.uniform(2, 9)
        while True:
            busy = [q for q in worker.queues if self._first(q) is not None]
            if not busy:
                return
            # The queues compete for a free agent.
            queue = self._random.choice(busy)
            person = self._first(queue)
            assert person is not None
            self._lines[queue].remove(person)
            person.wait_s = self.now + ring_s - person.joined_at
            if not person.gone:
                break
        person.served = True
        if not person.is_behind:
            self._note_caller(person, left=False)
        worker.state = "busy"
        worker.at = self.now + ring_s
        self._at(worker.at, partial(self._answer, person, ring_s))
        talk_s = self._talk_s()
        self._at(worker.at + talk_s, partial(self._complete, worker, queue, talk_s))

    def _first(self, queue: int) -> Person | None:
        line = self._lines[queue]
        callers = (person for person in line if not person.is_behind)
        return next(callers, line[0] if line else None)

    def _answer(self, person: Person, ring_s: float) -> None:
        known = self._measured[person.queue].with_answer(ring_s)
        self._measured[person.queue] = known
        if not person.is_behind:
            self._last_wait_s[person.queue] = person.wait_s

    def _complete(self, worker: Worker, queue: int, talk_s: float) -> None:
        wrapuptime_s = self.center.wrapuptime_s
        self._measured[queue] = self._measured[queue].with_call(
            talk_s + wrapuptime_s, ASSUMED_S
        )
        worker.state, worker.at = "wrap-up", self.now + wrapuptime_s
        self._at(worker.at, partial(self._done, worker))

    def _done(self, worker: Worker) -> None:
        break_s, worker.break_s = worker.break_s, None
        worker.state = "idle"
        if break_s is None:
            self._free(worker)
        else:
            self._rest(worker, break_s)

    def _rest(self, worker: Worker, break_s: float) -> None:
        if worker.state in ("busy", "wrap-up"):
            worker.break_s = max(break_s, worker.break_s or 0)
        elif worker.state in ("idle", "paused"):
            worker.state = "off" if math.isinf(break_s) else "paused"
            if not math.isinf(break_s):
                self._at(self.now + break_s, partial(self._back, worker))

    def _back(self, worker: Worker) -> None:
        if worker.state == "paused":
            self._free(worker)

    def _note_caller(self, person: Person, *, left: bool) -> None:
        known, waited_s = self._measured[person.queue], self.now - person.joined_at
        self._measured[person.queue] = known.with_caller(waited_s, left=left)

    # -- estimates -----------------------------------------------------------

    def _expect(self, person: Person) -> None:
        """Store the expected wait of a person who is about to join."""
        queue = person.queue
        line = [one for one in self._lines[queue] if not one.gone]
        callers = [one for one in line if not one.is_behind]
        agents = self._agents(queue)
        if not agents:
            return
        measured = self._measured[queue]
        pace = measured.pace(ASSUMED_S)
        if person.is_behind:
            person.ahead = len(line)
            arriving_per_s = self._arrivals[queue].per_s(self.now)
            pace = evolve(pace, arriving_per_s=arriving_per_s)
            expected_s = expected_wait_s(len(line), agents, pace)
            if expected_s is not None:
                person.expected_s["behind callers"] = expected_s
            return
        person.ahead = ahead = len(callers)
        talking = _in_talks(agents)
        by_line = evolve(pace, leaving_per_s=0.0)
        waits = {
            "QL": expected_wait_s(ahead, talking, by_line),
            "QLm": expected_wait_s(ahead, talking, pace),
            "QLm, talks": self._by_talks(queue, ahead, pace),
            CHOSEN: expected_wait_s(ahead, agents, pace),
        }
        free = sum(agent.share for agent in agents if agent.free_in_s == 0)
        last_s = self._last_wait_s[queue] or 0.0
        first_s = self.now - callers[0].joined_at if callers else 0.0
        waits["LES"] = pace.ring_s if free > ahead else max(last_s, pace.ring_s)
        waits["HOL"] = pace.ring_s + (0.0 if free > ahead else first_s)
        person.expected_s = {k: v for k, v in waits.items() if v is not None}

    def _agents(self, queue: int) -> list[Agent]:
        agents = []
        for worker in self._workers:
            if queue in worker.queues and worker.state in ("idle", "busy", "wrap-up"):
                rest_s = max(worker.at - self.now, 0.001)
                free_in_s = {"idle": 0.0, "wrap-up": rest_s}.get(worker.state)
                agents.append(
                    Agent(free_in_s=free_in_s, share=self._share(worker, queue))
                )
        return agents

    def _share(self, worker: Worker, queue: int) -> float:
        others = (q for q in worker.queues if q != queue)
        return 1 / (1 + sum(any(not p.gone for p in self._lines[q]) for q in others))

    def _by_talks(self, queue: int, ahead: int, pace: Pace) -> float:
        """Return the wait if agents become free when their talks are expected to end.

        Each gives a rate: that of the first end until then, afterwards the usual one.
        """
        usual_s = pace.handling_s + pace.ring_s
        per_s, changes, turns = 0.0, [], ahead + 1.0
        for worker in self._workers:
            if queue not in worker.queues or worker.state in ("off", "paused"):
                continue
            share = self._share(worker, queue)
            if worker.state == "idle":
                turns, per_s = turns - share, per_s + share / usual_s
            elif worker.state == "wrap-up":
                changes.append((worker.at - self.now, share, share / usual_s))
            else:
                rest_s = _rest_of_talk(usual_s, max(self.now - worker.at, 0.0))
                per_s += share / rest_s
                changes.append((rest_s, 0.0, share / usual_s - share / rest_s))
        wait_s, step_s = 0.0, 1.0
        changes.sort(reverse=True)
        while turns > 0:
            while changes and changes[-1][0] <= wait_s:
                _, at_once, more_per_s = changes.pop()
                turns, per_s = turns - at_once, per_s + more_per_s
            moved = per_s + max(turns - 1.0, 0.0) * pace.leaving_per_s
            turns, wait_s = turns - moved * step_s, wait_s + step_s
        return wait_s + pace.ring_s


def _in_talks(agents: Iterable[Agent]) -> list[Agent]:
    return [a if a.free_in_s == 0 else evolve(a, free_in_s=None) for a in agents]


def _rest_of_talk(mean_s: float, lasted_s: float) -> float:
    """Return the expected rest of a log-normal talk, from its elapsed time."""
    if lasted_s < 1:
        return mean_s
    variance = math.log(2)
    deviation = math.sqrt(variance)
    z = (math.log(mean_s) - variance / 2 - math.log(lasted_s)) / deviation
    longer = _normal(z)
    if longer < 1e-6:
        return lasted_s
    return max(mean_s * _normal(z + deviation) / longer - lasted_s, 1.0)


def _normal(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2


# -- the comparison ------------------------------------------------------------


@frozen
class Errors:
    """The errors of one estimate."""

    #: By how much the expected wait was longer, and the real one, in seconds.
    errors_s: Sequence[float]
    waits_s: Sequence[float]

    @property
    def mean_s(self) -> float:
        """The mean error: below 0 if the real waits were longer."""
        return fmean(self.errors_s)

    @property
    def absolute_s(self) -> float:
        """The mean absolute error."""
        return fmean(map(abs, self.errors_s))

    @property
    def relative(self) -> float:
        """The mean absolute error divided by the mean wait."""
        return self.absolute_s / fmean(self.waits_s)


def compare(people: Iterable[Person]) -> dict[str, Errors]:
    """Return the errors of each estimate."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for person in people:
        if person.wait_s is not None:
            for name, expected_s in person.expected_s.items():
                found[name].append((expected_s - person.wait_s, person.wait_s))
    return {
        name: Errors([e for e, _ in pairs], [w for _, w in pairs])
        for name, pairs in found.items()
    }


def play(center: Center, seeds: Iterable[int]) -> list[Person]:
    """Return the people of some days."""
    return [person for seed in seeds for person in Day(center, seed).play().people]


#: How many were ahead of a caller, divided by the agents of the centre.
_LOADS: Final = ((0, 0), (0.001, 0.25), (0.25, 0.5), (0.5, 1), (1, math.inf))


def report(center: Center, people: Sequence[Person]) -> str:
    """Return the table of one centre."""
    known = [p for p in people if p.expected_s and p.wait_s is not None]
    callers = [p for p in known if not p.is_behind]
    gone = fmean(p.gone for p in callers)
    mean_s = fmean(p.wait_s or 0.0 for p in callers)
    lines = [
        f"{center.name}: {len(callers):,} callers, mean wait {mean_s:.0f} s,"
        f" {gone:.0%} gave up",
        f"  {'estimate':15} {'mean error':>11} {'abs. error':>11} {'/ mean wait':>12}",
    ]
    for name, errors in compare(known).items():
        lines.append(
            f"  {name:15} {errors.mean_s:+9.0f} s {errors.absolute_s:9.0f} s"
            f" {errors.relative:12.2f}"
        )
    lines.append(f"  {CHOSEN}, by how many were ahead for each agent:")
    for low, high in _LOADS:
        some = [p for p in callers if low <= p.ahead / center.agents <= high]
        errors = compare(some).get(CHOSEN)
        if errors is not None:
            words = "nobody" if not high else f"up to {high:g}"
            words = f"over {low:g}" if math.isinf(high) else words
            lines.append(
                f"    {words:13} {errors.mean_s:+9.0f} s {errors.absolute_s:9.0f} s"
                f" {errors.relative:12.2f}   {len(some):,} callers,"
                f" mean wait {fmean(errors.waits_s):.0f} s"
            )
    unknown = sum(not p.expected_s for p in people)
    if unknown:
        lines.append(f"  not known when they joined: {unknown:,}")
    return "\n".join(lines)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="tests.simulation.day")
    parser.add_argument("--seeds", type=int, default=20, help="days of each centre")
    seeds = range(parser.parse_args().seeds)
    for center in CENTERS:
        print(report(center, play(center, seeds)), end="\n\n")


if __name__ == "__main__":
    main()
