# SPDX-License-Identifier: MIT
"""Follows the events of all tasks, for several readers with a position each.

It looks for new events when the live state changes, and every few seconds. A reader
waits here for them, reads them, and stores its position in the web process's own
database once it has handled them. Each of the two databases may be restored from a copy
without the other (:mod:`fastagi.store.story_events`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeVar, TypeVarTuple

import sqlalchemy as sa

from fastagi.errors import CallbackError
from fastagi.store.story_events import (
    StoryEvent,
    StoryPosition,
    last_seen,
    read_after,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: The longest time between two looks for new events, in seconds.
_LOOK_EVERY_S: Final = 5.0

#: The shortest time between two looks, in seconds.
_LOOK_AT_MOST_EVERY_S: Final = 0.2

_log = logging.getLogger(__name__)


class Reading(Protocol):
    """The part of `fastagi.web.records.Records` that the feed needs."""

    async def read(self, function: Callable[[sa.Connection, *Ts], T], *args: *Ts) -> T:
        """Run ``function(conn, *args)`` in a thread."""


class Changing(Protocol):
    """The subscription to the live state that wakes the feed."""

    async def next(self, within_s: float | None = None) -> object | None:
        """Return the next change; None if there is none in time."""

    def close(self) -> None:
        """End the subscription."""


class EventFeed:
    """The events of all tasks, in order."""

    def __init__(
        self,
        records: Reading,
        subscribe: Callable[[], Changing],
        *,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Prepare; `run` looks for new events.

        Args:
            records: the service's database.
            subscribe: subscribes to the live state.
            look_every_s: the longest time between two looks, in seconds.
        """
        self._records = records
        self._subscribe = subscribe
        self._look_every_s = look_every_s
        self._last: StoryPosition | None = None
        #: The same if no event before it can be stored any more.
        self._certain: StoryPosition | None = None
        #: Whether events after it were found, but one before them may still be stored.
        self._is_held_back = False
        self._moved = asyncio.Condition()
        self._problem = ""

    @property
    def last(self) -> StoryPosition | None:
        """The position after the last event that readers get; None: not known yet."""
        return self._last

    async def run(self) -> None:
        """Look for new events until it is cancelled."""
        subscription = self._subscribe()
        try:
            while True:
                await self.look()
                # At most a few looks a second, however often the state changes.
                await asyncio.sleep(_LOOK_AT_MOST_EVERY_S)
                if not self._is_held_back:
                    await subscription.next(self._look_every_s)
        finally:
            subscription.close()

    async def look(self) -> None:
        """Look whether there are new events, and wake the readers if so."""
        try:
            last, is_certain = await self._records.read(last_seen, self._certain)
        except CallbackError as error:
            if str(error) != self._problem:
                _log.warning("new events of tasks can not be read: %s", error)
            self._problem = str(error)
            self._is_held_back = False
            return
        if self._problem:
            _log.info("events of tasks can be read again")
        self._problem = ""
        self._certain = last if is_certain else None
        self._is_held_back = not is_certain
        if last != self._last:
            async with self._moved:
                self._last = last
                self._moved.notify_all()

    async def read(self, position: StoryPosition, limit: int) -> list[StoryEvent]:
        """Return the events after a position, at most ``limit``, in order.

        Raises:
            CallbackError: the database can not be read at the moment.
        """
        page = await self._records.read(read_after, position, limit)
        if page.settled is not None:
            page = await self._records.read(read_after, position, limit, page.settled)
        return page.events

    async def wait(self, seen: StoryPosition | None, within_s: float | None) -> None:
        """Wait until the last event is another one than ``seen``, or for a time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._moved:
                await self._moved.wait_for(lambda: self._last != seen)
