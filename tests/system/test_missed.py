# SPDX-License-Identifier: MIT
"""Missed calls and served clients, with failures of the service, link and store."""

from __future__ import annotations

from collections.abc import Callable

from fastagi.config.sections import MissedSettings
from fastagi.domain.task import Status
from tests.emulator.manager import Action, Answer, error
from tests.emulator.scenarios import NO_ANSWER
from tests.system.harness import (
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
)


class MissedTestCase(ServiceTestCase):
    """The one agent of the queue is busy; bob is an extension that is free."""

    def setUp(self) -> None:
        super().setUp()
        self.bob = self.asterisk.phone(BOB)
        self.alice.busy()


class DetectionTests(MissedTestCase):
    """Which calls become tasks."""

    @live_first
    def test_caller_hangs_up_and_is_called_back(self) -> None:
        self.begin()
        self.run_to(10)
        self.miss("+49 (30) 123-4567", name="Ann")
        task = self.world.task()
        self.assertEqual((task.kind.value, task.number), ("missed", "+49301234567"))
        self.assertEqual((task.name, task.queue), ("Ann", "support"))
        self.assertEqual(self.world.since(task.joined_at), 10)
        self.assertEqual(self.world.since(task.due_at), 15)
        self.assertEqual(self.world.since(task.expires_at), 15 + 300)
        self.assertEqual(task.reason, "missed call: hung up after 5 s in queue support")

    def test_free_agent_rings_at_the_same_instant(self) -> None:
        self.begin(queue_settings(target_extension=BOB))
        self.run_to(10)
        self.miss()
        self.assertEqual(self.originates, [15])

    def test_end_of_a_call_without_a_task_makes_only_the_scheduler_read(self) -> None:
        process = self.begin()
        self.alice.busy(False)
        call = self.call()
        self.world.run(30)
        process.points.clear()
        call.hang_up()
        self.world.settle()
        read = {name.rpartition(" of ")[2] for name in process.points}
        self.assertIn("next due", read)
        self.assertLessEqual(read, {"begin attempts", "next due"})

    def test_answered_call_is_no_task(self) -> None:
        self.begin()
        self.alice.busy(False)
        self.call()
        self.world.run(60)
        self.assertEqual(self.world.tasks(), [])

    def test_caller_who_only_talked_to_a_voice_bot_is_called_back(self) -> None:
        self.begin()
        self.miss(meets_bot=True)
        self.assertEqual(self.world.task().number, NUMBER)

    @live_first
    def test_voice_bot_ends_no_request(self) -> None:
        self.begin()
        self.miss()
        self.miss(meets_bot=True)
        self.assertEqual(self.world.task().status, Status.PENDING)

    def test_withheld_number_is_not_called(self) -> None:
        self.begin()
        self.miss(callingpres="35")
        self.assertEqual(self.world.tasks(), [])

    def stop_reading(self, stopped: bool) -> None:
        """Freeze the service's process, or let it continue."""
        for wire in self.asterisk.manager_wires:
            wire.client.frozen = stopped

    def wait_for(self, seconds: float) -> None:
        """Let somebody wait this long and hang up."""
        call = self.call()
        self.world.run(seconds)
        call.hang_up()
        self.world.settle()

    def test_a_call_that_a_stopped_service_reads_of_late_is_not_too_short(
        self,
    ) -> None:
        missed = MissedSettings.model_validate({"min_duration": "5s"})
        self.begin(missed=missed)
        self.run_to(1)
        self.wait_for(3)
        self.assertEqual(self.world.tasks(), [], "it was too short")
        self.stop_reading(True)
        self.wait_for(7)
        self.stop_reading(False)
        self.world.settle()
        self.assertEqual(len(self.world.tasks()), 1)
        self.stop_reading(True)
        self.wait_for(3)
        self.stop_reading(False)
        self.world.settle()
        self.assertEqual([m for _, m, _ in self.world.story()].count("repeat"), 0)

    def test_number_that_may_not_be_called(self) -> None:
        self.begin(queue_settings(numbers={"deny": ["030.*"]}))
        self.miss()
        self.assertEqual(self.world.tasks(), [])

    def test_call_that_was_under_way_when_the_link_was_lost(self) -> None:
        self.begin()
        call = self.call()
        self.asterisk.cut_links()
        self.world.run(30)
        call.hang_up()
        self.world.run(1)
        # The histories tell what happened in between.
        self.assertEqual(self.world.tasks(), [])

    def test_database_is_away_for_a_while(self) -> None:
        process = self.begin()
        self.run_to(10)
        process.database.unavailable = "disk full"
        self.miss()
        self.run_to(20)
        process.database.unavailable = ""
        self.run_to(40)
        task = self.world.task()
        self.assertEqual(self.world.since(task.due_at), 15)
        self.assertEqual(self.world.since(task.expires_at), 15 + 300)
        self.assert_warned("a missed call is not stored yet")

    def test_database_is_away_for_longer_than_the_window(self) -> None:
        process = self.begin(queue_settings(missed_window="10s"))
        process.database.unavailable = "disk full"
        self.miss()
        self.run_to(60)
        process.database.unavailable = ""
        self.world.run(30)
        self.assertEqual(self.world.tasks(), [])
        self.assert_warned("a missed call of 0301234567 is lost")

    @live_first
    def test_caller_hangs_up_whose_request_came_too_late(self) -> None:
        """The request was taken back, so the call is missed after all."""
        process = self.begin()
        process.database.takes_s = lambda name: 3.0 if name == "add" else 0.0
        call = self.call()
        call.press()
        self.world.run(10)
        self.assertTrue(call.waiting)
        self.assert_status("cancelled")
        call.hang_up()
        self.world.run(10)
        self.assert_status("pending", "hung up after", task_id=2)

    @live_first
    def test_caller_hangs_up_who_could_not_be_told_of_the_request(self) -> None:
        process = self.begin()
        call = self.call()
        process.at("after COMMIT of add", lambda: self.asterisk.agi_runs[-1].cut())
        call.press()
        self.world.run(10)
        self.assertTrue(call.waiting)
        self.assert_status("cancelled")
        call.hang_up()
        self.world.run(1)
        self.assert_status("pending", "hung up after", task_id=2)

    @live_first
    def test_request_is_kept_while_its_caller_hangs_up(self) -> None:
        """There is one task, whichever of the two comes first."""
        process = self.begin()
        process.database.takes_s = lambda name: 0.5 if name == "add" else 0.0
        call = self.call()
        call.press()
        self.world.run(0.2)
        call.hang_up()
        self.world.run(5)
        self.assertEqual(self.world.task().kind.value, "requested")
        self.assertEqual(len(self.world.history(1)), 1)


