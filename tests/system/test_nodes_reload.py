# SPDX-License-Identifier: MIT
"""The settings are reloaded while a service works with two Asterisks."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from fastagi.config.sections import Settings
from tests.harness.world import settings
from tests.system.harness import ALICE, BOB, queue_settings
from tests.system.two_nodes import NAMES, TwoNodes

CHANNEL = "PJSIP/{number}@trunk"


def _both(channel_of_nodes: str | None, **queue: Any) -> Settings:
    both = settings(queue_settings(**queue), nodes=NAMES)
    nodes = [
        node.model_copy(update={"outbound_channel": channel_of_nodes})
        for node in both.nodes
    ]
    return evolve(both, nodes=tuple(nodes))


class ReloadTests(TwoNodes):
    def assert_called(self) -> None:
        self.add()
        self.world.run(100)
        self.assert_status("completed")
        self.assertEqual(len(self.world.attempts()), 1)

    def test_channel_that_moved_to_the_nodes_is_refused_until_the_restart(self) -> None:
        process = self.begin_both()
        process.service.settings.replace(_both(CHANNEL, outbound_channel=""))
        self.assert_warned("queue support has no outbound_channel for the Asterisk")
        self.assert_warned("the old ones stay in force")
        queue = process.service.settings().queue("support")
        self.assertEqual(queue.outbound_channel, CHANNEL)
        self.assert_called()

    def test_channel_of_the_nodes_stays_that_of_the_start(self) -> None:
        process = self.world.begin(_both(CHANNEL, outbound_channel=""))
        process.service.settings.replace(_both(None, outbound_channel=CHANNEL))
        self.assert_called()

    def test_nodes_that_became_one_ami_stay_two_until_the_restart(self) -> None:
        process = self.begin_both()
        self.support.remove(ALICE)
        self.world.run(2)
        process.service.settings.replace(settings(queue_settings()))
        self.assert_called()
        self.assertEqual(self.nodes_of(), ["berlin"])

    def test_ami_that_became_nodes_stays_one_until_the_restart(self) -> None:
        self.asterisk.agi_node = ""
        self.berlin_support.remove(BOB)
        process = self.begin()
        process.service.settings.replace(
            settings(queue_settings(nodes=("berlin",)), nodes=("berlin",))
        )
        self.assert_called()
        self.assertEqual(self.nodes_of(), ["default"])
