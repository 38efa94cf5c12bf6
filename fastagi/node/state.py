# SPDX-License-Identifier: MIT
"""How an event of the manager travels: parsed once, to each tracker, in one order.

A tracker follows events and keeps what it knows of Asterisk. What follows from an event
(a client is busy, a call was missed, a call may be placed) may need what another
tracker has learned from the same event, so it comes after the last of them
(:class:`Afterwards`, see ``Node._edges``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

from fastagi.ami.events import AmiEvent, Handler
from fastagi.ami.session import AmiSession
from fastagi.node.astdb_requests import AstDbRequests
from fastagi.node.call_tracker import CallTracker
from fastagi.node.dialer import Dialer
from fastagi.node.hold import Hold
from fastagi.node.queue_monitor import QueueMonitor
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
        afterwards: Afterwards,
        queue_monitor: QueueMonitor,
        hold: Hold,
        dialer: Dialer,
        astdb_requests: AstDbRequests,
        call_tracker: CallTracker,
    ) -> None:
        """Listen to nothing before :meth:`listen`.

        Args:
            afterwards: holds back what follows from an event.
        """
        self._manager = manager
        self._afterwards = afterwards
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
