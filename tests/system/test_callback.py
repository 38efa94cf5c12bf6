# SPDX-License-Identifier: MIT
"""A callback from the key to the end of the talk, to the second."""

from __future__ import annotations

from itertools import pairwise

from tests.emulator.scenarios import NO_ANSWER, Answers, Refuses
from tests.system.harness import (
    ALICE,
    ANSWERS,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    gaps,
    live_first,
    queue_settings,
)


class CallbackTests(ServiceTestCase):
    """One agent, one client."""

    @live_first
    def test_the_whole_story_to_the_second(self) -> None:
        self.begin()
        self.alice.busy()
        call = self.asterisk.call("support", NUMBER, name="Ann")
        self.run_to(5)
        call.press()
        self.run_to(10)
        self.assertEqual(call.heard, ["callback-queue/accepted"])
        self.assertTrue(call.gone)
        self.run_to(30)
        self.assertEqual(self.originates, [])

        self.alice.busy(False)
        self.run_to(60)

        self.assertEqual(self.originates, [30])
        self.assertEqual(self.rung_at(self.alice), [30])
        self.assertEqual(self.rung_at(self.client), [33])
        story = self.world.story()
        channel_id = self.world.attempts()[0].channel_id
        self.assertEqual(
            story,
            [
                (5, "create", "the client pressed the key in queue support"),
                (30, "begin", f"attempt 1 begins, channel id {channel_id}"),
                (30, "progress", "PJSIP/alice rings"),
                (32, "progress", "PJSIP/alice answered"),
                (33, "progress", f"dialling {NUMBER}"),
                (36, "progress", "agent and client are talking"),
                (46, "complete", "they talked for 10.0 s"),
            ],
        )
        task = self.world.task()
        self.assertEqual(self.world.since(task.joined_at), 0)
        (attempt,) = self.world.attempts()
        self.assertEqual(attempt.member, ALICE)
        self.assertEqual(attempt.talk_s, 10)
        self.assertEqual(self.world.since(attempt.started_at), 30)

    def test_the_agent_sees_the_client_and_the_client_sees_us(self) -> None:
        self.begin(
            queue_settings(
                display_prefix="CB: ",
                outbound_caller_id='"Support" <+4930123456>',
            )
        )
        self.alice.busy()
        call = self.asterisk.call("support", NUMBER, name="Ann")
        self.world.settle()
        call.press()
        self.run_to(5)
        self.alice.busy(False)
        self.run_to(30)
        agent_saw, client_saw = self.alice.rung[0], self.client.rung[0]
        self.assertEqual((agent_saw.caller, agent_saw.number), ("CB: Ann", NUMBER))
        self.assertEqual(
            (client_saw.caller, client_saw.number), ("Support", "+4930123456")
        )

    @live_first
    def test_the_end_of_a_call_is_the_beginning_of_the_next(self) -> None:
        self.begin()
        live = self.asterisk.call("support", "0309999999", talks_s=20)
        self.world.run(3)
        self.assertTrue(live.talking)
        self.add()
        self.world.run(60)
        ended = self.world.since(live.ended_at or 0)
        self.assertEqual(ended, 22)
        self.assertEqual(self.originates, [ended])

    def test_nobody_is_called_while_no_agent_is_logged_in(self) -> None:
        self.alice.unplug()
        self.begin()
        self.add()
        self.run_to(3600)
        self.assertEqual(self.originates, [])
        self.assert_status("pending")
        self.alice.plug_in()
        self.world.run(60)
        self.assertEqual(self.originates, [3600])
        self.assert_status("completed")

    def test_an_agent_who_logs_in_is_a_free_agent(self) -> None:
        self.support.remove(ALICE)
        self.begin()
        self.add()
        self.run_to(100)
        self.assertEqual(self.originates, [])
        self.support.add(ALICE)
        self.world.run(60)
        self.assertEqual(self.originates, [100])

    def test_a_paused_agent_is_not_free(self) -> None:
        self.support.pause(ALICE)
        self.begin()
        self.add()
        self.run_to(50)
        self.assertEqual(self.originates, [])
        self.support.pause(ALICE, False)
        self.world.run(60)
        self.assertEqual(self.originates, [50])

    @live_first
    def test_an_agent_is_left_alone_after_a_call(self) -> None:
        self.support.wrapuptime_s = 15
        self.begin(queue_settings(wrapuptime="15s"))
        self.asterisk.call("support", "0309999999", talks_s=20)
        self.world.run(3)
        self.add()
        self.world.run(60)
        # The call ended at 22.
        self.assertEqual(self.originates, [37])
        self.assertEqual(self.rung_at(self.alice), [0, 37])

    @live_first
    def test_an_agents_own_wrap_up_time_beats_the_queues(self) -> None:
        self.support.member(ALICE).wrapuptime_s = 5
        self.support.wrapuptime_s = 15
        self.begin(queue_settings(wrapuptime="15s"))
        self.asterisk.call("support", "0309999999", talks_s=20)
        self.world.run(3)
        self.add()
        self.world.run(60)
        self.assertEqual(self.originates, [27])

    @live_first
    def test_who_joined_first_is_called_first(self) -> None:
        self.alice.busy()
        self.begin()
        early = self.asterisk.call("support", "0301111111")
        self.run_to(10)
        late = self.asterisk.call("support", "0302222222")
        self.run_to(20)
        late.press()
        self.run_to(30)
        early.press()
        self.run_to(40)
        for number in ("0301111111", "0302222222"):
            self.asterisk.client(number).always(TALKS_10S)
        self.alice.busy(False)
        self.run_to(100)
        self.assertEqual(self.rung_at(self.asterisk.client("0301111111")), [43])
        self.assertEqual(self.rung_at(self.asterisk.client("0302222222")), [59])

    def test_a_missing_alert_is_worth_a_warning_and_no_more(self) -> None:
        self.asterisk.missing_sounds.add("custom/hello")
        self.begin(queue_settings(sounds={"member_alert": "custom/hello"}))
        self.add()
        self.run_to(60)
        self.assert_status("completed")
        self.assert_warned("the alert custom/hello could not be played")


