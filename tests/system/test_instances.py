# SPDX-License-Identifier: MIT
"""Several services on one database: each Asterisk has one, and another takes over."""

from __future__ import annotations

from collections.abc import Callable

from fastagi.domain.attempt import Disposition
from fastagi.node.holdings import WELL_S
from fastagi.store import leases, locks
from tests.emulator.scenarios import NO_ANSWER, Answers
from tests.system.harness import (
    ALICE,
    ANSWERS,
    BOB,
    NUMBER,
    TALKS_10S,
    live_first,
)
from tests.system.two_instances import TwoInstances

#: Until another instance has taken over: the lease, a second, two looks at the
#: channels two seconds apart, and some moments between.
TAKEN_OVER_S = leases.NODE_LENGTH_S + 6
TALKS_A_MINUTE = Answers(after_s=3, hangs_up_after_s=60)


class InstancesTests(TwoInstances):
    def test_each_has_its_own_and_takes_that_of_one_that_was_killed(self) -> None:
        a, b = self.both()
        self.world.run(60)
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))

        a.kill()
        self.world.run(leases.NODE_LENGTH_S - 2.5)
        self.assertEqual(self.held(b), ["berlin"])
        self.world.run_until(lambda: self.held(b) == ["default", "berlin"], 6)

        # The first one is started again, and finds nothing that is free.
        again = self.launch("a", ["default"])
        self.world.run(WELL_S - 1)
        self.assertEqual(self.held(again), [])
        b.kill()
        self.world.run_until(lambda: len(self.held(again)) == 2, 12)

    def test_calls_that_another_one_is_counting_are_waited_for(self) -> None:
        """The other service holds the lock on the limits until its COMMIT."""
        self.both()
        answers = [False] * 3
        asked: list[float] = []

        def may_count(_conn: object) -> bool:
            asked.append(self.world.clock.seconds())
            return answers.pop() if answers else True

        self.patch(locks, "may_count_calls", may_count)
        self.add()
        self.world.run_until(self.rung, 10)
        self.assertEqual(self.rung(), 1)
        # Those that were refused tried again soon.
        self.assertLess(asked[3] - asked[0], 0.2)
        self.assertEqual(len(self.world.attempts()), 1)

    def test_killed_in_the_middle_of_a_callback_and_the_client_is_rung_once(
        self,
    ) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.berlin_support.remove(BOB)
        a, b = self.both()
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)

        a.kill()
        self.world.run(TAKEN_OVER_S)
        self.assertEqual(self.held(b), ["default", "berlin"])
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(90)

        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.assertEqual(len(self.world.attempts()), 1)

    @live_first
    def test_frozen_longer_than_the_lease_and_woken_rings_nobody_twice(self) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.berlin_support.remove(BOB)
        self.alice.busy()
        a, b = self.both()
        self.add()
        self.world.run(1)

        a.freeze()
        self.alice.busy(False)
        self.world.run(TAKEN_OVER_S)
        self.world.run_until(lambda: self.client.rung, 10)
        a.thaw()
        self.world.run(50)
        # The process goes on without that Asterisk.
        self.assertEqual(a.lease_lost, [])
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))
        self.world.run(40)

        # It has been well for a minute.
        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.flushLoggedErrors()
        b.kill()
        self.world.run_until(lambda: len(self.held(a)) == 2, 12)

    def test_asterisk_that_was_left_and_is_taken_again_places_calls(self) -> None:
        self.berlin_support.remove(BOB)
        a, b = self.both()
        a.freeze()
        self.world.run(TAKEN_OVER_S)
        a.thaw()
        self.world.run(5)
        self.assertEqual((self.held(a), self.held(b)), ([], ["default", "berlin"]))
        self.flushLoggedErrors()

        b.kill()
        self.world.run_until(lambda: len(self.held(a)) == 2, 12)
        self.world.processes.remove(b)
        self.add()

        self.world.run_until(lambda: self.alice.rung, 30)
        why = [node.why_not_here for node in a.service.nodes.all]
        self.assertEqual(why, [None, None])

    def test_frozen_with_a_callback_in_progress_and_woken_ends_nothing(self) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.berlin_support.remove(BOB)
        a, _b = self.both()
        self.add()
        self.world.run_until(lambda: self.client.rung, 10)

        a.freeze()
        self.world.run(TAKEN_OVER_S)
        a.thaw()
        self.world.run(5)
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(90)

        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)
        self.flushLoggedErrors()

    def read_next_call_late(self) -> Callable[[], None]:
        """Let Asterisk not read the next call; return what lets it read on."""
        ends = [w.server for w in self.asterisk.manager_wires if not w.server.closed]

        def stop_reading(what: str, data: bytes) -> None:
            if what == "AMI" and b"callback-member" in data:
                self.world.listeners.remove(stop_reading)
                for end in ends:
                    end.frozen = True

        def read_on() -> None:
            self.assertNotIn(stop_reading, self.world.listeners)
            for end in ends:
                end.frozen = False
            self.world.settle()

        self.world.listeners.append(stop_reading)
        return read_on

    @live_first
    def test_call_of_a_killed_service_that_asterisk_reads_late_rings_nobody(
        self,
    ) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        self.alice.busy()
        b = self.launch("b", ["berlin"])
        a = self.launch("a", ["default"])
        self.world.run(3)
        self.add()
        read_on = self.read_next_call_late()
        self.alice.busy(False)
        self.world.run_until(lambda: self.world.attempts(), 10)
        self.world.run(0.1)
        a.kill()
        # Asterisk has not noticed the end of the link either.
        self.world.run_until(lambda: "default" in self.held(b), 20)
        self.world.run_until(lambda: self.client.rung, 70)
        (_, second) = self.world.attempts()
        self.assertEqual(len(self.asterisk.callbacks), 1)

        read_on()
        self.world.run(60)

        self.assertEqual(len(self.asterisk.callbacks), 2)
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(len(self.alice.rung), 1)
        self.assertEqual(second.node, "default")
        self.assert_status("completed")

    @live_first
    def test_call_that_asterisk_reads_too_late_rings_nobody_and_is_placed_again(
        self,
    ) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        self.alice.busy()
        self.launch("a")
        self.world.run(3)
        self.add()
        read_on = self.read_next_call_late()
        self.alice.busy(False)
        self.world.run(17)
        self.assertEqual(len(self.world.attempts()), 1)
        self.assertEqual(self.alice.rung, [])

        read_on()
        self.world.run(90)

        first, _ = self.world.attempts()
        self.assertEqual(first.disposition, Disposition.WITHDRAWN)
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(len(self.alice.rung), 1)
        self.assert_status("completed")

    @live_first
    def test_no_call_is_placed_until_asterisk_knows_the_epoch(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        store_epoch = self.asterisk._store_epoch
        self.patch(self.asterisk, "_store_epoch", lambda _action: None)
        self.launch("a")
        self.world.run(3)
        self.add()
        self.world.run(60)
        self.assertEqual(self.world.attempts(), [])

        self.patch(self.asterisk, "_store_epoch", store_epoch)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.asterisk.astdb["callback-fence", "epoch"], "1")
        self.assertEqual(len(self.client.rung), 1)

    @live_first
    def test_older_dialplan_without_the_fence_places_calls(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        for pbx in (self.asterisk, self.berlin):
            pbx.dialplan_has.remove("DIALPLAN_EXISTS(callback-fence,s,1)")
        self.launch("a")
        self.world.run(3)
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)

    @live_first
    def test_clock_of_asterisk_is_set_and_calls_go_on(self) -> None:
        self.client.always(TALKS_10S)
        self.berlin_support.remove(BOB)
        self.launch("a")
        self.world.run(3)
        self.world.set_wall_clock(3600)
        self.add()
        self.world.run(120)
        self.assert_status("completed")
        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(len(self.world.attempts()), 2)

    @live_first
    def test_database_is_away_and_each_service_keeps_its_asterisk(self) -> None:
        numbers = (NUMBER, "0305556677")
        phones = [
            pbx.client(number).always(TALKS_A_MINUTE)
            for pbx in (self.asterisk, self.berlin)
            for number in numbers
        ]
        a, b = self.both()
        for away_s in (3, 10, 60):
            for number in numbers:
                self.add(number)
            self.world.run(8)
            for one in (a, b):
                one.database.unavailable = "away"
            self.world.run(away_s)
            for one in (a, b):
                one.database.unavailable = ""
            self.world.run(150)
            self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
            self.assertEqual(a.lease_lost + b.lease_lost, [])
        for task in self.world.tasks():
            self.assertEqual(task.status.value, "completed")
        self.assertEqual(sum(len(phone.rung) for phone in phones), 6)
        self.flushLoggedErrors()

    def test_service_that_is_gone_when_the_database_is_back_is_followed(self) -> None:
        a, b = self.both()
        b.database.unavailable = "away"
        a.kill()
        self.world.run(20)
        b.database.unavailable = ""
        self.world.run(3)
        self.assertEqual(self.held(b), ["berlin"])
        self.world.run_until(lambda: len(self.held(b)) == 2, 8)

    def test_stopped_in_peace_and_followed_within_a_second(self) -> None:
        a, b = self.both()
        a.stop()
        self.world.run_until(lambda: a.stopped, 30)
        stopped_at = self.world.t

        self.world.run_until(lambda: len(self.held(b)) == 2, 5)

        self.assertLess(self.world.t - stopped_at, 1.0)

    @live_first
    def test_lease_that_can_not_be_renewed_places_nothing_and_follows_on(self) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.berlin_support.remove(BOB)
        a = self.launch("a")
        self.world.run(3)
        self.add()
        self.world.run_until(lambda: self.client.rung, 70)
        a.database.broken["renew lease"] = "away"
        self.add("0309999999")
        other = self.asterisk.client("0309999999").always(TALKS_10S)
        self.asterisk.phone("PJSIP/103").always(ANSWERS)
        self.world.run(leases.NODE_LENGTH_S - 1)
        self.support.add("PJSIP/103")
        self.world.run(30)
        self.assertEqual(other.rung, [])

        self.world.run(60)
        self.assertEqual(self.world.tasks()[0].status.value, "completed")
        self.assertEqual(other.rung, [])
        del a.database.broken["renew lease"]
        self.world.run(30)
        self.assertEqual(len(other.rung), 1)
        self.flushLoggedErrors()

    def test_request_is_taken_by_one_that_does_not_hold_the_asterisk(self) -> None:
        self.support.remove(ALICE)
        a, b = self.both()
        # The last one that was started has the FastAGI port of both dialplans.
        call = self.asterisk.call("support", NUMBER)
        self.world.run(5)
        call.press()
        self.world.run(60)

        self.assertEqual((self.held(a), self.held(b)), (["default"], ["berlin"]))
        self.assert_status("completed")
        self.assertEqual(len(self.berlin_client.rung), 1)
        self.assertEqual(self.rung(), 1)

    # -- one list ---------------------------------------------------------------

    @live_first
    def test_client_in_a_call_on_an_asterisk_of_another_service_is_not_called(
        self,
    ) -> None:
        self.support.remove(ALICE)
        a, b = self.both()
        call = self.asterisk.call("support", NUMBER)
        self.world.run(2)
        self.add()
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])
        self.assertEqual(self.rung(), 0)
        # Who has just taken over does not forget it.
        a.kill()
        self.world.run_until(lambda: len(self.held(b)) == 2, 12)
        self.world.run(30)
        self.assertEqual(self.world.attempts(), [])

        call.hang_up()
        self.world.run_until(lambda: self.rung(), 10)
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)

    @live_first
    def test_end_of_a_call_elsewhere_is_seen_in_a_second(self) -> None:
        self.support.remove(ALICE)
        self.both()
        call = self.asterisk.call("support", NUMBER)
        self.world.run(2)
        self.add()
        self.world.run(30)

        call.hang_up()
        self.world.run_until(lambda: self.berlin_client.rung, 4)
        self.assertFalse(self.client.rung)

    def test_client_who_calls_in_elsewhere_is_not_rung_any_more(self) -> None:
        self.support.remove(ALICE)
        self.bob.always(NO_ANSWER)
        self.both()
        self.add()
        self.world.run_until(lambda: self.bob.rung, 10)

        self.asterisk.call("support", NUMBER, talks_s=30)
        self.world.run(2)

        (attempt,) = self.world.attempts()
        self.assertEqual(attempt.disposition, Disposition.WITHDRAWN)
        self.assertEqual(self.rung(), 0)

    @live_first
    def test_task_cancelled_at_one_service_is_withdrawn_by_the_other(self) -> None:
        self.bob.always(NO_ANSWER)
        a, _b = self.both()
        self.support.remove(ALICE)
        self.add()
        self.world.run_until(lambda: self.bob.rung, 10)
        self.world.processes.append(self.world.processes.pop(0))
        self.assertIs(self.world.processes[-1], a)

        self.world.ask("tasks.cancel", id=1)
        self.world.run(2)

        self.assert_status("cancelled")
        (attempt,) = self.world.attempts()
        self.assertEqual(attempt.disposition, Disposition.WITHDRAWN)

    def test_task_that_one_service_adds_is_called_by_the_other_in_a_second(
        self,
    ) -> None:
        self.support.remove(ALICE)
        a, _b = self.both()
        self.world.processes.append(self.world.processes.pop(0))
        self.assertIs(self.world.processes[-1], a)
        self.add()
        self.world.run(1.5)
        self.assertEqual(len(self.bob.rung), 1)
