# SPDX-License-Identifier: MIT
"""The machine's clock is set: delays and windows hold by the new time.

Each timer sleeps a minute at most, so a clock set forward is noticed within one.
"""

from __future__ import annotations

from tests.support.callback_scenarios import Refuses
from tests.system.harness import NUMBER, ServiceTestCase, queue_settings

HOUR_S = 3600.0
#: No timer sleeps longer, and what comes of it takes no time.
NOTICED_S = 61.0


class SetForwardTests(ServiceTestCase):
    """By two hours, while something waits for less."""

    def set_forward(self) -> float:
        """Set the clock; return when, in seconds since the beginning."""
        self.world.run(10)
        self.world.set_wall_clock(2 * HOUR_S)
        return self.world.t

    def test_a_retry_is_due(self) -> None:
        self.client.will(Refuses.BUSY)
        self.begin(queue_settings(retry_delay="1h"))
        self.add()
        at = self.set_forward()
        self.world.run(NOTICED_S)
        first, second = self.originates
        self.assertEqual(first, 0)
        self.assertLessEqual(second - at, NOTICED_S)

    def test_a_request_is_too_old(self) -> None:
        self.alice.busy()
        self.begin(queue_settings(request_expiry="1h"))
        self.add()
        self.set_forward()
        self.world.run(NOTICED_S)
        self.assert_status("expired", "it was never called")
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.originates, [])

    def test_a_missed_call_is_too_old(self) -> None:
        self.alice.busy()
        self.begin(queue_settings(missed_window="1h"))
        call = self.asterisk.call("support", NUMBER)
        self.world.run(5)
        call.hang_up()
        self.set_forward()
        self.world.run(NOTICED_S)
        self.assert_status("expired", "it was never called")

    def test_a_call_under_way_goes_on(self) -> None:
        self.begin()
        self.add()
        self.world.run(7)
        self.world.set_wall_clock(2 * HOUR_S)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["ANSWERED"])


class SetBackTests(ServiceTestCase):
    """By an hour."""

    def test_a_new_request_is_called_at_once(self) -> None:
        self.begin()
        self.world.run(30)
        self.world.set_wall_clock(-HOUR_S)
        self.world.run(5)
        at = self.world.t
        self.add()
        self.world.run(60)
        self.assertEqual(self.originates, [at])
        self.assert_status("completed")

    def test_a_retry_comes_no_sooner_than_its_delay(self) -> None:
        self.client.will(Refuses.BUSY)
        self.begin(queue_settings(retry_delay="30s"))
        self.add()
        self.world.run(10)
        self.world.set_wall_clock(-60)
        self.world.run(300)
        # Busy at 3; due 30 s later by a clock that was set back by a minute.
        first, second = self.originates
        self.assertEqual(first, 0)
        self.assertGreaterEqual(second, 33)
        self.assertLessEqual(second, 93 + NOTICED_S)
