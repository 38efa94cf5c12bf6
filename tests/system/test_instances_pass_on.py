# SPDX-License-Identifier: MIT
"""An Asterisk goes back to the service that is to take it first."""

from __future__ import annotations

from fastagi.node.holdings import QUIET_S, WELL_S
from fastagi.speech.prompts import Phrase
from fastagi.store import leases
from tests.emulator.scenarios import Answers
from tests.emulator.wires import Wire
from tests.harness.world import ServiceProcess
from tests.system.harness import ANSWERS, BOB, NUMBER, TALKS_10S, live_first
from tests.system.two_instances import TwoInstances

TALKS_A_MINUTE = Answers(after_s=3, hangs_up_after_s=60)
#: From the end of :data:`WELL_S` until the holder knows the wish: it renews its lease,
#: and looks.
ASKED_S = leases.NODE_RENEW_S + 2


class PassOnTests(TwoInstances):
    def b_has_both(self) -> tuple[ServiceProcess, ServiceProcess]:
        """Let a end and b take over; return a, started again, and b."""
        a, b = self.both()
        a.kill()
        self.world.run_until(lambda: len(self.held(b)) == 2, 12)
        # What it does after a connect.
        self.world.run(5)
        return self.launch("a", ["default"]), b

    def assert_each_has_its_own(self, a: ServiceProcess, b: ServiceProcess) -> None:
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))

    def test_goes_back_after_a_minute_in_less_than_a_second(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.world.run(WELL_S - 1)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))

        self.world.run_until(lambda: self.held(b) == ["berlin"], ASKED_S + 1)
        left_at = self.world.t
        self.world.run_until(lambda: self.held(a) == ["default"], 2)
        self.assertLess(self.world.t - left_at, 1.0)

        # It stays there, and is called from there.
        self.add()
        self.world.run(100)
        self.assert_each_has_its_own(a, b)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)
        epoch = self.asterisk.astdb["callback-fence", "epoch"]
        self.assertEqual(epoch, str(self.epoch(a)))

    @staticmethod
    def epoch(process: ServiceProcess) -> int:
        return process.service.nodes.first.fence._owner.lease.held.epoch

    def test_talk_goes_on_and_is_followed_by_the_new_holder(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(10)
        self.assertEqual(len(a.service.nodes.first.dialer.running), 1)
        self.assertEqual(b.service.nodes.first.dialer.running, {})

        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.world.attempts()), 1)

    def test_callback_that_begins_is_waited_for(self) -> None:
        self.client.always(Answers(after_s=15, hangs_up_after_s=30))
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.world.run(WELL_S - 2)
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.world.run(12)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))

        # The two talk.
        self.world.run_until(lambda: self.held(a) == ["default"], 6)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.alice.rung), 1)

    def test_callback_that_takes_long_is_not_waited_for_longer(self) -> None:
        self.client.always(Answers(after_s=50, hangs_up_after_s=30))
        self.berlin_support.remove(BOB)
        a, b = self.launch_with_patience()
        self.world.run(WELL_S - 2)
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        self.world.run(QUIET_S - 5)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))

        self.world.run_until(lambda: self.held(a) == ["default"], 15)
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(90)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.alice.rung), 1)

    def launch_with_patience(self) -> tuple[ServiceProcess, ServiceProcess]:
        b = self.launch("b", ["berlin"], caller_ring_time="60s")
        self.world.run_until(lambda: len(self.held(b)) == 2, 12)
        self.world.run(5)
        return self.launch("a", ["default"], caller_ring_time="60s"), b

    @live_first
    def test_client_in_a_call_there_is_not_called_meanwhile(self) -> None:
        self.support.remove(*self.members)
        a, _b = self.b_has_both()
        call = self.asterisk.call("support", NUMBER, queue_timeout_s=None)
        self.world.run(2)
        self.add()
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])

        call.hang_up()
        self.world.run_until(lambda: self.berlin_client.rung, 10)
        self.assertEqual(self.rung(), 1)

    def test_one_that_is_started_again_and_again_gets_nothing(self) -> None:
        a, b = self.b_has_both()
        for _ in range(4):
            self.world.run(WELL_S - 5)
            a.kill()
            self.world.run(5)
            a = self.launch("a", ["default"])
            self.assertEqual(self.held(b), ["default", "berlin"])
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)

    def test_service_that_names_it_too_keeps_it(self) -> None:
        b = self.launch("b", ["default", "berlin"])
        self.world.run(3)
        a = self.launch("a", ["default"])
        self.world.run(3 * WELL_S)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))

    def test_service_that_names_none_gives_and_does_not_ask(self) -> None:
        b = self.launch("b")
        self.world.run(3)
        a = self.launch("a", ["default"])
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)
        self.world.run(3 * WELL_S)
        self.assert_each_has_its_own(a, b)

    def test_service_that_can_not_log_in_there_does_not_get_it(self) -> None:
        a, b = self.b_has_both()
        accept = a.ami._accept
        a.ami._accept = lambda: None
        self.world.run(2 * WELL_S)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))
        self.assert_warned("stays with another instance, as this one can not log in")

        a.ami._accept = accept
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)

    def test_service_that_ends_after_it_has_asked_leaves_the_holder_at_work(
        self,
    ) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.world.run(WELL_S - 1)
        self.world.run_until(
            lambda: "after COMMIT of ask for a node" in a.points, ASKED_S
        )
        a.kill()
        self.world.run(leases.LENGTH_S + QUIET_S)
        self.assertEqual(self.held(b), ["default", "berlin"])
        self.ask_next(b)
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)

    def test_holder_that_can_not_pass_it_on_goes_on_there(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        b.database.broken["pass on a node"] = "away"
        self.world.run(WELL_S + 10)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assert_warned("the Asterisk default is not passed on: ")

        del b.database.broken["pass on a node"]
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)

    def test_commit_whose_answer_is_lost_passes_it_on(self) -> None:
        a, b = self.b_has_both()
        b.database.unheard.add("pass on a node")
        self.world.run_until(lambda: self.held(a) == ["default"], WELL_S + 10)
        self.world.run(30)
        self.assert_each_has_its_own(a, b)

    def test_holder_that_is_killed_while_it_passes_it_on_rings_nobody_twice(
        self,
    ) -> None:
        for when in ("before", "after"):
            with self.subTest(when=when):
                self.client.always(Answers(after_s=3, hangs_up_after_s=100))
                self.berlin_support.remove(BOB)
                a, b = self.b_has_both()
                self.add()
                b._kill_at = f"{when} COMMIT of pass on a node".__eq__
                self.world.run(WELL_S + ASKED_S + 20)
                self.assertTrue(b.dead)
                self.assertEqual(self.held(a), ["default", "berlin"])
                self.world.run(100)
                self.assert_status("completed")
                self.assertEqual(self.rung(), 1)
                self.assertEqual(len(self.world.attempts()), 1)
                self.again()

    def test_next_holder_that_is_killed_at_once_leaves_all_to_the_former_one(
        self,
    ) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=100))
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.add()
        self.world.run_until(lambda: self.held(b) == ["berlin"], WELL_S + ASKED_S)
        a.kill()
        self.world.run_until(lambda: len(self.held(b)) == 2, 12)
        self.world.run(100)
        self.ask_next(b)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.world.attempts()), 1)

    def test_service_that_stops_while_it_tries_to_log_in_stops_at_once(self) -> None:
        a, _b = self.b_has_both()
        on_wire = a.ami._on_wire

        def freeze(wire: Wire) -> None:
            on_wire(wire)
            wire.server.frozen = True

        a.ami._on_wire = freeze
        self.world.run_until(lambda: a.ami.wires, WELL_S + 1)
        self.world.run(1)
        a.stop()
        self.world.run(2)
        self.assertEqual(a.stopped, [None])

    def test_holder_that_stops_meanwhile_leaves_all_to_the_other(self) -> None:
        self.client.always(Answers(after_s=15, hangs_up_after_s=30))
        self.berlin_support.remove(BOB)
        a, b = self.b_has_both()
        self.world.run(WELL_S - 2)
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)
        b.stop()
        self.world.run_until(lambda: len(self.held(a)) == 2, 30)
        self.world.run(60)
        self.assertEqual(b.stopped, [None])
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)

    def test_caller_who_is_being_asked_at_that_moment_is_promised_a_callback(
        self,
    ) -> None:
        self.support.remove(*self.members)
        b = self.launch("b", choices={"confirm_number": True})
        self.world.run(3)
        a = self.launch("a", ["default"], choices={"confirm_number": True})
        for pbx in (self.asterisk, self.berlin):
            pbx.agi = b.agi
        self.world.run(WELL_S - 1)
        call = self.asterisk.call(
            "support", NUMBER, answers=[(Phrase.CONFIRM_PRESS, "1")], talks_s=None
        )
        b.database.takes_s = lambda name: 0.5 if "asks for" in name else 0.0
        self.world.run_until(lambda: self.asked(b), ASKED_S)
        call.press()
        self.world.run_until(lambda: self.held(a) == ["default"], 2)
        self.assertEqual(self.world.tasks(), [])
        self.world.run(30)
        self.assertEqual(call.heard, ["callback-queue/accepted"])
        self.world.run(60)
        self.assert_status("completed")

    @staticmethod
    def asked(process: ServiceProcess) -> bool:
        """Whether a holder knows that another one asks for the first Asterisk."""
        owner = process.service.nodes.first.fence._owner
        return bool(owner.lease.held.wanted_by)

    def test_request_of_that_moment_is_taken(self) -> None:
        self.bob.always(ANSWERS)
        a, b = self.b_has_both()
        # Its FastAGI port is that of both dialplans.
        for pbx in (self.asterisk, self.berlin):
            pbx.agi = b.agi
        self.support.remove(*self.members)
        self.world.run(WELL_S - 1)
        call = self.asterisk.call("support", NUMBER)
        self.world.run_until(lambda: self.held(b) == ["berlin"], ASKED_S + 1)
        call.press()
        self.world.run(60)
        self.assertIn("callback-queue/accepted", call.heard)
        self.assert_each_has_its_own(a, b)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
