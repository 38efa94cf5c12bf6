# SPDX-License-Identifier: MIT
"""Ends tasks that have become too old, at the moment they do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from fastagi.runtime.background import Background
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: A timer never sleeps longer, so that a clock set forward is noticed.
_MAX_SLEEP_S: Final = 60.0
#: After the store failed, in seconds.
_STORE_RETRY_S: Final = 5.0


class Expiry:
    """One timer, set to the moment the next waiting task expires."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: IReactorTime,
        background: Background,
        on_expired: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._on_expired = on_expired
        self._timer: IDelayedCall | None = None
        self._running = False
        self._again = False
        self._stopped = False

    def wake(self) -> None:
        """Tasks changed, or one may have expired."""
        if self._stopped:
            return
        if self._running:
            self._again = True
            return
        self._running = True
        self._background.start("expiring tasks", self._run())

    def stop(self) -> None:
        """Expire nothing any more."""
        self._stopped = True
        self._cancel_timer()

    async def _run(self) -> None:
        delay_s: float | None = _STORE_RETRY_S
        try:
            self._again = True
            while self._again:
                self._again = False
                now = self._clock.seconds()
                ended = await self._store.expire(datetime.fromtimestamp(now, UTC))
                if ended:
                    self._again = True
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
                delay_s = None if at is None else at.timestamp() - self._clock.seconds()
        except StoreUnavailable as error:
            self._log.error("expired tasks can not be ended: {error}", error=error)
            delay_s = _STORE_RETRY_S
        finally:
            self._running = False
            self._cancel_timer()
            if delay_s is not None and not self._stopped:
                self._timer = self._clock.callLater(
                    min(max(0.0, delay_s), _MAX_SLEEP_S), self.wake
                )

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
