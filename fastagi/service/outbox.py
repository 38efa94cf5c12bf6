# SPDX-License-Identifier: MIT
"""Delivers the events of tasks to sinks outside: to queue_log, and to further ones.

An :class:`Outbox` follows the table of events for one :class:`Sink` and has its own
position there. A sink cannot be asked whether it has an entry already, so if this
process dies between two entries, one of them is lost or delivered twice. A report that
counts a callback twice is worse than one that lacks an entry, so the position is
committed before each entry is delivered. If the sink reports that an entry was
certainly not delivered, it is delivered later.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from fastagi.domain.queue_log_entries import EventRow
from fastagi.runtime.background import Background
from fastagi.runtime.clock import Clock
from fastagi.runtime.worker import Worker
from fastagi.store.errors import StoreUnavailable
from fastagi.store.positions import Position
from fastagi.store.store import TaskStore

#: Maximum number of events in one query.
_EVENTS_AT_ONCE: Final = 100
#: Pause before retrying after StoreUnavailable, in seconds.
_STORE_RETRY_S: Final = 5.0
#: Pause before looking whether another service has stored an event that comes before
#: those that were found, in seconds.
_HELD_BACK_S: Final = 0.1

E = TypeVar("E")


class NotDelivered(Exception):
    """The sink certainly did not get the entry.

    Args:
        retry_in_s: seconds until it is to be delivered; None: when the outbox is woken.
    """

    def __init__(self, retry_in_s: float | None = None) -> None:
        super().__init__()
        self.retry_in_s = retry_in_s


class Sink(Protocol[E]):
    """A destination of entries."""

    #: Name of the sink in the table of positions.
    name: str

    @property
    def is_wanted(self) -> bool:
        """Whether anything is delivered; if not, events are passed over."""

    @property
    def is_ready(self) -> bool:
        """Whether an entry can be delivered now; if not, events wait."""

    def entries(self, event: EventRow) -> Sequence[E]:
        """Return the entries of an event: always the same, in the same order."""

    async def deliver(self, entry: E) -> None:
        """Deliver an entry; return also if it may have been delivered.

        Raises:
            NotDelivered: it was certainly not delivered.
        """


class Outbox(Generic[E]):
    """Delivers entries to one sink, one after another."""

    def __init__(
        self,
        sink: Sink[E],
        *,
        store: TaskStore,
        clock: Clock,
        background: Background,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Store the parts.

        Args:
            sink: where the entries go.
            store: has the events, and the position of the sink.
            clock: the clocks.
            background: the owner of the work.
            prepare: called once, before the first event is read.
        """
        self._sink = sink
        self._prepare = prepare
        self._store = store
        self._stopped = False
        self._worker = Worker(
            self._catch_up,
            what=f"writing into {sink.name}",
            background=background,
            clock=clock,
            trouble=f"{sink.name} waits for the database",
            passing=StoreUnavailable,
            retry_s=_STORE_RETRY_S,
        )

    def wake(self) -> None:
        """Look for new events: one may be stored, or the sink has become ready."""
        self._worker.wake()

    def stop(self) -> None:
        """Deliver nothing more; the rest follows after the next start."""
        self._stopped = True
        self._worker.stop()

    async def _catch_up(self) -> float | None:
        """Deliver the entries of all new events; return the seconds until a retry."""
        if self._prepare is not None:
            await self._prepare()
            self._prepare = None
        if not self._sink.is_wanted:
            await self._store.skip_events(self._sink.name)
        elif self._may_go_on:
            return await self._deliver_all()
        return None

    @property
    def _may_go_on(self) -> bool:
        return self._sink.is_ready and not self._stopped

    async def _deliver_all(self) -> float | None:
        name = self._sink.name
        position = await self._store.position(name)
        stored = position
        while (
            page := await self._store.events_after(position.event_id, _EVENTS_AT_ONCE)
        ).events:
            for event in page.events:
                entries = self._sink.entries(event)
                for index, entry in enumerate(
                    entries[position.entries :], position.entries
                ):
                    if not (self._may_go_on and self._sink.is_wanted):
                        await self._store_position(stored, position)
                        return None
                    is_last = index + 1 == len(entries)
                    after = (
                        Position(event.event_id)
                        if is_last
                        else Position(position.event_id, index + 1)
                    )
                    await self._store.set_position(name, after)
                    stored = after
                    try:
                        await self._sink.deliver(entry)
                    except NotDelivered as failure:
                        await self._store.set_position(name, position)
                        return failure.retry_in_s
                    position = after
                position = Position(event.event_id)
        await self._store_position(stored, position)
        return _HELD_BACK_S if page.held_back else None

    async def _store_position(self, stored: Position, position: Position) -> None:
        """Pass over events without entries for good."""
        if stored != position:
            await self._store.set_position(self._sink.name, position)
