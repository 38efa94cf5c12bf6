# SPDX-License-Identifier: MIT
"""What the command ``status`` tells: Asterisk, database, queues, free agents."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError

from fastagi import __version__
from fastagi.config.model import Settings
from fastagi.domain.task import Status
from fastagi.errors import Problem
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    AsteriskStatus,
    DatabaseHolder,
    QueueStatus,
    ServiceStatus,
    ShowStatus,
)
from fastagi.service.owner import Owner
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: How long who asks for the status waits for the database, in seconds.
_DATABASE_S: Final = 3.0

#: The moment at which somebody last asked for the status.
_STATUS_MARK: Final = "status"


class NodeState(Protocol):
    """What is asked of an Asterisk node."""

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of its link."""

    @property
    def calls_under_way(self) -> int:
        """How many attempts are under way."""

    def queue_status(
        self, name: str, now: float, oldest_task_since: datetime | None
    ) -> QueueStatus:
        """The state of a queue at a moment in epoch seconds."""


class StatusCommand:
    """Puts together what the database and the node know."""

    def __init__(
        self,
        *,
        store: TaskStore,
        owner: Owner,
        clock: Clock,
        settings: Callable[[], Settings],
        node: NodeState,
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._settings = settings
        self._node = node
        #: When the service began to listen.
        self.started_at = clock.now()

    async def status(self, _command: ShowStatus, _actor: Actor) -> ServiceStatus:
        """Return the whole status."""
        now = self._clock.now()
        problem: Problem | None = None
        tasks: dict[Status, int] | None = None
        oldest: dict[str, datetime] = {}
        # Reading alone would work on a full disk, where no request can be kept.
        writing = Deferred.fromCoroutine(self._store.set_mark(_STATUS_MARK, now))
        try:
            await writing.addTimeout(_DATABASE_S, self._clock.timers)
            tasks = await self._store.counts()
            oldest = await self._store.oldest_open()
        except StoreUnavailable as error:
            problem = error.problem
        except TimeoutError:
            problem = Problem(
                "", f"it has not answered for {_DATABASE_S:g} s", "see the log"
            )
        holder = self._owner.lease.held
        return ServiceStatus(
            version=__version__,
            started_at=self.started_at,
            asterisk=self._node.asterisk,
            database_problem=problem,
            holder=DatabaseHolder(
                host=holder.process.host, pid=holder.process.pid, since=holder.since
            ),
            tasks=tasks,
            oldest_task_since=min(oldest.values(), default=None),
            calls_under_way=self._node.calls_under_way,
            queues={
                name: self._node.queue_status(name, now.timestamp(), oldest.get(name))
                for name in self._settings().queues
            },
        )