class ServedTests(MissedTestCase):
    """The client is in a call with an agent."""

    def begin_for_bob(self) -> None:
        self.begin(queue_settings(target_extension=BOB))

    def test_no_call_while_the_client_waits_again(self) -> None:
        self.bob.busy()
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        again = self.call()
        self.bob.busy(False)
        self.world.run(60)
        self.assertEqual(self.originates, [])
        again.hang_up()
        self.world.settle()
        self.assertEqual(self.originates, [self.world.t])
        self.assertEqual(len(self.world.tasks()), 1)
        self.world.run(60)
        self.assert_status("completed")

    def test_answered_again_is_served(self) -> None:
        self.bob.busy()
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        self.call()
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("served", "the client rang again and PJSIP/alice answered")
        self.bob.busy(False)
        self.world.run(60)
        self.assertEqual(self.originates, [])

    def check_time_chosen_in_a_talk_is_kept(
        self, disturb: Callable[[], object]
    ) -> None:
        """Choose a time while client and agent talk, then cause some trouble."""
        self.alice.busy(False)
        call = self.asterisk.call("support", NUMBER, talks_s=60)
        self.world.run_until(lambda: call.talking)
        self.world.run(5)
        self.world.ask("tasks.add", queue="support", number=NUMBER, at="+1h")
        disturb()
        self.world.run(20)
        self.assertTrue(self.world.processes[-1].service.node.manager.connected)
        self.assertTrue(call.talking)
        self.assert_status("pending", "waits for the chosen time")

    def test_time_chosen_in_a_talk_is_kept_if_the_link_is_lost(self) -> None:
        self.begin()
        self.check_time_chosen_in_a_talk_is_kept(self.asterisk.cut_links)

    def test_time_chosen_in_a_talk_is_kept_if_the_service_restarts(self) -> None:
        process = self.begin()

        def restart() -> None:
            process.kill()
            self.begin()

        self.check_time_chosen_in_a_talk_is_kept(restart)

    @live_first
    def test_served_while_the_database_is_away(self) -> None:
        """A served client is not called, even if the store learns of it late."""
        process = self.begin()
        self.add()
        self.run_to(10)
        process.database.unavailable = "database is locked"
        self.alice.busy(False)
        self.asterisk.call("support", NUMBER, talks_s=5)
        # The scheduler runs before the store can end the task.
        self.run_to(19.2)
        process.database.unavailable = ""
        self.run_to(100)
        self.assertEqual(self.originates, [])
        self.assert_status("served")

    @live_first
    def test_task_added_in_a_talk_is_called_though_the_talk_is_stored_late(
        self,
    ) -> None:
        """The call ends before the store knows of the talk, which ends no task."""
        process = self.begin()
        process.database.takes_s = lambda name: 20.0 if name == "serve" else 0.0
        self.alice.busy(False)
        call = self.asterisk.call("support", NUMBER, talks_s=60)
        self.world.run_until(lambda: call.talking)
        self.world.run(5)
        self.add()
        call.hang_up()
        self.world.run(10)
        self.assertEqual(self.originates, [])
        self.world.run(10)
        self.assertEqual(len(self.originates), 1)

    def test_client_rings_in_while_the_agents_phone_rings(self) -> None:
        self.bob.always(NO_ANSWER)
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        self.assertEqual(self.originates, [15])
        self.run_to(20)
        again = self.call()
        self.world.run(1)
        (ring,) = self.bob.rung
        self.assertEqual(self.world.since(ring.ended_at or 0), 20)
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.assert_status("pending", "the client rang in meanwhile")
        self.world.run(60)
        self.assertEqual(len(self.originates), 1)
        again.hang_up()
        self.world.settle()
        self.assertEqual(len(self.originates), 2)
        self.assertEqual(self.client.rung, [])

    def test_client_rings_in_and_the_agents_phone_can_not_be_hung_up(self) -> None:
        """No agent answered, and that decides."""
        refused = error("Permission denied")
        self.asterisk.manager.handlers["Hangup"] = lambda action: refused
        self.bob.always(NO_ANSWER)
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        self.run_to(20)
        self.call()
        self.run_to(100)
        self.assertEqual(self.dispositions(), ["MEMBER NO ANSWER"])
        self.assert_warned("can not be ended: ")
        self.assertEqual(len(self.warnings()), 1)

    def test_client_rings_in_while_its_own_phone_rings(self) -> None:
        self.client.always(NO_ANSWER)
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        self.run_to(25)
        self.assertEqual(len(self.client.rung), 1)
        self.call()
        self.alice.busy(False)
        self.world.run(30)
        (ring,) = self.client.rung
        self.assertEqual(self.world.since(ring.ended_at or 0), 25)
        self.assertEqual(self.dispositions(), ["CANCEL"])
        self.assert_status("served", "PJSIP/alice answered")

    def test_client_rings_in_while_the_attempt_is_stored(self) -> None:
        process = self.begin(queue_settings(target_extension=BOB))
        process.database.takes_s = lambda name: 1.0 if name == "begin attempts" else 0.0
        self.run_to(10)
        self.miss()
        self.run_to(15.5)
        self.call()
        self.run_to(60)
        self.assertEqual(self.originates, [])
        self.assert_status("pending", "the client rang in meanwhile")

    def test_service_is_killed_between_the_commit_and_the_answer(self) -> None:
        """The request is valid, and its caller is back in line."""
        process = self.begin(queue_settings(target_extension=BOB))
        self.bob.busy()
        call = self.call()
        process.at("after COMMIT of add", process.kill)
        call.press()
        self.world.run(5)
        self.assertTrue(process.dead)
        self.assertTrue(call.waiting)
        self.bob.busy(False)
        self.begin_for_bob()
        self.world.run(60)
        self.assertTrue(call.waiting)
        self.assertEqual(self.originates, [])
        self.assertEqual(self.world.task().kind.value, "requested")

        call.hang_up()
        self.world.settle()
        self.assertEqual(len(self.originates), 1)
        self.world.run(60)
        self.assert_status("completed")

    def test_answered_while_the_link_was_lost(self) -> None:
        self.bob.busy()
        self.begin_for_bob()
        self.run_to(10)
        self.miss()
        self.asterisk.cut_links()
        self.alice.busy(False)
        self.call()
        self.world.run(20)
        self.assert_status("served", "PJSIP/alice answered")


