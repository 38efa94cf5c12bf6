# SPDX-License-Identifier: MIT
"""Every tracker has processed an event before its consequences follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs

from fastagi.ami.events import Handler, Hangup, Newchannel, on
from fastagi.ami.session import AmiSession
from fastagi.node.trackers import Trackers
from fastagi.runtime.listeners import Afterwards, Listeners
from fastagi.wire.ami import AmiMessage

HANGUP = AmiMessage(b"Event: Hangup\r\nUniqueid: 1.1")


class Manager:
    """Passes on events by their names, as the session does."""

    def __init__(self) -> None:
        self.listeners: dict[str, Callable[[AmiMessage], object]] = {}

    def listen(
        self, name: str, callback: Callable[[AmiMessage], object]
    ) -> Callable[[], object]:
        assert name not in self.listeners, "each event is asked for once"
        self.listeners[name] = callback
        return lambda: self.listeners.pop(name)

    def tell(self, message: AmiMessage) -> None:
        self.listeners[message.event](message)


@attrs.define(eq=False)
class Tracker:
    name: str
    done: list[Any]
    fails: bool = False
    seen: list[Hangup] = attrs.field(factory=list)
    told_of: Listeners[[str]] = attrs.field(factory=lambda: Listeners("a hangup"))

    def handlers(self) -> Iterator[Handler]:
        yield on(Hangup, self.hangup)

    def hangup(self, event: Hangup) -> None:
        self.done.append(self.name)
        self.seen.append(event)
        self.told_of.call(event.uniqueid)
        if self.fails:
            raise ValueError("never mind")


class World:
    def __init__(self, failing: str = "") -> None:
        self.done: list[Any] = []
        self.manager = Manager()
        self.afterwards = Afterwards("an event")
        names = (
            "queue_monitor",
            "hold",
            "trunks",
            "dialer",
            "astdb_requests",
            "call_tracker",
            "expected_waits",
        )
        self.parts = {name: Tracker(name, self.done, name == failing) for name in names}
        self.trackers = Trackers(
            manager=cast(AmiSession, self.manager),
            # Only the list of all channels needs these two.
            background=cast(Any, None),
            reconciler=cast(Any, None),
            afterwards=self.afterwards,
            **cast(Any, self.parts),
        )

    def listen(self) -> list[Callable[[], None]]:
        return list(self.trackers.listen())


ORDER = [
    "queue_monitor",
    "hold",
    "trunks",
    "dialer",
    "astdb_requests",
    "call_tracker",
    "expected_waits",
]


def test_an_event_goes_to_the_trackers_in_the_written_order() -> None:
    world = World()
    world.listen()
    world.manager.tell(HANGUP)
    assert world.done == ORDER


def test_what_the_first_tracker_tells_waits_for_the_last() -> None:
    world = World()
    world.listen()
    follows = world.afterwards.wrap(lambda uniqueid: world.done.append(uniqueid))
    world.parts["queue_monitor"].told_of.add(follows)
    world.manager.tell(HANGUP)
    assert world.done == [*ORDER, "1.1"]


def test_the_order_matters_where_nothing_waits() -> None:
    """A wrong edge: the consequence runs before later trackers know the event."""
    world = World()
    world.listen()
    world.parts["queue_monitor"].told_of.add(world.done.append)
    world.manager.tell(HANGUP)
    assert world.done == ["queue_monitor", "1.1", *ORDER[1:]]


def test_a_tracker_that_raises_stops_no_other() -> None:
    world = World(failing="queue_monitor")
    world.listen()
    world.parts["queue_monitor"].told_of.add(
        world.afterwards.wrap(lambda uniqueid: world.done.append(uniqueid))
    )
    world.manager.tell(HANGUP)
    assert world.done == [*ORDER, "1.1"]


def test_an_event_is_parsed_once_for_all() -> None:
    world = World()
    world.listen()
    world.manager.tell(HANGUP)
    events = [event for tracker in world.parts.values() for event in tracker.seen]
    assert len(events) == len(ORDER)
    assert len({id(event) for event in events}) == 1


def test_nothing_is_listened_to_before_and_after() -> None:
    world = World()
    assert world.manager.listeners == {}
    removers = world.listen()
    assert set(world.manager.listeners) == {"Hangup"}
    assert Newchannel.__name__ not in world.manager.listeners
    for remove in removers:
        remove()
    assert world.manager.listeners == {}
