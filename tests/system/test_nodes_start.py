# SPDX-License-Identifier: MIT
"""One service with two Asterisks starts, and one of them is slow to answer."""

from __future__ import annotations

from fastagi.domain.policy import First
from tests.emulator.calls import LiveCall
from tests.system.harness import ALICE
from tests.system.two_nodes import TwoNodes


class StartTests(TwoNodes):
    def start_while_the_client_is_in_a_call_here(
        self, slow_s: float, first: First = First.AGENT
    ) -> LiveCall:
        """The link to the Asterisk with the client's call comes late."""
        self.support.remove(ALICE)
        self.begin_both(first=first)
        call = self.call(queue_timeout_s=None)
        self.world.run(2)
        self.add()
        self.world.run(5)
        self.assertFalse(self.berlin_client.rung)
        self.stop_at_once()
        self.asterisk.freeze()
        self.world.clock.callLater(slow_s, self.asterisk.thaw)
        self.begin_both(first=first)
        return call

    def test_client_in_a_call_is_not_called_from_the_faster_one(self) -> None:
        for first in (First.AGENT, First.CLIENT):
            with self.subTest(first=first):
                call = self.start_while_the_client_is_in_a_call_here(8, first)
                self.world.run(60)
                self.assertFalse(self.bob.rung)
                self.assertFalse(self.berlin_client.rung)
                # The call ends, and the client is called at once.
                call.hang_up()
                self.world.run(60)
                self.assert_status("completed")
                self.assertEqual(self.nodes_of(), ["berlin"])
                self.again()

    def test_asterisk_that_is_down_is_waited_for_ten_seconds(self) -> None:
        self.support.remove(ALICE)
        self.asterisk.kill()
        self.begin_both()
        self.add()
        self.world.run(9)
        self.assertEqual(self.nodes_of(), [])
        self.world.run(2)
        self.assertEqual(self.nodes_of(), ["berlin"])
        self.assert_warned("it is not known who is in a call on default")

    def test_nothing_is_waited_for_if_all_have_answered(self) -> None:
        self.begin_both()
        self.add()
        self.world.run(1)
        self.assertEqual(len(self.nodes_of()), 1)
