# SPDX-License-Identifier: MIT
"""A worker does its work once at a time, when woken and when it is due."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import MachineClock
from fastagi.runtime.worker import MAX_SLEEP_S, GatedWorker, Worker

RETRY_S = 5.0


class Passes(Exception):
    """Such as a database that is being restarted."""


class Work:
    """Runs that end when a test says so."""

    def __init__(self) -> None:
        self.clock = Clock()
        clock = MachineClock(cast(IReactorTime, self.clock))
        self.background = Background(clock)
        self.runs: list[Deferred[float | None]] = []
        self.worker = Worker(
            self.run,
            what="the work",
            background=self.background,
            clock=clock,
            trouble="nothing is done",
            passing=Passes,
            retry_s=RETRY_S,
        )

    async def run(self) -> float | None:
        ends: Deferred[float | None] = Deferred()
        self.runs.append(ends)
        return await ends

    def end(self, due_in_s: float | None = None) -> None:
        """Let the run under way end."""
        self.runs[-1].callback(due_in_s)

    def fail(self, error: Exception) -> None:
        self.runs[-1].errback(error)

    def stop(self) -> bool:
        """Stop the owner of the runs; return whether all of them have ended."""
        return Deferred.fromCoroutine(self.background.stop()).called


@pytest.fixture
def work() -> Work:
    return Work()


def test_it_does_nothing_until_it_is_woken(work: Work) -> None:
    work.clock.advance(1000)
    assert not work.runs
    work.worker.wake()
    assert len(work.runs) == 1


def test_work_that_need_not_be_done_again_is_done_once(work: Work) -> None:
    work.worker.wake()
    work.end()
    assert not work.clock.getDelayedCalls()
    work.worker.wake()
    assert len(work.runs) == 2


def test_woken_many_times_during_a_run_it_runs_once_more(work: Work) -> None:
    work.worker.wake()
    assert not work.worker.woken
    for _ in range(3):
        work.worker.wake()
    assert work.worker.woken
    assert len(work.runs) == 1
    work.end()
    assert len(work.runs) == 2
    assert not work.worker.woken
    work.end()
    assert len(work.runs) == 2


def test_work_that_wakes_its_own_worker_runs_once_more() -> None:
    clock, runs = MachineClock(cast(IReactorTime, Clock())), 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            worker.wake()

    worker = Worker(
        run,
        what="the work",
        background=Background(clock),
        clock=clock,
        trouble="",
        passing=(),
        retry_s=RETRY_S,
    )
    worker.wake()
    assert runs == 2


def test_the_work_says_when_it_is_due(work: Work) -> None:
    work.worker.wake()
    work.end(7.0)
    work.clock.advance(6.9)
    assert len(work.runs) == 1
    work.clock.advance(0.1)
    assert len(work.runs) == 2


@pytest.mark.parametrize(("said_s", "set_s"), [(-1.0, 0.0), (1e6, MAX_SLEEP_S)])
def test_a_timer_is_neither_late_nor_too_long(
    work: Work, said_s: float, set_s: float
) -> None:
    work.worker.wake()
    work.end(said_s)
    (timer,) = work.clock.getDelayedCalls()
    assert timer.getTime() - work.clock.seconds() == set_s


def test_only_the_last_run_says_when_the_next_is_due(work: Work) -> None:
    work.worker.wake()
    work.worker.wake()
    work.end(1.0)
    work.end(9.0)
    work.clock.advance(8.9)
    assert len(work.runs) == 2
    work.clock.advance(0.1)
    assert len(work.runs) == 3


def test_woken_before_it_is_due_it_does_not_run_twice(work: Work) -> None:
    work.worker.wake()
    work.end(7.0)
    work.worker.wake()
    work.end()
    work.clock.advance(MAX_SLEEP_S)
    assert len(work.runs) == 2


def test_a_timer_that_fires_during_a_run_starts_no_second_one(work: Work) -> None:
    work.worker.wake()
    work.worker.wake_in(3.0)
    work.clock.advance(3.0)
    assert len(work.runs) == 1
    work.end()
    assert len(work.runs) == 2


def test_a_new_timer_takes_the_place_of_the_old_one(work: Work) -> None:
    work.worker.wake_in(3.0)
    work.worker.wake_in(6.0)
    work.clock.advance(5.0)
    assert not work.runs
    work.clock.advance(1.0)
    assert len(work.runs) == 1


def test_a_cancelled_timer_wakes_nobody(work: Work) -> None:
    work.worker.wake_in(3.0)
    work.worker.cancel_timer()
    work.clock.advance(3.0)
    assert not work.runs
    work.worker.wake()
    assert len(work.runs) == 1


def test_an_error_that_passes_is_one_line_and_tried_again(
    work: Work, logged: list[LogEvent]
) -> None:
    work.worker.wake()
    work.worker.wake()
    work.fail(Passes("it is restarted"))
    assert [event["log_format"].format(**event) for event in logged] == [
        "nothing is done: it is restarted"
    ]
    work.clock.advance(RETRY_S - 0.1)
    assert len(work.runs) == 1
    work.clock.advance(0.1)
    assert len(work.runs) == 2
    work.end()
    assert not work.clock.getDelayedCalls()


def test_any_other_error_is_told_with_its_place_and_tried_again(
    work: Work, logged: list[LogEvent]
) -> None:
    work.worker.wake()
    work.fail(RuntimeError("a fault of ours"))
    (event,) = logged
    assert event["what"] == "the work"
    assert event["log_failure"].check(RuntimeError)
    work.clock.advance(RETRY_S)
    assert len(work.runs) == 2


def test_stopped_it_is_woken_by_nobody(work: Work) -> None:
    work.worker.wake_in(3.0)
    work.worker.stop()
    work.worker.wake()
    work.worker.wake_in(3.0)
    work.clock.advance(MAX_SLEEP_S)
    assert not work.runs


@pytest.mark.parametrize("fails", [False, True])
def test_stopped_during_a_run_it_ends_that_one_and_begins_no_other(
    work: Work, fails: bool
) -> None:
    work.worker.wake()
    work.worker.wake()
    work.worker.stop()
    assert not work.stop()
    if fails:
        work.fail(Passes())
    else:
        work.end(1.0)
    assert work.stop()
    assert len(work.runs) == 1
    assert not work.clock.getDelayedCalls()


def test_work_that_the_service_ends_is_not_begun_again(
    work: Work, logged: list[LogEvent]
) -> None:
    work.worker.wake()
    work.fail(Stopping())
    assert not work.clock.getDelayedCalls()
    work.worker.wake()
    assert len(work.runs) == 1
    assert not logged


class Read:
    """Events that are read together: `after` calls functions once all were handled."""

    def __init__(self) -> None:
        self._later: list[Callable[[], object]] = []

    def after(self, function: Callable[[], object]) -> None:
        self._later.append(function)

    def end(self) -> None:
        later, self._later = self._later, []
        for function in later:
            function()


@pytest.fixture
def read() -> Read:
    return Read()


@pytest.fixture
def ready() -> list[bool]:
    """Whether the gated worker is ready."""
    return [True]


@pytest.fixture
def gated(work: Work, read: Read, ready: list[bool]) -> GatedWorker:
    return GatedWorker(work.worker, is_ready=lambda: ready[0], after_read=read.after)


def test_events_of_one_read_cause_one_run_after_all_of_them(
    work: Work, read: Read, gated: GatedWorker
) -> None:
    gated.enable()
    read.end()
    work.end()
    for _ in range(3):
        gated.wake()
    assert gated.woken
    assert len(work.runs) == 1
    read.end()
    assert not gated.woken
    work.end()
    assert len(work.runs) == 2


def test_gated_worker_runs_only_while_it_is_enabled(
    work: Work, read: Read, gated: GatedWorker
) -> None:
    gated.wake()
    read.end()
    assert (gated.ready, len(work.runs)) == (False, 0)
    gated.enable()
    read.end()
    work.end(due_in_s=3)
    gated.disable()
    gated.wake()
    read.end()
    work.clock.advance(100)
    assert (gated.ready, len(work.runs)) == (False, 1)
    gated.enable()
    read.end()
    assert len(work.runs) == 2
    gated.stop()
    work.end(due_in_s=3)
    gated.enable()
    read.end()
    work.clock.advance(100)
    assert len(work.runs) == 2


def test_gated_worker_runs_only_when_it_is_ready(
    work: Work, read: Read, ready: list[bool], gated: GatedWorker
) -> None:
    ready[0] = False
    gated.enable()
    read.end()
    assert (gated.ready, work.runs) == (False, [])
    ready[0] = True
    gated.wake()
    read.end()
    assert len(work.runs) == 1
