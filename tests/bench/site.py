# SPDX-License-Identifier: MIT
"""A big site on one Asterisk: 2,000 agents in 100 queues, ten calls a second.

What the service does for an event must not grow with the whole site. The calls are
those of a real Asterisk, in all queues in turn; their agents stay busy, so that each
agent who becomes free is one of those that are measured.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

from twisted.internet.defer import Deferred

from tests.bench.calls import agent_turns_free, recorded_call, staff
from tests.bench.goals import at_most, percentile
from tests.bench.rig import Rig, pause
from tests.bench.tasks import fill

#: From the event that an agent is free to the Originate, at p99.
_MOST_MS: Final = 20.0
#: Share of one processor that the live calls take.
_MOST_CPU: Final = 0.3
#: One caller in so many has asked for a callback, which ends with the call.
_ONE_ASKED_IN: Final = 10
#: How long agent and caller talk, in seconds.
_TALKS_S: Final = 3.0


@frozen(kw_only=True)
class Size:
    """How big the site is, and how long it is measured."""

    queues: int = 100
    agents: int = 2000
    open_tasks: int = 10_000
    calls_per_s: int = 10
    #: How long it takes after a start until everything is known, in seconds.
    settles_s: float = 5.0
    #: How long the calls alone are measured, in seconds.
    calls_s: float = 30.0
    #: How many agents become free, one after the other.
    free: int = 200


async def measure(
    size: Size, settings: dict[str, Any], say: Callable[[str, str], object]
) -> None:
    """Measure, and print the figures with their goals."""
    names = [f"queue{number}" for number in range(size.queues)]
    rig = Rig(settings, names)
    calls = _Calls(rig, names, size)
    try:
        staff(rig, names, size.agents)
        await rig.listen()
        fill(rig.database_url, names, size.open_tasks)
        await rig.start()
        await pause(size.settles_s)
        calls.start()
        # Until as many calls end as begin.
        await pause(_TALKS_S + 1)
        began, cpu_s, made = time.perf_counter(), rig.cpu_s, calls.made
        await pause(size.calls_s)
        took_s, cpu_s, made = (
            time.perf_counter() - began,
            rig.cpu_s - cpu_s,
            calls.made - made,
        )
        share = cpu_s / took_s
        goal = at_most("processor for live calls", 100 * share, 100 * _MOST_CPU, "%")
        say(
            f"{size.agents} agents, {made / took_s:.1f} calls a second",
            f"{100 * share:.1f} % of one processor; {goal}",
        )
        freed = await agent_turns_free(rig, size.free)
        waits = [1000 * wait_s for wait_s in freed.waits_s]
        p99 = percentile(waits, 0.99)
        goal = at_most("agent free to Originate, p99", p99, _MOST_MS, "ms")
        say(
            f"agent free to Originate, {size.open_tasks} open tasks",
            f"median {statistics.median(waits):.1f} ms, p99 {p99:.1f} ms, longest"
            f" {max(waits):.1f} ms of {len(waits)}; {goal}",
        )
    finally:
        calls.stop()
        rig.close()


class _Calls:
    """Calls in all queues, at even intervals."""

    def __init__(self, rig: Rig, names: list[str], size: Size) -> None:
        self._rig = rig
        self._names = names
        self._size = size
        self._goes_on = False
        #: How many have begun.
        self.made = 0

    def start(self) -> None:
        """Let a call begin again and again."""
        self._goes_on = True
        _ = Deferred.fromCoroutine(self._run())

    def stop(self) -> None:
        """Let no further call begin."""
        self._goes_on = False

    async def _run(self) -> None:
        began = time.perf_counter()
        while self._goes_on:
            _ = Deferred.fromCoroutine(self._call(self.made))
            self.made += 1
            due_at = began + self.made / self._size.calls_per_s
            await pause(max(0.0, due_at - time.perf_counter()))

    async def _call(self, number: int) -> None:
        # Not one of those that become free.
        agent = self._size.free + number % (self._size.agents - self._size.free)
        queue = self._names[agent % len(self._names)]
        if number % _ONE_ASKED_IN:
            number += self._size.open_tasks
        begin, end = recorded_call(number, queue, f"PJSIP/{agent}", stays_busy=True)
        self._write(begin)
        await pause(_TALKS_S)
        self._write(end)

    def _write(self, events: bytes) -> None:
        if self._goes_on:
            (session,) = self._rig.asterisk.manager.sessions
            assert session.transport is not None
            session.transport.write(events)