class HangUpTests(ServiceTestCase):
    """What counts is how long the two talked."""

    def callback(self, agent: Answers, client: Answers) -> None:
        self.alice.always(agent)
        self.client.always(client)
        self.begin(queue_settings(attempts=1))
        self.add()
        self.run_to(120)

    def test_the_client_hangs_up_first(self) -> None:
        self.callback(Answers(after_s=2), Answers(after_s=3, hangs_up_after_s=5))
        self.assert_status("completed", "they talked for 5.0 s")

    def test_the_agent_hangs_up_first(self) -> None:
        # Answered at 2, alert until 3, client answers at 6.
        self.callback(Answers(after_s=2, hangs_up_after_s=9), Answers(after_s=3))
        self.assert_status("completed", "they talked for 5.0 s")

    def test_the_client_hangs_up_too_early(self) -> None:
        self.callback(Answers(after_s=2), Answers(after_s=3, hangs_up_after_s=4.5))
        self.assert_status("failed", "they talked for 4.5 s, less than the 5 s")

    def test_the_agent_hangs_up_too_early(self) -> None:
        self.callback(Answers(after_s=2, hangs_up_after_s=8.5), Answers(after_s=3))
        self.assert_status("failed", "they talked for 4.5 s, less than the 5 s")

    def test_the_agent_hangs_up_while_the_client_rings(self) -> None:
        self.callback(Answers(after_s=2, hangs_up_after_s=3), Answers(after_s=3))
        self.assertEqual(self.dispositions(), ["CANCEL"])
        self.assert_status("failed", "the agent hung up while the client's phone rang")

    def test_the_agent_hangs_up_in_the_alert(self) -> None:
        self.alice.will(Answers(after_s=2, hangs_up_after_s=0.5))
        self.begin(queue_settings(attempts=1))
        self.add()
        self.run_to(10)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"])
        self.assertEqual(self.client.rung, [])
        # The client was not called, so no attempt is used up and the next try comes
        # soon.
        self.run_to(120)
        self.assert_status("completed")
        self.assertEqual(self.world.task().attempts, 1)
        self.assertEqual(self.world.task().member_attempts, 1)


