# SPDX-License-Identifier: MIT
"""The service is told to stop while calls are in progress."""

from __future__ import annotations

from fastagi.config.sections import ControlSettings, Settings
from tests.emulator.scenarios import Answers
from tests.system.harness import ServiceTestCase, queue_settings, settings


def stopping(timeout: str) -> Settings:
    """Return settings with this stop_timeout."""
    return settings(queue_settings(), control=ControlSettings(stop_timeout=timeout))


class StopTests(ServiceTestCase):
    """An agent answers at 2, the client at 6, and they talk until 16."""

    def test_a_call_under_way_is_followed_to_its_end(self) -> None:
        process = self.world.begin(stopping("30s"))
        self.add()
        self.run_to(8)
        process.stop()
        self.run_to(15)
        self.assertEqual(process.stopped, [])
        self.run_to(17)
        self.assertEqual(process.stopped, [None])
        self.assert_status("completed")

    def test_a_caller_who_asks_meanwhile_is_heard_and_nobody_is_rung(self) -> None:
        process = self.world.begin(stopping("30s"))
        bob = self.asterisk.phone("PJSIP/bob").busy()
        self.support.add("PJSIP/bob", dynamic=False)
        self.add()
        self.run_to(8)
        call = self.asterisk.call("support", "0309999999")
        self.world.settle()
        process.stop()
        call.press()
        self.run_to(12)
        self.assertEqual(call.heard, ["callback-queue/accepted"])
        bob.busy(False)
        self.run_to(20)
        self.assertEqual(process.stopped, [None])
        self.assertEqual(len(self.originates), 1)
        self.assert_status("pending", task_id=2)

    def test_what_was_about_to_be_called_when_it_was_told_is_not(self) -> None:
        process = self.world.begin(stopping("30s"))
        self.support.add("PJSIP/bob", dynamic=False)
        self.add()
        self.run_to(8)
        process.database.takes_s = lambda name: 1.0 if name == "begin attempts" else 0.0
        self.add("0309999999")
        self.run_to(8.5)
        process.stop()
        self.run_to(20)
        self.assertEqual(process.stopped, [None])
        self.assertEqual(self.originates, [0])
        self.assert_status("pending", "the service stops", task_id=2)

    def test_after_the_time_the_next_start_takes_it_up(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=60))
        process = self.world.begin(stopping("4s"))
        self.add()
        self.run_to(8)
        process.stop()
        self.run_to(11.9)
        self.assertEqual(process.stopped, [])
        self.run_to(12.5)
        self.assertEqual(process.stopped, [None])
        self.assert_status("calling")
        self.begin()
        self.run_to(80)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    def test_without_a_time_it_stops_at_once(self) -> None:
        process = self.world.begin(stopping("0"))
        self.add()
        self.run_to(8)
        process.stop()
        self.run_to(8.5)
        self.assertEqual(process.stopped, [None])

    def test_asterisk_dies_meanwhile(self) -> None:
        process = self.world.begin(stopping("10s"))
        self.add()
        self.run_to(8)
        process.stop()
        self.asterisk.kill()
        self.run_to(18.5)
        self.assertEqual(process.stopped, [None])
