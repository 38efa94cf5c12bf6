# SPDX-License-Identifier: MIT
"""The time of day may jump; timers and durations do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from fastagi.runtime.clock import MachineClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.runs = Clock()
        self.shows = NOON
        self.clock = MachineClock(
            cast(IReactorTime, self.runs), lambda: self.shows.timestamp()
        )


def test_now_is_what_the_machine_shows() -> None:
    machine = Machine()
    assert machine.clock.now() == NOON
    assert machine.clock.now().tzinfo is UTC
    assert machine.clock.epoch_s() == NOON.timestamp()
    machine.shows -= timedelta(hours=1)
    assert machine.clock.now() == NOON - timedelta(hours=1)


def test_the_steady_clock_does_not_mind_what_the_machine_shows() -> None:
    machine = Machine()
    before = machine.clock.steady()
    machine.shows -= timedelta(hours=1)
    machine.runs.advance(3.0)
    assert machine.clock.steady() - before == 3.0


def test_a_timer_counts_seconds_that_really_passed() -> None:
    machine, called = Machine(), []
    timer = machine.clock.call_later(5.0, called.append, "done")
    machine.shows += timedelta(hours=1)
    machine.runs.advance(4.9)
    assert timer.active()
    machine.shows -= timedelta(hours=2)
    machine.runs.advance(0.1)
    assert called == ["done"]
