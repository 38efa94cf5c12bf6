# SPDX-License-Identifier: MIT
"""A second process on the same database, controlled by a test.

It prints a line when it is ready, and reads a line before each step, so that both meet
without sleeping.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import sqlite3
import sys
import time

from twisted.internet.defer import Deferred

from fastagi.command import cli
from fastagi.store import sqlite_copy
from fastagi.store.engine import Database
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore
from tests.store.harness import NOW, Loop, done, new_task


def meet(word: str = "ready") -> None:
    """Print a word and wait for a line."""
    print(word, flush=True)
    sys.stdin.readline()


def add_and_hang(url: str) -> None:
    """Add a task, print its id when the Deferred has fired, and wait to be killed."""
    loop = Loop()
    store = TaskStore(Database(url, deliver=loop.deliver))
    recorded = loop.wait(store.add(new_task(), NOW))
    meet(f"added {recorded.task.id}")


def add_many(url: str, first: str, count: str, copies: str) -> None:
    """Add tasks at the same time, each number several times."""
    loop = Loop()
    database = Database(url, deliver=loop.deliver, lock_wait_s=15)
    store = TaskStore(database)
    loop.wait(store.find(0))
    meet()
    numbers = [int(first) + i for i in range(int(count))] * int(copies)
    works = [Deferred.fromCoroutine(store.add(new_task(f"{n}"), NOW)) for n in numbers]
    for recorded in loop.outcomes(works):
        print("created" if recorded.created else "repeated", recorded.task.id)
    loop.wait(database.close())


def begin_all(url: str, name: str) -> None:
    """Begin attempts, one transaction each, until nothing is due."""
    database = Database(url, deliver=None, lock_wait_s=15)
    store = TaskStore(database)
    done(store.find(0))
    meet()
    count = 0
    while begun := done(
        store.begin_attempts({"support"}, [f"{name}-{count}"], NOW)
    ).begun:
        count += 1
        print(begun[0].task.id)
    done(database.close())


def hold_lock(path: str) -> None:
    """Hold the write lock of a SQLite file until a line comes."""
    conn = sqlite3.connect(path, isolation_level=None)
    conn.execute("BEGIN IMMEDIATE")
    meet("locked")
    conn.execute("ROLLBACK")
    meet("free")


def try_add(url: str, user: str = "") -> None:
    """Try to add a task and print the result."""
    if user:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    try:
        database = Database(url, deliver=None)
        done(TaskStore(database).add(new_task(), NOW))
        done(database.close())
    except StoreUnavailable as error:
        print(error)
    else:
        print("added")


def fill_up(url: str, limit: str) -> None:
    """Add tasks until no file may grow any more, then lift the limit."""
    database = Database(url, deliver=None)
    store = TaskStore(database)
    done(store.find(0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    added, text = 0, "x" * 2000
    try:
        while added < 10_000:
            done(store.add(new_task(f"{added}", name=text), NOW))
            added += 1
    except StoreUnavailable as error:
        print(error)
    print(added)
    print(sum(done(store.counts()).values()))
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    )
    done(store.add(new_task("last"), NOW))
    print(sum(done(store.counts()).values()))


def commit_until_told(url: str, first: str) -> None:
    """Add tasks with one COMMIT each until a line comes.

    Prints their number, and the time of the slowest in milliseconds.
    """
    # The time limit of the service.
    database = Database(url, deliver=None)
    store = TaskStore(database)
    done(store.find(0))
    meet()
    count, slowest_s = 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        begun = time.monotonic()
        done(store.add(new_task(f"{int(first) + count}"), NOW))
        slowest_s = max(slowest_s, time.monotonic() - begun)
        count += 1
        if count == 1:
            print("first", flush=True)
    done(database.close())
    print(count)
    print(f"{slowest_s * 1000:.0f}")


def run_with_stops(*arguments: str) -> None:
    """Run a command of the command line that prints a line at each pause of a copy."""

    def pause(_seconds: float) -> None:
        meet("copying")

    # A shell lets its background jobs ignore Ctrl-C, and this process would inherit
    # that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sqlite_copy.time.sleep = pause  # type: ignore[assignment]
    cli.main(arguments)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
