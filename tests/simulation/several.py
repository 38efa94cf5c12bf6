# SPDX-License-Identifier: MIT
"""What random runs with several Asterisks share: people, trouble, and common rules.

The rules about one Asterisk are in `rules.py`; here are those that only several can
break. What really happened is what the models know: whose phone rang when, who is in a
call.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Final, cast
from unittest import mock

import attrs
import sqlalchemy as sa

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.attempt import DEFAULT_NODE, Attempt
from fastagi.domain.task import CallbackTask
from fastagi.store import leases
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.calls import LiveCall
from tests.emulator.phones import Ringing
from tests.emulator.queues import Visit
from tests.emulator.scenarios import NO_ANSWER, Answers, Behaviour, Refuses
from tests.harness.world import World, queue_settings
from tests.simulation.rules import BrokenRule

QUEUES: Final = ("support", "sales")
#: From something that happens to when a service must have acted on it.
NOTICE_S: Final = 8.0
#: What happened so long ago is seen by a service that is not in trouble.
SEES_S: Final = 1.0
#: From the connect until callbacks may begin.
CATCHES_UP_S: Final = 12.0

NOT_ELSEWHERE: Final = "nobody is called while in a call on another Asterisk"
ONE_RING: Final = "no client's phone rings twice at a time"
ONCE: Final = "a client is rung once in an attempt"
ITS_NODE: Final = "an attempt is placed on its own node, after its COMMIT"
NOT_LEFT: Final = "a task is called where an agent is free"
ENDS: Final = "every task ends"
STOPS: Final = "the service stops"
UNFORESEEN: Final = "nothing fails unforeseen"


@attrs.define
class Side:
    """One Asterisk, and since when it can be reached without trouble."""

    name: str
    pbx: FakeAsterisk
    agents: Sequence[str]
    calm_since: float = float("inf")
    #: The number of rings that were looked at, by client.
    seen: dict[str, int] = attrs.field(factory=dict)
    #: How many manager actions were looked at.
    actions: int = 0


class Run(ABC):
    """One run.

    Args:
        seed: determines it.
        agents: of each Asterisk; the first one is the default node.
    """

    #: For so long things happen; then all is mended and comes to its end.
    ACTION_S: ClassVar = 300.0
    MAX_S: ClassVar = 2 * 3600.0
    #: Interval of looks whether all tasks have ended, and what comes before and after.
    LOOK_S: ClassVar = 30.0
    QUIET_S: ClassVar = 60.0
    #: How long clients talk.
    TALK_S: ClassVar = 12.0
    NUMBERS: ClassVar = tuple(f"03012345{number:02}" for number in range(5))

    def __init__(self, seed: int, agents: Mapping[str, Sequence[str]]) -> None:
        self._dice = random.Random(seed)
        random.seed(seed)
        self._world = World()
        self._sides = [
            Side(
                name,
                self._world.asterisk
                if name == DEFAULT_NODE
                else self._world.add_asterisk(name),
                its_agents,
            )
            for name, its_agents in agents.items()
        ]
        self._calls: list[tuple[Side, LiveCall]] = []
        self._told: list[str] = []
        self._ends = False
        #: The nodes of each queue.
        self._nodes: Mapping[str, Sequence[str]] = {}
        self._fairness = ""
        #: Whether agents accept by a key, or refuse.
        self._keys = False
        #: Since when a task could be called and is not, by task id.
        self._idle_since: dict[int, float] = {}
        self._broken: list[BrokenRule] = []
        #: The tasks, their attempts, and how many requests there had been when they
        #: were read.
        self._tasks: list[CallbackTask] = []
        self._attempts: dict[int, list[Attempt]] = {}
        self._read_at = -1
        self._database_clock = mock.patch.object(leases, "now", self._database_now)
        self._database_clock.start()
        self._log = self._observe
        globalLogPublisher.addObserver(cast(ILogObserver, self._log))
        self._build()
        self._world.watchers.append(self._look)

    def close(self) -> None:
        """Release everything."""
        globalLogPublisher.removeObserver(cast(ILogObserver, self._log))
        self._world.close()
        self._database_clock.stop()

    def _database_now(self, conn: sa.Connection) -> float:
        """Return the time of the database's clock."""
        return self._now

    @abstractmethod
    def _observe(self, event: LogEvent) -> None:
        """Look at what is logged."""

    # -- what is drawn from the seed ------------------------------------------

    @abstractmethod
    def _build(self) -> None:
        """Draw the run."""

    def _furnish(self, side: Side) -> None:
        """Draw the queues of an Asterisk, its agents, and how clients behave there."""
        dice = self._dice
        side.pbx.add_queue("support", side.agents)
        side.pbx.add_queue("sales", side.agents[:1])
        for agent in side.agents:
            side.pbx.phone(agent).always(Answers(after_s=dice.choice((1, 3))))
        for number in self.NUMBERS:
            side.pbx.client(number).will(*self._behaviours()).always(
                Answers(after_s=2, hangs_up_after_s=self.TALK_S)
            )

    def _draw_keys(self) -> None:
        """Draw whether agents accept by a key, and which keys they press."""
        self._keys = self._dice.randrange(3) == 0
        if self._keys:
            for side in self._sides:
                for agent in side.agents:
                    side.pbx.phone(agent).will(
                        *(
                            Answers(after_s=1, key=self._dice.choice("1123"))
                            for _ in range(self._dice.randrange(6))
                        )
                    )

    def _behaviours(self) -> list[Behaviour]:
        few = (
            NO_ANSWER,
            Refuses.BUSY,
            Answers(after_s=2, hangs_up_after_s=2),
            Answers(after_s=4, hangs_up_after_s=30),
        )
        return self._dice.choices(few, k=self._dice.randrange(3))

    def _at(self, at: float, what: Callable[[], object]) -> None:
        self._world.clock.callLater(at, lambda: self._ends or what())

    def _tell(self, words: str) -> None:
        self._told.append(f"{self._world.t:8.3f} {words}")

    # -- what happens -------------------------------------------------------------

    def _call(
        self,
        side: Side,
        queue: str,
        number: str,
        presses_after_s: float | None,
        stays_s: float,
    ) -> None:
        on_the_phone = any(
            ring.ended_at is None
            for one in self._sides
            for ring in one.pbx.client(number).rung
        ) or any(is_in(one, call) for one, call in self._calls_of(number))
        if on_the_phone or not side.pbx.manager.booted:
            return
        self._tell(f"{number} calls {queue} on {side.name}")
        call = side.pbx.call(queue, number, talks_s=10.0)
        self._calls.append((side, call))
        if presses_after_s is not None:
            side.pbx.later(presses_after_s, call.press)
        side.pbx.later(stays_s, lambda: call.talking or call.hang_up())

    def _calls_of(self, number: str) -> Iterator[tuple[Side, LiveCall]]:
        return ((side, call) for side, call in self._calls if call.number == number)

    def _pause(self, side: Side, agent: str, paused: bool) -> None:
        for queue in side.pbx.queues.values():
            if any(member.interface == agent for member in queue.members):
                queue.pause(agent, paused)

    def _die(self, side: Side, down_s: float) -> None:
        if not side.pbx.manager.booted:
            return
        self._tell(f"the Asterisk {side.name} dies for {down_s:.1f} s")
        side.pbx.kill()
        self._world.clock.callLater(down_s, lambda: self._come_back(side))

    @staticmethod
    def _come_back(side: Side) -> None:
        side.pbx.manager.listening = True
        if not side.pbx.manager.booted:
            side.pbx.start(0.5)

    def _queues(self, request_expiry: str) -> list[QueueSettings]:
        """Return the settings of the queues."""
        return [
            queue_settings(
                name,
                attempts=3,
                retry_delay="5s",
                request_expiry=request_expiry,
                member_retry_delay="5s",
                caller_ring_time="15s",
                fairness=self._fairness,
                agent_keys={
                    "enabled": self._keys,
                    "later_delay": "20s",
                    "cannot_pause": "1m",
                },
                nodes=nodes,
            )
            for name, nodes in self._nodes.items()
        ]

    # -- the run -------------------------------------------------------------------

    @abstractmethod
    def _begin_all(self) -> None:
        """Start what runs from the beginning."""

    @abstractmethod
    def _stop_all(self) -> None:
        """Stop it.

        Raises:
            BrokenRule: it does not stop, or leaves something behind.
        """

    def play(self) -> None:
        """Run it.

        Raises:
            BrokenRule: a rule was broken.
        """
        self._begin_all()
        self._world.run(self.ACTION_S)
        self._mend()
        end = self._world.t + self.MAX_S
        self._world.run(self.QUIET_S)
        while self._open_tasks() and self._world.t < end:
            self._world.run(self.LOOK_S)
        self._world.run(self.QUIET_S)
        if left := self._open_tasks():
            raise BrokenRule(ENDS, f"{left} are open")
        self._check_the_end()
        self._stop_all()

    def _check_the_end(self) -> None:  # noqa: B027 - there may be nothing
        """Check what can be checked when everything has ended.

        Raises:
            BrokenRule: a rule was broken.
        """

    def _mend(self) -> None:
        self._ends = True
        for side in self._sides:
            self._come_back(side)
            for agent in side.agents:
                side.pbx.phone(agent).busy(False)
                self._pause(side, agent, False)

    def _read(self) -> None:
        """Read the database again, if it may have changed."""
        if self._read_at != self._world.requests:
            self._read_at = self._world.requests
            self._tasks = self._world.tasks()
            self._attempts.clear()

    def _attempts_of(self, task: CallbackTask) -> list[Attempt]:
        if task.id not in self._attempts:
            self._attempts[task.id] = self._world.attempts(task.id)
        return self._attempts[task.id]

    def _open_tasks(self) -> list[int]:
        return [task.id for task in self._world.tasks() if task.is_open]

    # -- the rules -------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return float(self._world.clock.seconds())

    @abstractmethod
    def _look(self) -> None:
        """Check what can be checked at each step."""

    def _break(self, rule: str, words: str) -> None:
        self._broken.append(BrokenRule(rule, f"at {self._world.t}: {words}"))

    def _check_rings(self, side: Side) -> None:
        for number, phone in side.pbx.clients.items():
            known = side.seen.get(number, 0)
            for index, ring in enumerate(phone.rung[known:], known):
                self._tell(f"{number} is rung from {side.name} by {ring.by}")
                self._check_ring(side, number, ring, phone.rung[:index])
            side.seen[number] = len(phone.rung)

    def _check_ring(
        self, side: Side, number: str, ring: Ringing, before: list[Ringing]
    ) -> None:
        if any(one.by == ring.by for one in before):
            self._break(ONCE, f"{number} by {ring.by}")
        for other in self._sides:
            for one in other.pbx.client(number).rung:
                if one is not ring and one.at <= ring.at and one.ended_at is None:
                    words = f"{number} by {one.by} on {other.name}, and {ring.by}"
                    self._break(ONE_RING, f"{words} on {side.name}")
        for other, call in self._calls_of(number):
            if is_in(other, call) and self._is_to_be_known(side, other, call, ring):
                words = f"{number} is in a call on {other.name} since {call.joined_at}"
                self._break(NOT_ELSEWHERE, f"{words}, and rung from {side.name}")

    @abstractmethod
    def _is_to_be_known(
        self, side: Side, other: Side, call: LiveCall, ring: Ringing
    ) -> bool:
        """Whether who rings a client can know that the client is in a call.

        Args:
            side: where the client is rung.
            other: where the call is.
            call: the call in progress.
            ring: the ring.
        """

    def _check_idle(self) -> None:
        """No task may wait while an agent is free for it somewhere."""
        if self._keys or (self._fairness == "place" and self._any_trouble()):
            # Free agents may have refused it.
            self._idle_since.clear()
            return
        idle = set(self._idle_tasks())
        for task_id in [one for one in self._idle_since if one not in idle]:
            del self._idle_since[task_id]
        for task_id in idle:
            since = self._idle_since.setdefault(task_id, self._now)
            if self._now - since > NOTICE_S:
                self._break(NOT_LEFT, f"task {task_id} waits since {since}")

    def _any_trouble(self) -> bool:
        return any(self._now - s.calm_since < CATCHES_UP_S for s in self._sides)

    def _idle_tasks(self) -> Iterator[int]:
        """Yield tasks that could be called: due, or in line where nobody is free."""
        self._read()
        open_tasks = [task for task in self._tasks if task.is_open]
        if not open_tasks:
            return
        queues = {task.queue for task in open_tasks}
        free = {q: self._sides_with_agent(q) for q in QUEUES if q in queues}
        for task in open_tasks:
            sides = free[task.queue]
            if not sides or self._is_busy(task.number):
                continue
            if task.cancel_requested or not self._may_be_called(task, sides):
                continue
            if task.status.value == "pending":
                yield task.id
                continue
            attempt = self._attempts_of(task)[-1]
            where = next(s for s in self._sides if s.name == attempt.node)
            visit = _visit_of(where, attempt.channel_id)
            waits = visit is not None and visit.idle
            if waits and where not in sides:
                yield task.id

    def _may_be_called(self, task: CallbackTask, sides: Sequence[Side]) -> bool:
        """Whether it is the time of an open task for which agents are free."""
        now = self._now
        is_due = task.status.value != "pending" or task.due_at.timestamp() <= now
        return is_due and task.expires_at.timestamp() > now

    def _sides_with_agent(self, name: str) -> list[Side]:
        """Return where an agent is free for a callback of a queue, without a doubt."""
        found = []
        for side in self._sides:
            calm = self._now - side.calm_since >= CATCHES_UP_S
            if not calm or side.name not in self._nodes[name]:
                continue
            queue = side.pbx.queues[name]
            waits = any(not v.over and v.member is None for v in side.pbx.visits())
            begins = any(not one.is_over for one in side.pbx.callbacks)
            if waits or begins:
                continue
            if any(queue.can_ring(member) for member in queue.members):
                found.append(side)
        return found

    def _is_busy(self, number: str) -> bool:
        return any(is_in(side, call) for side, call in self._calls_of(number)) or any(
            ring.ended_at is None
            for side in self._sides
            for ring in side.pbx.client(number).rung
        )

    def story(self) -> str:
        """Return what happened, and the tasks."""
        tasks = [
            f"{task.id} {task.number} {task.queue} {task.status.value}: "
            + "; ".join(f"{at} {move} {text}" for at, move, text in story)
            for task in self._world.tasks()
            for story in [self._world.story(task.id)]
        ]
        keys = ", keys of agents" if self._keys else ""
        head = f"fairness {self._fairness}, nodes {self._nodes}{keys}"
        return "\n".join([head, *self._told, *tasks])


def is_in(side: Side, call: LiveCall) -> bool:
    return not call.gone and call.channel.uniqueid in side.pbx.channels


def _visit_of(side: Side, base: str) -> Visit | None:
    """Return the stay in line of an attempt; None: it has none."""
    for visit in side.pbx.visits():
        if visit.channel.uniqueid == f"{base}-2" and not visit.over:
            return visit
    return None
