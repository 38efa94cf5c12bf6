# SPDX-License-Identifier: MIT
"""Notes when a chosen time is missed, and why.

A chosen time is kept if the client is dialled within ``chosen_time.slack`` after it, or
before the end of the slot that a caller chose. Otherwise the task goes on waiting as
the first in line, its history gets an event with the reason, and the log a warning.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from twisted.logger import Logger

from fastagi.domain.reason import Code, Reason, because, utc_minute
from fastagi.domain.task import CallbackTask, Status
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.service.opening_state import OpeningState
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: When to ask again whether it is done by this process, in seconds.
_LOOK_AGAIN_S: Final = 10.0
#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 5.0


class ChosenTimes:
    """Notes which chosen times are missed, and sets a timer for the next one."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        opening_state: OpeningState,
        is_connected: Callable[[], bool],
        why_no_trunk: Callable[[str], Reason | None],
        waits_unrung: Callable[[int], bool],
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        #: Whether it is done here; of several processes one does it.
        self._is_wanted = is_wanted
        self._store = store
        self._clock = clock
        self._opening_state = opening_state
        #: Whether there is a link to Asterisk.
        self._is_connected = is_connected
        #: Returns why the clients of a queue can not be called; None: they can.
        self._why_no_trunk = why_no_trunk
        #: Returns whether a task, by its id, waits in line and no agent has been rung.
        self._waits_unrung = waits_unrung
        self._started_at: datetime | None = None
        self._worker = Worker(
            self._look,
            what="looking for missed chosen times",
            background=background,
            clock=clock,
            trouble="it is not stored which chosen times were missed",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def start(self) -> None:
        """Note chosen times that were missed while no service ran."""
        self._started_at = self._clock.now()
        self._worker.wake()

    def wake(self) -> None:
        """Check the tasks again: some have changed."""
        if self._started_at is not None:
            self._worker.wake()

    def stop(self) -> None:
        """Stop noting missed times."""
        self._worker.stop()

    async def _look(self) -> float | None:
        """Note missed times; return the seconds until the next one can be missed."""
        if not self._is_wanted():
            return _LOOK_AGAIN_S
        now = self._clock.now()
        while late := await self._store.past_call_by(now):
            for task in late:
                await self._note(task, now)
        at = await self._store.next_call_by()
        return None if at is None else (at - self._clock.now()).total_seconds()

    async def _note(self, task: CallbackTask, now: datetime) -> None:
        assert task.chosen_at is not None and task.call_by is not None
        why = because(
            Code.CHOSEN_TIME_MISSED,
            chosen_at=utc_minute(task.chosen_at),
            slack_s=(task.call_by - task.chosen_at).total_seconds(),
            cause=self._cause(task, task.call_by, now),
        )
        if await self._store.miss_chosen_time(task, why, now):
            self._log.warn(
                "task {task_id}: {reason}",
                task_id=task.id,
                queue=task.queue,
                number=task.number,
                reason=why,
            )

    def _cause(self, task: CallbackTask, call_by: datetime, now: datetime) -> Reason:
        """Return why a client was not dialled until ``call_by``."""
        if self._started_at is not None and call_by < self._started_at:
            return because(Code.SERVICE_NOT_RUNNING)
        if task.status is Status.CALLING and not self._waits_unrung(task.id):
            return because(Code.CLIENT_NOT_DIALLED_YET)
        if not self._is_connected():
            return because(Code.ASTERISK_NOT_CONNECTED)
        if not self._opening_state.state_at(task.queue, now.timestamp()).is_open:
            return because(Code.QUEUE_IS_CLOSED)
        if (no_trunk := self._why_no_trunk(task.queue)) is not None:
            return no_trunk
        if task.status is Status.CALLING:
            # It is in line.
            return because(Code.NO_AGENT_FREE)
        if task.due_at > now or task.attempts or task.member_attempts:
            # Its number may not be called yet, or no agent answered.
            return task.why
        return because(Code.NO_AGENT_FREE)
