# SPDX-License-Identifier: MIT
"""Measure durable requests per second, each a new task, on a real reactor.

    python -m tests.store.measure_adds [--at-once 50] [--seconds 5] [URL]

Without a URL: a SQLite file in the current directory, removed afterwards. Each of the
callers asks for one task after the other and waits for its COMMIT before the next.
"""

from __future__ import annotations

import argparse
import tempfile
import time

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList

from fastagi.store import migrate
from fastagi.store.engine import Database
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, new_task


async def measure(database: Database, at_once: int, seconds: float) -> None:
    """Let callers add tasks for that long and print the rate."""
    store = TaskStore(database)
    await store.find(0)
    waits: list[float] = []
    commits = database.commits
    run = int(time.time())
    began = time.perf_counter()

    async def caller(number: int) -> None:
        count = 0
        while time.perf_counter() < began + seconds:
            asked = time.perf_counter()
            recorded = await store.add(new_task(f"{run}{number:03}{count}"), NOW)
            assert recorded.created
            waits.append(time.perf_counter() - asked)
            count += 1

    await DeferredList(
        [Deferred.fromCoroutine(caller(n)) for n in range(at_once)],
        fireOnOneErrback=True,
    )
    took_s = time.perf_counter() - began
    commits = database.commits - commits
    waits.sort()
    print(
        f"{len(waits) / took_s:.0f} tasks/s at {at_once} at once;"
        f" {commits} commits, {len(waits) / commits:.1f} tasks in each;"
        f" wait median {waits[len(waits) // 2] * 1000:.1f} ms,"
        f" 99 % {waits[len(waits) * 99 // 100] * 1000:.1f} ms"
    )


def main() -> None:
    """Read the arguments and run the reactor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--at-once", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("url", nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        url = options.url or f"sqlite:///{directory}/callbacks.db"
        migrate.prepare(url)
        database = Database(url, deliver=reactor.callFromThread)
        work = Deferred.fromCoroutine(
            measure(database, options.at_once, options.seconds)
        )
        work.addErrback(lambda failure: failure.printTraceback())
        work.addCallback(lambda _: database.close())
        work.addCallback(lambda _: reactor.stop())
        reactor.run()


if __name__ == "__main__":
    main()
