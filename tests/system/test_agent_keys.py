# SPDX-License-Identifier: MIT
"""Agents accept callbacks by a key before the client is dialled."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.turns import Fairness
from tests.emulator.scenarios import Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
)

#: Another client.
OTHER = "0302222222"
ACCEPTS = Answers(after_s=2, key="1")
LATER = Answers(after_s=2, key="2")
CANNOT = Answers(after_s=2, key="3")
MAILBOX = Answers(after_s=2, key="")


def with_keys(keys: dict[str, Any] | None = None, **values: Any) -> QueueSettings:
    """Return the settings of a queue whose agents accept by a key."""
    return queue_settings(agent_keys={"enabled": True, **(keys or {})}, **values)


class KeysTestCase(ServiceTestCase):
    """One agent, one client."""

    def setUp(self) -> None:
        super().setUp()
        self.client.always(TALKS_10S)
        self.asterisk.client(OTHER).always(TALKS_10S)


class OneAgentTests(KeysTestCase):
    """What each key does."""

    def test_client_is_dialled_after_the_key(self) -> None:
        self.alice.always(Answers(after_s=2, key="1", key_after_s=6))
        self.begin(with_keys())
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [0])
        self.assertEqual(self.rung_at(self.client), [8])
        self.assert_status("completed")

    def test_without_the_setting_no_key_is_asked_for(self) -> None:
        self.alice.always(MAILBOX)
        self.begin()
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.client), [3])

    def test_keys_are_those_of_the_settings(self) -> None:
        self.alice.will(Answers(after_s=2, key="1")).always(Answers(after_s=2, key="#"))
        self.begin(with_keys({"accept": "#", "later": "", "cannot": ""}))
        self.add()
        self.run_to(120)
        self.assertEqual(self.reasons(), ["agent_pressed_no_key", "talked"])

    def test_mailbox_of_an_agent_is_never_connected(self) -> None:
        self.alice.always(MAILBOX)
        self.begin(with_keys(member_attempts=3))
        self.add()
        self.run_to(1000)
        self.assertEqual(self.rung_at(self.client), [])
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"] * 3)
        self.assertEqual(self.reasons(), ["agent_pressed_no_key"] * 3)
        self.assert_status("failed", "all 3 tries to reach an agent used up")

    def test_agent_who_hangs_up_before_the_key_has_not_answered(self) -> None:
        self.alice.will(Answers(after_s=2, hangs_up_after_s=0.5))
        self.begin(with_keys())
        self.add()
        self.run_to(20)
        self.assertEqual(self.reasons(), ["agent_hung_up_before_dialling"])
        self.assertEqual(self.rung_at(self.client), [])
        self.run_to(100)
        self.assert_status("completed")

    def test_task_that_was_put_off_comes_again(self) -> None:
        self.alice.will(LATER).always(ACCEPTS)
        self.begin(with_keys({"later_delay": "2m"}))
        self.add()
        self.run_to(10)
        self.assert_status("pending", f"{ALICE} put the callback off")
        task = self.world.task()
        self.assertEqual((task.attempts, task.member_attempts), (0, 1))
        self.run_to(180)
        self.assertEqual(self.rung_at(self.alice), [0, 123.5])
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])
        self.assertEqual(self.reasons()[0], "agent_later")

    def test_task_that_was_put_off_comes_again_before_it_expires(self) -> None:
        self.alice.will(LATER).always(ACCEPTS)
        self.begin(with_keys({"later_delay": "1d"}, request_expiry="10m"))
        self.add()
        self.run_to(400)
        self.assert_status("completed")

    def test_task_is_put_off_no_more_often_than_allowed(self) -> None:
        self.alice.always(LATER)
        self.begin(with_keys({"later_delay": "1m", "later_times": 2}))
        self.add()
        self.run_to(180)
        self.assertEqual(self.reasons(), ["agent_later"] * 2 + ["agent_cannot"])

    def test_agent_who_can_not_is_not_asked_again_for_a_while(self) -> None:
        self.alice.will(CANNOT).always(ACCEPTS)
        self.begin(with_keys({"cannot_pause": "5m"}))
        self.add()
        self.run_to(10)
        self.assert_status("pending", f"{ALICE} can not take the callback")
        self.add(OTHER)
        self.run_to(250)
        # This does not affect other tasks.
        self.assertEqual(self.rung_at(self.alice), [0, 10])
        self.run_to(400)
        self.assertEqual(self.rung_at(self.alice), [0, 10, 303.5])
        self.assert_status("completed", task_id=1)

    def test_refusal_is_remembered_when_the_service_is_killed(self) -> None:
        self.alice.will(CANNOT).always(ACCEPTS)
        self.begin(with_keys({"cannot_pause": "5m"}))
        self.add()
        self.run_to(10)
        self.restart(with_keys({"cannot_pause": "5m"}))
        self.run_to(290)
        self.assertEqual(self.rung_at(self.alice), [0])
        self.run_to(330)
        self.assertEqual(self.rung_at(self.alice), [0, 303.5])

    def test_key_pressed_while_the_service_is_killed_is_read_from_astdb(self) -> None:
        self.alice.will(Answers(after_s=2, key="2", key_after_s=4))
        self.begin(with_keys({"later_delay": "2m"}))
        self.add()
        self.run_to(4)
        self.world.processes[-1].kill()
        self.run_to(8)
        self.begin(with_keys({"later_delay": "2m"}))
        self.run_to(15)
        self.assertEqual(self.reasons(), ["agent_later"])
        self.assertEqual(self.world.attempts()[0].member, ALICE)

    def test_link_is_lost_while_the_agent_thinks_and_the_key_counts(self) -> None:
        self.alice.will(Answers(after_s=2, key="3", key_after_s=4)).always(ACCEPTS)
        self.begin(with_keys({"cannot_pause": "5m"}))
        self.add()
        self.run_to(4)
        self.asterisk.cut_links()
        self.run_to(20)
        self.assertEqual(self.reasons(), ["agent_cannot"])
        self.run_to(290)
        self.assertEqual(self.rung_at(self.alice), [0])

    def test_client_who_rings_in_while_the_agent_thinks_is_not_dialled(self) -> None:
        self.alice.always(Answers(after_s=2, key="1", key_after_s=6))
        self.begin(with_keys())
        self.add()
        self.run_to(4)
        self.asterisk.call("support", NUMBER)
        self.run_to(12)
        self.assertEqual(self.rung_at(self.client), [])
        self.assertEqual(self.reasons(), ["client_rang_in"])

    def test_older_dialplan_asks_for_no_key_and_the_log_says_so(self) -> None:
        self.asterisk.dialplan_has.clear()
        self.alice.always(MAILBOX)
        self.begin(with_keys())
        self.assert_warned("clients are called without a key of the agent")
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.client), [3])


class WhisperTests(KeysTestCase):
    """What the agent hears about the callback."""

    def alerts(self) -> list[str]:
        """Return the alert that each agent was to hear."""
        return [
            variable.partition("=")[2].replace("callback-queue/", "")
            for action in self.asterisk.manager.asked("Originate")
            for variable in action.all("Variable")
            if variable.startswith("CALLBACK_ALERT=")
        ]

    @live_first
    def test_agent_hears_how_long_ago_which_attempt_and_which_queue(self) -> None:
        self.alice.busy()
        self.client.plan.clear()
        self.client.will(Refuses.BUSY)
        whisper = {"asked": True, "attempt": True, "queue": "custom/support"}
        self.begin(queue_settings(whisper=whisper, retry_delay="1m"))
        self.request()
        self.run_to(130)
        self.alice.busy(False)
        self.run_to(300)
        said = "client-asked&number-2&minutes&ago&attempt-number&number-{}"
        queue = "queue&custom/support&member-alert"
        first, second = self.alerts()
        self.assertEqual(first, f"{said.format(1)}&{queue}")
        self.assertIn("attempt-number&number-2&", second)

    def test_agent_hears_how_long_ago_a_client_in_line_asked(self) -> None:
        """The words are those of when the agent's phone rings."""
        self.alice.busy()
        whisper = {"asked": True}
        self.begin(queue_settings(whisper=whisper, fairness=Fairness.PLACE))
        self.request()
        self.run_to(130)
        self.assertEqual(self.alerts(), ["client-asked&member-alert"])
        (callback,) = self.asterisk.callbacks
        self.alice.busy(False)
        self.run_to(150)
        heard = callback.alert.replace("callback-queue/", "")
        self.assertEqual(heard, "client-asked&number-2&minutes&ago&member-alert")
        self.assert_status("completed")

    def test_agent_hears_the_whisper_before_the_keys(self) -> None:
        self.begin(with_keys(whisper={"attempt": True}))
        self.add()
        self.run_to(60)
        self.assertEqual(
            self.alerts(),
            [
                "attempt-number&number-1&accept-press&number-1&later-press&number-2"
                "&cannot-press&number-3"
            ],
        )

    def test_without_settings_only_the_alert_is_heard(self) -> None:
        self.begin()
        self.add()
        self.run_to(60)
        self.assertEqual(self.alerts(), ["member-alert"])


