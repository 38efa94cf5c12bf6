# SPDX-License-Identifier: MIT
"""Measure what the service can take: ``python -m tests.bench [NAME ...]``.

Every figure comes from the real process, between a model of Asterisk on a real manager
port and callers over real FastAGI connections. Processor time is the kernel's figure
for the service; elapsed time also depends on the machine's other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs

from tests.bench import cluster, goals
from tests.bench import site as big_site
from tests.bench.calls import (
    agent_turns_free,
    count_events,
    is_true,
    recorded_call,
    staff,
    wrap,
)
from tests.bench.rig import Rig, at_once, pause, run
from tests.bench.tasks import fill

#: Tasks wait in the database until an agent is free, and not in line.
_DEFAULTS = {
    "outbound_channel": "PJSIP/{number}@trunk",
    "request_expiry": "4h",
    "fairness": "live_first",
}
_RELOADED = b"Event: Reload\r\nPrivilege: system,all\r\nModule: app_queue\r\n\r\n"


def _settings(**sections: Any) -> dict[str, Any]:
    return {"log": {"level": "warn"}, "defaults": _DEFAULTS, **sections}


# -- FastAGI -----------------------------------------------------------------


async def requests() -> None:
    """Requests, each of a new number, promised after its COMMIT."""
    for callers in (1, 50, 500):
        rig = Rig(_settings(), ["support"])
        try:
            await rig.listen()
            await rig.start()
            count = 200 * callers if callers == 1 else 4000
            left = iter(range(count))

            async def ask(rig: Rig = rig, left: Any = left) -> None:
                for number in left:
                    await rig.press(f"4930{number:08}", "support", f"1.{number}")

            began, cpu_s = time.perf_counter(), rig.cpu_s
            await at_once(ask, callers)
            took_s, cpu_s = time.perf_counter() - began, rig.cpu_s - cpu_s
            kept = (await rig.ask("status"))["tasks"]["pending"]
            _say(
                f"FastAGI requests, {callers} at once",
                f"{count / took_s:.0f}/s, {1000 * cpu_s / count:.2f} ms of CPU each,"
                f" {kept} of {count} stored",
            )
        finally:
            rig.close()


# -- control socket ----------------------------------------------------------


async def commands() -> None:
    """Commands over the control socket, one after the other, each on a connection."""
    rig = Rig(_settings(), ["support"])
    try:
        await rig.listen()
        await rig.start()
        for command, what in (
            ("numbers.list", "read from the database"),
            ("status", "written to it"),
        ):
            took_s: list[float] = []
            cpu_s = rig.cpu_s
            for _ in range(1000):
                began = time.perf_counter()
                await rig.ask(command)
                took_s.append(time.perf_counter() - began)
            cpu_s = rig.cpu_s - cpu_s
            _say(
                f"commands, {what}",
                f"{1000 * statistics.median(took_s):.1f} ms, 1 in 100 longer than"
                f" {1000 * sorted(took_s)[990]:.1f} ms,"
                f" {1000 * cpu_s / len(took_s):.2f} ms of CPU each",
            )
    finally:
        rig.close()


# -- manager events ----------------------------------------------------------


async def events() -> None:
    """Manager events of live calls, as fast as the service reads them."""
    rig = Rig(_settings(), ["support"])
    try:
        await rig.listen()
        await rig.start()
        # By then the service has received all that it requests after each connect.
        await pause(3)
        calls = 2000
        stream = [b"".join(recorded_call(n, "support")) for n in range(calls)]
        count = sum(map(count_events, stream))
        done: list[float] = []
        wrap(rig, "QueueStatus", lambda: done.append(time.perf_counter()))
        began, cpu_s = time.perf_counter(), rig.cpu_s
        (session,) = rig.asterisk.manager.sessions
        assert session.transport is not None
        session.transport.write(b"".join(stream) + _RELOADED)
        await rig.until(is_true(done), 120)
        took_s, cpu_s = done[0] - began, rig.cpu_s - cpu_s
        _say(
            "manager events of calls in a queue",
            f"{count / took_s:.0f}/s, {1e6 * cpu_s / count:.0f} us of CPU each",
        )
    finally:
        rig.close()


# -- an agent becomes free ---------------------------------------------------

_QUEUES = 50
_AGENTS = 500
#: Calls that do not concern the service.
_FOREIGN = 100


async def free() -> None:
    """From the event that an agent is free to the Originate."""
    for open_tasks in (1, 100, 1000, 10_000):
        names = [f"queue{number}" for number in range(_QUEUES)]
        # Nothing else happens: the time for queue_log is not measured here.
        rig = Rig(_settings(reports={"queue_log": False}), names)
        try:
            staff(rig, names, _AGENTS)
            await rig.listen()
            fill(rig.database_url, names, open_tasks)
            await rig.start()
            freed = await agent_turns_free(rig, min(20, open_tasks))
            _say(
                f"agent free to Originate, {open_tasks} open tasks",
                f"median {1000 * statistics.median(freed.waits_s):.1f} ms, longest"
                f" {1000 * max(freed.waits_s):.1f} ms,"
                f" {1000 * statistics.fmean(freed.cpu_s):.0f} ms of CPU"
                " each, with the refusal and the agent's next call",
            )
        finally:
            rig.close()


# -- start and idleness ------------------------------------------------------


async def start() -> None:
    """From the command to a service that sees its queues."""
    for open_tasks in (0, 10_000):
        rig = Rig(_settings(), ["support"])
        try:
            await rig.listen()
            fill(rig.database_url, ["support"], open_tasks)
            took_s = await rig.start()
            _say(
                f"start, {open_tasks} open tasks",
                f"{took_s:.2f} s, {rig.cpu_s:.2f} s of CPU,"
                f" {rig.memory_kb / 1024:.0f} MB",
            )
        finally:
            rig.close()


async def foreign() -> None:
    """Calls that do not concern callbacks, 200 a minute."""
    many = [f"queue{number}" for number in range(_QUEUES)]
    for names, open_tasks in ((many[:1], 0), (many[:1], 1000), (many, 1000)):
        # The lines for queue_log of so many new tasks would be measured, too.
        rig = Rig(_settings(reports={"queue_log": False}), names)
        try:
            rig.asterisk.add_queue("foreign")
            # Nobody is free, so the tasks have to wait.
            staff(rig, names, _AGENTS)
            await rig.listen()
            fill(rig.database_url, names, open_tasks)
            await rig.start()
            await pause(2)
            began, cpu_s = time.perf_counter(), rig.cpu_s
            (session,) = rig.asterisk.manager.sessions
            for number in range(_FOREIGN):
                assert session.transport is not None
                session.transport.write(b"".join(recorded_call(number, "foreign")))
                await pause(60 / 200)
            took_s, cpu_s = time.perf_counter() - began, rig.cpu_s - cpu_s
            _say(
                f"200 foreign calls a minute, {len(names)} queues, {open_tasks} tasks",
                f"{100 * cpu_s / took_s:.1f} % of one processor",
            )
        finally:
            rig.close()


# -- the live state ------------------------------------------------------------

_OPEN_TASKS = 10_000
_CHANGES = 20


async def live() -> None:
    """One who follows the live state of 10,000 tasks and 500 agents."""
    names = [f"queue{number}" for number in range(_QUEUES)]
    rig = Rig(_settings(reports={"queue_log": False}), names)
    try:
        staff(rig, names, _AGENTS)
        await rig.listen()
        fill(rig.database_url, names, _OPEN_TASKS)
        await rig.start()
        await pause(5)
        for is_looked_at in (False, True):
            if is_looked_at:
                await _measure_snapshot(rig)
            cpu_s = rig.cpu_s
            await pause(20)
            idle = (rig.cpu_s - cpu_s) / 20
            cpu_s = rig.cpu_s
            for number in range(_CHANGES):
                queue = rig.asterisk.queues[names[number % len(names)]]
                queue.pause(queue.members[0].interface)
                await pause(1)
            each_s = (rig.cpu_s - cpu_s) / _CHANGES - idle
            _say(
                f"a change, {'followed' if is_looked_at else 'not followed'}",
                f"{1000 * each_s:.0f} ms of CPU each; nothing happens:"
                f" {100 * idle:.1f} % of one processor",
            )
    finally:
        rig.close()


async def _measure_snapshot(rig: Rig) -> None:
    """Measure the first snapshot, and how long a caller waits at most meanwhile."""
    cpu_s, began = rig.cpu_s, time.perf_counter()
    reader = await rig.look_on()
    longest_s, number = 0.0, 0
    while not reader.events:
        asked_at = time.perf_counter()
        await rig.press(f"4931{number:08}", "queue0", f"2.{number}")
        longest_s = max(longest_s, time.perf_counter() - asked_at)
        number += 1
    took_s = time.perf_counter() - began
    _say(
        f"a snapshot of {_OPEN_TASKS} tasks",
        f"{took_s:.2f} s, {rig.cpu_s - cpu_s:.2f} s of CPU with {number} requests,"
        f" {reader.bytes / 1e6:.1f} MB; the longest request took"
        f" {1000 * longest_s:.0f} ms",
    )


# -- a big site ----------------------------------------------------------------


async def site() -> None:
    """2,000 agents in 100 queues, with ten calls a second."""
    # The time for queue_log is not measured here.
    settings = _settings(reports={"queue_log": False})
    await big_site.measure(big_site.Size(), settings, _say)


# -- parts -------------------------------------------------------------------


def _say(what: str, found: str) -> None:
    print(f"{what:48}  {found}", flush=True)


BENCHMARKS: Mapping[str, Callable[[], Awaitable[None]]] = {
    "requests": requests,
    "commands": commands,
    "events": events,
    "free": free,
    "start": start,
    "foreign": foreign,
    "live": live,
    "site": site,
}
#: Measured only by its name: it takes many minutes, and needs a PostgreSQL.
_CLUSTER = "cluster"


async def _measure(names: Sequence[str], rounds: int, size: cluster.Size) -> int:
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", flush=True)
        for name in names or BENCHMARKS:
            if name == _CLUSTER:
                await cluster.measure(size, _say)
            else:
                await BENCHMARKS[name]()
    for one in goals.missed:
        print(f"GOAL MISSED: {one}", flush=True)
    return 1 if goals.missed else 0


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    names = [*BENCHMARKS, _CLUSTER]
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--rounds", type=int, default=2)
    usual = cluster.Size()
    parser.add_argument(
        "--kills",
        type=int,
        default=usual.kills,
        help=f"how often {_CLUSTER} kills a service",
    )
    parser.add_argument(
        "--looked-at",
        action="store_true",
        help="with one who follows the live state of each service",
    )
    options = parser.parse_args()
    Rig.is_looked_at = options.looked_at
    size = attrs.evolve(usual, kills=options.kills)
    return run(_measure(options.names, options.rounds, size))


if __name__ == "__main__":
    raise SystemExit(main())
