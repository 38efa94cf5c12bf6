# SPDX-License-Identifier: MIT
"""Do browsers slow down callers? ``python -m tests.bench.web``.

Callers press 1, many at once, in turns without and with the web process under load: 50
browsers that watch the page Live, and 20 programs that use the API. Everything is on
this machine, while in reality browsers run on others; their processes have the lowest
priority. The web process has that of its unit: ``CPUWeight=20`` against 100, which for
the kernel is the same as ``nice -n 7``.

Prints p50 and p99 of both, and fails if p99 grows by more than the given percentage.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastagi.web.people.access import Right
from tests.bench.rig import Rig, at_once, pause, run
from tests.bench.web_process import WebProcess

_QUEUE = "support"
_LOWEST = "19"
#: Pause between two bursts of callers, in seconds.
_PAUSE_S = 1.0


class Web:
    """The web process, and the browsers and programs at it."""

    def __init__(self, rig: Rig, browsers: int, programs: int) -> None:
        self._web = WebProcess(rig)
        self._cookies = self._web.cookies(browsers)
        self._tokens = self._web.tokens(
            programs, (Right.TASKS_READ, Right.TASKS_WRITE, Right.NUMBERS_READ)
        )
        self._load: subprocess.Popen[str] | None = None

    async def begin(self) -> None:
        """Start the process, and then the load."""
        await self._web.start()
        self._load = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "nice", "-n", _LOWEST),
                *(sys.executable, "-m", "tests.bench.web_load"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert self._load.stdin is not None
        given = {
            "port": self._web.port,
            "cookies": self._cookies,
            "tokens": self._tokens,
        }
        self._load.stdin.write(json.dumps(given) + "\n")
        self._load.stdin.flush()
        # By then all pages are loaded.
        await pause(4)

    def end(self) -> Any:
        """End the load and the process; return what the load has measured."""
        measured: Any = None
        if self._load is not None:
            said, _ = self._load.communicate("\n", timeout=60)
            if self._load.returncode:
                raise RuntimeError("the load has failed")
            measured = json.loads(said)
        self._load = None
        self._web.stop()
        return measured

    def kill(self) -> None:
        """End everything, after a failure."""
        if self._load is not None:
            self._load.kill()
            self._load.wait(10)
        self._web.kill()


class Callers:
    """Callers who press 1."""

    def __init__(self, rig: Rig, at_once: int) -> None:
        self._rig = rig
        self._at_once = at_once
        self._number = 0
        #: Callers who were not told "accepted": the answer would have come too late.
        self.refused = 0

    async def burst(self, took_s: list[float]) -> None:
        """Let many press at once; add how long each waited for the answer."""

        async def press() -> None:
            self._number += 1
            number = self._number
            began = time.perf_counter()
            status = await self._rig.press(f"4930{number:08}", _QUEUE, f"1.{number}")
            took_s.append(time.perf_counter() - began)
            if status != "ACCEPTED":
                self.refused += 1

        await at_once(press, self._at_once)

    async def phase(self, bursts: int) -> list[float]:
        """Return the seconds that each caller waited, in some bursts."""
        took_s: list[float] = []
        cpu_s, self.refused = self._rig.cpu_s, 0
        # The first one warms up.
        await self.burst([])
        for _ in range(bursts):
            await pause(_PAUSE_S)
            await self.burst(took_s)
        used_s = self._rig.cpu_s - cpu_s
        print(f"    the service used {used_s:.2f} s of CPU; {self.refused} in vain")
        # Otherwise each phase would have more open tasks than the one before.
        await self._rig.ask("tasks.bulk", action="cancel", queue=_QUEUE)
        return took_s


def _words(took_s: list[float]) -> str:
    quantiles = statistics.quantiles(took_s, n=100)
    return (
        f"p50 {1000 * quantiles[49]:6.1f} ms   p90 {1000 * quantiles[89]:6.1f} ms"
        f"   p99 {1000 * quantiles[98]:6.1f} ms   ({len(took_s)} callers)"
    )


def _p99(took_s: list[float]) -> float:
    return statistics.quantiles(took_s, n=100)[98]


@contextmanager
def _closing(rig: Rig):  # type: ignore[no-untyped-def]
    try:
        yield rig
    finally:
        rig.close()


async def measure(options: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    settings = {
        "log": {"level": "warn"},
        "defaults": {
            "outbound_channel": "PJSIP/{number}@trunk",
            "request_expiry": "4h",
            "fairness": "live_first",
        },
    }
    with _closing(Rig(settings, [_QUEUE])) as rig:
        await rig.listen()
        await rig.start()
        callers = Callers(rig, options.callers)
        web = Web(rig, options.browsers, options.programs)
        without: list[float] = []
        loaded: list[float] = []
        try:
            for turn in range(1, options.turns + 1):
                alone = await callers.phase(options.bursts)
                print(f"turn {turn}, without   {_words(alone)}", flush=True)
                without += alone
                await web.begin()
                together = await callers.phase(options.bursts)
                print(f"turn {turn}, with load {_words(together)}", flush=True)
                loaded += together
                print(f"        the load: {json.dumps(web.end())}", flush=True)
        finally:
            web.kill()
        growth = 100 * (_p99(loaded) / _p99(without) - 1)
        print(f"without   {_words(without)}")
        print(f"with load {_words(loaded)}")
        print(f"p99 grows by {growth:.0f} %")
        return 0 if options.most is None or growth <= options.most else 1


def main() -> int:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--bursts", type=int, default=12)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--browsers", type=int, default=50)
    parser.add_argument("--programs", type=int, default=20)
    parser.add_argument("--most", type=float, help="percentage that p99 may grow by")
    return run(measure(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
