# SPDX-License-Identifier: MIT
"""Expires tasks at the moment at which they become too old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 5.0


class Expiry:
    """Expires tasks, and sets a timer for the next one."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        on_expired: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_expired = on_expired
        self._worker = Worker(
            self._expire,
            what="expiring tasks",
            background=background,
            clock=clock,
            trouble="expired tasks can not be ended",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def wake(self) -> None:
        """Expire what is too old now: tasks have changed, or time has passed."""
        self._worker.wake()

    def stop(self) -> None:
        """Expire no more tasks."""
        self._worker.stop()

    async def _expire(self) -> float | None:
        """Expire tasks; return the seconds until the next expiry, None for none."""
        ended = await self._store.expire(self._clock.now())
        if ended:
            self._worker.wake()
            self._on_expired()
        for task in ended:
            self._log.info(
                "task {task_id}: {status}: {reason}",
                task_id=task.id,
                queue=task.queue,
                status=task.status.value,
                reason=task.reason,
            )
        at = await self._store.next_expiry()
        return None if at is None else (at - self._clock.now()).total_seconds()
