# SPDX-License-Identifier: MIT
"""Updates stored tasks to the settings, at the start and after a reload.

Three values in the database depend on settings: the client key (`number_plan`), the due
time of a task whose number was called too often (`limits`), and the spelling of a
task's queue (`queues`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.task import CallbackTask
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: The problem that is logged until the client keys are renewed.
_KEYS_NOT_RENEWED: Final = (
    "clients with open tasks may not be recognised in every form of their number yet"
)


class StoredTasks:
    """Updates the values of stored tasks that depend on the settings."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        settings: Callable[[], Settings],
        tasks_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._settings = settings
        self._tasks_changed = tasks_changed
        #: Called after client keys were renewed in the database.
        self.rekeyed: Listeners[[]] = Listeners("new keys of clients")

    def start(self) -> None:
        """Update the tasks to the settings of the start."""
        self._background.start("renewing client keys", self._renew_client_keys())
        self._background.start("applying the limit of calls", self._apply_call_limit())
        self._background.start("correcting queue names", self._correct_queue_names())

    def settings_changed(self, former: Settings, settings: Settings) -> None:
        """Update the tasks to new settings."""
        self._background.start("renewing client keys", self._renew_client_keys())
        if former.limits.calls_per_number != settings.limits.calls_per_number:
            self._background.start(
                "applying the limit of calls", self._apply_call_limit()
            )
        self._background.start("correcting queue names", self._correct_queue_names())

    async def use_number_plan(self) -> None:
        """Renew the client keys of open tasks by the number plan in force.

        If the database can not be used, this is logged.
        """
        try:
            await self._rekey()
        except StoreUnavailable as error:
            self._log.error(
                "{trouble}: {error}", trouble=_KEYS_NOT_RENEWED, error=error
            )

    async def _rekey(self) -> None:
        now = self._clock.now()
        plan = self._settings().plan
        # Both are queued at once, so no other work can come between them.
        blocked = Deferred.fromCoroutine(self._store.rekey_blocked(plan))
        tasks = Deferred.fromCoroutine(self._store.rekey(plan, now))
        done: list[tuple[bool, Any]] = await DeferredList(
            [blocked, tasks], consumeErrors=True
        )
        for worked, result in done:
            if not worked:
                result.raiseException()
        for task in done[1][1]:
            self._log.info(
                "task {task_id}: {reason}", task_id=task.id, reason=task.reason
            )

    async def _renew_client_keys(self) -> None:
        await until_stored(self._rekey, _KEYS_NOT_RENEWED, self._background)
        # An attempt may have begun meanwhile, with an old key.
        self.rekeyed.call()
        self._tasks_changed()

    async def _apply_call_limit(self) -> None:
        """Make tasks due that wait for a limit of former settings."""

        async def use() -> list[CallbackTask]:
            most_calls = self._settings().limits.calls_per_number
            return await self._store.use_limit(most_calls, self._clock.now())

        earlier = await until_stored(
            use,
            "tasks may wait for a limit of calls that is not in force any more",
            self._background,
        )
        for task in earlier:
            self._log.info(
                "task {task_id}: due earlier: {reason}",
                task_id=task.id,
                reason=task.reason,
            )
        if earlier:
            self._tasks_changed()

    async def _correct_queue_names(self) -> None:
        """Spell the queues of open tasks as in the settings; warn of unknown queues."""

        async def adopt() -> dict[str, int]:
            if await self._store.respell(self._settings().queues):
                self._tasks_changed()
            return await self._store.open_by_queue()

        counts = await until_stored(
            adopt,
            "tasks may have to wait whose queue is spelled differently in the settings",
            self._background,
        )
        for queue, count in counts.items():
            if queue not in self._settings().queues:
                self._log.warn(
                    "{count} tasks wait for queue {queue}, which is not in the"
                    " settings: add it under 'queues', or they expire",
                    count=count,
                    queue=queue,
                )