class AgentTests(ServiceTestCase):
    """Two agents, the queue's own strategy."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.support.strategy = "linear"
        self.bob = self.asterisk.phone(BOB).always(ANSWERS)

    def test_the_second_agent_answers_where_the_first_does_not(self) -> None:
        self.alice.always(NO_ANSWER)
        self.begin()
        self.add()
        self.run_to(60)
        self.assertEqual(len(self.originates), 1)
        # 15 s of ringing, then the queue pauses for a second.
        rung = self.rung_at(self.alice)[0]
        self.assertEqual(self.rung_at(self.bob), [rung + 16])
        self.assert_status("completed")
        self.assertEqual(self.world.attempts()[0].member, BOB)
        self.assertIn("PJSIP/alice did not answer", str(self.world.story()))

    def test_the_second_agent_answers_where_the_first_declines(self) -> None:
        self.alice.always(Refuses.DECLINE)
        self.begin()
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.bob), self.rung_at(self.alice))
        self.assert_status("completed")
        self.assertEqual(self.world.attempts()[0].member, BOB)

    def test_all_agents_ring_and_one_answers(self) -> None:
        self.support.strategy = "ringall"
        self.alice.always(NO_ANSWER)
        self.begin()
        self.add()
        self.run_to(60)
        self.assertEqual(self.rung_at(self.alice), self.rung_at(self.bob))
        self.assert_status("completed")
        self.assertEqual(self.world.attempts()[0].member, BOB)

    @live_first
    def test_no_agent_answers(self) -> None:
        self.alice.always(NO_ANSWER)
        self.bob.always(NO_ANSWER)
        self.begin(
            queue_settings(
                member_ring_time="20s",
                member_retry_delay="10s",
                member_attempts=3,
                attempts=1,
            )
        )
        self.add()
        first = self.originates[0]
        self.run_to(300)
        self.assertEqual(self.originates, [first, first + 30, first + 70])
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"] * 3)
        self.assert_status(
            "failed",
            "all 3 tries to reach an agent used up; no agent answered"
            " (rung: PJSIP/alice, PJSIP/bob)",
        )
        self.assertEqual(self.world.task().attempts, 0)
        self.assertEqual(self.client.rung, [])


class ExtensionTests(ServiceTestCase):
    """One extension takes the callbacks instead of the queue's members."""

    def setUp(self) -> None:
        super().setUp()
        self.boss = self.asterisk.phone("PJSIP/boss").always(ANSWERS)
        self.settings = queue_settings(target_extension="PJSIP/boss")

    def test_the_extension_answers_and_they_talk(self) -> None:
        self.begin(self.settings)
        self.add()
        self.run_to(60)
        self.assert_status("completed", "they talked for 10.0 s")
        (attempt,) = self.world.attempts()
        self.assertEqual(attempt.member, "PJSIP/boss")
        self.assertEqual(self.alice.rung, [])

    def test_it_is_rung_the_moment_it_is_free(self) -> None:
        self.boss.busy()
        self.begin(self.settings)
        self.add()
        self.run_to(40)
        self.assertEqual(self.originates, [])
        self.boss.busy(False)
        self.run_to(60)
        self.assertEqual(self.originates, [40])
        self.assertEqual(self.rung_at(self.boss), [40])

    def test_it_does_not_answer(self) -> None:
        self.boss.always(NO_ANSWER)
        self.begin(
            queue_settings(
                target_extension="PJSIP/boss",
                member_ring_time="20s",
                member_retry_delay="10s",
                member_attempts=2,
            )
        )
        self.add()
        first = self.originates[0]
        self.run_to(300)
        self.assertEqual(self.originates, [first, first + 30])
        self.assert_status("failed", "no agent answered (rung: PJSIP/boss)")

    def test_it_declines(self) -> None:
        self.boss.will(Refuses.BUSY)
        self.begin(self.settings)
        self.add()
        self.run_to(60)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER", "ANSWERED"])

    def test_it_gets_one_callback_at_a_time_though_it_takes_long_to_ring(self) -> None:
        self.boss.alerts_after_s = 2
        self.begin(self.settings)
        for number in (NUMBER, "0302222222", "0303333333"):
            self.add(number)
            self.world.run(0.5)
        self.run_to(8)
        self.assertEqual(len(self.boss.rung), 1)
        self.run_to(120)
        self.assertGreaterEqual(len(self.boss.rung), 3)
        rings = list(pairwise(self.boss.rung))
        for before, after in rings:
            assert before.ended_at is not None
            self.assertLessEqual(before.ended_at, after.at)

    def test_a_call_of_its_own_makes_it_busy(self) -> None:
        self.begin(self.settings)
        self.boss.busy()
        self.add()
        self.run_to(300)
        self.assertEqual(self.originates, [])
        self.boss.unplug()
        self.boss.busy(False)
        self.run_to(600)
        self.assertEqual(self.originates, [])


