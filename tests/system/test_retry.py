# SPDX-License-Identifier: MIT
"""When a client is called again, how often, and when the task ends."""

from __future__ import annotations

from tests.emulator.scenarios import NO_ANSWER, Answers, Behaviour, Refuses
from tests.system.harness import (
    ALICE,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    gaps,
    live_first,
    queue_settings,
    settings,
)


class RetryTests(ServiceTestCase):
    """From the end of one call to the client to the next."""

    def retries(self, behaviour: Behaviour) -> None:
        """Let the client behave like this once and then answer; check the delay."""
        self.client.will(behaviour)
        self.begin(queue_settings(retry_delay="30s", caller_ring_time="20s"))
        self.add()
        self.run_to(300)
        first, second = self.world.attempts()
        assert first.ended_at is not None
        ended = self.world.since(first.ended_at)
        self.assertEqual(self.originates, [0, ended + 30])
        self.assertEqual(self.world.since(second.started_at), ended + 30)
        self.assert_status("completed", "they talked for 10.0 s")
        self.assertEqual(self.world.task().attempts, 2)

    def test_busy(self) -> None:
        self.retries(Refuses.BUSY)
        self.assertEqual(self.dispositions(), ["BUSY", "ANSWERED"])

    def test_no_answer(self) -> None:
        self.retries(NO_ANSWER)
        self.assertEqual(self.dispositions(), ["NO ANSWER", "ANSWERED"])
        # 3 s until the client rings, 20 s of ringing, 30 s of delay.
        self.assertEqual(self.originates[1], 53)

    def test_congestion(self) -> None:
        self.retries(Refuses.CONGESTION)
        self.assertEqual(self.dispositions(), ["CONGESTION", "ANSWERED"])

    def test_a_short_talk(self) -> None:
        self.retries(Answers(after_s=3, hangs_up_after_s=4))
        self.assertEqual(self.dispositions(), ["SHORT", "ANSWERED"])

    def test_a_number_that_does_not_exist_is_not_tried_again(self) -> None:
        self.client.always(Refuses.NOT_FOUND)
        self.begin()
        self.add()
        self.run_to(300)
        # DialEnd says NOANSWER here; only Dial() itself has the true status.
        self.assertEqual(self.dispositions(), ["INVALID NUMBER"])
        self.assert_status(
            "failed", "there is no such number (SIP 404); not tried again"
        )
        self.assertEqual(len(self.originates), 1)

    def test_a_call_that_was_refused(self) -> None:
        self.retries(Refuses.DECLINE)
        self.assertEqual(self.dispositions(), ["UNAVAILABLE", "ANSWERED"])
        self.assertEqual(
            self.world.attempts()[0].reason,
            "the call to the client was refused (SIP 603)",
        )

    def test_a_phone_that_forwards_calls(self) -> None:
        self.retries(Refuses.MOVED)
        self.assertEqual(self.dispositions(), ["FORWARDED", "ANSWERED"])
        self.assertEqual(
            self.world.attempts()[0].reason,
            "the client's phone forwards calls; callbacks are not forwarded (SIP 302)",
        )

    def test_a_phone_that_forwards_calls_is_not_tried_again_by_the_settings(
        self,
    ) -> None:
        self.client.always(Refuses.MOVED)
        self.begin(queue_settings(retry={"forwarded": {"attempts": 1}}))
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["FORWARDED"])
        self.assertEqual(len(self.originates), 1)

    def test_no_way_to_the_network(self) -> None:
        self.client.unplug()
        self.begin(queue_settings(attempts=2))
        self.add()
        self.run_to(300)
        self.assertEqual(self.dispositions(), ["UNAVAILABLE", "UNAVAILABLE"])
        self.assert_status("failed", "the client's number could not be reached")

    @live_first
    def test_the_delay_is_over_but_no_agent_is_free(self) -> None:
        self.client.will(Refuses.BUSY)
        self.begin()
        self.add()
        self.run_to(20)
        self.alice.busy()
        self.run_to(100)
        self.assertEqual(len(self.originates), 1)
        self.alice.busy(False)
        self.run_to(200)
        self.assertEqual(self.originates, [0, 100])

    def test_while_one_client_waits_the_next_one_is_called(self) -> None:
        self.client.will(Refuses.BUSY)
        other = self.asterisk.client("0302222222").always(TALKS_10S)
        self.begin()
        self.add()
        self.run_to(1)
        self.add("0302222222")
        self.run_to(200)
        # The first client is busy at 3, when the agent becomes free.
        self.assertEqual(self.rung_at(other), [6])
        self.assertEqual(self.rung_at(self.client), [3, 36])

    def test_the_attempts_are_used_up(self) -> None:
        self.client.always(Refuses.BUSY)
        self.begin(queue_settings(attempts=5, retry_delay="30s"))
        self.add()
        self.run_to(3600)
        self.assertEqual(gaps(self.originates), [33, 33, 33, 33])
        self.assert_status("failed", "all 5 attempts used up; the client was busy")
        self.assertEqual(self.dispositions(), ["BUSY"] * 5)

    def test_each_result_has_its_own_delay_and_limit(self) -> None:
        self.client.will(
            NO_ANSWER, Refuses.BUSY, Refuses.CONGESTION, Refuses.BUSY, Refuses.BUSY
        )
        self.begin(
            queue_settings(
                caller_ring_time="20s",
                retry={
                    "busy": {"attempts": 3, "delay": "5m"},
                    "no_answer": {"delay": "30m"},
                },
            )
        )
        self.add()
        self.run_to(4 * 3600 - 1)
        # Each attempt takes 3 s until the client is dialled.
        self.assertEqual(gaps(self.originates), [23 + 1800, 3 + 300, 3 + 30, 3 + 300])
        self.assert_status(
            "failed",
            "the client was busy (SIP 486); given up after 3 attempts that ended so",
        )

    def test_settings_loaded_again_hold_from_the_next_attempt(self) -> None:
        self.client.always(Refuses.BUSY)
        process = self.begin(queue_settings(retry_delay="30s"))
        self.add()
        self.run_to(10)
        process.service.settings.replace(
            settings(queue_settings(retry={"busy": {"attempts": 2}}))
        )
        self.run_to(600)
        self.assertEqual(self.originates, [0, 33])
        self.assert_status("failed", "given up after 2 attempts that ended so")

    def test_a_delay_of_nothing_is_no_delay(self) -> None:
        self.client.always(Refuses.BUSY)
        self.begin(queue_settings(attempts=3, retry_delay="0"))
        self.add()
        self.run_to(60)
        self.assertEqual(self.originates, [0, 3, 6])


