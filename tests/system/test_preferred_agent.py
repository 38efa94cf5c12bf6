# SPDX-License-Identifier: MIT
"""The agent who talked to the client last gets the callback first, for a while."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.preferred_agent import DECIDED
from fastagi.domain.turns import Fairness
from tests.emulator.phones import Phone
from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    live_first,
    queue_settings,
)

#: Another client, who has talked to nobody.
OTHER = "0302222222"
LIVE_CALLER = "0309999999"


def preferring(rules: dict[str, Any] | None = None, **values: Any) -> QueueSettings:
    """Return the settings of a queue that asks the last agent first, for a minute."""
    rules = {"enabled": True, "wait": "1m", **(rules or {})}
    return queue_settings(preferred_agent=rules, **values)


IN_LINE = preferring(fairness=Fairness.PLACE)


class PreferredTestCase(ServiceTestCase):
    """Alice is rung before bob, and bob has talked to the client."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.support.strategy = "linear"
        self.bob = self.asterisk.phone(BOB).always(Answers(after_s=2))
        self.asterisk.client(OTHER).always(TALKS_10S)

    def bob_talks_to_the_client(self) -> None:
        """Let the client call in and talk to bob, until second 10."""
        self.alice.busy()
        self.asterisk.call("support", NUMBER, talks_s=5)
        self.run_to(10)
        self.alice.busy(False)
        self.assertEqual(len(self.bob.rung), 1)

    def callback_after_talk(
        self, queue: QueueSettings | None = None, *busy: Phone
    ) -> None:
        """Let the client talk to bob, then ask at 10 while these are busy."""
        self.begin(queue or preferring())
        self.bob_talks_to_the_client()
        for phone in busy:
            phone.busy()
        self.add()

    def story(self, task_id: int = 1) -> list[str]:
        """Return what the history says about the agent who is asked, each code once."""
        codes = [event.why.code for event in self.world.history(task_id)]
        return list(dict.fromkeys(code.value for code in codes if code in DECIDED))


class LiveFirstTests(PreferredTestCase):
    """In queues where live callers go first."""

    @live_first
    def test_agent_of_the_last_talk_in_the_queue_is_rung_alone(self) -> None:
        self.callback_after_talk()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [])
        self.assertEqual(self.rung_at(self.bob), [0, 10])
        self.assertEqual(self.story(), ["preferred_agent_first"])
        self.assert_status("completed")

    @live_first
    def test_agent_of_the_last_callback_is_rung_alone(self) -> None:
        self.begin(preferring())
        self.alice.busy()
        self.add()
        self.run_to(30)
        self.alice.busy(False)
        self.assert_status("completed")
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [])
        self.assertEqual(self.rung_at(self.bob), [0, 30])

    @live_first
    def test_without_the_setting_any_agent_is_rung(self) -> None:
        self.callback_after_talk(queue_settings())
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [10])
        self.assertEqual(self.story(), [])

    @live_first
    def test_talk_that_was_too_long_ago_does_not_count(self) -> None:
        self.begin(preferring({"talked_within": "5m"}))
        self.bob_talks_to_the_client()
        self.run_to(400)
        self.add()
        self.run_to(430)
        self.assertEqual(self.rung_at(self.alice), [400])
        self.assertEqual(self.story(), [])

    @live_first
    def test_callback_waits_for_the_agent_and_nobody_waits_behind(self) -> None:
        self.callback_after_talk(None, self.bob)
        self.run_to(20)
        self.add(OTHER)
        self.run_to(40)
        self.assertEqual(self.rung_at(self.alice), [20])
        self.bob.busy(False)
        self.run_to(70)
        self.assertEqual(self.rung_at(self.bob), [0, 40])
        self.assert_status("completed")

    def test_other_client_is_called_in_time_while_one_waits_for_the_agent(self) -> None:
        for fairness in Fairness:
            with self.subTest(fairness=fairness):
                self.again()
                self.begin(preferring({"wait": "5m"}, fairness=fairness.value))
                self.bob_talks_to_the_client()
                self.bob.busy()
                self.add()
                self.run_to(20)
                self.world.ask("tasks.add", queue="support", number=OTHER, at="+42s")
                self.run_to(150)
                self.assertEqual(self.rung_at(self.alice), [62])

    @live_first
    def test_any_agent_is_asked_when_the_time_is_over(self) -> None:
        self.callback_after_talk(None, self.bob)
        self.run_to(69)
        self.assertEqual(self.rung_at(self.alice), [])
        self.run_to(100)
        self.assertEqual(self.rung_at(self.alice), [70])
        self.assertEqual(
            self.story(), ["preferred_agent_first", "preferred_agent_not_free"]
        )

    @live_first
    def test_any_agent_is_asked_at_once_if_the_agent_is_paused(self) -> None:
        self.begin(preferring())
        self.bob_talks_to_the_client()
        self.support.pause(BOB)
        self.add()
        self.run_to(40)
        self.assertEqual(self.rung_at(self.alice), [10])
        self.assertEqual(self.story(), ["preferred_agent_away"])

    @live_first
    def test_any_agent_is_asked_when_the_agent_logs_out_meanwhile(self) -> None:
        self.callback_after_talk(None, self.bob)
        self.run_to(20)
        self.support.remove(BOB)
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [20])
        self.assertEqual(
            self.story(), ["preferred_agent_first", "preferred_agent_away"]
        )

    @live_first
    def test_any_agent_is_asked_when_the_agent_did_not_answer(self) -> None:
        self.begin(preferring())
        self.bob_talks_to_the_client()
        self.bob.always(NO_ANSWER)
        self.add()
        self.run_to(60)
        self.assertEqual(len(self.rung_at(self.bob)), 2)
        self.assertEqual(len(self.rung_at(self.alice)), 1)
        self.assertIn("preferred_agent_did_not_take", self.story())
        self.assert_status("completed")

    @live_first
    def test_any_agent_is_asked_when_the_agent_can_not_take_it(self) -> None:
        accepts, cannot = (Answers(after_s=2, key=key) for key in "13")
        self.alice.always(accepts)
        self.begin(preferring(agent_keys={"enabled": True}))
        self.bob_talks_to_the_client()
        self.bob.always(cannot)
        self.add()
        self.run_to(60)
        self.assertEqual(self.reasons(), ["agent_cannot", "talked"])
        self.assertEqual(
            self.story(), ["preferred_agent_first", "preferred_agent_did_not_take"]
        )

    @live_first
    def test_agent_is_asked_again_when_the_client_was_busy(self) -> None:
        self.client.plan.clear()
        self.client.will(Refuses.BUSY).always(TALKS_10S)
        self.callback_after_talk(preferring(retry_delay="10s"))
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [])
        self.assert_status("completed")

    @live_first
    def test_live_callers_go_first(self) -> None:
        self.callback_after_talk(None, self.alice, self.bob)
        live = self.asterisk.call("support", LIVE_CALLER, talks_s=10)
        self.run_to(20)
        self.bob.busy(False)
        self.run_to(25)
        self.assertTrue(live.talking)
        self.run_to(60)
        self.assert_status("completed")

    @live_first
    def test_service_is_killed_and_the_callback_waits_on(self) -> None:
        self.callback_after_talk(None, self.bob)
        self.run_to(20)
        self.restart(preferring())
        self.run_to(50)
        self.assertEqual(self.rung_at(self.alice), [])
        self.run_to(100)
        # Not later because of the new start.
        self.assertEqual(self.rung_at(self.alice), [70])

    @live_first
    def test_older_dialplan_asks_any_agent_and_the_log_says_so(self) -> None:
        self.asterisk.dialplan_has.clear()
        self.begin(preferring())
        self.assert_warned("can not ring one agent of a queue only")
        self.bob_talks_to_the_client()
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [10])


