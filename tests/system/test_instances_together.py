# SPDX-License-Identifier: MIT
"""What several services on one database leave to each other, and know of each other."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from fastagi.domain.attempt import Disposition
from fastagi.speech.prompts import Phrase
from fastagi.store import leases, together, told
from tests.emulator.calls import AgiRun, LiveCall
from tests.emulator.scenarios import NO_ANSWER, Answers
from tests.harness.world import ServiceProcess
from tests.system import test_nodes_neighbours as neighbours
from tests.system.harness import ALICE, ANSWERS, BOB, NUMBER, TALKS_10S, live_first
from tests.system.test_offers import NO_REASON
from tests.system.two_instances import TwoInstances

TALKS_A_MINUTE = Answers(after_s=3, hangs_up_after_s=60)


class TogetherTests(TwoInstances):
    def test_client_who_calls_elsewhere_during_the_change_is_not_rung(self) -> None:
        self.alice.busy()
        self.berlin_support.remove(BOB)
        a, b = self.both()
        self.add()
        self.world.run_until(lambda: self.world.attempts(), 5)
        a.kill()
        self.world.run(1)
        # The task waits in line on default, where nobody follows it now.
        call = self.berlin.call("support", NUMBER)
        self.world.run_until(lambda: len(self.held(b)) == 2, 20)
        self.world.run(10)
        (attempt,) = self.world.attempts()
        self.assertEqual(attempt.disposition, Disposition.WITHDRAWN)

        self.alice.busy(False)
        self.world.run(30)
        self.assertEqual(self.rung(), 0)
        call.hang_up()
        self.world.run(60)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)

    @live_first
    def test_who_is_in_a_call_is_told_until_the_service_has_stopped(self) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.bob.busy()
        a, _b = self.both(stop_timeout_s=120)
        self.add()
        self.world.run_until(lambda: self.client.rung, 20)
        a.stop()
        self.world.run(2)
        other = "0305556677"
        berlin_phone = self.berlin.client(other).always(TALKS_10S)
        call = self.asterisk.call("support", other)
        self.world.run(1)

        self.add(other)
        self.bob.busy(False)
        self.world.run(15)
        self.assertFalse(call.gone)
        self.assertFalse(berlin_phone.rung)

        call.hang_up()
        self.world.run_until(lambda: berlin_phone.rung, 10)
        self.assertFalse(a.stopped)
        self.world.run_until(lambda: a.stopped, 120)

    @live_first
    def test_task_cancelled_elsewhere_is_withdrawn_while_the_service_stops(
        self,
    ) -> None:
        self.alice.always(NO_ANSWER)
        self.berlin_support.remove(BOB)
        a, _b = self.both(stop_timeout_s=120)
        self.add()
        self.world.run_until(lambda: self.alice.rung, 10)
        a.stop()
        self.world.run(1)
        self.world.ask("tasks.cancel", id=1)
        self.world.run(2)
        self.assert_status("cancelled")
        self.assertEqual(self.rung(), 0)

    @live_first
    def test_queue_log_is_written_once_beside_a_service_with_other_nodes(self) -> None:
        self.support.remove(ALICE)
        a = self.launch("a", ["default"], nodes=["default"])
        b = self.launch("b", ["berlin"])
        self.world.run(3)
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        written = list(self.berlin.queue_log)
        self.assertTrue(written)
        a.kill()
        again = self.launch("a", nodes=["default"])
        self.world.run(10)
        self.assertEqual(self.held(again), ["default"])
        self.ask_next(b)
        self.add("0305556677")
        self.world.run(60)
        self.assertEqual(self.berlin.queue_log[: len(written)], written)
        self.assertEqual(
            len([line for line in self.berlin.queue_log if line in written]),
            len(written),
        )

    def nodes_of(self, task_id: int = 1) -> list[str]:
        return [attempt.node for attempt in self.world.attempts(task_id)]

    def test_task_is_called_at_once_where_an_agent_is_free(self) -> None:
        self.alice.busy()
        a, b = self.both()
        for service, number in ((a, NUMBER), (b, "0305556677")):
            self.berlin.client(number).always(TALKS_10S)
            self.ask_next(service)
            self.add(number)
            self.world.run_until(lambda number=number: self.berlin.client(number).rung)
            self.world.run(20)
        for task_id in (1, 2):
            self.assert_status("completed", task_id=task_id)
            self.assertEqual(self.nodes_of(task_id)[-1], "berlin")
            self.assertLessEqual(len(self.nodes_of(task_id)), 2)
        self.assertLess(self.rung_at(self.berlin_client)[0], 10)

    def test_task_in_line_is_called_where_an_agent_becomes_free(self) -> None:
        self.alice.busy()
        self.bob.busy()
        a, _b = self.both()
        self.ask_next(a)
        self.add()
        self.world.run(20)
        self.assertEqual(self.nodes_of(), ["default"])

        self.bob.busy(False)
        self.world.run(8)
        self.assertEqual(self.nodes_of(), ["default", "berlin"])
        self.assertEqual(len(self.berlin_client.rung), 1)
        self.world.run(30)
        self.assert_status("completed")

    def test_services_do_not_leave_a_task_to_each_other_for_ever(self) -> None:
        self.alice.busy()
        cannot = Answers(after_s=2, key="3")
        self.bob.always(cannot)
        a, _b = self.both(agent_keys={"enabled": True})
        self.ask_next(a)
        self.add()
        self.world.run(300)
        # Bob refused it, so it waits for alice.
        self.assertEqual(len(self.bob.rung), 1)
        self.assertLessEqual(len(self.nodes_of()), 4)
        self.assertEqual(self.nodes_of()[-1], "default")

        self.alice.always(Answers(after_s=2, key="1"))
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")

    @live_first
    def test_agent_who_talked_to_the_client_is_asked_first_elsewhere(self) -> None:
        a, _b = self.both(preferred_agent={"enabled": True})
        self.berlin.call("support", NUMBER, talks_s=10)
        self.world.run(30)
        self.berlin.call("support", "0304445566", talks_s=30)
        self.world.run(5)
        self.ask_next(a)
        self.add()
        self.world.run(60)
        # Alice was free all the time.
        self.assertEqual(self.nodes_of(), ["berlin"])
        self.assert_status("completed")

    def test_task_in_line_elsewhere_is_moved(self) -> None:
        self.alice.busy()
        self.support.add("PJSIP/103")
        self.asterisk.phone("PJSIP/103").busy()
        self.berlin_support.remove(BOB)
        self.both()
        others = ["0305556601", "0305556602"]
        for number in others:
            self.asterisk.client(number).always(TALKS_10S)
            self.add(number)
            self.world.run(3)
        self.assertEqual([self.nodes_of(i) for i in (1, 2)], [["default"]] * 2)

        answer = self.world.ask("tasks.move", id=2, front=True)
        self.assertTrue(answer["ok"], answer)
        self.world.run(3)
        self.alice.busy(False)
        self.world.run_until(lambda: self.asterisk.client(others[1]).rung, 20)
        self.assertFalse(self.asterisk.client(others[0]).rung)
        self.world.run(60)
        self.assert_status("completed", task_id=1)
        self.assert_status("completed", task_id=2)

    def test_task_moved_to_the_front_elsewhere_gets_the_next_agent(self) -> None:
        self.alice.busy()
        self.berlin_support.remove(BOB)
        self.both()
        numbers = ["0305556601", "0305556602"]
        phones = [self.asterisk.client(one).always(TALKS_10S) for one in numbers]
        for number in numbers:
            self.add(number)
            self.world.run(3)
        # There is one agent, so one task waits in line.
        self.assertEqual([self.nodes_of(i) for i in (1, 2)], [["default"], []])

        answer = self.world.ask("tasks.move", id=2, front=True)
        self.assertTrue(answer["ok"], answer)
        self.world.run(3)
        self.alice.busy(False)
        self.world.run_until(lambda: phones[1].rung, 20)
        self.assertFalse(phones[0].rung)

    def test_task_that_is_being_called_elsewhere_is_not_moved(self) -> None:
        self.berlin_support.remove(BOB)
        self.client.always(TALKS_A_MINUTE)
        self.both()
        self.add()
        self.world.run_until(lambda: self.client.rung, 20)
        self.world.run(1)
        answer = self.world.ask("tasks.move", id=1, front=True)
        self.assertEqual(answer["code"], "illegal-move")

    def test_task_is_assigned_to_an_agent_of_another_service(self) -> None:
        self.alice.busy()
        dora = "PJSIP/103"
        self.support.add(dora)
        phone = self.asterisk.phone(dora).always(ANSWERS)
        phone.busy()
        self.berlin_support.remove(BOB)
        self.both()
        self.add()
        self.world.run(5)

        answer = self.world.ask("tasks.assign", id=1, agent="103")
        self.assertTrue(answer["ok"], answer)
        self.assertEqual(self.world.task().assigned_to, dora)
        self.world.run(3)
        self.alice.busy(False)
        self.world.run(20)
        self.assertEqual(self.rung(), 0)
        phone.busy(False)
        self.world.run(30)
        self.assert_status("completed")
        self.assertEqual(len(phone.rung), 1)
        answer = self.world.ask("tasks.assign", id=1, agent="nobody")
        self.assertEqual(answer["code"], "illegal-move")

    def test_caller_who_asks_another_service_keeps_the_place(self) -> None:
        self.support.remove(ALICE)
        self.berlin_support.remove(BOB)
        self.both()
        self.asterisk.call("support", "0305556677")
        call = self.asterisk.call("support", NUMBER)
        joined_at = self.world.t
        self.world.run(100)
        # The last one that was started has the FastAGI port of both dialplans.
        call.press()
        self.world.run(5)
        self.assertEqual(self.world.since(self.world.task().joined_at), joined_at)

        # Without an answer of the database in time the request is stored all the same.
        late = self.asterisk.call("support", "0309998877")
        self.world.run(50)
        b = self.world.processes[-1]
        b.database.broken["joined at"] = "away"
        late.press()
        self.world.run(5)
        self.assertEqual(late.heard, ["callback-queue/accepted"])
        self.flushLoggedErrors()

    def offered_then_asks(
        self, process: ServiceProcess, key: str, **queue: Any
    ) -> LiveCall:
        """Return a caller on ``default`` whose key another service is told of."""
        call = self.asterisk.call("support", NUMBER, answers_offer=key, **queue)
        self.world.run_until(lambda: call.offered_at, 60)
        self.asterisk.doors = [process.agi]
        return call

    def both_offer(self, **queue: Any) -> tuple[ServiceProcess, ServiceProcess]:
        self.alice.busy()
        offers = {**NO_REASON, "after": "30s"}
        self.asterisk.prompt_s = 5
        a, b = self.both(offers=offers, **queue)
        self.asterisk.doors = [b.agi, a.agi]
        return a, b

    def outcomes(self) -> list[str]:
        path = self.world.directory / "callback.db"
        with closing(sqlite3.connect(path)) as database:
            return [one for (one,) in database.execute("SELECT outcome FROM offer")]

    def test_offer_is_accepted_at_another_service(self) -> None:
        _a, b = self.both_offer()
        call = self.offered_then_asks(b, "1")
        self.world.run_until(lambda: call.gone, 60)
        self.world.run(1)
        self.assertEqual(call.heard[-1], "callback-queue/accepted")
        self.assertEqual(self.outcomes(), ["accepted"])

    def test_offer_is_accepted_elsewhere_though_the_caller_was_seen_to_leave(
        self,
    ) -> None:
        _a, b = self.both_offer()
        call = self.offered_then_asks(b, "1")
        b.database.broken["end offer of call"] = "away"
        self.world.run_until(lambda: call.gone, 60)
        self.world.run(1)
        self.assertEqual(self.outcomes(), ["hung up"])
        b.database.broken.clear()
        self.world.run(10)
        self.assertEqual(self.outcomes(), ["accepted"])
        self.flushLoggedErrors()

    def test_offer_is_accepted_after_its_service_has_died(self) -> None:
        a, b = self.both_offer()
        self.asterisk.prompt_s = 30
        call = self.offered_then_asks(b, "1")
        a.kill()
        self.world.run_until(lambda: len(self.held(b)) == 2, 20)
        self.assertTrue(call.is_asked)
        self.world.run_until(lambda: call.gone, 60)
        self.world.run(1)
        self.assertEqual(self.outcomes(), ["accepted"])

    def assert_not_accepted(self, key: str, outcome: str) -> None:
        _a, b = self.both_offer()
        call = self.offered_then_asks(b, key)
        self.world.run_until(lambda: call.waiting, 60)
        # A key that the caller presses later is another matter.
        call.press()
        self.world.run_until(lambda: call.gone, 60)
        self.world.run(1)
        self.assertEqual(self.outcomes(), [outcome])

    def test_offer_is_declined_at_another_service(self) -> None:
        self.assert_not_accepted("5", "declined")

    def test_offer_is_not_answered_at_another_service(self) -> None:
        self.assert_not_accepted("", "timed out")

    def test_caller_who_goes_back_from_the_questions_elsewhere_declines(self) -> None:
        _a, b = self.both_offer(choices={"confirm_number": True})
        call = self.offered_then_asks(b, "1", answers=((Phrase.BACK_PRESS, "3"),))
        self.world.run_until(lambda: call.waiting, 200)
        self.world.run(1)
        self.assertEqual(self.outcomes(), ["declined"])

    def test_only_the_holder_answers_what_it_alone_knows(self) -> None:
        self.both()
        agi = self.world.processes[-1].agi
        for pbx, answers in ((self.berlin, True), (self.asterisk, False)):
            for script in ("position", "place", "offer", "offered"):
                run = AgiRun(
                    pbx,
                    script,
                    ("support", "1", "1700000000.1", "0"),
                    {"agi_uniqueid": "1700000000.1", "agi_callerid": NUMBER},
                    {},
                    limit_s=1.0,
                    door=agi,
                )
                run.start(lambda: None)
                self.world.run(0.5)
                told = run.channel.variables.get("CALLBACK_STATUS", "")
                self.assertEqual(bool(told), answers, script)
        self.assertIsNotNone(agi.factory)

    @live_first
    def test_attempt_on_an_asterisk_of_another_service_is_left_alone(self) -> None:
        self.berlin_client.always(Answers(after_s=3, hangs_up_after_s=900))
        self.launch("b", nodes=["berlin"])
        self.world.run(3)
        self.add()
        self.world.run_until(lambda: self.berlin_client.rung, 20)
        self.support.remove(ALICE)
        self.launch("a", nodes=["default"])
        self.world.run(600)
        self.assertEqual(self.world.task().status.value, "calling")
        # Nor at once, as it is cancelled.
        self.world.ask("tasks.cancel", id=1)
        self.world.run(60)
        self.assertEqual(self.world.task().status.value, "calling")
        self.world.run(300)
        self.assert_status("completed")
        self.assertEqual(self.rung(), 1)

    @live_first
    def test_attempt_is_given_up_when_the_only_service_of_its_asterisk_is_gone(
        self,
    ) -> None:
        self.support.remove(ALICE)
        self.berlin_client.always(TALKS_A_MINUTE)
        a = self.launch("a", nodes=["default"])
        b = self.launch("b", nodes=["berlin"])
        self.world.run(400)
        self.add()
        self.world.run_until(lambda: self.berlin_client.rung, 20)
        b.kill()
        self.ask_next(a)
        self.support.add(ALICE)
        # It may be started again.
        self.world.run(290)
        self.assertEqual(self.world.task().status.value, "calling")

        self.world.run(200)
        self.assert_status("completed")
        first, second = self.world.attempts()
        self.assertEqual(first.disposition, Disposition.UNKNOWN)
        self.assertEqual(second.node, "default")


class TrunkBetweenServicesTests(neighbours.TrunkBetweenNodes):
    """As there, but each Asterisk is held by a service of its own."""

    def test_callback_through_the_asterisk_of_another_service(self) -> None:
        self.world.leases_run_out = True
        for module in (leases, together, told):
            self.patch(module, "now", lambda _conn: self.world.clock.seconds())
        self.client.always(Answers(after_s=8, hangs_up_after_s=20))
        for name, prefers in (("a", "default"), ("b", "berlin")):
            self.world.launch(TwoInstances.settings_of(name, [prefers]), host=name)
            self.world.settle()
        self.world.run(3)
        self.world.watchers.append(self.go_through_berlin)
        self.add()
        self.world.run(120)
        self.assertEqual(len(self.told), 1)
        self.assertEqual(self.reasons(), ["talked"])
        self.assert_status("completed")
