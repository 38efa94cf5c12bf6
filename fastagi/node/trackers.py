# SPDX-License-Identifier: MIT
"""Parses each manager event once and passes it to the trackers in a fixed order.

A tracker follows events and keeps its part of Asterisk's state. The consequences of an
event (a client is busy, a call was missed, a call may be placed) may need the new state
of other trackers, so they come after the last tracker (:class:`Afterwards`, see
``Node._edges``).

The list of all channels, which corrects missed events, goes the same way.
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
from fastagi.node.expected_waits import ExpectedWaits
from fastagi.node.hold import Hold
from fastagi.node.queue_monitor import QueueMonitor
from fastagi.node.reconciler import Reconciler
from fastagi.node.trunks import Trunks
from fastagi.node.until_known import until_known
from fastagi.runtime.background import Background
from fastagi.runtime.listeners import Afterwards, Listeners
from fastagi.wire.ami import AmiMessage

#: Removes a listener.
Remove = Callable[[], None]


class Tracker(Protocol):
    """A part of a node that follows manager events."""

    def handlers(self) -> Iterable[Handler]:
        """Yield the handler of each event that this tracker needs."""


class Trackers:
    """The trackers of one Asterisk, in the order in which they get each event."""

    def __init__(
        self,
        *,
        manager: AmiSession,
        background: Background,
        afterwards: Afterwards,
        queue_monitor: QueueMonitor,
        hold: Hold,
        trunks: Trunks,
        dialer: Dialer,
        astdb_requests: AstDbRequests,
        call_tracker: CallTracker,
        expected_waits: ExpectedWaits,
        reconciler: Reconciler,
    ) -> None:
        """Store the parts; :meth:`listen` adds the listeners.

        Args:
            afterwards: delays the consequences of an event until the last tracker.
        """
        self._manager = manager
        self._background = background
        self._afterwards = afterwards
        self._queue_monitor = queue_monitor
        self._call_tracker = call_tracker
        self._reconciler = reconciler
        #: Called after an event, with all that follows from it.
        self.event_handled: Listeners[[]] = Listeners("an event of Asterisk")
        #: Each event goes to these in this order.
        self.in_order: tuple[Tracker, ...] = (
            queue_monitor,
            hold,
            trunks,
            dialer,
            astdb_requests,
            call_tracker,
            expected_waits,
        )

    def listen(self) -> Iterator[Remove]:
        """Listen to the events that trackers need; yield the removers of listeners."""
        listeners: dict[type[AmiEvent], Listeners[[Any]]] = {}
        for tracker in self.in_order:
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
        self.event_handled.call()

    # -- the list of all channels ------------------------------------------

    async def list_channels(self) -> list[CoreShowChannel]:
        """Ask Asterisk for all channels, and pass them to the trackers that need them.

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
        """Find out which calls and attempts are in progress, after a connect.

        Asterisk is asked at once, as calls that end before the list are not seen. One
        list serves all trackers. Only attempts that this process has not followed need
        a second list, made after they were read from the database.

        Args:
            link: number of the new link.

        Returns:
            True if they are known; False if the link was lost meanwhile: the next
            connect starts again.
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
