# SPDX-License-Identifier: MIT
"""Random runs of one service with two Asterisks, and the rules between the two.

The rules about one Asterisk are in `rules.py`; here are those that only several can
break. What really happened is what the models know: whose phone rang when, who is in a
call. Each seed is one run.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final, cast
from unittest import mock

import attrs

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from fastagi.domain.attempt import Attempt
from fastagi.domain.task import CallbackTask
from fastagi.store import leases
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.calls import FORGETS, LiveCall
from tests.emulator.phones import Ringing
from tests.emulator.queues import Visit
from tests.emulator.scenarios import NO_ANSWER, Answers, Behaviour, Refuses
from tests.harness.control_client import ControlClient
from tests.harness.world import ServiceProcess, World, queue_settings, settings
from tests.simulation.rules import BrokenRule
from tests.simulation.simulation import Failed

#: The first seed of such a run.
NODES_FROM: Final = 99_000_000
_NUMBERS: Final = tuple(f"03012345{number:02}" for number in range(5))
_AGENTS: Final = {
    "default": ("PJSIP/alice", "PJSIP/carol"),
    "berlin": ("PJSIP/bob", "PJSIP/dave"),
}
_QUEUES: Final = ("support", "sales")
#: For so long things happen; then all is mended and comes to its end.
_ACTION_S: Final = 300.0
_MAX_S: Final = 2 * 3600.0
#: From something that happens to when the service must have acted on it.
_NOTICE_S: Final = 8.0
#: What happened so long ago is seen by a service that is not in trouble.
_SEES_S: Final = 1.0
#: From the connect until callbacks may begin.
_CATCHES_UP_S: Final = 12.0

NOT_ELSEWHERE: Final = "nobody is called while in a call on another Asterisk"
ONE_RING: Final = "no client's phone rings twice at a time"
ONCE: Final = "a client is rung once in an attempt"
ITS_NODE: Final = "an attempt is placed on its own node, after its COMMIT"
NOT_LEFT: Final = "a task is called where an agent is free"
ENDS: Final = "every task ends"


@attrs.define
class _Side:
    """One Asterisk, and since when it can be reached without trouble."""

    name: str
    pbx: FakeAsterisk
    calm_since: float = float("inf")
    #: The number of rings that were looked at, by client.
    seen: dict[str, int] = attrs.field(factory=dict)
    #: How many manager actions were looked at.
    actions: int = 0


def simulate(seed: int) -> Failed | None:
    """Play a seed; return the broken rule, None if there is none."""
    run = NodesRun(seed)
    try:
        run.play()
    except BrokenRule as broken:
        return Failed(seed, broken.rule, broken.words, run.story())
    except Exception as error:
        words = f"{type(error).__name__}: {error}"
        return Failed(seed, "the service runs", words, run.story())
    finally:
        run.close()
    return None


class NodesRun:
    """One run."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        random.seed(seed)
        self._world = World()
        berlin = self._world.add_asterisk("berlin")
        self._sides = [
            _Side("default", self._world.asterisk),
            _Side("berlin", berlin),
        ]
        self._calls: list[tuple[_Side, LiveCall]] = []
        self._told: list[str] = []
        self._ends = False
        self._reborn = False
        self._left = 0
        #: Since when a task could be called and is not, by task id.
        self._idle_since: dict[int, float] = {}
        self._broken: list[BrokenRule] = []
        #: The tasks, their attempts, and how many requests there had been when they
        #: were read.
        self._tasks: list[CallbackTask] = []
        self._attempts: dict[int, list[Attempt]] = {}
        self._read_at = -1
        self._database_clock = mock.patch.object(
            leases, "now", lambda conn: self._world.clock.seconds()
        )
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

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" in event and not self._process.dead:
            words = formatEvent(event) + event["log_failure"].getTraceback()
            self._broken.append(BrokenRule("nothing fails unforeseen", words))

    # -- what is drawn from the seed ------------------------------------------

    def _build(self) -> None:
        dice = self._dice
        self._fairness = dice.choice(("place", "live_first"))
        #: The nodes of each queue; sales may be on one only.
        self._nodes = {
            "support": ("default", "berlin"),
            "sales": dice.choice((("default", "berlin"), ("berlin",), ("default",))),
        }
        for side in self._sides:
            agents = _AGENTS[side.name]
            side.pbx.add_queue("support", agents)
            side.pbx.add_queue("sales", agents[:1])
            for agent in agents:
                side.pbx.phone(agent).always(Answers(after_s=dice.choice((1, 3))))
            for number in _NUMBERS:
                side.pbx.client(number).will(*self._behaviours()).always(
                    Answers(after_s=2, hangs_up_after_s=12)
                )
        at = 1.0
        while at < _ACTION_S:
            at += dice.expovariate(1 / 5)
            self._at(at, self._draw())
        #: Whether agents accept by a key, or refuse.
        self._keys = dice.randrange(3) == 0
        if self._keys:
            for side in self._sides:
                for agent in _AGENTS[side.name]:
                    side.pbx.phone(agent).will(
                        *(
                            Answers(after_s=1, key=dice.choice("1123"))
                            for _ in range(dice.randrange(6))
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

    def _draw(self) -> Callable[[], object]:
        """Return what happens at a moment."""
        dice = self._dice
        side = dice.choice(self._sides)
        agent = dice.choice(_AGENTS[side.name])
        number, queue = dice.choice(_NUMBERS), dice.choice(_QUEUES)
        kind = dice.choices(
            ("call", "busy", "free", "pause", "unpause", "add", "cancel", *_TROUBLE),
            weights=(30, 12, 14, 5, 8, 8, 3, 3, 2, 2, 2),
        )[0]
        match kind:
            case "call":
                presses = dice.choice((None, 2.0, 5.0))
                stays_s = dice.uniform(3, 40)
                return lambda: self._call(side, queue, number, presses, stays_s)
            case "busy" | "free":
                return lambda: side.pbx.phone(agent).busy(kind == "busy")
            case "pause" | "unpause":
                return lambda: self._pause(side, agent, kind == "pause")
            case "add":
                return lambda: self._ask("tasks.add", queue=queue, number=number)
            case "cancel":
                task_id = dice.randrange(1, 8)
                return lambda: self._ask("tasks.cancel", id=task_id)
            case "cut":
                down_s = dice.choice((0.0, 3.0, 15.0))
                return lambda: self._cut(side, down_s)
            case "asterisk dies":
                down_s = dice.uniform(2, 30)
                return lambda: self._die(side, down_s)
            case "service dies":
                count = dice.randrange(1, 12)
                return lambda: setattr(self, "_left", count)
            case _:
                return lambda: self._process.stop()

    def _at(self, at: float, what: Callable[[], object]) -> None:
        self._world.clock.callLater(at, lambda: self._ends or what())

    def _tell(self, words: str) -> None:
        self._told.append(f"{self._world.t:8.3f} {words}")

    # -- what happens -------------------------------------------------------------

    def _call(
        self,
        side: _Side,
        queue: str,
        number: str,
        presses_after_s: float | None,
        stays_s: float,
    ) -> None:
        on_the_phone = any(
            ring.ended_at is None
            for one in self._sides
            for ring in one.pbx.client(number).rung
        ) or any(_is_in(one, call) for one, call in self._calls_of(number))
        if on_the_phone or not side.pbx.manager.booted:
            return
        self._tell(f"{number} calls {queue} on {side.name}")
        call = side.pbx.call(queue, number, talks_s=10.0)
        self._calls.append((side, call))
        if presses_after_s is not None:
            side.pbx.later(presses_after_s, call.press)
        side.pbx.later(stays_s, lambda: call.talking or call.hang_up())

    def _calls_of(self, number: str) -> Iterator[tuple[_Side, LiveCall]]:
        return ((side, call) for side, call in self._calls if call.number == number)

    def _pause(self, side: _Side, agent: str, paused: bool) -> None:
        for queue in side.pbx.queues.values():
            if any(member.interface == agent for member in queue.members):
                queue.pause(agent, paused)

    def _ask(self, command: str, **arguments: Any) -> None:
        self._tell(f"{command} {arguments}")
        client = ControlClient(command, arguments, hangs_up=True)
        _ = self._process.control.dial(client)

    def _cut(self, side: _Side, down_s: float) -> None:
        self._tell(f"the link to {side.name} is cut for {down_s} s")
        side.pbx.cut_links()
        if side.pbx.manager.booted and down_s:
            side.pbx.manager.listening = False
            manager = side.pbx.manager
            self._world.clock.callLater(
                down_s, lambda: setattr(manager, "listening", True)
            )

    def _die(self, side: _Side, down_s: float) -> None:
        if not side.pbx.manager.booted:
            return
        self._tell(f"the Asterisk {side.name} dies for {down_s:.1f} s")
        side.pbx.kill()
        self._world.clock.callLater(down_s, lambda: self._come_back(side))

    @staticmethod
    def _come_back(side: _Side) -> None:
        side.pbx.manager.listening = True
        if not side.pbx.manager.booted:
            side.pbx.start(0.5)

    # -- the service ------------------------------------------------------------

    @property
    def _process(self) -> ServiceProcess:
        return self._world.processes[-1]

    def _begin(self) -> None:
        self._reborn = False
        queues = [
            queue_settings(
                name,
                attempts=3,
                retry_delay="5s",
                request_expiry="10m",
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
        names = [side.name for side in self._sides]
        self._world.launch(settings(*queues, nodes=names), kill_at=self._dies)

    def _dies(self, point: str) -> bool:
        if self._left and not self._ends:
            self._left -= 1
            if not self._left:
                self._tell(f"the service dies at {point}")
                return True
        return False

    # -- the run -------------------------------------------------------------------

    def play(self) -> None:
        """Run it.

        Raises:
            BrokenRule: a rule was broken.
        """
        self._begin()
        self._world.run(_ACTION_S)
        self._mend()
        end = self._world.t + _MAX_S
        self._world.run(60)
        while self._open_tasks() and self._world.t < end:
            self._world.run(30)
        self._world.run(60)
        if left := self._open_tasks():
            raise BrokenRule(ENDS, f"{left} are open")
        process = self._process
        process.stop()
        self._world.run(10)
        if process.stopped != [None] or process.open_wires:
            raise BrokenRule("the service stops", f"{process.stopped}")

    def _mend(self) -> None:
        self._ends = True
        for side in self._sides:
            self._come_back(side)
            for agent in _AGENTS[side.name]:
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

    def _look(self) -> None:
        """Check what can be checked at each step."""
        self._look_after_the_service()
        for side in self._sides:
            self._look_at_the_link(side)
        for side in self._sides:
            self._check_originates(side)
            self._check_rings(side)
        self._check_idle()
        if self._broken:
            raise self._broken[0]

    def _break(self, rule: str, words: str) -> None:
        self._broken.append(BrokenRule(rule, f"at {self._world.t}: {words}"))

    def _look_after_the_service(self) -> None:
        """Do what systemd does."""
        process = self._process
        if (process.dead or process.stopped) and not self._reborn:
            self._reborn = True
            delay_s = 0.0 if self._ends else 2.0
            self._world.clock.callLater(delay_s, self._begin)

    def _look_at_the_link(self, side: _Side) -> None:
        process = self._process
        node = next(n for n in process.service.nodes.all if n.name == side.name)
        calm = (
            not process.dead
            and not process.stopped
            and side.pbx.manager.booted
            and node.manager.connected
            and node.queue_monitor.ready
        )
        if not calm:
            side.calm_since = float("inf")
        elif side.calm_since == float("inf"):
            side.calm_since = self._now

    def _check_originates(self, side: _Side) -> None:
        actions = side.pbx.manager.actions
        for _, action in actions[side.actions :]:
            if action.name != "Originate" or action.get("Channel").startswith(FORGETS):
                continue
            base = action.get("ChannelId").removesuffix("-1")
            nodes = [
                attempt.node
                for task in self._world.tasks()
                for attempt in self._world.attempts(task.id)
                if attempt.channel_id == base
            ]
            self._tell(f"{base} is placed on {side.name}")
            if nodes != [side.name]:
                self._break(ITS_NODE, f"{base} of {nodes} on {side.name}")
        side.actions = len(actions)

    def _check_rings(self, side: _Side) -> None:
        for number, phone in side.pbx.clients.items():
            known = side.seen.get(number, 0)
            for index, ring in enumerate(phone.rung[known:], known):
                self._tell(f"{number} is rung from {side.name} by {ring.by}")
                self._check_ring(side, number, ring, phone.rung[:index])
            side.seen[number] = len(phone.rung)

    def _check_ring(
        self, side: _Side, number: str, ring: Ringing, before: list[Ringing]
    ) -> None:
        if any(one.by == ring.by for one in before):
            self._break(ONCE, f"{number} by {ring.by}")
        for other in self._sides:
            for one in other.pbx.client(number).rung:
                if one is not ring and one.at <= ring.at and one.ended_at is None:
                    words = f"{number} by {one.by} on {other.name}, and {ring.by}"
                    self._break(ONE_RING, f"{words} on {side.name}")
        for other, call in self._calls_of(number):
            # In time to keep the call from being placed, or to end it.
            seen = max(call.joined_at, other.calm_since, side.calm_since) + _SEES_S
            if other is not side and _is_in(other, call) and seen <= ring.at:
                words = f"{number} is in a call on {other.name} since {call.joined_at}"
                self._break(NOT_ELSEWHERE, f"{words}, and rung from {side.name}")

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
            if self._now - since > _NOTICE_S:
                self._break(NOT_LEFT, f"task {task_id} waits since {since}")

    def _any_trouble(self) -> bool:
        return any(self._now - s.calm_since < _CATCHES_UP_S for s in self._sides)

    def _idle_tasks(self) -> Iterator[int]:
        """Yield tasks that could be called: due, or in line where nobody is free."""
        free = {q: self._sides_with_agent(q) for q in _QUEUES}
        if not any(free.values()):
            return
        now = self._world.clock.seconds()
        self._read()
        for task in self._tasks:
            sides = free[task.queue]
            if not task.is_open or not sides or self._is_busy(task.number):
                continue
            if task.expires_at.timestamp() <= now or task.cancel_requested:
                continue
            if task.status.value == "pending":
                if task.due_at.timestamp() <= now:
                    yield task.id
                continue
            attempt = self._attempts_of(task)[-1]
            where = next(s for s in self._sides if s.name == attempt.node)
            visit = _visit_of(where, attempt.channel_id)
            if where not in sides and visit is not None and visit.idle:
                yield task.id

    def _sides_with_agent(self, name: str) -> list[_Side]:
        """Return where an agent is free for a callback of a queue, without a doubt."""
        found = []
        for side in self._sides:
            calm = self._now - side.calm_since >= _CATCHES_UP_S
            if not calm or side.name not in self._nodes[name]:
                continue
            queue = side.pbx.queues[name]
            waits = any(not v.over and v.member is None for v in side.pbx.visits())
            begins = any(not one._ended for one in side.pbx.callbacks)
            ready = [member for member in queue.members if queue.can_ring(member)]
            if ready and not waits and not begins:
                found.append(side)
        return found

    def _is_busy(self, number: str) -> bool:
        return any(_is_in(side, call) for side, call in self._calls_of(number)) or any(
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


#: Trouble, in the order of the weights in `NodesRun._draw`.
_TROUBLE: Final = ("cut", "asterisk dies", "service dies", "service stops")


def _is_in(side: _Side, call: LiveCall) -> bool:
    return not call.gone and call.channel.uniqueid in side.pbx.channels


def _visit_of(side: _Side, base: str) -> Visit | None:
    """Return the stay in line of an attempt; None: it has none."""
    for visit in side.pbx.visits():
        if visit.channel.uniqueid == f"{base}-2" and not visit.over:
            return visit
    return None
