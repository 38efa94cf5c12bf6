# SPDX-License-Identifier: MIT
"""A client was served: end the open task, log it, say that tasks have changed.

Live detection and the look into the histories both come here. Which talk serves a
client is the rule of :mod:`fastagi.domain.contacts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from twisted.logger import Logger

from fastagi.config.model import Settings
from fastagi.domain.contacts import PastContact, served_after
from fastagi.domain.reason import Reason
from fastagi.domain.task import OPEN, CallbackTask
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.service.until_stored import until_stored
from fastagi.store.store import TaskStore

#: Open tasks that one look into the histories goes through.
_MOST_OPEN: Final = 10_000


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
        #: Clients of whom the store does not know it yet, and how often.
        self._unstored: Counter[str] = Counter()

    def unstored(self) -> Collection[str]:
        """Return the keys of the clients served of whom the store does not know yet."""
        return self._unstored.keys()

    async def serve(
        self,
        contact: PastContact,
        *,
        served_at: datetime | None = None,
        asked_at: Mapping[str, datetime] | None = None,
    ) -> None:
        """End the open task of a client who has just been served.

        Returns when it is stored, or when there is no such task.

        Args:
            contact: that served the client.
            served_at: when, if that was before now: a task that was asked for later is
                left alone.
            asked_at: when calls asked for a callback, by their linkedids, where that is
                not when it was stored.
        """
        key = contact.key
        now = self._clock.now()
        tries = 0

        async def store() -> CallbackTask | None:
            nonlocal tries
            tries += 1
            # Who asks for a callback until the second try wants one.
            before = served_at or (now if tries > 1 else None)
            return await self._store.serve(
                key, contact.why, now, served_at=before, asked_at=asked_at
            )

        self._unstored[key] += 1
        try:
            task = await until_stored(
                store, "that a client was served is not stored yet", self._background
            )
        finally:
            self._unstored -= Counter([key])
        if task is not None:
            # Only now: whoever hears of it finds the client free to be called.
            self._ended(task, contact.why)

    async def serve_all(
        self,
        contacts: Mapping[str, Collection[PastContact]],
        asked_at: Mapping[str, datetime],
    ) -> None:
        """End the open tasks of clients who were served since they asked.

        Args:
            contacts: by the key of the client.
            asked_at: as in :meth:`serve`.

        Raises:
            StoreUnavailable: the rest is to be done again.
        """
        if not contacts:
            return
        for task in await self._store.listing(statuses=sorted(OPEN), limit=_MOST_OPEN):
            key = task.number_key
            believed = [one for one in contacts.get(key, ()) if one.may_end(task.kind)]
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
                self._ended(served, why)

    def _ended(self, task: CallbackTask, why: Reason) -> None:
        self._log.info(
            "task {task_id}: {status}: {reason}",
            task_id=task.id,
            queue=task.queue,
            number=task.number,
            status=task.status.value,
            reason=why,
        )
        self._tasks_changed()
