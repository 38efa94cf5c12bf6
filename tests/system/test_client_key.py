# SPDX-License-Identifier: MIT
"""The client presses a key before being connected to the agent."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from tests.emulator.scenarios import Answers
from tests.system.harness import ServiceTestCase, queue_settings

#: Answers after three seconds and presses the key five seconds later, then talks.
CONFIRMS = Answers(after_s=3, key_after_s=5, hangs_up_after_s=15)
MAILBOX = Answers(after_s=3, key="", hangs_up_after_s=60)
#: What a client hears who asked for the callback.
WORDS = "callback-queue/you-asked&callback-queue/connect-press&callback-queue/number-1"


def with_key(key: dict[str, Any] | None = None, **values: Any) -> QueueSettings:
    """Return the settings of a queue whose clients press a key."""
    return queue_settings(client_key={"enabled": True, **(key or {})}, **values)


class ClientKeyTests(ServiceTestCase):
    """One agent, one client."""

    def told(self) -> str:
        """Return the history of the task in words."""
        return str(self.world.story())

    def variable(self, name: str) -> str:
        """Return a channel variable of the last callback."""
        action = self.asterisk.manager.asked("Originate")[-1]
        found = [
            value.removeprefix(f"{name}=")
            for value in action.all("Variable")
            if value.startswith(f"{name}=")
        ]
        return found[0] if found else ""

    def test_talk_counts_from_the_key(self) -> None:
        # Eight seconds after the answer, five of them before the key.
        self.client.always(Answers(after_s=3, key_after_s=5, hangs_up_after_s=8))
        self.begin(with_key(attempts=1))
        self.add()
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assertEqual(round(self.world.attempts()[0].talk_s), 3)

    def test_client_is_connected_after_the_key(self) -> None:
        self.client.always(CONFIRMS)
        self.begin(with_key())
        self.request()
        self.run_to(60)
        self.assert_status("completed")
        self.assertIn("pressed the key and is connected", self.told())
        self.assertEqual(self.variable("_CALLBACK_CLIENT_PROMPTS"), WORDS)

    def test_client_hears_who_calls(self) -> None:
        self.client.always(CONFIRMS)
        self.begin(with_key({"who": "custom/acme", "key": "5"}))
        self.add()
        self.run_to(5)
        self.assertEqual(
            self.variable("_CALLBACK_CLIENT_PROMPTS"),
            "callback-queue/we-call-back&custom/acme&callback-queue/connect-press"
            "&callback-queue/number-5",
        )

    def test_mailbox_is_never_a_success(self) -> None:
        self.client.always(MAILBOX)
        self.begin(with_key(attempts=3, retry_delay="10s"))
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["NOT CONFIRMED"] * 3)
        self.assert_status("failed", "all 3 attempts used up")
        self.assertNotIn("talking", self.told())

    def test_mailbox_is_tried_again_by_rules_of_its_own(self) -> None:
        self.client.will(MAILBOX).always(CONFIRMS)
        self.begin(with_key(retry={"not_confirmed": {"delay": "2m"}}))
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["NOT CONFIRMED", "ANSWERED"])
        first, second = self.rung_at(self.client)
        self.assertGreater(second - first, 120)

    def test_mailbox_is_not_tried_again_by_the_settings(self) -> None:
        self.client.always(MAILBOX)
        self.begin(with_key(retry={"not_confirmed": {"attempts": 1}}))
        self.add()
        self.run_to(300)
        self.assert_status("failed", "not tried again")

    def test_client_who_hangs_up_while_being_asked_has_not_confirmed(self) -> None:
        self.client.will(Answers(after_s=3, hangs_up_after_s=1)).always(CONFIRMS)
        self.begin(with_key())
        self.add()
        self.run_to(20)
        self.assertEqual(self.reasons(), ["client_pressed_no_key"])
        self.assertNotIn("talking", self.told())
        self.run_to(100)
        self.assert_status("completed")

    def test_agent_who_hangs_up_while_the_client_is_asked(self) -> None:
        self.alice.will(Answers(after_s=2, hangs_up_after_s=5))
        self.client.always(CONFIRMS)
        self.begin(with_key())
        self.add()
        self.run_to(20)
        self.assertEqual(self.reasons(), ["agent_hung_up_before_connecting"])
        self.assertEqual(self.dispositions(), ["CANCEL"])
        self.run_to(100)
        self.assert_status("completed")

    def test_cancel_while_the_client_is_asked_ends_the_call_at_once(self) -> None:
        self.client.always(MAILBOX)
        self.begin(with_key({"wait": "1m"}))
        self.add()
        self.run_to(10)
        self.assertTrue(self.world.ask("tasks.cancel", id=1)["ok"])
        self.run_to(11)
        self.assert_status("cancelled")
        self.assertIsNotNone(self.client.rung[0].ended_at)

    def test_service_dies_while_the_client_is_asked(self) -> None:
        for client, status in ((CONFIRMS, "completed"), (MAILBOX, "pending")):
            with self.subTest(status):
                self.client.always(client)
                self.begin(with_key({"wait": "3s"}, retry_delay="10m"))
                self.add()
                self.run_to(7)
                self.restart(with_key({"wait": "3s"}, retry_delay="10m"))
                self.run_to(60)
                self.assert_status(status)
                self.assertEqual(len(self.client.rung), 1)
            if status == "completed":
                self.again()

    def test_dialplan_of_an_older_version_connects_without_a_key(self) -> None:
        self.asterisk.dialplan_has.remove("DIALPLAN_EXISTS(callback-confirm,s,1)")
        self.client.always(MAILBOX)
        self.begin(with_key())
        self.world.run(1)
        self.assert_warned("clients are connected at once")
        self.add()
        self.run_to(100)
        self.assert_status("completed")
        self.assertEqual(self.variable("_CALLBACK_CLIENT_KEY"), "")


#: A greeting of 20 seconds, then a beep.
MACHINE = Answers(after_s=3, key="", is_machine=True, hangs_up_after_s=60)


class AmdTests(ServiceTestCase):
    """Asterisk listens for an answering machine."""

    def test_machine_is_never_a_success_and_is_tried_again_by_rules_of_its_own(
        self,
    ) -> None:
        self.client.will(MACHINE, MACHINE).always(CONFIRMS)
        self.begin(
            queue_settings(amd=True, retry={"machine": {"attempts": 3, "delay": "1m"}})
        )
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["MACHINE", "MACHINE", "ANSWERED"])
        self.assertIn("(AMD: LONGGREETING-1520-1500)", str(self.world.story()))
        first, second, third = self.rung_at(self.client)
        self.assertGreater(second - first, 60)
        self.assertGreater(third - second, 60)
        self.assertEqual(str(self.world.story()).count("talking"), 1)

    def test_talk_counts_from_the_moment_at_which_the_client_is_connected(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=6))
        self.begin(queue_settings(amd=True, attempts=1))
        self.add()
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assertEqual(round(self.world.attempts()[0].talk_s), 4)
        self.assertNotIn("pressed the key", str(self.world.story()))

    def test_machine_that_is_not_recognised_presses_no_key(self) -> None:
        self.client.always(MAILBOX)
        self.begin(with_key(amd=True, attempts=1))
        self.add()
        self.run_to(100)
        self.assertEqual(self.dispositions(), ["NOT CONFIRMED"])

    def test_client_hangs_up_while_asterisk_listens(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=1))
        self.begin(queue_settings(amd=True, attempts=1))
        self.add()
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["SHORT"])
        self.assert_status("failed", "the client answered and was gone at once")

    def test_older_dialplan_recognises_nobody_and_the_log_says_so(self) -> None:
        self.asterisk.dialplan_has.remove("DIALPLAN_EXISTS(callback-confirm,s,1)")
        self.client.always(MACHINE)
        self.begin(queue_settings(amd=True))
        self.add()
        self.run_to(100)
        self.assert_warned("clients are connected at once")
        self.assert_status("completed")