class LearningTests(MissedTestCase):
    """The calls in progress are requested at each connect."""

    def test_what_an_old_link_was_to_be_asked_again_is_not(self) -> None:
        """The repeat of an old link's request would take the new link's answer."""
        handlers = self.asterisk.manager.handlers
        show = handlers["CoreShowChannels"]
        asked: list[float] = []

        def answer(action: Action) -> Answer:
            asked.append(self.world.t)
            return error("Permission denied") if len(asked) == 1 else show(action)

        handlers["CoreShowChannels"] = answer
        process = self.begin()
        self.assertEqual(asked, [0])
        self.world.run(1)
        self.asterisk.cut_links()
        self.world.run_until(lambda: process.service.node.manager.connected)
        self.assertLess(self.world.t, 5)
        self.world.run(10)
        self.assertEqual(len(asked), 2)


class CalledByHandTests(MissedTestCase):
    """An agent calls a client who waits for a callback."""

    def dial_by_hand(self) -> None:
        """Alice dials the client, who answers at once."""

        def channel(name: str, uniqueid: str, exten: str) -> list[tuple[str, str]]:
            return [
                ("Channel", name),
                ("Uniqueid", uniqueid),
                ("Linkedid", "hand.1"),
                ("Context", "agents"),
                ("Exten", exten),
                ("Priority", "1"),
                ("CallerIDNum", "101"),
            ]

        alice = channel("PJSIP/alice-00000001", "hand.1", NUMBER)
        trunk = channel("PJSIP/trunk-00000002", "hand.2", "s")
        bridge = ("BridgeUniqueid", "bridge-9")
        tell = self.asterisk.tell
        tell("Newchannel", "call", *alice)
        tell("Newchannel", "call", *trunk)
        tell("DialBegin", "call", *alice, ("DialString", f"{NUMBER}@trunk"))
        tell("BridgeEnter", "call", *alice, bridge)
        tell("BridgeEnter", "call", *trunk, bridge)
        self.world.settle()

    def test_a_talk_that_is_long_enough_is_a_success(self) -> None:
        self.begin()
        self.add()
        self.dial_by_hand()
        self.world.run(4)
        self.assert_status("pending")
        self.world.run(2)
        self.assert_status("served", "PJSIP/alice called the client by hand")

    def test_time_that_is_chosen_during_the_talk_is_kept(self) -> None:
        self.begin()
        self.add()
        self.dial_by_hand()
        self.world.run(2)
        self.world.ask("tasks.add", queue="support", number=NUMBER, at="+1h")
        self.world.run(60)
        self.assert_status("pending", "waits for the chosen time")

    @live_first
    def test_a_call_whose_end_nobody_saw_is_followed_no_more(self) -> None:
        process = self.begin()
        self.add()
        self.dial_by_hand()
        self.world.run(1)
        self.asterisk.cut_links()
        self.world.run_until(lambda: process.service.node.manager.connected)
        # The service may have been about to check it.
        self.world.run(6)
        asked = len(process.points)
        self.world.run(20)
        self.assertEqual(process.points[asked:].count("before COMMIT of listing"), 0)
        self.assert_status("pending")


