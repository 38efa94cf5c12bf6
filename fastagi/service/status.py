# SPDX-License-Identifier: MIT
"""Carries out the command ``status``: Asterisk, database, queues, free agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError

from fastagi import __version__
from fastagi.config.sections import Settings
from fastagi.domain.offers import OfferOutcome
from fastagi.domain.task import Status, WaitingTask
from fastagi.errors import Problem
from fastagi.runtime.clock import Clock
from fastagi.service.commands import (
    Actor,
    AsteriskStatus,
    DatabaseHolder,
    InstanceStatus,
    NodeStatus,
    QueueStatus,
    ServiceStatus,
    ShowStatus,
)
from fastagi.service.instances import Instances
from fastagi.service.owner import Owner
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import TaskStore

#: Time limit for the database, in seconds.
_DATABASE_S: Final = 3.0

#: Over which time offers are counted.
_OFFERS: Final = timedelta(hours=24)
#: Name of the mark that each status command writes, to test the database.
_STATUS_MARK: Final = "status"


class Nodes(Protocol):
    """What the status needs of the Asterisks."""

    @property
    def asterisk(self) -> AsteriskStatus:
        """The state of the link to the first Asterisk."""

    @property
    def states(self) -> tuple[NodeStatus, ...]:
        """The state of each Asterisk."""

    @property
    def calls_under_way(self) -> int:
        """Number of attempts in progress that do not only wait in line."""

    def first_callbacks_s(self, waiting: Sequence[WaitingTask]) -> Mapping[str, float]:
        """Return in how many seconds the next callback of each queue is expected.

        Args:
            waiting: all tasks that wait.
        """

    def queue_status(
        self,
        name: str,
        now: float,
        oldest_task_since: datetime | None,
        expected_callback_s: float | None,
    ) -> QueueStatus:
        """Return the state of a queue at ``now`` (epoch seconds)."""


class StatusCommand:
    """Collects the status from the database and the nodes."""

    def __init__(
        self,
        *,
        store: TaskStore,
        owner: Owner,
        clock: Clock,
        settings: Callable[[], Settings],
        nodes: Nodes,
        instances: Instances,
    ) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock
        self._settings = settings
        self._nodes = nodes
        self._instances = instances
        #: When the service began to listen.
        self.started_at = clock.now()

    async def status(self, _command: ShowStatus, _actor: Actor) -> ServiceStatus:
        """Return the status; it contains the problem of the database, if any."""
        now = self._clock.now()
        problem: Problem | None = None
        offers: dict[OfferOutcome, int] | None = None
        tasks: dict[Status, int] | None = None
        oldest: dict[str, datetime] = {}
        waiting: list[WaitingTask] = []
        others: tuple[InstanceStatus, ...] = ()
        # Write, as reading still works on a full disk, where no request can be stored.
        writing = Deferred.fromCoroutine(self._store.set_mark(_STATUS_MARK, now))
        try:
            await writing.addTimeout(_DATABASE_S, self._clock.timers)
            tasks = await self._store.counts()
            oldest = await self._store.oldest_open(now)
            waiting = await self._store.waiting_tasks()
            if any(queue.offers.enabled for queue in self._settings().queues.values()):
                offers = await self._store.offer_counts(now - _OFFERS)
            others = await self._instances.others()
        except StoreUnavailable as error:
            problem = error.database_problem
        except TimeoutError:
            problem = Problem(
                "", f"it has not answered for {_DATABASE_S:g} s", "see the log"
            )
        first_s = self._nodes.first_callbacks_s(waiting)
        holder = self._owner.lease.held
        return ServiceStatus(
            version=__version__,
            started_at=self.started_at,
            asterisk=self._nodes.asterisk,
            nodes=self._nodes.states,
            database_problem=problem,
            holder=DatabaseHolder(
                host=holder.process.host, pid=holder.process.pid, since=holder.since
            ),
            tasks=tasks,
            offers=offers,
            oldest_task_since=min(oldest.values(), default=None),
            calls_under_way=self._nodes.calls_under_way,
            queues={
                name: self._nodes.queue_status(
                    name, now.timestamp(), oldest.get(name), first_s.get(name)
                )
                for name in self._settings().queues
            },
            instance=self._instances.name,
            others=others,
        )
