# SPDX-License-Identifier: MIT
"""Repeated work, one run at a time: when something wakes it, or when it is due.

It replaces polling. Code that learns of something to do wakes the worker; each run
returns when the next one is due.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock

#: Maximum duration of a timer, in seconds. If the machine's clock is set forward, a run
#: that is due at a time of day is late by no more than this.
MAX_SLEEP_S: Final = 60.0


class Worker:
    """Runs one function, never twice at the same time.

    Args:
        work: one run. It returns the seconds until the next one is due; None: only when
            something wakes the worker.
        what: the name of the work in the log: "{what} failed".
        background: the owner of the runs.
        clock: the clock of the timer.
        retry_s: seconds from a failed run to the next one.
        trouble: what is not done while the work fails with one of ``passing``, in words
            for the log.
        passing: temporary errors; they are logged without a traceback.
    """

    _log = Logger()

    def __init__(
        self,
        work: Callable[[], Awaitable[float | None]],
        *,
        what: str,
        background: Background,
        clock: Clock,
        retry_s: float,
        trouble: str = "",
        passing: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> None:
        self._work = work
        self._what = what
        self._background = background
        self._clock = clock
        self._trouble = trouble
        self._passing = passing
        self._retry_s = retry_s
        self._running = False
        self._woken = False
        self._stopped = False
        self._timer: IDelayedCall | None = None

    @property
    def woken(self) -> bool:
        """Whether it was woken since the current run began."""
        return self._woken

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress."""
        return self._running

    def wake(self) -> None:
        """Run now; if a run is in progress, run once more after it."""
        if self._stopped:
            return
        if self._running:
            self._woken = True
            return
        self.cancel_timer()
        self._running = True
        self._background.start(self._what, self._run())

    def wake_in(self, delay_s: float) -> None:
        """Run after a delay in seconds, instead of when it was due."""
        self.cancel_timer()
        if not self._stopped:
            delay_s = min(max(0.0, delay_s), MAX_SLEEP_S)
            self._timer = self._clock.call_later(delay_s, self.wake)

    def cancel_timer(self) -> None:
        """Cancel the next due run; a run in progress continues."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def stop(self) -> None:
        """Begin no more runs; a run in progress continues to its end."""
        self._stopped = True
        self.cancel_timer()

    async def _run(self) -> None:
        due_in_s: float | None = None
        try:
            self._woken = True
            while self._woken and not self._stopped:
                self._woken = False
                due_in_s = self._retry_s
                due_in_s = await self._work()
        except Stopping:
            self.stop()
            raise
        except self._passing as error:
            self._log.error("{trouble}: {error}", trouble=self._trouble, error=error)
        finally:
            self._running = False
            if due_in_s is not None:
                self.wake_in(due_in_s)


class GatedWorker:
    """A worker that runs only while it is enabled and ready.

    If several events of one read wake it, it runs once, after all of these events.

    Args:
        worker: does the work.
        is_ready: returns whether a run can do anything; called only while enabled.
        after_read: calls a function after all events that were read together.
    """

    def __init__(
        self,
        worker: Worker,
        *,
        is_ready: Callable[[], bool],
        after_read: Callable[[Callable[[], object]], None],
    ) -> None:
        self._worker = worker
        self._is_ready = is_ready
        self._after_read = after_read
        self._enabled = False
        self._is_waking = False

    @property
    def ready(self) -> bool:
        """Whether it is enabled and a run can do anything."""
        return self._enabled and self._is_ready()

    @property
    def woken(self) -> bool:
        """Whether it was woken since the current run began."""
        return self._worker.woken or self._is_waking

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress."""
        return self._worker.is_running

    def enable(self) -> None:
        """Allow runs, and wake it."""
        self._enabled = True
        self.wake()

    def disable(self) -> None:
        """Begin no runs until :meth:`enable`; a run in progress continues."""
        self._enabled = False
        self._worker.cancel_timer()

    def stop(self) -> None:
        """Begin no more runs; a run in progress continues to its end."""
        self._enabled = False
        self._worker.stop()

    def wake(self) -> None:
        """Run after the events of the current read, if it is ready now."""
        if self.ready and not self._is_waking:
            self._is_waking = True
            self._after_read(self._begin)

    def _begin(self) -> None:
        self._is_waking = False
        self._worker.wake()
