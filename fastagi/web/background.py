# SPDX-License-Identifier: MIT
"""Keeps the background tasks of the web process running.

A task is an endless coroutine, such as the one that follows the service's live state.
If it fails or returns, this is logged and it is started again, after a growing pause.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from attrs import frozen

_log = logging.getLogger(__name__)

#: Pauses before starting a failed task again, in seconds.
_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
#: How long a task must have run for its next pause to be the first one again.
_LONG_RUN_S: Final = 300.0
#: How long tasks may take to end after they were cancelled, in seconds.
_STOP_S: Final = 5.0


@frozen
class BackgroundTask:
    """An endless coroutine.

    Attributes:
        name: what it does, for the log.
        run: starts it.
    """

    name: str
    run: Callable[[], Awaitable[object]]


class Supervisor:
    """Starts background tasks, starts them again, and ends them."""

    def __init__(
        self, tasks: Sequence[BackgroundTask], *, first_pause_s: float = _FIRST_PAUSE_S
    ) -> None:
        self._tasks = tasks
        self._first_pause_s = first_pause_s
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start every task, in the running event loop."""
        self._running = [
            asyncio.create_task(self._keep_running(task), name=task.name)
            for task in self._tasks
        ]

    async def stop(self) -> None:
        """Cancel the tasks and wait until they have ended."""
        for task in self._running:
            task.cancel()
        if not self._running:
            return
        _, late = await asyncio.wait(self._running, timeout=_STOP_S)
        for task in late:
            _log.warning("%s did not stop in time", task.get_name())

    async def _keep_running(self, task: BackgroundTask) -> None:
        pause_s = self._first_pause_s
        while True:
            began = time.monotonic()
            try:
                await task.run()
                _log.error("%s ended; it starts again in %g s", task.name, pause_s)
            except Exception:
                _log.exception("%s failed; it starts again in %g s", task.name, pause_s)
            if time.monotonic() - began > _LONG_RUN_S:
                pause_s = self._first_pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
