# SPDX-License-Identifier: MIT
"""One service with two Asterisks, which have one queue in common."""

from __future__ import annotations

from typing import Any

from tests.emulator.calls import LiveCall
from tests.harness.world import ServiceProcess, World, settings
from tests.system.harness import (
    ANSWERS,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    queue_settings,
)

NAMES = ("default", "berlin")


class TwoNodes(ServiceTestCase):
    """The Asterisks ``default`` with alice and ``berlin`` with bob, in one queue."""

    def make_world(self) -> World:
        world = World()
        self.berlin = world.add_asterisk("berlin")
        self.berlin_support = self.berlin.add_queue("support", [BOB])
        self.bob = self.berlin.phone(BOB).always(ANSWERS)
        self.berlin_client = self.berlin.client(NUMBER).always(TALKS_10S)
        return world

    def begin_both(self, **queue: Any) -> ServiceProcess:
        return self.world.begin(settings(queue_settings(**queue), nodes=NAMES))

    def call_in_berlin(self, number: str = NUMBER, **more: Any) -> LiveCall:
        call = self.berlin.call("support", number, **more)
        self.world.settle()
        return call

    def nodes_of(self, task_id: int = 1) -> list[str]:
        return [attempt.node for attempt in self.world.attempts(task_id)]

    def pause(self, support: Any, interface: str) -> None:
        support.members[interface].paused = True

    def talk_to_alice(self) -> LiveCall:
        call = self.call("0301112233", talks_s=500)
        self.world.run(5)
        return call

    def stop_at_once(self) -> None:
        """Kill the process of the service."""
        self.world.processes[-1].kill()
        self.world.run(1)
