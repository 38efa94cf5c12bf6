# SPDX-License-Identifier: MIT
"""The settings name a PJSIP endpoint, or a queue, that Asterisk does not have."""

from __future__ import annotations

from typing import Any

from tests.emulator.manager import error
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
