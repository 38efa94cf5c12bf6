# SPDX-License-Identifier: MIT
"""Random runs of several services on one database, with one to three Asterisks.

Services are killed, frozen, stopped, and cut from the database or from Asterisks, while
people call and operators give commands to any of them. Each seed is one run. What the
models know is compared with the database, whose clock is the true time.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import Any, ClassVar, Final
from unittest import mock

import attrs
import sqlalchemy as sa

from twisted.logger import LogEvent, formatEvent

from fastagi.config.sections import InstanceSettings
from fastagi.domain.task import CallbackTask
from fastagi.node.holdings import LINK_LOST_S, QUIET_S, TRY_AGAIN_S
from fastagi.store import leases, notices, together, told
from fastagi.store.errors import DatabaseHeld
from tests.emulator.calls import Callback, LiveCall
from tests.emulator.phones import Ringing
from tests.emulator.wires import Door, Route
from tests.harness.control_client import ControlClient
from tests.harness.notices import FakeNotices
from tests.harness.world import ServiceProcess, settings
from tests.simulation.rules import BrokenRule
from tests.simulation.several import (
    CATCHES_UP_S,
    ENDS,
    ITS_NODE,
    QUEUES,
    SEES_S,
    STOPS,
    UNFORESEEN,
    Run,
    Side,
    is_in,
)
from tests.simulation.simulation import Failed, play

#: The first seed of such a run.
CLUSTERS_FROM: Final = 100_000_000
_AGENTS: Final = {
    "default": ("PJSIP/alice", "PJSIP/carol"),
    "berlin": ("PJSIP/bob", "PJSIP/dave"),
    "celle": ("PJSIP/erin", "PJSIP/frank"),
}
_NAMES: Final = ("a", "b", "c")
#: Trouble, in the order of its weights.
_TROUBLE: Final = {
    "is killed": 4,
    "freezes": 5,
    "stops": 3,
    "loses the database": 4,
    "loses Asterisk": 4,
    "asterisk dies": 2,
    "database is away": 2,
}
#: What happens else.
_LIFE: Final = {
    "call": 35,
    "busy": 8,
    "free": 16,
    "pause": 3,
    "unpause": 6,
    "add": 16,
    "cancel": 5,
    "retry": 3,
    "move": 3,
    "assign": 4,
    "release": 2,
    "block": 1,
}
#: What a service has done when it freezes, so that another one takes over in between;
#: empty: it freezes at any time.
_FREEZES_AT: Final = (
    "",
    "",
    "after COMMIT of begin attempts",
    "before sending AMI Action: Originate",
)
#: A service that asks the database for its lease is taken over after so long.
_TAKES_OVER_S: Final = leases.NODE_LENGTH_S + 1.0 + 2.0
#: The same if it has given its Asterisk back.
_FOLLOWS_S: Final = 2.0
#: How long who takes over needs to tell an Asterisk that it can reach.
_FENCES_S: Final = 1.0
#: From the end of a try to log in until the holder without a link has passed its
#: Asterisk on: each tells the other by the lease, and the holder tries once more.
_PASSES_ON_S: Final = 12.0
#: For how long a try to log in may say nothing.
_TRIES_S: Final = 10.0
#: Who gets an Asterisk from another one could log in there so long ago.
_REACHED_S: Final = QUIET_S + 15.0
#: From a command to one service until another one has acted on it.
_HEARS_S: Final = 1.5
#: What counts as a success, with what the clocks may differ by in a talk.
_SUCCESS_S: Final = 6.0
#: How long calls count of which nobody can know whether they have ended.
_COUNTS_S: Final = 300.0
#: Behind the clock of a service by so much a task counts as due long since.
_FAR_S: Final = 30.0
_PROMISES: Final = frozenset(
    {"callback-queue/accepted", "callback-queue/already-registered"}
)

_REQUESTED: Final = "|CALLBACKREQUEST|"

HOLDER: Final = "one instance at a time places calls on an Asterisk"
TAKEN_OVER: Final = "an Asterisk whose instance fails is taken over"
LINKED: Final = "an Asterisk whose instance has no link goes to one that reaches it"
REACHABLE: Final = "an Asterisk is passed on only to an instance that reaches it"
NOT_CANCELLED: Final = "no client is rung for a task that was cancelled at any instance"
ASSIGNED: Final = "an assigned task rings only that agent, wherever it was assigned"
KEPT: Final = "a promise is kept, by one task"
REACHED: Final = "a client who was reached is not called again"
ONE_LINE: Final = "nothing is written twice into queue_log"


def simulate(seed: int) -> Failed | None:
    """Play a seed; return the broken rule, None if there is none."""
    return play(seed, ClusterRun)


@attrs.define(eq=False)
class _Instance:
    """One service: its machine, its ways to others, and its process."""

    name: str
    prefers: Sequence[str]
    #: The machine's clock minus the true time, in seconds.
    skew_s: float
    routes: dict[str, Route]
    doors: dict[str, Door]
    process: ServiceProcess | None = None
    #: How many troubles keep it from the database.
    away: int = 0
    #: How often the machine was started.
    boots: int = 1
    #: When the next start is due; infinite: at the end.
    back_s: float = 2.0
    is_to_begin: bool = False
    is_stopping: bool = False
    #: Dies after so many points; freezes at the next point of this name, for so long.
    dies_after: int = 0
    freezes_at: str = ""
    freezes_s: float = 0.0
    #: Since when nothing is wrong with it.
    well_since: float = inf
    #: Since when it could log in to each Asterisk; and since when its way there is cut.
    reaches_since: dict[str, float] = attrs.field(factory=dict)
    cut_since: dict[str, float] = attrs.field(factory=dict)

    @property
    def runs(self) -> bool:
        """Whether its process does anything."""
        process = self.process
        return process is not None and not (
            process.dead or process.frozen or process.stopped
        )


@attrs.frozen
class _Begun:
    """An attempt, at its COMMIT."""

    instance: _Instance
    #: The epoch of the lease on its Asterisk.
    epoch: int
    node: str
    task_id: int
    at: float
    #: The only agent who may be rung; empty: any.
    only: str


class ClusterRun(Run):
    """One run."""

    ACTION_S: ClassVar = 60.0
    MAX_S: ClassVar = 600.0
    LOOK_S: ClassVar = 10.0
    QUIET_S: ClassVar = 15.0
    TALK_S: ClassVar = 7.0
    NUMBERS: ClassVar = tuple(f"03012345{number:02}" for number in range(9))
    #: How much trouble there is, of which one is drawn.
    TROUBLE: ClassVar[Sequence[float]] = (0.2, 0.4, 0.4, 0.8)
    #: How far the machines' clocks are from the true time at most, likewise.
    APART_S: ClassVar[Sequence[float]] = (0.0, 0.0, 30.0, 1800.0)

    def __init__(self, seed: int) -> None:
        # Each combination of numbers comes in twelve seeds.
        count = 3 if seed % 4 == 3 else 2
        asterisks = 1 + seed % 3
        self._instances: list[_Instance] = []
        self._count = count
        #: Decides what becomes of notices and COMMITs, apart from what is drawn.
        self._chance = random.Random(f"chance {seed}")
        self._notices_lost = 0.0
        self._commit_s = 0.0
        #: How many troubles keep everybody from the database.
        self._away = 0
        self._died_at = -1.0
        #: The rows of the leases on Asterisks, by name.
        self._leases: dict[str, sqlite3.Row] = {}
        self._looked_at = -1
        #: Who held each Asterisk at the last look; and since when none did that can
        #: work, though another one could, with the epoch of the lease.
        self._holders: dict[str, ServiceProcess | None] = {}
        self._unheld_since: dict[str, tuple[float, int]] = {}
        #: Since when each Asterisk has a holder without a link with which nothing else
        #: is wrong; and when anything was wrong with any instance last.
        self._unlinked_since: dict[str, tuple[ServiceProcess, float]] = {}
        self._unrest_at = 0.0
        self._begun: dict[str, _Begun] = {}
        #: Those that had ended at the last look, and the last event then.
        self._ended: set[str] = set()
        self._ended_by = 0
        self._last_attempt = 0
        self._last_event = 0
        #: When cancellations of attempts, and assignments, were seen: by task id.
        self._cancelled_at: dict[int, float] = {}
        self._assigned: dict[int, tuple[str, float]] = {}
        #: The linkedids of requests, with the task.
        self._asked_by: dict[str, int] = {}
        #: When it was certain that the holder knew of a call.
        self._known_at: dict[LiveCall, float] = {}
        #: The numbers of callbacks, and of agents' rings, that were looked at.
        self._callbacks: dict[str, int] = {}
        self._agent_rings: dict[tuple[str, str], int] = {}
        #: Who was promised a call, when, and by which task.
        self._promised: list[tuple[LiveCall, float, int]] = []
        #: When each Asterisk died.
        self._deaths: dict[str, list[float]] = {}
        agents = dict(list(_AGENTS.items())[:asterisks])
        super().__init__(seed, agents)
        path = self._world.directory / "callback.db"
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._more_patches = [
            *(
                mock.patch.object(module, "now", self._database_now)
                for module in (together, told)
            ),
            mock.patch.object(notices, "send", self._notices.send),
        ]
        for patch in self._more_patches:
            patch.start()

    def close(self) -> None:
        """Release everything."""
        super().close()
        for patch in self._more_patches:
            patch.stop()
        self._db.close()

    def _observe(self, event: LogEvent) -> None:
        if "log_failure" not in event or self._died_at == self._now:
            return
        own = event["log_namespace"].startswith(("fastagi", "tests"))
        # What a killed process leaves behind may say so later.
        if own or self._died_at < 0:
            words = formatEvent(event) + event["log_failure"].getTraceback()
            self._broken.append(BrokenRule(UNFORESEEN, words))

    # -- what is drawn from the seed ------------------------------------------

    def _build(self) -> None:
        dice = self._dice
        self._fairness = dice.choice(("place", "live_first"))
        names = [side.name for side in self._sides]
        self._nodes = {
            "support": names,
            "sales": dice.choice((names, names, names[-1:])),
        }
        self._notices_lost = dice.choice((0.0, 0.0, 0.3, 1.0))
        self._commit_s = dice.choice((0.0, 0.0, 0.02))
        self._notices = FakeNotices(self._world.clock, self._notice)
        self._world.notices = self._notices
        self._world.leases_run_out = True
        clock = self._world.clock
        apart_s = dice.choice(self.APART_S)
        for index, name in enumerate(_NAMES[: self._count]):
            self._instances.append(
                _Instance(
                    name=name,
                    prefers=dice.choice((names[index :: self._count], ())),
                    skew_s=round(dice.uniform(-apart_s, apart_s), 1),
                    routes=(routes := {one: Route(clock) for one in names}),
                    doors={one: Door(routes[one]) for one in names},
                )
            )
        for index, side in enumerate(self._sides):
            self._furnish(side)
            # The dialplan names the service beside it first.
            beside = self._instances[index % self._count]
            others = [one for one in self._instances if one is not beside]
            side.pbx.doors = [one.doors[side.name] for one in (beside, *others)]
            side.pbx.skew_s = beside.skew_s
            side.pbx.on_prompt = self._hears
        trouble = dice.choice(self.TROUBLE)
        self._weights = [
            *_LIFE.values(),
            *(weight * trouble for weight in _TROUBLE.values()),
        ]
        at = 1.0
        while at < self.ACTION_S:
            at += dice.expovariate(1)
            self._at(at, self._draw())
        self._draw_keys()

    def _draw(self) -> Callable[[], object]:
        """Return what happens at a moment."""
        dice = self._dice
        side = dice.choice(self._sides)
        instance = dice.choice(self._instances)
        agent = dice.choice(side.agents)
        number, queue = dice.choice(self.NUMBERS), dice.choice(QUEUES)
        which = dice.random()
        kind = dice.choices((*_LIFE, *_TROUBLE), weights=self._weights)[0]
        if kind in _TROUBLE:
            return self._draw_trouble(kind, instance, side)
        ask = partial(self._ask, instance)
        change = partial(self._change, instance, which)
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
                return lambda: ask("tasks.add", queue=queue, number=number)
            case "move":
                return lambda: change("tasks.move", front=True)
            case "assign":
                return lambda: change("tasks.assign", agent=agent, duration="1m")
            case "release":
                return lambda: change("tasks.assign", release=True)
            case "block":
                return lambda: ask("numbers.block", number=number)
            case _:
                return lambda: change(f"tasks.{kind}")

    def _draw_trouble(
        self, kind: str, instance: _Instance, side: Side
    ) -> Callable[[], object]:
        dice = self._dice
        for_s = dice.choice((dice.uniform(0.5, 5), dice.uniform(5, 15)))
        match kind:
            case "is killed":
                points = dice.choice((0, dice.randrange(1, 12)))
                back_s = dice.choice((2.0, dice.uniform(2, 40), inf))
                reboots = dice.randrange(4) == 0
                return lambda: self._dies(instance, points, back_s, reboots=reboots)
            case "freezes":
                where = dice.choice(_FREEZES_AT)
                frozen_s = dice.choice((for_s, dice.uniform(15, 60)))
                if where:
                    # Another one has taken over when it wakes, and does what is left.
                    frozen_s = max(frozen_s, _TAKES_OVER_S + for_s)
                return lambda: self._freeze_at(instance, where, frozen_s)
            case "stops":
                back_s = dice.choice((2.0, dice.uniform(2, 30), inf))
                return lambda: self._stop(instance, back_s)
            case "loses the database":
                unheard = dice.randrange(3) == 0
                return lambda: self._lose_database(instance, for_s, unheard=unheard)
            case "loses Asterisk":
                sides = dice.choice(([side], self._sides))
                lost_s = dice.choice((for_s, dice.uniform(15, 40)))
                resets = dice.randrange(2) == 0
                return lambda: self._lose(instance, sides, lost_s, resets=resets)
            case "asterisk dies":
                down_s = dice.uniform(2, 30)
                return lambda: self._asterisk_dies(side, down_s)
            case _:
                return lambda: self._database_away(for_s)

    # -- people -----------------------------------------------------------------

    def _ask(self, instance: _Instance, command: str, **arguments: Any) -> None:
        if instance.process is None or instance.process.dead:
            return
        self._tell(f"{instance.name}: {command} {arguments}")
        client = ControlClient(command, arguments, hangs_up=True)
        _ = instance.process.control.dial(client)

    def _change(
        self, instance: _Instance, which: float, command: str, **arguments: Any
    ) -> None:
        """Change a task: one that is being called, if there is one, or an open one."""
        for condition in ("status = 'calling'", "ended_at IS NULL", "true"):
            rows = self._db.execute(f"SELECT id FROM task WHERE {condition}").fetchall()
            if rows:
                task_id = rows[int(which * len(rows))]["id"]
                self._ask(instance, command, id=task_id, **arguments)
                return

    def clock_of_asker(self, conn: sa.Connection) -> float:
        """Return the time of the clock of the machine that asks the database."""
        for instance in self._instances:
            process = instance.process
            if process is not None and process.database.is_used_by(conn):
                return self._now + instance.skew_s
        return self._now

    def _notice(self) -> float | None:
        if not self._ends and self._chance.random() < self._notices_lost:
            return None
        return self._chance.uniform(0.001, 0.05)

    # -- trouble ----------------------------------------------------------------

    def _later(self, seconds: float, function: Callable[[], object]) -> None:
        self._world.clock.callLater(seconds, function)

    def _dies(
        self, instance: _Instance, points: int, back_s: float, *, reboots: bool
    ) -> None:
        instance.back_s = back_s
        instance.boots += reboots
        if points:
            instance.dies_after = points
        elif instance.process is not None and not instance.process.dead:
            self._tell(f"{instance.name} is killed")
            self._died_at = self._now
            instance.process.kill()

    def _freeze_at(self, instance: _Instance, where: str, for_s: float) -> None:
        if where:
            instance.freezes_at, instance.freezes_s = where, for_s
        else:
            self._freeze(instance, for_s)

    def _freeze(self, instance: _Instance, for_s: float) -> None:
        process = instance.process
        if process is None or not instance.runs:
            return
        self._tell(f"{instance.name} is frozen for {for_s:.1f} s")
        process.freeze(accepts=True)
        self._later(for_s, process.thaw)

    def _stop(self, instance: _Instance, back_s: float) -> None:
        if instance.process is not None and instance.runs and not instance.is_stopping:
            self._tell(f"{instance.name} is stopped")
            instance.back_s = back_s
            instance.is_stopping = True
            instance.process.stop()

    def _lose_database(
        self, instance: _Instance, for_s: float, *, unheard: bool
    ) -> None:
        if unheard and instance.process is not None:
            # It goes while the answer to a COMMIT is on its way.
            instance.process.database.unheard.add("begin attempts")
            self._later(
                1.0, lambda: self._lose_database(instance, for_s, unheard=False)
            )
            return
        self._tell(f"{instance.name} does not reach the database for {for_s:.1f} s")
        instance.away += 1
        self._set_databases()

        def is_back() -> None:
            instance.away = max(0, instance.away - 1)
            self._set_databases()

        self._later(for_s, is_back)

    def _database_away(self, for_s: float) -> None:
        self._tell(f"the database is away for {for_s:.1f} s")
        self._away += 1
        self._set_databases()

        def is_back() -> None:
            self._away = max(0, self._away - 1)
            self._set_databases()

        self._later(for_s, is_back)

    def _set_databases(self) -> None:
        for instance in self._instances:
            if (process := instance.process) is not None:
                away = self._away or instance.away
                process.database.unavailable = "no route to host" if away else ""
                process.database.unheard.clear()

    def _lose(
        self, instance: _Instance, sides: Sequence[Side], for_s: float, *, resets: bool
    ) -> None:
        names = [side.name for side in sides]
        how = "is cut from" if resets else "is without an answer of"
        self._tell(f"{instance.name} {how} {names} for {for_s:.1f} s")
        for name in names:
            route = instance.routes[name]
            route.cut(resets=resets)
            self._later(for_s, route.mend)

    def _cut_holder(
        self, side: Side, for_s: float, *, resets: bool, everybody: bool
    ) -> None:
        """Cut the way to an Asterisk from its holder, or from all."""
        holder = self._holder(side)
        for instance in self._instances:
            if everybody or instance is holder:
                self._lose(instance, [side], for_s, resets=resets)

    def _asterisk_dies(self, side: Side, down_s: float) -> None:
        if side.pbx.manager.booted:
            self._deaths.setdefault(side.name, []).append(self._now)
        self._die(side, down_s)

    # -- the services -----------------------------------------------------------

    def _begin_all(self) -> None:
        for instance in self._instances:
            self._begin(instance)

    def _begin(self, instance: _Instance) -> None:
        if self._away or instance.away:
            self._later(1.0, lambda: self._begin(instance))
            return
        names = [side.name for side in self._sides]
        # Tasks are due, and too old, by the clock of the service that looks.
        chosen = settings(
            *self._queues(request_expiry="4h" if self._are_apart else "10m"),
            nodes=names,
            instance=InstanceSettings(
                name=instance.name, nodes=tuple(instance.prefers)
            ),
        )
        instance.is_stopping = False
        instance.well_since = inf
        instance.process = None
        try:
            process = self._world.launch(
                chosen,
                kill_at=partial(self._passes, instance),
                host=f"machine {instance.name} {instance.boots}",
                skew_s=instance.skew_s,
            )
        except DatabaseHeld:
            # The machine was restarted, and the lease of before counts for a while.
            self._later(1.0, lambda: self._begin(instance))
            return
        self._tell(f"{instance.name} begins")
        instance.is_to_begin = False
        instance.process = process
        for side in self._sides:
            process.amis[side.name].route = instance.routes[side.name]
            instance.doors[side.name].endpoint = process.agi
        process.database.takes_s = self._takes_s
        self._set_databases()

    @property
    def _are_apart(self) -> bool:
        return any(abs(one.skew_s) > _FAR_S for one in self._instances)

    def _takes_s(self, name: str) -> float:
        return self._chance.uniform(0.1, 1) * self._commit_s if self._commit_s else 0.0

    def _passes(self, instance: _Instance, point: str) -> bool:
        """Note what a process does, and return whether it dies there."""
        if instance.process is None:
            return False
        if point == "after COMMIT of begin attempts":
            begun = self._note_begun(instance)
            if not begun:
                return False
        if self._ends:
            return False
        if instance.freezes_at == point:
            instance.freezes_at = ""
            self._freeze(instance, instance.freezes_s)
        if instance.dies_after:
            instance.dies_after -= 1
            if not instance.dies_after:
                self._tell(f"{instance.name} dies at {point}")
                self._died_at = self._now
                return True
        return False

    def _look_after(self, instance: _Instance) -> None:
        """Do what systemd does."""
        process = instance.process
        if process is None or instance.is_to_begin:
            return
        if process.lease_lost and not process.dead:
            self._tell(f"{instance.name} has lost its lease")
            self._died_at = self._now
            process.kill()
        if not (process.dead or process.stopped):
            return
        if self._ends or instance.back_s < inf:
            instance.is_to_begin = True
            delay_s = 0.0 if self._ends else instance.back_s
            self._later(delay_s, lambda: self._begin(instance))

    def _mend(self) -> None:
        super()._mend()
        self._away = 0
        for instance in self._instances:
            instance.away = 0
            for route in instance.routes.values():
                route.mend()
            if instance.process is not None:
                instance.process.thaw()
        self._set_databases()
        self._later(self.LOOK_S, self._bring_near)

    def _bring_near(self) -> None:
        """Let no task wait until the slowest clock has come to the fastest one's time.

        An operator puts it in line again.
        """
        slowest = min(self._instances, key=lambda one: one.skew_s)
        now = self._now + slowest.skew_s
        for task in self._world.tasks():
            if (
                task.status.value == "pending"
                and task.due_at.timestamp() > now + _FAR_S
            ):
                self._ask(slowest, "tasks.retry", id=task.id)
        self._later(self.LOOK_S, self._bring_near)

    def _stop_all(self) -> None:
        # What was killed begins again first, so that all of them have to stop.
        end = self._world.t + self.MAX_S
        while any(one.is_to_begin for one in self._instances) and self._world.t < end:
            self._world.run(self.LOOK_S)
        processes = [one.process for one in self._instances]
        for process in processes:
            assert process is not None
            process.stop()
        self._world.run(10)
        for process in processes:
            assert process is not None
            if process.stopped != [None] or process.open_wires:
                raise BrokenRule(STOPS, f"{process.instance}: {process.stopped}")

    # -- what is known ------------------------------------------------------------

    def _read(self) -> None:
        if self._read_at != self._last_event:
            self._read_at = self._last_event
            self._tasks = self._world.tasks()
            self._attempts.clear()

    def _look_at_the_database(self) -> None:
        """Take in what was committed since the last look."""
        if self._looked_at == self._world.requests:
            return
        self._looked_at = self._world.requests
        self._read_leases()
        for event in self._db.execute(
            "SELECT id, task_id, move, reason_code, reason_params, linkedid"
            " FROM task_event WHERE id > ? ORDER BY id",
            (self._last_event,),
        ).fetchall():
            self._last_event = event["id"]
            self._take(event)

    def _take(self, event: sqlite3.Row) -> None:
        task_id = event["task_id"]
        if event["linkedid"]:
            self._asked_by[event["linkedid"]] = task_id
        match event["move"]:
            case "cancel_later":
                self._cancelled_at.setdefault(task_id, self._now)
            case "assign":
                only = str(json.loads(event["reason_params"])["interface"])
                self._assigned[task_id] = only, self._now
            case "release":
                self._assigned.pop(task_id, None)
            case "repeat" | "reopen":
                # A client who asks again is called after all.
                self._cancelled_at.pop(task_id, None)
            case _:
                pass

    def _read_leases(self) -> None:
        rows = self._db.execute(
            "SELECT name, token, epoch, valid_until FROM lease WHERE name LIKE 'node:%'"
        )
        self._leases = {row["name"].removeprefix("node:"): row for row in rows}

    def _holder(self, side: Side) -> _Instance | None:
        """Return the instance whose process holds an Asterisk by the database."""
        row = self._leases.get(side.name)
        if row is None or not row["token"] or row["valid_until"] <= self._now:
            return None
        for instance in self._instances:
            process = instance.process
            if process is not None and process.token == row["token"]:
                return instance
        return None

    def _reaches_database(self, instance: _Instance) -> bool:
        return not (self._away or instance.away)

    def _look_at_instances(self) -> None:
        for instance in self._instances:
            self._look_after(instance)
            is_well = (
                instance.runs
                and not instance.is_stopping
                and self._reaches_database(instance)
                and instance.process is not None
                and instance.process.started == [None]
            )
            if is_well != (instance.well_since < inf):
                instance.well_since = self._now if is_well else inf
                self._unrest_at = self._now
            for side in self._sides:
                self._look_at_the_way(instance, side, is_well=is_well)

    def _look_at_the_way(
        self, instance: _Instance, side: Side, *, is_well: bool
    ) -> None:
        is_cut = instance.routes[side.name].is_cut
        is_open = is_well and not is_cut and side.pbx.manager.booted
        for since, is_so in (
            (instance.reaches_since, is_open),
            (instance.cut_since, is_cut),
        ):
            if is_so:
                since.setdefault(side.name, self._now)
            else:
                since.pop(side.name, None)

    def _look_at_the_link(self, side: Side) -> None:
        holder = self._holder(side)
        process = None if holder is None else holder.process
        calm = is_without = False
        if holder is not None and process is not None:
            node = next(n for n in process.service.nodes.all if n.name == side.name)
            is_without = (
                holder.well_since < inf
                and node.is_at_work
                and not node.manager.connected
            )
            calm = (
                holder.well_since < inf
                and side.pbx.manager.booted
                and not holder.routes[side.name].is_cut
                and node.is_at_work
                and node.manager.connected
                and node.queue_monitor.ready
            )
        changed = self._holders.get(side.name) is not process
        if changed:
            who = "nobody" if process is None else process.instance
            self._tell(f"{side.name} is held by {who}")
            self._check_passed_on(side, holder)
        self._holders[side.name] = process
        if process is None or not is_without:
            self._unlinked_since.pop(side.name, None)
        elif self._unlinked_since.get(side.name, (None,))[0] is not process:
            self._unlinked_since[side.name] = process, self._now
        if not calm:
            side.calm_since = inf
        elif side.calm_since == inf or changed:
            side.calm_since = self._now

    def _note_known_calls(self) -> None:
        """Note which calls the holder of their Asterisk must have told the others."""
        for side, call in self._calls:
            if call in self._known_at or not is_in(side, call):
                continue
            if max(call.joined_at, side.calm_since) + SEES_S <= self._now:
                self._known_at[call] = self._now

    # -- the rules ----------------------------------------------------------------

    def _look(self) -> None:
        self._look_at_the_database()
        self._look_at_instances()
        for side in self._sides:
            self._look_at_the_link(side)
            self._check_held(side)
            self._check_linked(side)
        self._note_known_calls()
        for side in self._sides:
            self._check_callbacks(side)
            self._check_rings(side)
            self._check_agent_rings(side)
        self._check_idle()
        self._note_ended()
        if self._broken:
            raise self._broken[0]

    def _note_ended(self) -> None:
        """Note which attempts have ended by now."""
        if self._ended_by == self._last_event:
            return
        self._ended_by = self._last_event
        rows = self._db.execute(
            "SELECT channel_id FROM attempt WHERE ended_at IS NOT NULL"
        )
        self._ended = {row["channel_id"] for row in rows}

    def _check_held(self, side: Side) -> None:
        """Another one takes over as soon as the holder can not work."""
        row, now = self._leases.get(side.name), self._now
        holder = self._holder(side)
        works = holder is not None and holder.runs and self._reaches_database(holder)
        well_since = min((one.well_since for one in self._instances), default=inf)
        if works or well_since == inf:
            self._unheld_since.pop(side.name, None)
            return
        epoch = 0 if row is None else row["epoch"]
        known = self._unheld_since.get(side.name)
        if known is None or known[1] != epoch:
            # Who has taken it may fail, too.
            self._unheld_since[side.name] = known = now, epoch
        since, _ = known
        is_free = row is not None and not row["token"]
        bound_s = _FOLLOWS_S if is_free else _TAKES_OVER_S
        if max(since, well_since) + bound_s < now:
            words = f"{side.name} has no instance that works since {since}"
            self._break(TAKEN_OVER, words)

    def _check_linked(self, side: Side) -> None:
        """A holder without a link does not keep what another one reaches."""
        if side.name not in self._unlinked_since:
            return
        process, since = self._unlinked_since[side.name]
        reaches_since = min(
            one.reaches_since.get(side.name, inf)
            for one in self._instances
            if one.process is not process
        )
        last = max(
            since + LINK_LOST_S,
            reaches_since + _TRIES_S + TRY_AGAIN_S,
            # One that has asked for it may have ended.
            self._unrest_at + leases.LENGTH_S + TRY_AGAIN_S,
        )
        if last + _PASSES_ON_S < self._now:
            words = f"{side.name} is without a link since {since}"
            self._break(
                LINKED, f"{words}, another one reaches it since {reaches_since}"
            )

    def _check_passed_on(self, side: Side, holder: _Instance | None) -> None:
        """Who gets an Asterisk from one that is well could log in there."""
        former = self._holders.get(side.name)
        was_well = any(
            one.process is former is not None and one.well_since < self._now
            for one in self._instances
        )
        if holder is None or not was_well:
            return
        if holder.cut_since.get(side.name, inf) + _REACHED_S < self._now:
            self._break(REACHABLE, f"{side.name} goes to {holder.name}")

    def _note_begun(self, instance: _Instance) -> bool:
        """Note the attempts of a COMMIT that has just been made; return if any."""
        rows = self._db.execute(
            "SELECT a.id, a.channel_id, a.node, a.task_id, t.assigned_to"
            " FROM attempt a JOIN task t ON t.id = a.task_id WHERE a.id > ?",
            (self._last_attempt,),
        ).fetchall()
        self._read_leases()
        process = instance.process
        assert process is not None
        for row in rows:
            self._last_attempt = row["id"]
            lease = self._leases[row["node"]]
            self._begun[row["channel_id"]] = _Begun(
                instance,
                lease["epoch"],
                row["node"],
                row["task_id"],
                self._now,
                row["assigned_to"] or "",
            )
            if lease["token"] != process.token or lease["valid_until"] <= self._now:
                words = f"{instance.name} begins {row['channel_id']} on {row['node']}"
                self._break(HOLDER, f"{words} without its lease")
        return bool(rows)

    def _check_callbacks(self, side: Side) -> None:
        """Who may place calls, judged where they begin: in Asterisk."""
        callbacks = side.pbx.callbacks
        seen = self._callbacks.get(side.name, 0)
        if len(callbacks) < seen:
            # Asterisk has died.
            seen = 0
        for callback in callbacks[seen:]:
            self._check_callback(side, callback)
        self._callbacks[side.name] = len(callbacks)

    def _check_callback(self, side: Side, callback: Callback) -> None:
        base = callback.base
        self._tell(f"{base} is placed on {side.name}{', stale' * callback.is_stale}")
        begun = self._begun.get(base)
        if begun is None or begun.node != side.name:
            self._break(ITS_NODE, f"{base} on {side.name}")
            return
        if callback.is_stale:
            return
        row = self._leases[side.name]
        if row["epoch"] > begun.epoch and side.calm_since + _FENCES_S <= self._now:
            words = f"{base} of {begun.instance.name} on {side.name}"
            self._break(HOLDER, f"{words}, which another one holds by now")
        if base in self._ended:
            self._break(ITS_NODE, f"{base} on {side.name} has ended already")

    def _check_ring(
        self, side: Side, number: str, ring: Ringing, before: list[Ringing]
    ) -> None:
        super()._check_ring(side, number, ring, before)
        begun = self._begun.get(ring.by.removesuffix("-1"))
        if begun is None:
            return
        cancelled_at = self._cancelled_at.get(begun.task_id, inf)
        if max(cancelled_at, begun.at, side.calm_since) + _HEARS_S < ring.at:
            words = f"{number} by {ring.by}, cancelled at {cancelled_at}"
            self._break(NOT_CANCELLED, words)
        for other in self._sides:
            for one in other.pbx.client(number).rung:
                former = self._begun.get(one.by.removesuffix("-1"))
                if (
                    one is not ring
                    and former is not None
                    and former.task_id == begun.task_id
                    and one.answered_at is not None
                    and one.ended_at is not None
                    and one.ended_at - one.answered_at >= _SUCCESS_S
                    and one.ended_at not in self._deaths.get(other.name, ())
                ):
                    self._break(REACHED, f"{number} by {one.by}, then by {ring.by}")

    def _is_to_be_known(
        self, side: Side, other: Side, call: LiveCall, ring: Ringing
    ) -> bool:
        known_at = self._known_at.get(call, inf)
        begun = self._begun.get(ring.by.removesuffix("-1"))
        if begun is not None and begun.at > known_at:
            # Whatever has happened since: the COMMIT comes after that of the call.
            return True
        return max(known_at, side.calm_since) + SEES_S <= ring.at

    def _check_agent_rings(self, side: Side) -> None:
        for interface, phone in side.pbx.phones.items():
            key = side.name, interface
            for ring in phone.rung[self._agent_rings.get(key, 0) :]:
                self._check_agent_ring(side, interface, ring)
            self._agent_rings[key] = len(phone.rung)

    def _check_agent_ring(self, side: Side, interface: str, ring: Ringing) -> None:
        begun = self._begun.get(ring.by.removesuffix("-2"))
        if begun is None:
            return
        only, since = begun.only, begun.at
        if not only:
            only, since = self._assigned.get(begun.task_id, ("", inf))
            since = max(since, side.calm_since) + _HEARS_S
        if only not in ("", interface) and since <= ring.at:
            self._break(ASSIGNED, f"{interface} by {ring.by}, not {only}")

    # -- promises -----------------------------------------------------------------

    def _hears(self, call: LiveCall, sound: str) -> None:
        if sound not in _PROMISES:
            return
        self._tell(f"{call.number} hears {sound}")
        self._look_at_the_database()
        task_id = self._asked_by.get(call.channel.uniqueid)
        if task_id is None:
            self._break(KEPT, f"{call.number} hears {sound} before its COMMIT")
            return
        self._promised.append((call, self._now, task_id))

    def _check_the_end(self) -> None:
        rows = self._db.execute("SELECT * FROM task").fetchall()
        tasks = {row["id"]: row for row in rows}
        for call, at, task_id in self._promised:
            # What was asked for in a talk becomes a task of its own later.
            task_id = self._asked_by.get(call.channel.uniqueid, task_id)
            self._check_promise(call, at, tasks[task_id])
        for task in rows:
            if not task["reason_code"]:
                self._break(ENDS, f"task {task['id']} without a reason")
        self._check_one_task(tasks)
        for side in self._sides:
            # A task that is put back in line is a request again.
            lines = [one for one in side.pbx.queue_log if _REQUESTED not in one]
            counts = Counter(lines)
            if twice := [line for line, count in counts.items() if count > 1]:
                self._break(ONE_LINE, f"{side.name}: {twice}")
        if self._broken:
            raise self._broken[0]

    def _check_promise(self, call: LiveCall, at: float, task: sqlite3.Row) -> None:
        if task["reason_code"] == "taken_back":
            self._break(KEPT, f"{call.number}: task {task['id']} was taken back")
        since = at - SEES_S
        called = any(
            (ring.answered_at or ring.ended_at or inf) > since
            for side in self._sides
            for ring in side.pbx.client(call.number).rung
        )
        served = any(
            (other.answered_at or 0.0) > since
            for _, other in self._calls_of(call.number)
        )
        # What was asked for in the talk is dropped if the number is blocked after it.
        dropped = self._cancelled_at.get(task["id"], 0.0) > at
        # Nobody talked after the promise, but there is another end with a reason.
        if not (called or served or dropped) and task["status"] == "completed":
            self._break(KEPT, f"{call.number} was never called: task {task['id']}")

    def _check_one_task(self, tasks: dict[int, sqlite3.Row]) -> None:
        """One call makes at most one task that stands."""
        made: dict[str, set[int]] = {}
        for event in self._db.execute(
            "SELECT linkedid, task_id, reason_code FROM task_event"
            " WHERE linkedid <> '' ORDER BY id"
        ):
            standing = made.setdefault(event["linkedid"], set())
            if event["reason_code"] == "requested_while_talking":
                # What was asked for in a talk goes on when the talk is over.
                standing.clear()
            if tasks[event["task_id"]]["reason_code"] != "taken_back":
                standing.add(event["task_id"])
        for linkedid, ids in made.items():
            if len(ids) > 1:
                self._break(KEPT, f"{linkedid} has made tasks {sorted(ids)}")

    # -- tasks that wait ------------------------------------------------------------

    def _may_be_called(self, task: CallbackTask, sides: Sequence[Side]) -> bool:
        if task.assigned_to:
            # Others may be free.
            return False
        fastest_s = max(one.skew_s for one in self._instances)
        if task.expires_at.timestamp() <= self._now + fastest_s:
            return False
        # It is due by the clock of the service that calls it, also if it waits in line.
        return any(
            holder is not None and task.due_at.timestamp() <= self._now + holder.skew_s
            for holder in map(self._holder, sides)
        )

    def _is_busy(self, number: str) -> bool:
        """Nor is it known who has ended a call on an Asterisk that is out of reach."""
        return super()._is_busy(number) or any(
            self._now - side.calm_since < CATCHES_UP_S
            and any(end > self._now - _COUNTS_S for end in self._ends_of(side, number))
            for side in self._sides
        )

    def _ends_of(self, side: Side, number: str) -> Iterator[float]:
        """Yield when the calls of a client on one Asterisk ended."""
        for one, call in self._calls_of(number):
            if one is side:
                yield call.ended_at or inf
        for ring in side.pbx.client(number).rung:
            yield ring.ended_at or inf

    def story(self) -> str:
        """Return what happened, and the tasks."""
        head = ", ".join(
            f"{one.name} prefers {list(one.prefers)} with a clock {one.skew_s:+g} s"
            for one in self._instances
        )
        return f"{head}\nnotices lost: {self._notices_lost}\n{super().story()}"