class UnreadableHangupTests(MissedTestCase):
    """A caller's name breaks the events that contain it."""

    def check_called_back(self, name: str) -> None:
        process = self.begin()
        call = self.call()
        call.channel.caller = name
        self.run_to(5)
        call.press()
        self.run_to(10)
        self.assertTrue(call.gone)
        self.assertEqual(len(process.service.node.call_tracker.calls), 1)
        self.alice.busy(False)
        # The queues and all channels are requested every minute.
        self.run_to(200)
        self.assert_status("completed")
        self.assertEqual(len(process.service.node.call_tracker.calls), 0)

    def check_not_called_while_waiting(self, name: str, *, cut: bool = False) -> None:
        self.bob.busy()
        self.begin(queue_settings(target_extension=BOB))
        self.add()
        self.run_to(5)
        call = self.call()
        call.channel.caller = name
        self.run_to(20)
        if cut:
            self.asterisk.cut_links()
        self.run_to(200)
        self.bob.busy(False)
        self.run_to(300)
        self.assertTrue(call.waiting)
        self.assertEqual(self.originates, [])

    def test_line_breaks_with_headers(self) -> None:
        self.check_called_back("Max\r\nX: 1\r\nX: 2")

    def test_line_break_at_the_end(self) -> None:
        self.check_called_back("Max Muster\r\n")

    def test_line_breaks_with_headers_of_one_who_still_waits(self) -> None:
        self.check_not_called_while_waiting("Max\r\nX: 1\r\nX: 2")

    def test_line_break_at_the_end_of_one_who_still_waits(self) -> None:
        self.check_not_called_while_waiting("Max Muster\r\n")

    def test_of_one_who_still_waits_when_the_link_was_lost(self) -> None:
        for name in ("Max\r\nX: 1\r\nX: 2", "Max Muster\r\n"):
            with self.subTest(name=name):
                self.check_not_called_while_waiting(name, cut=True)
            self.again()

    def test_channel_without_an_id_is_none(self) -> None:
        """The headers after the empty line in the number are lost."""
        process = self.begin(queue_settings(target_extension=BOB))
        channel = (
            ("Channel", "PJSIP/trunk-00000099"),
            ("CallerIDNum", f"{NUMBER}\r\n"),
            ("Uniqueid", "strange.1"),
            ("Linkedid", "strange.1"),
        )
        self.asterisk.tell("Newchannel", "call", *channel)
        self.run_to(5)
        self.assertEqual(process.service.node.call_tracker.busy(), set())
        self.assertEqual(len(process.service.node.call_tracker.calls), 0)
