# SPDX-License-Identifier: MIT
"""The machine's clock is set: delays and windows follow the new time.

Waiting for a time of day sleeps for a minute at most, so a clock set forward is noticed
within a minute. Durations, such as time-outs and the length of a talk, are not changed.
"""

from __future__ import annotations

from twisted.internet.protocol import Protocol

from tests.emulator.scenarios import Answers, Refuses
from tests.system.harness import NUMBER, ServiceTestCase, live_first, queue_settings

HOUR_S = 3600.0
#: No timer sleeps longer, and its work takes no time.
NOTICED_S = 61.0


class ClockTestCase(ServiceTestCase):
    """Steps for both directions."""

    def run_until_they_talk(self) -> None:
        """Let the client answer."""
        self.world.run_until(lambda: any(one.answered_at for one in self.client.rung))


class SetForwardTests(ClockTestCase):
    """The clock is set forward by two hours while something waits for less."""

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

    @live_first
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

    def test_a_short_talk_does_not_become_a_long_one(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=2))
        self.begin()
        self.add()
        self.run_until_they_talk()
        self.world.set_wall_clock(2 * HOUR_S)
        self.world.run(10)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assertEqual(self.world.attempts()[0].talk_s, 2)

    def test_a_short_talk_after_much_ringing_does_not_become_a_long_one(self) -> None:
        self.alice.always(Answers(after_s=12))
        self.client.always(Answers(after_s=10, hangs_up_after_s=2))
        self.begin()
        self.add()
        self.run_until_they_talk()
        self.world.set_wall_clock(15)
        self.world.run(10)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assertEqual(self.world.attempts()[0].talk_s, 2)


class SetBackTests(ClockTestCase):
    """The clock is set back by an hour."""

    def test_an_agent_who_has_talked_is_free(self) -> None:
        self.begin()
        live = self.asterisk.call("support", "0309999999", talks_s=10)
        self.world.run(30)
        self.assertIsNotNone(live.answered_at)
        self.world.set_wall_clock(-HOUR_S)
        self.world.run(NOTICED_S)
        at = self.world.t
        self.add()
        self.world.run(60)
        self.assertEqual(self.originates, [at])

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

    def test_a_long_talk_does_not_become_a_short_one(self) -> None:
        self.begin()
        self.add()
        self.run_until_they_talk()
        self.world.run(5)
        self.world.set_wall_clock(-HOUR_S)
        self.world.run(10)
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assertEqual(self.world.attempts()[0].talk_s, 10)

    def test_a_caller_waits_no_longer_for_the_answer_to_the_key(self) -> None:
        self.alice.busy()
        process = self.begin()
        process.database.takes_s = lambda name: 5.0 if name == "add" else 0.0
        call = self.asterisk.call("support", NUMBER)
        self.world.run(5)
        call.press()
        self.world.run(0.5)
        self.world.set_wall_clock(-HOUR_S)
        self.world.run(1.5)
        self.assertEqual(call.heard, ["callback-queue/hold-on"])
        self.world.run(2)
        self.assertTrue(call.waiting)

    def test_a_dead_link_is_noticed_and_a_new_one_made(self) -> None:
        process = self.begin()
        self.world.run(5)
        before = process.ami.attempts
        self.asterisk.freeze()
        self.world.set_wall_clock(-HOUR_S)
        self.world.run_until(lambda: process.ami.attempts > before, 60)
        self.asterisk.thaw()
        self.add()
        self.world.run(90)
        self.assert_status("completed")

    def test_a_silent_connection_is_closed_in_time(self) -> None:
        process = self.begin()
        process.agi.dial(Protocol())
        self.world.run(1)
        open_before = process.open_wires
        self.world.set_wall_clock(-HOUR_S)
        self.world.run(60)
        self.assertEqual(process.open_wires, open_before - 1)

    def test_a_retry_comes_no_sooner_than_its_delay(self) -> None:
        self.client.will(Refuses.BUSY)
        self.begin(queue_settings(retry_delay="30s"))
        self.add()
        self.world.run(10)
        self.world.set_wall_clock(-60)
        self.world.run(300)
        # Busy at 3, so due after 30 s, by a clock that was set back by a minute.
        first, second = self.originates
        self.assertEqual(first, 0)
        self.assertGreaterEqual(second, 33)
        self.assertLessEqual(second, 93 + NOTICED_S)
