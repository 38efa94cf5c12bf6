# SPDX-License-Identifier: MIT
"""Helpers of the store's tests: databases, a replacement for the reactor, processes."""

from __future__ import annotations

import queue
import subprocess
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from fastagi.domain.attempt import Disposition, Verdict
from fastagi.domain.reason import said
from fastagi.domain.retry import RetryRules
from fastagi.domain.task import Kind, NewTask

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: Longer than any step takes; reached only if something hangs.
PATIENCE_S = 20.0

RULES = RetryRules(
    attempts=3,
    retry_delay=timedelta(seconds=30),
    success_duration_s=5.0,
    member_attempts=4,
    member_retry_delay=timedelta(seconds=7),
)


def at(seconds: float) -> datetime:
    """Return the moment this many seconds after the beginning of all tests."""
    return NOW + timedelta(seconds=seconds)


def new_task(number: str = "100", **changes: Any) -> NewTask:
    """Return a request of a caller who has just joined the queue ``support``."""
    task = NewTask(
        kind=Kind.REQUESTED,
        number=f"+{number}",
        number_key=number,
        queue="support",
        joined_at=NOW,
        due_at=NOW,
        expires_at=at(3600),
        why=said("the client pressed the key in queue support"),
    )
    return attrs.evolve(task, **changes)


def verdict(disposition: str, **changes: Any) -> Verdict:
    """Return the verdict on an attempt."""
    return attrs.evolve(
        Verdict(
            disposition=Disposition(disposition),
            talk_s=9.0 if disposition == "ANSWERED" else 0.0,
            member="",
            why=said(f"it was {disposition}"),
        ),
        **changes,
    )


def done(work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
    """Return the result of a finished Deferred, or raise its error."""
    deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
    results: list[T | Failure] = []
    deferred.addBoth(results.append)
    assert results, "it is not over"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]  # type: ignore[return-value]


class Loop:
    """Replaces the reactor: runs calls from other threads on the test's thread."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]]
        self._calls = queue.SimpleQueue()

    def deliver(self, function: Callable[..., object], *args: Any) -> None:
        """Queue a call, like ``reactor.callFromThread``."""
        self._calls.put((function, args))

    def turn(self) -> None:
        """Wait for one call and run it."""
        function, args = self._calls.get(timeout=PATIENCE_S)
        function(*args)

    def wait(self, work: Coroutine[Deferred[Any], Any, T] | Deferred[T]) -> T:
        """Run calls until the work is over; return its result or raise its error."""
        deferred = work if isinstance(work, Deferred) else Deferred.fromCoroutine(work)
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            self.turn()
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]  # type: ignore[return-value]

    def outcomes(self, works: list[Deferred[Any]]) -> list[Any]:
        """Run calls until all are over; return their results or errors."""
        results: dict[int, Any] = {}
        for index, deferred in enumerate(works):

            def keep(result: Any, index: int = index) -> None:
                results[index] = result.value if isinstance(result, Failure) else result

            deferred.addBoth(keep)
        while len(results) < len(works):
            self.turn()
        return [results[index] for index in range(len(works))]


class OtherProcess:
    """A process that runs a function of :mod:`tests.store.other_process`."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.other_process", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def line(self) -> str:
        """Return the next line it prints; empty if it has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def go(self) -> None:
        """Let it do the next step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> tuple[int, list[str]]:
        """Send it a signal; return its exit code and its output before it ended."""
        self._process.send_signal(number)
        out, _ = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, out.splitlines()

    def kill(self) -> None:
        """Kill it (SIGKILL), as if only this process lost its power."""
        self._process.kill()
        self._process.wait()

    def lines(self) -> list[str]:
        """Return the rest of its output, once it has ended by itself."""
        out, _ = self._process.communicate(timeout=PATIENCE_S)
        assert self._process.returncode == 0
        return out.splitlines()
