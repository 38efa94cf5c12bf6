# SPDX-License-Identifier: MIT
"""Brings stored tasks in line with the settings, at the start and after a reload.

Three things in the database depend on settings: by which key a client is recognised
(`number_plan`), until when a task waits because its number was called too often
(`limits`), and how the name of its queue is spelled (`queues`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from fastagi.config.model import Settings
from fastagi.domain.task import CallbackTask
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.listeners import Listeners
from fastagi.service.until_stored import until_stored
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: What is not as it should be until clients are recognised by the number plan.
_UNRECOGNISED: Final = (
    "clients with open tasks may not be recognised in every form of their number yet"
)


class StoredTasks:
    """The tasks in the database, as far as they depend on the settings."""

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
        #: Clients have been recognised anew in the database.
        self.rekeyed: Listeners[[]] = Listeners("new keys of clients")

    def start(self) -> None:
        """Bring everything in line with the settings of the start."""
        self._background.start("recognising clients", self._recognise_clients())
        self._background.start("using the limit of calls", self._use_limit())
        self._background.start("looking for orphans", self._adopt_queues())

    def settings_changed(self, former: Settings, settings: Settings) -> None:
        """Bring everything in line with new settings."""
        self._background.start("recognising clients anew", self._recognise_clients())
        if former.limits.calls_per_number != settings.limits.calls_per_number:
            self._background.start("using the limit of calls", self._use_limit())
        self._background.start("looking for orphans", self._adopt_queues())

    async def use_number_plan(self) -> None:
        """Recognise the clients of open tasks by what their numbers mean now.

        If the database can not be used, the log says so.
        """
        try:
            await self._rekey()
        except StoreUnavailable as error:
            self._log.error("{trouble}: {error}", trouble=_UNRECOGNISED, error=error)

    async def _rekey(self) -> None:
        now = self._clock.now()
        plan = self._settings().plan
        # Both are in line before anything else may be done by the new plan.
        blocked = Deferred.fromCoroutine(self._store.rekey_blocked(plan))
        tasks = Deferred.fromCoroutine(self._store.rekey(plan.key, now))
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

    async def _recognise_clients(self) -> None:
        await until_stored(self._rekey, _UNRECOGNISED, self._background)
        # An attempt may have begun meanwhile, under an older key.
        self.rekeyed.call()
        self._tasks_changed()

    async def _use_limit(self) -> None:
        """Let no task wait for a limit of former settings."""

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

    async def _adopt_queues(self) -> None:
        """Give open tasks the queues of the settings, and say which wait in vain."""

        async def adopt() -> dict[str, int]:
            if await self._store.respell(self._settings().queues.name_of):
                self._tasks_changed()
            return await self._store.open_by_queue()

        counts = await until_stored(
            adopt,
            "tasks of a queue that is written otherwise now may have to wait",
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
