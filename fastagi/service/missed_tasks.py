# SPDX-License-Identifier: MIT
"""From a call that was missed to the task of its client, whoever found it missed.

Live detection and the history come here with the same facts, and so to the same task:
whether the number may be called, whose queue calls back, the place in line, how long
it is worth while. How a missed call is recognised is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fastagi.config.model import Settings
from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.live_calls import Ended
from fastagi.domain.numbers import (
    NotCallable,
    callable_number,
    display_name,
    shown_number,
)
from fastagi.domain.task import Kind, NewTask
from fastagi.runtime.background import Background
from fastagi.service.refusals import Refusals
from fastagi.service.taking_back import was_taken_back
from fastagi.store.errors import StoreUnavailable
from fastagi.store.store import Recorded, TaskStore

#: After the store failed, in seconds.
_RETRY_S: Final = 5.0


class Kept(Enum):
    """What came of a missed call."""

    STORED = auto()
    #: It was kept before.
    KNOWN = auto()
    #: There will be no task; the log says why.
    NOT = auto()


def queue_of(ended: Ended, settings: Settings) -> QueueSettings | None:
    """Return the queue whose agents call back; None if there is none."""
    return settings.queues.get(ended.queue or settings.queue_for_others)


def new_task(ended: Ended, queue: QueueSettings, settings: Settings) -> NewTask:
    """Return the task that a missed call makes.

    Args:
        ended: the call.
        queue: whose agents call back.
        settings: those in force.

    Raises:
        NotCallable: its number may not be called.
    """
    number = callable_number(ended.number, settings.number_rules(queue))
    at = datetime.fromtimestamp(ended.ended_at, UTC)
    return NewTask(
        kind=Kind.MISSED,
        number=number,
        number_key=settings.plan.key(number),
        name=display_name(ended.name),
        language=ended.language,
        queue=queue.name,
        joined_at=datetime.fromtimestamp(ended.since, UTC),
        due_at=at,
        expires_at=queue.expiry_rules.expires_at(Kind.MISSED, at),
        linkedid=ended.queue_uniqueid,
        reason=f"missed call: {ended.how}",
    )


class MissedTasks:
    """Stores the tasks of missed calls."""

    _log = Logger()

    def __init__(
        self,
        *,
        store: TaskStore,
        clock: IReactorTime,
        background: Background,
        settings: Callable[[], Settings],
        refusals: Refusals,
        tasks_changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._background = background
        self._settings = settings
        self._refusals = refusals
        self._tasks_changed = tasks_changed

    async def keep(self, ended: Ended) -> Kept:
        """Make a task of a missed call, or renew the client's open one.

        Returns after the COMMIT, or when it is known that there will be none. A call
        that was kept before changes nothing.
        """
        settings = self._settings()
        queue = queue_of(ended, settings)
        if queue is None:
            return Kept.NOT
        try:
            new = new_task(ended, queue, settings)
        except NotCallable as refusal:
            self._refuse(ended, queue.name, str(refusal))
            return Kept.NOT
        if new.expires_at <= self._now():
            self._log.info(
                "missed call of {number} in queue {queue} is not called back: it was"
                " too long ago ({how})",
                number=new.number,
                queue=queue.name,
                how=ended.how,
                linkedid=ended.uniqueid,
            )
            return Kept.NOT
        recorded: Recorded | None = None
        while recorded is None:
            try:
                recorded = await self._add(ended, new)
            except NotCallable as refusal:
                self._refuse(ended, queue.name, str(refusal))
                return Kept.NOT
            except StoreUnavailable as error:
                if self._now() >= new.expires_at:
                    self._log.error(
                        "a missed call of {number} is lost: {error}",
                        number=new.number,
                        queue=queue.name,
                        error=error,
                    )
                    return Kept.NOT
                self._log.error(
                    "a missed call is not stored yet, trying again: {error}",
                    error=error,
                )
                await self._background.pause(_RETRY_S)
        if recorded.known:
            return Kept.KNOWN
        self._log.info(
            "task {task_id}: missed call of {number} in queue {queue}: {how}"
            if recorded.created
            else "task {task_id}: missed again: {number} in queue {queue}: {how}",
            task_id=recorded.task.id,
            number=new.number,
            queue=queue.name,
            how=ended.how,
            linkedid=ended.uniqueid,
        )
        self._tasks_changed()
        return Kept.STORED

    async def _add(self, ended: Ended, new: NewTask) -> Recorded:
        most_calls = self._settings().limits.calls_per_number
        recorded = await self._store.add(
            new,
            self._now(),
            once=not ended.taken_back,
            ids=ended.ids,
            most_calls=most_calls,
        )
        if was_taken_back(recorded):
            # Its request was; that the caller then hung up was not seen.
            recorded = await self._store.add(new, self._now(), most_calls=most_calls)
        return recorded

    def _refuse(self, ended: Ended, queue: str, reason: str) -> None:
        """Keep that a missed call is not called back."""
        self._log.info(
            "missed call of {number} in queue {queue} is not called back: {reason}",
            number=shown_number(ended.number),
            queue=queue,
            reason=reason,
            linkedid=ended.uniqueid,
        )
        self._refusals.keep(
            Kind.MISSED, queue, ended.number, reason, ended.queue_uniqueid
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)