class TwoAgentsTests(KeysTestCase):
    """One refuses, the other does not."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        # The member added last is rung first.
        self.support.strategy = "linear"
        self.bob = self.asterisk.phone(BOB).always(ACCEPTS)

    def test_agent_who_can_not_leaves_it_to_the_next_at_once(self) -> None:
        self.alice.always(CANNOT)
        self.begin(with_keys())
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [0])
        self.assertEqual(self.rung_at(self.bob), [3.5])
        self.assert_status("completed")

    def test_task_waits_for_the_other_agent_and_nobody_else_waits(self) -> None:
        self.alice.will(CANNOT).always(ACCEPTS)
        self.bob.busy()
        self.begin(with_keys())
        self.add()
        self.run_to(10)
        self.add(OTHER)
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [0, 10])
        self.bob.busy(False)
        self.run_to(100)
        self.assertEqual(self.rung_at(self.bob), [60])
        self.assert_status("completed", task_id=1)

    def test_mailbox_counts_as_one_who_can_not_if_the_settings_say_so(self) -> None:
        self.alice.always(MAILBOX)
        self.begin(with_keys({"no_key": "cannot"}))
        self.add()
        self.run_to(60)
        self.assertEqual(self.reasons(), ["agent_pressed_no_key", "talked"])
        self.assertEqual(len(self.rung_at(self.bob)), 1)

    def test_older_dialplan_is_not_told_whom_to_pass_over(self) -> None:
        self.asterisk.dialplan_has.clear()
        self.alice.will(Answers(after_s=2, hangs_up_after_s=0.5)).always(TALKS_10S)
        self.begin(with_keys({"no_key": "cannot"}))
        self.add()
        self.run_to(60)
        self.assert_status("completed")
        placed = self.asterisk.manager.asked("Originate")
        self.assertEqual(len(placed), 2)
        for action in placed:
            self.assertNotIn("callback-skip", str(action))


class ExtensionTests(KeysTestCase):
    """One phone takes the callbacks."""

    def test_phone_that_can_not_is_rung_again_after_the_pause(self) -> None:
        self.bob = self.asterisk.phone(BOB).will(CANNOT).always(ACCEPTS)
        self.begin(with_keys({"cannot_pause": "2m"}, target_extension=BOB))
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.bob), [0])
        self.run_to(200)
        self.assertEqual(self.reasons(), ["agent_cannot", "talked"])
        self.assert_status("completed")


class InLineTests(KeysTestCase):
    """The same for clients who wait in line."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.support.strategy = "linear"
        self.bob = self.asterisk.phone(BOB).always(ACCEPTS)

    def test_agent_who_can_not_leaves_it_to_the_next(self) -> None:
        self.alice.will(CANNOT).always(ACCEPTS)
        self.begin(with_keys(fairness=Fairness.PLACE))
        self.add()
        self.run_to(60)
        self.assertEqual(len(self.rung_at(self.alice)), 1)
        self.assertEqual(len(self.rung_at(self.bob)), 1)
        self.assert_status("completed")

    def test_client_who_waits_for_another_agent_holds_up_nobody(self) -> None:
        self.alice.will(CANNOT).always(ACCEPTS)
        self.begin(with_keys(fairness=Fairness.PLACE))
        self.bob.busy()
        self.add()
        self.run_to(10)
        live = self.asterisk.call("support", "0309999999", talks_s=20)
        self.run_to(20)
        self.assertTrue(live.talking)
        self.bob.busy(False)
        self.run_to(60)
        self.assertEqual(len(self.rung_at(self.bob)), 1)
        self.assert_status("completed")