class ExpiryTests(ServiceTestCase):
    """A request ends at the moment at which it is too old."""

    @live_first
    def test_at_the_instant(self) -> None:
        self.alice.busy()
        self.begin(queue_settings(request_expiry="10m"))
        self.run_to(7)
        self.add()
        self.run_to(606.999)
        self.assert_status("pending")
        self.run_to(607)
        self.assert_status("expired")
        self.assertEqual(self.world.story()[-1][0], 607)

    def test_not_during_a_call(self) -> None:
        self.alice.busy()
        self.client.always(Answers(after_s=3, hangs_up_after_s=60))
        self.begin(queue_settings(request_expiry="10m"))
        self.add()
        self.run_to(590)
        self.alice.busy(False)
        self.run_to(640)
        self.assert_status("calling")
        self.run_to(700)
        self.assert_status("completed", "they talked for 60.0 s")

    def test_a_call_that_fails_after_it_is_the_last(self) -> None:
        self.alice.busy()
        self.client.always(NO_ANSWER)
        self.begin(queue_settings(request_expiry="10m", caller_ring_time="30s"))
        self.add()
        self.run_to(590)
        self.alice.busy(False)
        self.run_to(1000)
        self.assert_status("expired", "too old for another attempt; the client did")
        self.assertEqual(len(self.client.rung), 1)

    def test_between_two_attempts(self) -> None:
        self.client.always(Refuses.BUSY)
        self.begin(queue_settings(request_expiry="10m", retry_delay="9m"))
        self.add()
        self.run_to(560)
        self.assert_status("pending")
        self.run_to(1200)
        self.assertEqual(len(self.client.rung), 2)
        self.assertEqual(self.world.story()[-1][0], 600)
        self.assert_status("expired")

    @live_first
    def test_each_at_its_own_time_in_any_order(self) -> None:
        self.alice.busy()
        self.asterisk.add_queue("sales")
        self.begin(
            queue_settings("support", request_expiry="20m"),
            queue_settings("sales", request_expiry="10m"),
        )
        self.add("0301111111", "support")
        self.run_to(60)
        self.add("0302222222", "sales")
        self.run_to(660)
        self.assert_status("expired", task_id=2)
        self.assert_status("pending", task_id=1)
        self.run_to(1200)
        self.assert_status("expired", task_id=1)

    @live_first
    def test_while_the_database_is_away_it_waits(self) -> None:
        self.alice.busy()
        process = self.begin(queue_settings(request_expiry="10m"))
        self.add()
        self.run_to(599)
        process.database.unavailable = "the disk is full"
        self.run_to(620)
        self.assert_warned("expired tasks can not be ended")
        process.database.unavailable = ""
        self.run_to(630)
        self.assert_status("expired")


class UnheardCommitTests(ServiceTestCase):
    """The database commits, but the connection is lost before the answer."""

    def lose_one(self, name: str) -> None:
        """Lose the answer to the next COMMIT of this name."""
        process = self.begin(queue_settings(request_expiry="1h"))
        process.database.unheard.add(name)
        process.at(
            f"after COMMIT of {name}",
            lambda: process.database.unheard.clear(),
        )

    def test_an_attempt_that_began_and_was_never_placed(self) -> None:
        self.lose_one("begin attempts")
        self.add()
        self.world.run(1)
        self.assert_status("calling")
        self.assertEqual(self.originates, [])
        self.world.run(120)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])

    def test_an_attempt_that_ended(self) -> None:
        self.client.will(Refuses.BUSY)
        self.lose_one("close attempt")
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.dispositions(), ["BUSY", "ANSWERED"])


class NumberTests(ServiceTestCase):
    """The number that is dialled."""

    def test_the_number_goes_into_the_channel_of_the_queue(self) -> None:
        self.begin(queue_settings(outbound_channel="Local/{number}@outbound-routes"))
        self.add()
        self.run_to(60)
        (originate,) = self.asterisk.manager.asked("Originate")
        self.assertIn(
            f"CALLBACK_CHANNEL=Local/{NUMBER}@outbound-routes",
            originate.all("Variable"),
        )
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.world.attempts()[0].member, ALICE)
