# SPDX-License-Identifier: MIT
"""Ends the open tasks of clients who were served.

Live detection and the histories both use this. :mod:`fastagi.domain.contacts` decides
which talk serves a client.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from twisted.logger import Logger

from fastagi.config.sections import Settings
from fastagi.domain.contacts import PastContact, served_after
from fastagi.domain.reason import Reason
from fastagi.domain.task import CallbackTask
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.until_stored import until_stored
from fastagi.store.store import TaskStore

#: How long ago a talk may have begun that has just begun.
_JUST_NOW: Final = timedelta(seconds=2)


class ServedClients:
    """Ends the tasks of clients who reached a person in another way."""

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
        #: Number of contacts not stored yet, by client key.
        self._unstored: Counter[str] = Counter()

    def unstored(self) -> Collection[str]:
        """Return the keys of served clients whose contact is not stored yet."""
        return self._unstored.keys()

    async def serve(
        self,
        contact: PastContact,
        *,
        served_at: datetime | None = None,
        asked_at: Mapping[str, datetime] | None = None,
    ) -> None:
        """End the open task of a client who has just been served.

        Returns when that is stored, or if there is no such task.

        Args:
            contact: the talk that served the client.
            served_at: when the client was served, if not just now. Tasks requested
                later do not end.
            asked_at: times of requests by the linkedids of their calls, if a request
                was made earlier than it was stored.
        """
        key = contact.key
        now = self._clock.now()
        has_just_begun = served_at is not None and abs(now - served_at) < _JUST_NOW
        tries = 0

        async def store() -> CallbackTask | None:
            nonlocal tries
            tries += 1
            # From the second try on, a request may have come after the contact.
            before = served_at or (now if tries > 1 else None)
            return await self._store.serve(
                key,
                contact.why,
                now,
                served_at=before,
                asked_at=asked_at,
                clock_at=now if tries == 1 and has_just_begun else None,
            )

        self._unstored[key] += 1
        try:
            task = await until_stored(
                store, "that a client was served is not stored yet", self._background
            )
        finally:
            # `-=` would look at all of them.
            self._unstored[key] -= 1
            if not self._unstored[key]:
                del self._unstored[key]
        if task is not None:
            # Only after `_unstored` was updated, as listeners look at it.
            self._task_served(task, contact.why)

    async def serve_all(
        self,
        contacts: Mapping[str, Collection[PastContact]],
        asked_at: Mapping[str, datetime],
    ) -> None:
        """End the open tasks of clients who were served after every request.

        Args:
            contacts: the contacts of each client, by client key.
            asked_at: as in :meth:`serve`.

        Raises:
            StoreUnavailable: some tasks were not updated; call it again.
        """
        for task in await self._store.open_tasks_of(contacts):
            key = task.number_key
            believed = [one for one in contacts[key] if one.may_end(task.kind)]
            success_s = self._settings().queue(task.queue).success_duration_s
            contact = served_after(0.0, believed, success_s)
            if contact is None:
                continue
            why = contact.why.with_params(unheard=True)
            served = await self._store.serve(
                key,
                why,
                self._clock.now(),
                served_at=datetime.fromtimestamp(contact.at, UTC),
                asked_at=asked_at,
            )
            if served is not None:
                self._task_served(served, why)

    def _task_served(self, task: CallbackTask, why: Reason) -> None:
        self._log.info(
            "task {task_id}: {status}: {reason}",
            task_id=task.id,
            queue=task.queue,
            number=task.number,
            status=task.status.value,
            reason=why,
        )
        self._tasks_changed()