class InLineTests(PreferredTestCase):
    """In queues where clients keep their place."""

    def test_agent_is_rung_alone(self) -> None:
        self.callback_after_talk(IN_LINE)
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [])
        self.assertEqual(self.rung_at(self.bob), [0, 10])
        self.assert_status("completed")

    def test_callback_is_given_the_agent_before_callers_who_joined_later(self) -> None:
        self.callback_after_talk(IN_LINE, self.alice, self.bob)
        self.run_to(12)
        live = self.asterisk.call("support", LIVE_CALLER, talks_s=10)
        self.run_to(20)
        self.bob.busy(False)
        self.run_to(25)
        self.assertFalse(live.talking)
        self.assertEqual(self.rung_at(self.bob), [0, 20])
        self.run_to(60)
        self.assert_status("completed")

    def test_caller_behind_is_given_the_other_agent(self) -> None:
        self.callback_after_talk(IN_LINE, self.alice, self.bob)
        self.run_to(12)
        live = self.asterisk.call("support", LIVE_CALLER, talks_s=30)
        self.run_to(20)
        self.alice.busy(False)
        self.run_to(25)
        self.assertTrue(live.talking)
        self.assertIn("preferred_agent_busy", self.reasons())
        # The callback is in line again, as the first, and is given bob.
        self.run_to(30)
        self.bob.busy(False)
        self.run_to(50)
        self.assertEqual(self.rung_at(self.bob), [0, 30])
        self.assert_status("completed")

    def test_any_agent_is_asked_when_the_time_is_over(self) -> None:
        self.callback_after_talk(IN_LINE, self.bob, self.alice)
        self.run_to(69)
        self.restart(IN_LINE, down_s=0.5)
        self.run_to(75)
        self.alice.busy(False)
        self.run_to(100)
        self.assertEqual(self.rung_at(self.alice), [75])
        self.assertEqual(
            self.story(), ["preferred_agent_first", "preferred_agent_not_free"]
        )
        self.assert_status("completed")

    def test_agent_who_logs_in_later_is_not_rung_in_the_meantime(self) -> None:
        self.begin(IN_LINE)
        self.bob_talks_to_the_client()
        self.support.remove(ALICE)
        self.bob.busy()
        self.add()
        self.run_to(20)
        self.support.add(ALICE)
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), [])
        self.bob.busy(False)
        self.run_to(90)
        self.assertEqual(self.rung_at(self.bob), [0, 60])

    def test_any_agent_is_asked_when_the_agent_did_not_answer(self) -> None:
        self.begin(IN_LINE)
        self.bob_talks_to_the_client()
        self.bob.always(NO_ANSWER)
        self.add()
        self.run_to(60)
        self.assertEqual(len(self.rung_at(self.bob)), 2)
        self.assertEqual(len(self.rung_at(self.alice)), 1)
        self.assertIn("preferred_agent_did_not_take", self.story())
        self.assert_status("completed")
