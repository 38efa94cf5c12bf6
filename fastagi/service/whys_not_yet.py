# SPDX-License-Identifier: MIT
"""Says of tasks what keeps them from being called, for the commands about tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask, Status
from fastagi.domain.why_not_yet import NEXT, Outlook, first
from fastagi.store.store import TaskStore

#: The first tasks of a queue that are read. Some of them may not count among the next.
_READ: Final = 5 * NEXT


class WhysNotYet:
    """Looks what keeps tasks from being called."""

    def __init__(self, *, store: TaskStore, outlook: Callable[[], Outlook]) -> None:
        """Store the parts.

        Args:
            store: where the tasks are.
            outlook: returns what keeps tasks from being called at this moment.
        """
        self._store = store
        self._outlook = outlook

    async def of(self, tasks: Sequence[CallbackTask]) -> Mapping[int, Reason]:
        """Return for the pending ones what keeps them from being called, by task id.

        Tasks that nothing keeps from being called are left out.

        Raises:
            StoreUnavailable: the database can not be used.
        """
        pending = [task for task in tasks if task.status is Status.PENDING]
        if not pending:
            return {}
        before = self._outlook()
        queues = {task.queue: before.of_queue(task.queue) for task in pending}
        line = await self._store.first_in_line(
            {name: queue.chosen_first for name, queue in queues.items()},
            {
                name: queue.ask_alone
                for name, queue in queues.items()
                if queue.ask_alone is not None
            },
            datetime.fromtimestamp(before.now, UTC),
            _READ,
        )
        outlook = self._outlook()
        known = {task.id: task for task in line}
        nexts = first(
            {**known, **{task.id: task for task in pending}}.values(), outlook
        )
        whys = {
            task.id: outlook.why_not(task, is_next=task.id in nexts) for task in pending
        }
        return {task_id: why for task_id, why in whys.items() if why is not None}
