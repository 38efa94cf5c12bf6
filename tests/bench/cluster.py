# SPDX-License-Identifier: MIT
"""Several services on one PostgreSQL: how fast they claim, take over and call.

The services are the real processes, each between its own model of Asterisk and
callers; the PostgreSQL is a server of the tests that waits for the disk. In the
take-over each service believes the other one to be on another machine, as it usually
is: it can not see that the other process has ended.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import attrs

from twisted.internet.defer import Deferred, gatherResults

from fastagi.store import migrate
from fastagi.store.backends import backend_for
from tests.bench.claims import QUEUE
from tests.bench.goals import at_most, is_so, percentile
from tests.bench.rig import Rig, pause
from tests.bench.tasks import fill
from tests.emulator.calls import FENCES
from tests.emulator.manager import Action, Answer, error
from tests.harness.tables import empty_tables
from tests.lab.cluster import hold_back, let_take
from tests.lab.databases import PostgreSQL
from tests.lab.install import install

#: From kill -9 to the first call of the other service, at p99.
_MOST_TAKE_OVER_S: Final = 12.0
#: From the request at one service to the Originate of the other one, at p99.
_MOST_RING_MS: Final = 150.0
#: Free agents of the second Asterisk.
_AGENTS: Final = 50
#: The lease is renewed so often: the kill comes at any moment between.
_RENEWED_S: Final = 2.0
#: What is done only once after a start.
_SETTLES_S: Final = 3.0
_DEADLINE_S: Final = 60.0


@attrs.frozen(kw_only=True)
class Size:
    """How much is measured."""

    #: How many instances claim at the same time, one number after the other.
    instances: tuple[int, ...] = (1, 2, 4, 8)
    #: Tasks that are claimed, for each number of instances.
    tasks: int = 2000
    #: How often a service is killed.
    kills: int = 20
    #: Callers who press the key.
    presses: int = 300


Say = Callable[[str, str], object]


async def measure(size: Size, say: Say) -> None:
    """Measure all of it, and print it with the goals."""
    install(["databases"])
    with PostgreSQL(on_disk=True) as server:
        for instances in size.instances:
            with server.database() as url:
                _claims(url, instances, size.tasks, say)
        with server.database() as url:
            await _take_over(url, size.kills, say)
        with server.database() as url:
            await _press_to_ring(url, size.presses, say)


# -- claims ----------------------------------------------------------------------


def _claims(url: str, instances: int, tasks: int, say: Say) -> None:
    """Let instances claim all tasks of a database, each task once."""
    migrate.prepare(url)
    fill(url, [QUEUE], tasks)
    # The statistics of a database that is in use.
    _execute(url, "ANALYZE")
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.claims", url, f"claims{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(instances)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            if worker.stdout.readline() != "ready\n":
                raise RuntimeError("an instance ended before it claimed a task")
        began = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [json.loads(worker.communicate()[0]) for worker in workers]
        took_s = time.perf_counter() - began
    finally:
        for worker in workers:
            worker.kill()
            worker.wait(10)
    claimed = [task_id for one in told for task_id in one["claimed"]]
    attempts = _value(url, "SELECT count(*) FROM attempt")
    once = is_so(
        "each task once", len(set(claimed)) == len(claimed) == attempts == tasks
    )
    shares = sorted(len(one["claimed"]) for one in told)
    say(
        f"claims, {instances} {'instance' if instances == 1 else 'instances'}",
        f"{tasks / took_s:.0f}/s, each instance {shares[0]} to {shares[-1]} of {tasks};"
        f" {once}",
    )


# -- two services ------------------------------------------------------------------


class _Instance(Rig):
    """A service beside one Asterisk, which works with the other one, too."""

    def __init__(self, name: str, url: str) -> None:
        super().__init__({}, [QUEUE], url)
        self.name = name
        self.asterisk.system_name = name
        #: When the number of a client was in an Originate.
        self.originated: dict[str, float] = {}
        self._take = self.asterisk.manager.handlers["Originate"]
        self.asterisk.manager.handlers["Originate"] = self._originate

    def _originate(self, action: Action) -> Answer:
        if action.get("Channel").startswith(FENCES):
            return self._take(action)
        channel = next(
            one.partition("=")[2]
            for one in action.all("Variable")
            if one.startswith("CALLBACK_CHANNEL=")
        )
        number = channel.removeprefix("PJSIP/").removesuffix("@trunk")
        self.originated.setdefault(number, time.perf_counter())
        # Asterisk refuses, so its agents stay free.
        return error("busy measuring")

    def is_at_work(self, status: Mapping[str, Any]) -> bool:
        """Whether the service holds its own Asterisk and sees its queue."""
        own = {node["name"]: node for node in status["nodes"]}[self.name]
        return bool(own["connected"]) and status["queues"][QUEUE]["known"]

    async def calls(self, number: str) -> float:
        """Wait until a client is called; return when that was."""

        async def is_called() -> bool:
            return number in self.originated

        await self.until(is_called, _DEADLINE_S)
        return self.originated[number]


@contextmanager
def _two(url: str) -> Iterator[tuple[_Instance, _Instance]]:
    """Make two services; the second Asterisk has all the agents."""
    a, b = _Instance("pbx-a", url), _Instance("pbx-b", url)
    try:
        for number in range(_AGENTS):
            phone = b.asterisk.phone(f"PJSIP/{number}")
            b.asterisk.queues[QUEUE].add(phone.interface, dynamic=False)
        yield a, b
    finally:
        a.close()
        b.close()


async def _listen(*rigs: _Instance) -> None:
    for rig in rigs:
        await rig.open_manager()
    nodes = {
        rig.name: {"ami": rig.ami_settings, "history": {"enabled": False}}
        for rig in rigs
    }
    for rig in rigs:
        rig.settings = {
            "log": {"level": "warn"},
            "ami": None,
            "nodes": nodes,
            "instance": {"name": rig.name, "nodes": [rig.name]},
            "defaults": {
                "outbound_channel": "PJSIP/{number}@trunk",
                "request_expiry": "4h",
            },
        }
        await rig.listen()


async def _start(*rigs: _Instance) -> None:
    """Start services; return when each holds its own Asterisk."""
    url, nodes = rigs[0].database_url, [rig.name for rig in rigs]
    hold_back(url, nodes)

    async def let_all_take() -> None:
        for rig in rigs:
            await rig.until(rig.answers, _DEADLINE_S)
        let_take(url, nodes)

    works = [let_all_take(), *(rig.start() for rig in rigs)]
    running = [Deferred.fromCoroutine(work) for work in works]
    await gatherResults(running, consumeErrors=True)


async def _take_over(url: str, kills: int, say: Say) -> None:
    """Kill the service that holds the only Asterisk with agents, again and again."""
    chance = random.Random(4711)
    took_s: list[float] = []
    with _two(url) as (a, b):
        await _listen(a, b)
        for kill in range(kills):
            await _start(a, b)
            await pause(_SETTLES_S + chance.uniform(0, _RENEWED_S))
            # Nobody can see from another machine that the process has ended.
            _execute(url, "UPDATE lease SET host = 'elsewhere'")
            number = f"4930{kill:08}"
            b.stop()
            killed_at = time.perf_counter()
            await a.ask("tasks.add", queue=QUEUE, number=number)
            took_s.append(await b.calls(number) - killed_at)
            a.stop()
            # The next two find everything free.
            empty_tables(url)
    p50, p99 = percentile(took_s, 0.5), percentile(took_s, 0.99)
    goal = at_most("take-over, p99", p99, _MOST_TAKE_OVER_S, "s")
    say(
        f"kill -9 to the other's first call, {kills} times",
        f"p50 {p50:.1f} s, p99 {p99:.1f} s, longest {max(took_s):.1f} s; {goal}",
    )


async def _press_to_ring(url: str, presses: int, say: Say) -> None:
    """Let callers press the key on one Asterisk; the agents are on the other one."""
    took_ms: list[float] = []
    chance = random.Random(4711)
    with _two(url) as (a, b):
        await _listen(a, b)
        await _start(a, b)
        await pause(_SETTLES_S)
        warm_up = 5
        for press in range(warm_up + presses):
            number = f"4930{press:08}"
            began = time.perf_counter()
            told = await a.press(number, QUEUE, f"1.{press}", "pbx-a/request")
            if told != "ACCEPTED":
                raise RuntimeError(f"the caller was told {told!r}:\n{a.log()}")
            took = 1000 * (await b.calls(number) - began)
            if press >= warm_up:
                took_ms.append(took)
            # Callers come when they want.
            await pause(chance.uniform(0.05, 0.15))
        others = len(a.originated)
    p50, p99 = percentile(took_ms, 0.5), percentile(took_ms, 0.99)
    goal = at_most("key on A to Originate on B, p99", p99, _MOST_RING_MS, "ms")
    only_b = is_so("none called from A", not others)
    say(
        f"key on A to Originate on B, {presses} callers",
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {max(took_ms):.0f} ms; {goal};"
        f" {only_b}",
    )


# -- the database ------------------------------------------------------------------


def _execute(url: str, statement: str) -> None:
    engine = backend_for(url).engine
    with engine.begin() as conn:
        conn.exec_driver_sql(statement)
    engine.dispose()


def _value(url: str, query: str) -> Any:
    engine = backend_for(url).engine
    with engine.begin() as conn:
        found = conn.exec_driver_sql(query).scalar_one()
    engine.dispose()
    return found
