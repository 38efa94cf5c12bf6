# SPDX-License-Identifier: MIT
"""Two services on one database, with two Asterisks that have one queue in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from fastagi.config.sections import ControlSettings, InstanceSettings, Settings
from fastagi.store import leases, together, told
from tests.harness.world import ServiceProcess, World, settings
from tests.system.harness import (
    ANSWERS,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    queue_settings,
)


class TwoInstances(ServiceTestCase):
    """The services a and b with the Asterisks ``default`` (alice) and ``berlin``."""

    def make_world(self) -> World:
        world = World()
        world.leases_run_out = True
        # The database's clock is the true time.
        for module in (leases, together, told):
            self.patch(module, "now", lambda _conn: world.clock.seconds())
        self.berlin = world.add_asterisk("berlin")
        self.berlin_support = self.berlin.add_queue("support", [BOB])
        self.bob = self.berlin.phone(BOB).always(ANSWERS)
        self.berlin_client = self.berlin.client(NUMBER).always(TALKS_10S)
        return world

    @staticmethod
    def settings_of(
        name: str,
        prefers: Sequence[str] = (),
        nodes: Sequence[str] = ("default", "berlin"),
        stop_timeout_s: float = 5,
        **queue: Any,
    ) -> Settings:
        return settings(
            queue_settings(**{"retry_delay": "1m", **queue}),
            nodes=nodes,
            instance=InstanceSettings(name=name, nodes=tuple(prefers)),
            control=ControlSettings(stop_timeout=timedelta(seconds=stop_timeout_s)),
        )

    def launch(
        self, name: str, prefers: Sequence[str] = (), **more: Any
    ) -> ServiceProcess:
        process = self.world.launch(
            self.settings_of(name, prefers, **more), host=f"host of {name}"
        )
        self.world.settle()
        return process

    @staticmethod
    def held(process: ServiceProcess) -> list[str]:
        nodes = process.service.nodes.all
        return [node.name for node in nodes if node.manager.connected]

    def both(self, **more: Any) -> tuple[ServiceProcess, ServiceProcess]:
        a = self.launch("a", ["default"], **more)
        b = self.launch("b", ["berlin"], **more)
        self.world.run(3)
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        return a, b

    def ask_next(self, process: ServiceProcess) -> None:
        """Let the next commands go to this service."""
        self.world.processes.remove(process)
        self.world.processes.append(process)

    def rung(self) -> int:
        return len(self.client.rung) + len(self.berlin_client.rung)
