# SPDX-License-Identifier: MIT
"""Does memory grow with the number of requests? ``python -m tests.bench.memory``.

Each caller enters a queue, presses 1 (FastAGI over TCP), hears the answer and hangs up;
every one has a number of its own. Some tasks are called and succeed, some are cancelled
over the control socket, the others expire. The memory is read when all have ended.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from tests.bench.rig import Rig, at_once, run
from tests.emulator.scenarios import Answers

_QUEUE = "support"
_AT_ONCE = 25
_AGENTS = 10
#: One request in this number is cancelled by hand.
_CANCEL_EACH = 20
_SETTINGS = {
    "log": {"level": "warn"},
    "number_plan": {"region": "DE"},
    "defaults": {
        "outbound_channel": "PJSIP/{number}@trunk",
        "success_duration": "0",
        "request_expiry": "2s",
        "missed_window": "2s",
    },
}


class Crowd:
    """Callers, each with a different number."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._numbers = (
            f"+{number}" for number in range(4930_2000_0000, 4930_3000_0000)
        )
        #: How many have pressed 1 so far, and how many of them got no promise.
        self.made = 0
        self.refused = 0

    async def make(self, count: int) -> None:
        """Let this many callers press 1, several at once."""
        left: Iterator[int] = iter(range(count))

        async def one_after_the_other() -> None:
            for _ in left:
                await self._request()

        await at_once(one_after_the_other, _AT_ONCE)

    async def _request(self) -> None:
        number = next(self._numbers)
        rig, asterisk = self._rig, self._rig.asterisk
        self.made += 1
        chosen = self.made % _CANCEL_EACH == 0
        asterisk.client(number).always(Answers(after_s=0.0, hangs_up_after_s=0.3))
        channel = asterisk.new_channel(
            f"PJSIP/trunk-{self.made:08x}",
            context="from-trunk",
            exten="800",
            number=number,
            state="Ring",
        )
        place = (("Queue", _QUEUE), ("Position", "1"), ("Count", "1"))
        asterisk.tell("QueueCallerJoin", "agent", *channel.headers(), *place)
        asterisk.tell("QueueCallerLeave", "agent", *channel.headers(), *place)
        status = await rig.press(number, _QUEUE, channel.uniqueid)
        asterisk.hang_up(channel, 16)
        # The service answers this when the disk is too slow for a waiting caller.
        self.refused += status != "ACCEPTED"
        if chosen:
            for task in await rig.ask("tasks.list", number=number):
                # The task may be too old by now, or in a call.
                with suppress(RuntimeError):
                    await rig.ask("tasks.cancel", id=task["id"])


async def measure(milestones: Sequence[int], most_percent: float) -> int:
    """Print memory and speed at each milestone; return 1 if memory grew by more."""
    rig = Rig(_SETTINGS, [_QUEUE])
    try:
        queue = rig.asterisk.queues[_QUEUE]
        for number in range(_AGENTS):
            queue.add(f"PJSIP/{number}", dynamic=False)
        await rig.listen()
        await rig.start()
        print(f"at the start {rig.memory_kb / 1024:9.1f} MB", flush=True)
        crowd = Crowd(rig)
        first_kb = 0
        for milestone in milestones:
            count = milestone - crowd.made
            began, cpu_s = time.perf_counter(), rig.cpu_s
            await crowd.make(count)
            took_s, cpu_s = time.perf_counter() - began, rig.cpu_s - cpu_s
            ends = await all_ended(rig)
            memory_kb = rig.memory_kb
            first_kb = first_kb or memory_kb
            grown = 100 * (memory_kb - first_kb) / first_kb
            print(
                f"{milestone:7} requests {memory_kb / 1024:7.1f} MB ({grown:+.1f} %);"
                f" {count / took_s:.0f} requests/s,"
                f" {1000 * cpu_s / count:.2f} ms of CPU each; {ends}",
                flush=True,
            )
        if crowd.refused:
            # A disk that is slow for a moment is acceptable; if it is slow all the
            # time, the figures mean nothing.
            print(f"{crowd.refused} callers were put back in line")
        if crowd.refused * 2 > crowd.made:
            print("FAULT: most requests were not accepted")
            return 1
        if grown > most_percent:
            print(f"FAULT: it grew by more than {most_percent:g} %")
            return 1
        print(f"it grew by less than {most_percent:g} %")
        return 0
    finally:
        rig.close()


async def all_ended(rig: Rig) -> str:
    """Wait until no task is open; return how the tasks ended."""
    tasks: dict[str, int] = {}

    async def none_is_open() -> bool:
        tasks.update((await rig.ask("status"))["tasks"])
        return not (tasks["pending"] or tasks["calling"])

    await rig.until(none_is_open, 120)
    return ", ".join(f"{count} {status}" for status, count in tasks.items() if count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory")
    parser.add_argument(
        "milestones", type=int, nargs="*", default=[1_000, 10_000, 100_000]
    )
    parser.add_argument("--most-percent", type=float, default=20)
    options = parser.parse_args(arguments)
    return run(measure(options.milestones, options.most_percent))


if __name__ == "__main__":
    raise SystemExit(main())
