# SPDX-License-Identifier: MIT
"""The settings name a PJSIP endpoint, or a queue, that Asterisk does not have."""

from __future__ import annotations

from typing import Any

from tests.emulator.manager import Answer, error
from tests.harness.world import settings
from tests.system.harness import NUMBER, ServiceTestCase, queue_settings

WRONG = "PJSIP/{number}@trnk"


class TrunkTests(ServiceTestCase):
    """One agent, one client, and an endpoint that is missing."""

    def why(self) -> dict[str, Any] | None:
        """Return why the task is not called yet."""
        task = self.world.ask("tasks.show", id=1)["result"]["task"]
        found: dict[str, Any] | None = task["why_not_yet"]
        return found

    def missing(self) -> str:
        """Return the endpoint that `status` calls missing."""
        queue = self.world.ask("status")["result"]["queues"]["support"]
        return str(queue["missing_trunk"])

    def test_no_agent_is_rung_while_the_trunk_is_missing(self) -> None:
        for fairness in ("place", "live_first"):
            with self.subTest(fairness):
                self.asterisk.missing_endpoints.add("trnk")
                wrong = queue_settings(outbound_channel=WRONG, fairness=fairness)
                process = self.begin(wrong)
                self.world.run(1)
                self.assert_warned("no PJSIP endpoint trnk, which outbound_channel of")
                self.assertEqual(self.missing(), "trnk")
                self.add()
                self.world.run(300)
                why = self.why()
                assert why is not None
                self.assertEqual(why["code"], "no_trunk")
                self.assertIn("no PJSIP endpoint trnk", why["words"])
                self.assertEqual(self.originates, [])
                self.assertEqual(self.alice.rung, [])
                said = [one for one in self.warnings() if "trnk" in one]
                self.assertEqual(len(said), 1)
                self.assertIn("run 'sudo systemctl reload callback-queue'", said[0])
                # Mended in the settings.
                process.service.settings.replace(
                    settings(queue_settings(fairness=fairness))
                )
                self.world.run(60)
                self.assert_status("completed")
                self.assertEqual(self.missing(), "")
                self.again()

    def test_endpoint_that_is_added_to_asterisk_is_found_within_a_minute(self) -> None:
        self.asterisk.missing_endpoints.add("trunk")
        self.begin()
        self.add()
        self.world.run(10)
        self.assertEqual(self.originates, [])
        self.asterisk.missing_endpoints.clear()
        self.world.run(120)
        self.assert_status("completed")

    def test_it_is_still_asked_for_after_the_link_was_lost(self) -> None:
        """The endpoint is added without an event, as one of a database is."""
        self.asterisk.missing_endpoints.add("trunk")
        self.begin()
        self.add()
        self.world.run(10)
        self.asterisk.cut_links()
        self.world.run(100)
        self.assertEqual(self.originates, [])
        self.asterisk.missing_endpoints.clear()
        self.world.run(120)
        self.assert_status("completed")

    def test_endpoint_is_found_at_once_after_a_reload_of_its_module(self) -> None:
        self.asterisk.missing_endpoints.add("trunk")
        self.begin()
        self.add()
        self.world.run(10)
        self.asterisk.missing_endpoints.clear()
        self.asterisk.tell("Reload", "system", ("Module", "res_pjsip.so"))
        self.world.run(5)
        self.assertEqual(len(self.originates), 1)

    def test_endpoint_whose_state_is_not_known_holds_nothing(self) -> None:
        self.asterisk.stateless_endpoints.add("trunk")
        self.begin()
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.warnings(), [])

    def test_missing_endpoint_stays_missing_without_an_answer(self) -> None:
        self.asterisk.missing_endpoints.add("trunk")
        self.begin()
        self.add()
        self.world.run(50)
        take = self.asterisk.manager.handlers["Getvar"]
        self.asterisk.manager.handlers["Getvar"] = lambda action: (
            Answer(()) if "DEVICE_STATE" in action.get("Variable") else take(action)
        )
        self.world.run(60)
        self.assertEqual(self.originates, [])
        self.assertEqual(self.missing(), "trunk")
        self.asterisk.manager.handlers["Getvar"] = take
        self.asterisk.missing_endpoints.clear()
        self.world.run(120)
        self.assert_status("completed")

    def test_callback_in_line_is_withdrawn_and_costs_no_attempt(self) -> None:
        self.begin(queue_settings(fairness="place"))
        self.call("0309999999", talks_s=60)
        self.world.run(5)
        self.add()
        self.world.run(5)
        self.assertEqual(len(self.originates), 1)
        self.asterisk.missing_endpoints.add("trunk")
        self.asterisk.tell("Reload", "system", ("Module", "All"), ("Status", "0"))
        self.world.run(10)
        task = self.world.task()
        self.assertEqual((task.status.value, task.attempts), ("pending", 0))
        self.assertEqual(self.reasons()[-1], "no_trunk")

    def test_trunk_is_asked_for_when_no_channel_can_be_created(self) -> None:
        """An endpoint was removed, and Asterisk did not say so."""
        self.begin(queue_settings(attempts=3, retry_delay="10s"))
        self.world.run(1)
        self.asterisk.client(NUMBER).registered = False
        self.asterisk.missing_endpoints.add("trunk")
        self.add()
        self.world.run(120)
        self.assertEqual(len(self.originates), 1)
        self.assertEqual(self.missing(), "trunk")

    def test_reload_with_a_wrong_trunk_warns_and_holds_the_callbacks(self) -> None:
        process = self.begin()
        self.world.run(1)
        self.assertEqual(self.warnings(), [])
        self.asterisk.missing_endpoints.add("trnk")
        process.service.settings.replace(
            settings(queue_settings(outbound_channel=WRONG))
        )
        self.world.run(1)
        self.assert_warned("queue support names (PJSIP/{number}@trnk)")
        self.add()
        self.world.run(60)
        self.assertEqual(self.originates, [])

    def test_other_channels_are_never_held(self) -> None:
        for channel in (
            "Local/{number}@routes",
            "SIP/{number}@trnk",
        ):
            with self.subTest(channel):
                self.asterisk.missing_endpoints |= {"trnk", "routes"}
                self.begin(queue_settings(outbound_channel=channel))
                self.add()
                self.world.run(60)
                self.assert_status("completed")
                self.assertEqual(self.warnings(), [])
                self.again()

    def test_no_answer_of_asterisk_holds_nothing(self) -> None:
        self.asterisk.missing_endpoints.add("trunk")
        take = self.asterisk.manager.handlers["Getvar"]
        self.asterisk.manager.handlers["Getvar"] = lambda action: (
            error("Permission denied")
            if "DEVICE_STATE" in action.get("Variable")
            else take(action)
        )
        self.begin()
        self.add()
        self.world.run(60)
        self.assert_status("completed")

    def test_channel_that_can_not_be_created_is_a_warning(self) -> None:
        self.asterisk.client(NUMBER).registered = False
        self.begin(queue_settings(attempts=2, retry_delay="10s"))
        self.add()
        self.world.run(60)
        self.assert_status("failed")
        said = [one for one in self.warnings() if "outbound_channel" in one]
        self.assertEqual(len(said), 1, self.warnings())
        self.assertIn("outbound_channel of queue support right", said[0])
        self.assertIn("callback-queue check", said[0])

    def test_queue_that_asterisk_does_not_have_is_a_warning(self) -> None:
        process = self.begin()
        self.world.run(1)
        process.service.settings.replace(settings(queue_settings("suport")))
        self.world.run(1)
        self.assert_warned("Asterisk has no queue suport (but support)")
        (said,) = [one for one in self.warnings() if "suport" in one]
        self.assertIn("run 'sudo systemctl reload callback-queue'", said)
