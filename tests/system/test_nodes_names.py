# SPDX-License-Identifier: MIT
"""Two Asterisks of one service have the same systemname, or none."""

from __future__ import annotations

from fastagi.domain.attempt import Disposition
from tests.emulator.scenarios import Answers
from tests.system.harness import ALICE, BOB, NUMBER
from tests.system.two_nodes import TwoNodes


class NamesakesTests(TwoNodes):
    def setUp(self) -> None:
        super().setUp()
        self.asterisk.system_name = self.berlin.system_name = ""

    def errors(self) -> list[str]:
        nodes = self.world.ask("status")["result"]["nodes"]
        return [node["error"] for node in nodes]

    def assert_only_berlin_is_blocked(self) -> None:
        here, berlin = self.errors()
        self.assertEqual(here, "")
        self.assertIn("same systemname", berlin)

    def test_first_one_keeps_the_name_whoever_connects_first_again(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=30))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.asterisk.cut_links()
        self.berlin.cut_links()
        self.asterisk.freeze()
        self.world.run(30)
        self.asterisk.thaw()
        self.world.run(60)
        self.assert_only_berlin_is_blocked()
        self.assert_status("completed")
        self.assertEqual(self.nodes_of(), ["default"])

    def test_agents_of_the_blocked_one_are_not_free(self) -> None:
        self.begin_both()
        self.world.run(2)
        queue = self.world.ask("status")["result"]["queues"]["support"]
        self.assertEqual(queue["free"], [ALICE])

    def test_blocked_one_asks_for_the_results_of_its_own_calls(self) -> None:
        self.support.remove(ALICE)
        self.berlin.system_name = "berlin"
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.begin_both()
        self.add()
        self.world.run(20)
        self.berlin.system_name = ""
        self.berlin.cut_links()
        self.world.run(30)
        self.assert_only_berlin_is_blocked()
        self.assert_status("calling")
        self.world.run(90)
        (attempt,) = self.world.attempts()
        self.assertIs(attempt.disposition, Disposition.ANSWERED)
        self.assert_status("completed")

    def test_client_in_a_call_on_the_blocked_one_is_not_called(self) -> None:
        self.support.remove(ALICE)
        self.berlin_support.remove(BOB)
        self.begin_both()
        self.world.run(1)
        self.assert_only_berlin_is_blocked()
        self.berlin.call("support", NUMBER, queue_timeout_s=None)
        self.add()
        self.stop_at_once()
        # Its calls are learned after a start, too.
        self.begin_both()
        self.world.run(2)
        self.support.add(ALICE)
        self.world.run(30)
        self.assertFalse(self.client.rung)
        self.assert_status("pending")

    def test_blocked_one_places_calls_when_the_other_is_gone(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        self.world.run(2)
        self.asterisk.kill()
        self.world.run(10)
        self.add()
        self.world.run(270)
        self.assertFalse(self.bob.rung)
        self.world.run(80)
        self.assert_status("completed")
        self.assertEqual(self.errors()[1], "")
        # The other one is blocked when it is back.
        self.asterisk.start()
        self.world.run(30)
        self.assertIn("same systemname", self.errors()[0])

    def test_blocked_one_places_calls_when_the_other_has_its_own_name(self) -> None:
        self.support.remove(ALICE)
        self.begin_both()
        self.world.run(2)
        self.add()
        self.world.run(20)
        self.assert_status("pending")
        self.asterisk.system_name = "pbx1"
        self.asterisk.cut_links()
        self.world.run(60)
        self.assertEqual(self.errors(), ["", ""])
        self.assert_status("completed")
