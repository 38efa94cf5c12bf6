# SPDX-License-Identifier: MIT
"""What can be said of a task besides what is stored: its queue's hours, its place."""

from __future__ import annotations

from collections.abc import Callable

from fastagi.config.sections import Settings
from fastagi.domain.task import CallbackTask, Status
from fastagi.runtime.clock import Clock
from fastagi.service.commands import TaskState
from fastagi.service.opening_state import OpeningState


class TaskStates:
    """Builds the states of tasks."""

    def __init__(
        self,
        *,
        clock: Clock,
        settings: Callable[[], Settings],
        opening_state: OpeningState,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._opening_state = opening_state
        #: The names of the queues' time zones in these settings.
        self._zones: dict[str, str] = {}
        self._of: Settings | None = None

    def of(self, task: CallbackTask, position: int | None) -> TaskState:
        """Return a task, and whether it waits for its queue to open, or in line.

        Args:
            task: the task.
            position: its position in Asterisk's queue; None: it is not in line there.
        """
        zone = self._zone(task.queue)
        if task.status is Status.PENDING:
            now = self._clock.now()
            # Until its chosen time it does not wait for the queue.
            at = task.chosen_at if task.waits_for_chosen_time(now) else now
            assert at is not None
            state = self._opening_state.state_at(task.queue, at.timestamp())
            if not state.is_open:
                return TaskState(
                    task=task, queue_closed=True, opens_at=state.until, zone=zone
                )
            position = None
        return TaskState(task=task, zone=zone, position=position)

    def _zone(self, queue: str) -> str:
        """Return the name of a queue's time zone."""
        settings = self._settings()
        if settings is not self._of:
            self._of = settings
            self._zones.clear()
        if queue not in self._zones:
            self._zones[queue] = str(settings.queue(queue).zone)
        return self._zones[queue]
