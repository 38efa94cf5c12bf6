# SPDX-License-Identifier: MIT
"""The notices between services on one PostgreSQL, in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from twisted.internet.task import Clock

if TYPE_CHECKING:
    from tests.harness.world import ServiceProcess


class FakeNotices:
    """Carries notices from one process to the others, or loses them.

    Args:
        clock: of the test.
        delay_s: returns how long a notice takes to the next listener, in seconds; None:
            it is lost.
    """

    def __init__(
        self, clock: Clock, delay_s: Callable[[], float | None] = lambda: 0.0
    ) -> None:
        self._clock = clock
        self._delay_s = delay_s
        self._ears: list[_Ears] = []

    def listen(self, process: ServiceProcess, heard: Callable[[], object]) -> _Ears:
        """Let a process listen."""
        ears = _Ears(process, heard)
        self._ears.append(ears)
        return ears

    def send(self, conn: sa.Connection, sender: str) -> None:
        """Wake all others after the COMMIT: in place of the store's own function."""
        for ears in self._ears:
            if ears.listens and ears.process.instance != sender:
                delay_s = self._delay_s()
                if delay_s is not None:
                    self._clock.callLater(delay_s, ears.hear)


class _Ears:
    """Those of one process."""

    def __init__(self, process: ServiceProcess, heard: Callable[[], object]) -> None:
        self.process = process
        self._heard = heard
        self._is_started = False

    @property
    def listens(self) -> bool:
        """Whether a notice can reach it."""
        return self._is_started and not self.process.dead

    def start(self) -> None:
        """Listen from now on."""
        self._is_started = True

    def stop(self) -> None:
        """Listen no more."""
        self._is_started = False

    def hear(self) -> Any:
        """Take a notice; a frozen process finds it when it wakes."""
        process = self.process
        if not self.listens or process.database.unavailable:
            return
        if process.frozen:
            process.when_thawed(self.hear)
        else:
            process.clock.callLater(0, self._heard)
