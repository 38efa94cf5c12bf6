# SPDX-License-Identifier: MIT
"""How an event of the manager travels: parsed once, to each tracker, in one order.

A tracker follows events and keeps what it knows of Asterisk. What follows from an event
(a client is busy, a call was missed, a call may be placed) may need what another
tracker has learned from the same event, so it comes after the last of them
(:class:`Afterwards`, see ``Node._edges``).

The list of all channels, which tells what no event did, goes the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from fastagi.ami import actions
from fastagi.ami.events import AmiEvent, CoreShowChannel, Handler
from fastagi.ami.session import AmiSession
from fastagi.node.astdb_requests import AstDbRequests
from fastagi.node.call_tracker import CallTracker
from fastagi.node.dialer import Dialer
from fastagi.node.hold import Hold
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.reconciler import Reconciler
from fastagi.node.until_known import until_known
from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Afterwards, Listeners
from fastagi.wire.ami import AmiMessage

#: Removes a listener.
Remove = Callable[[], None]


class Tracker(Protocol):
    """A part that follows events."""

    def handlers(self) -> Iterable[Handler]:
        """Yield what takes in each event that this part needs."""


class NodeState:
    """What is known of one Asterisk, by all who follow its events."""

    def __init__(
        self,
        *,
        manager: AmiSession,
        background: Background,
        afterwards: Afterwards,
        queue_monitor: QueueMonitor,
        hold: Hold,
        dialer: Dialer,
        astdb_requests: AstDbRequests,
        call_tracker: CallTracker,
        reconciler: Reconciler,
    ) -> None:
        """Listen to nothing before :meth:`listen`.

        Args:
            afterwards: holds back what follows from an event.
        """
        self._manager = manager
        self._background = background
        self._afterwards = afterwards
        self._queue_monitor = queue_monitor
        self._call_tracker = call_tracker
        self._reconciler = reconciler
        #: Each event goes to these in this order.
        self.trackers: tuple[Tracker, ...] = (
            queue_monitor,
            hold,
            dialer,
            astdb_requests,
            call_tracker,
        )

    def listen(self) -> Iterator[Remove]:
        """Listen to the events that trackers need; yield what ends it."""
        listeners: dict[type[AmiEvent], Listeners[[Any]]] = {}
        for tracker in self.trackers:
            for handler in tracker.handlers():
                name = handler.kind.__name__
                listeners.setdefault(handler.kind, Listeners(f"the event {name}")).add(
                    handler.take
                )
        for kind, takers in listeners.items():
            yield self._manager.listen(kind.__name__, partial(self._hear, kind, takers))

    def _hear(
        self, kind: type[AmiEvent], takers: Listeners[[Any]], message: AmiMessage
    ) -> None:
        event = kind.parse(message)
        with self._afterwards:
            takers.call(event)

    # -- the list of all channels ------------------------------------------

    async def list_channels(self) -> list[CoreShowChannel]:
        """Ask Asterisk for all channels, and tell each tracker that needs the list.

        Raises:
            NotConnected, ActionFailed, ActionTimedOut: there is no list.
        """
        answer = await self._manager.send_list(actions.core_show_channels())
        channels = [CoreShowChannel.parse(message) for message in answer]
        alive = {channel.uniqueid for channel in channels}
        with self._afterwards:
            self._queue_monitor.channels_are(alive)
            self._call_tracker.channels_are(alive)
        return channels

    async def learn(self, link: int) -> bool:
        """Find out which calls and which attempts are under way, after a connect.

        Asterisk is asked at once, and once for all who need the list: who was in a call
        that ends before is not known. Only attempts that this process has not followed
        need another list, made after they were read from the database.

        Args:
            link: number of the link that was made.

        Returns:
            True when they are known; False when the link was lost meanwhile, and the
            next connect has to begin again.
        """
        absent: frozenset[str] = frozenset()

        async def learn_calls() -> None:
            nonlocal absent
            with self._call_tracker.noting() as heard:
                channels = await self.list_channels()
                absent = self._reconciler.channels_are(channels)
                await self._call_tracker.learn(channels, heard)

        known = await until_known(
            learn_calls,
            "who is in a call",
            manager=self._manager,
            link=link,
            background=self._background,
        )
        return (
            known and self._manager.is_up(link) and await self._reconciler.run(absent)
        )