class TwoQueueTests(ServiceTestCase):
    """Each queue has its own settings."""

    def setUp(self) -> None:
        super().setUp()
        self.sales = self.asterisk.add_queue("sales", [BOB])
        self.bob = self.asterisk.phone(BOB).always(ANSWERS)

    def test_each_client_is_called_by_the_queues_own_agents_and_rules(self) -> None:
        for number in ("0301111111", "0302222222"):
            self.asterisk.client(number).always(Refuses.BUSY)
        self.begin(
            queue_settings("support", attempts=2, retry_delay="10s"),
            queue_settings("sales", attempts=3, retry_delay="20s"),
        )
        self.add("0301111111", "support")
        self.add("0302222222", "sales")
        self.run_to(600)
        support = self.rung_at(self.asterisk.client("0301111111"))
        sales = self.rung_at(self.asterisk.client("0302222222"))
        # 3 s for the agent and the alert.
        self.assertEqual(gaps(support), [13])
        self.assertEqual(gaps(sales), [23, 23])
        self.assertEqual(len(self.alice.rung), 2)
        self.assertEqual(len(self.bob.rung), 3)
        self.assert_status("failed", "all 2 attempts used up", 1)
        self.assert_status("failed", "all 3 attempts used up", 2)

    def test_another_queue_may_take_the_callbacks(self) -> None:
        self.begin(queue_settings("support", target_queue="sales"))
        self.add()
        self.run_to(60)
        self.assert_status("completed")
        self.assertEqual(self.world.attempts()[0].member, BOB)
        self.assertEqual(self.alice.rung, [])

    def test_a_target_that_asterisk_does_not_have_is_never_free(self) -> None:
        self.begin(queue_settings("support", target_queue="nosuch"))
        self.add()
        self.run_to(600)
        self.assertEqual(self.originates, [])
        self.assert_status("pending")


class TransferTests(ServiceTestCase):
    """The agent of a callback transfers the client to a queue."""

    def transfer(self) -> None:
        """Let the client of the first callback wait in support again."""
        self.client.always(Answers(after_s=1, hangs_up_after_s=60))
        queue = self.asterisk.queues["support"]
        # app_queue looks for free agents once a second.
        queue.notice_s = 1.0
        self.begin()
        self.add()
        self.run_to(12)
        self.add("0301234502")
        (callback,) = self.asterisk.callbacks
        callback.transfer(queue)

    @live_first
    def test_client_is_waiting_there(self) -> None:
        self.transfer()
        self.run_to(12.5)
        self.assertEqual(
            self.world.ask("status")["result"]["queues"]["support"]["waiting"], 1
        )

    @live_first
    def test_agent_is_not_taken_by_another_callback(self) -> None:
        self.transfer()
        self.run_to(12.5)
        self.assertEqual(len(self.originates), 1)
        self.run_to(20)
        # She talks to the client again.
        self.assertEqual(len(self.alice.rung), 2)
        self.assertEqual(len(self.originates), 1)
