# SPDX-License-Identifier: MIT
"""Work that is done again and again: one run at a time, when woken or when it is time.

In place of a loop that asks every second. Whoever learns that there may be something to
do wakes the worker; the work itself says when it is to be done next if nobody does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from fastagi.runtime.background import Background, Stopping
from fastagi.runtime.clock import Clock

#: The longest time until the next run that a timer is set for, in seconds: a run that
#: is due at a time of day is not missed by more if the machine's clock is set forward.
MAX_SLEEP_S: Final = 60.0


class Worker:
    """Runs one function, never twice at the same time.

    Args:
        work: one run. It returns in how many seconds the next is due, None for not
            before somebody wakes the worker.
        what: the work in words for the log: "{what} failed".
        background: owns the runs.
        clock: for the timer.
        retry_s: seconds from a failed run, whatever the error, to the next.
        trouble: what is not done while the work fails with one of ``passing``, in words
            for the log.
        passing: errors that pass by themselves. They are logged without a traceback.
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
        """Whether it was woken after the run under way had begun."""
        return self._woken

    def wake(self) -> None:
        """Do the work now; if it is being done, do it once more after that."""
        if self._stopped:
            return
        if self._running:
            self._woken = True
            return
        self.cancel_timer()
        self._running = True
        self._background.start(self._what, self._run())

    def wake_in(self, delay_s: float) -> None:
        """Do the work after some seconds, in place of when it was due."""
        self.cancel_timer()
        if not self._stopped:
            delay_s = min(max(0.0, delay_s), MAX_SLEEP_S)
            self._timer = self._clock.call_later(delay_s, self.wake)

    def cancel_timer(self) -> None:
        """Do the work not before it is woken; a run under way is not touched."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def stop(self) -> None:
        """Begin no run any more; one under way goes on to its end."""
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
