# SPDX-License-Identifier: MIT
"""The expected wait of callers and clients, from what the service has measured."""

from __future__ import annotations

from calendar import day_name
from typing import Any

from fastagi.config.queue_layers import QueueSettings
from fastagi.domain.turns import Fairness
from fastagi.node import expected_waits
from fastagi.node.expected_waits import ExpectedWaits
from tests.emulator.calls import LiveCall
from tests.emulator.scenarios import Answers, Refuses
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    queue_settings,
)

#: In addition to the five seconds that a phone is assumed to ring.
HANDLING_S = 100.0
RING_S = 5.0


class ExpectedWaitTestCase(ServiceTestCase):
    """One queue with a known handling time."""

    def begin_with(self, **values: Any) -> None:
        self.begin(self.queue(**values))
        self.world.settle()

    def queue(self, **values: Any) -> QueueSettings:
        usual = {
            "handling_time": f"{HANDLING_S:.0f}s",
            "fairness": Fairness.LIVE_FIRST,
        }
        return queue_settings(**{**usual, **values})

    @property
    def waits(self) -> ExpectedWaits:
        """The expected waits of the running service."""
        return self.world.processes[-1].service.node.expected_waits

    def expected_s(self, position: int, queue: str = "support") -> float | None:
        return self.waits.expected_wait_s(queue, position)

    def live(self, talks_s: float | None = 30.0, number: str = "") -> LiveCall:
        """Let somebody call in; no two join at the same time."""
        self._number = getattr(self, "_number", 0) + 1
        call = self.asterisk.call(
            "support", number or f"03099{self._number:05}", talks_s=talks_s
        )
        self.world.run(0.5)
        return call

    def serve(self, count: int, talks_s: float) -> None:
        """Let callers call in one after the other, each after the former has left."""
        for _ in range(count):
            call = self.live(talks_s)
            self.world.run_until(lambda call=call: call.gone, talks_s + 120)


class AgentsTests(ExpectedWaitTestCase):
    members = (ALICE, BOB)

    def test_it_is_not_known_before_the_link_is_up(self) -> None:
        self.asterisk.freeze()
        self.begin(self.queue())
        self.assertIsNone(self.expected_s(1))

    def test_it_is_not_known_of_a_queue_that_does_not_exist(self) -> None:
        self.begin_with()
        self.assertIsNone(self.expected_s(1, "nowhere"))

    def test_it_is_the_ringing_while_an_agent_is_free(self) -> None:
        self.begin_with()
        self.assertEqual(self.expected_s(2), RING_S)
        self.assertEqual(self.waits.next_caller_s("support"), RING_S)

    def test_a_paused_agent_and_one_who_is_logged_out_take_no_calls(self) -> None:
        self.begin_with()
        self.alice.busy()
        self.world.settle()
        wait_s = self.expected_s(2)
        assert wait_s is not None
        self.assertAlmostEqual(wait_s, RING_S + (HANDLING_S + RING_S) / 2)
        self.support.pause(BOB)
        self.world.settle()
        wait_s = self.expected_s(1)
        assert wait_s is not None
        self.assertAlmostEqual(wait_s, RING_S + HANDLING_S + RING_S)
        self.support.remove(ALICE)
        self.world.settle()
        self.assertIsNone(self.expected_s(1))
        self.support.pause(BOB, False)
        self.world.settle()
        self.assertEqual(self.expected_s(1), RING_S)

    def test_it_grows_with_the_line_and_shrinks_with_it(self) -> None:
        self.begin_with()
        calls = [self.live(None) for _ in range(4)]
        self.world.run(3)
        first = self.waits.next_caller_s("support")
        self.live(None)
        longer = self.waits.next_caller_s("support")
        assert first is not None and longer is not None
        self.assertGreater(longer, first)
        calls[-1].hang_up()
        self.world.settle()
        shorter = self.waits.next_caller_s("support")
        assert shorter is not None
        self.assertLess(shorter, longer)

    def test_the_end_of_a_wrap_up_time_is_foreseen(self) -> None:
        self.support.wrapuptime_s = 20
        self.begin_with(wrapuptime="20s")
        self.support.pause(BOB)
        self.serve(1, 10)
        wait_s = self.expected_s(1)
        assert wait_s is not None
        self.assertLess(abs(wait_s - 20 - self.ring_s), 1.5)

    @property
    def ring_s(self) -> float:
        """The expected ring time: one measured call with 2 s, and five assumed ones."""
        return (RING_S * 5 + 2) / 6

    def test_an_agent_of_two_busy_queues_is_shared(self) -> None:
        self.asterisk.add_queue("sales", [ALICE])
        self.begin_with()
        self.alice.busy()
        self.support.pause(BOB)
        self.world.settle()
        alone = self.expected_s(1)
        self.asterisk.call("sales", "03077")
        self.world.run(1)
        shared = self.expected_s(1)
        assert alone is not None and shared is not None
        self.assertAlmostEqual(shared - RING_S, 2 * (alone - RING_S))


class MeasuredTests(ExpectedWaitTestCase):
    def known(self) -> Any:
        """The measurements in the queue."""
        return self.waits._measured["support"]

    def test_talk_and_wrap_up_time_are_measured(self) -> None:
        self.support.wrapuptime_s = 5
        self.begin_with(wrapuptime="5s")
        self.serve(4, 30)
        known = self.known()
        self.assertEqual(known.handling.weight, 4)
        self.assertApproximates(known.handling.mean, 35, 1.01)
        self.assertApproximates(known.ring.mean, 2, 0.01)
        self.assertEqual(known.left, 0)

    def test_a_callback_counts_like_a_call_also_if_the_client_is_not_reached(
        self,
    ) -> None:
        self.begin_with(attempts=1)
        self.client.always(Answers(after_s=3, hangs_up_after_s=40))
        self.add()
        self.world.run(100)
        self.assertEqual(self.known().handling.weight, 1)
        self.assertGreater(self.known().handling.mean, 40)

    def test_a_callback_to_an_extension_is_measured_by_ourselves(self) -> None:
        self.asterisk.phone(BOB).always(Answers(after_s=2))
        self.client.always(Answers(after_s=3, hangs_up_after_s=40))
        self.begin_with(target_extension=BOB, target_queue=None)
        self.add()
        self.world.run(100)
        known = self.waits._measured[f"extension:{BOB}".lower()]
        self.assertEqual(known.handling.weight, 1)
        self.assertGreater(known.handling.mean, 40)

    def test_callers_who_give_up_are_measured(self) -> None:
        self.begin_with()
        self.alice.busy()
        for _ in range(3):
            call = self.live()
            self.world.run(59.5)
            call.hang_up()
            self.world.settle()
        known = self.known()
        self.assertApproximates(known.left, 3, 0.05)
        self.assertApproximates(known.waited_s, 180, 2)

    def test_a_caller_who_presses_the_key_made_way_for_others(self) -> None:
        self.begin_with()
        self.alice.busy()
        self.request()
        self.world.run(5)
        self.assertAlmostEqual(self.known().left, 1)

    def test_a_caller_who_keeps_the_place_by_a_task_has_not_made_way(self) -> None:
        self.begin_with(fairness=Fairness.PLACE)
        self.alice.busy()
        self.request()
        self.world.run(5)
        self.assertNotIn("support", self.waits._measured)

    def test_a_caller_who_is_back_in_line_has_not_left(self) -> None:
        self.begin_with()
        self.alice.busy()
        call = self.asterisk.call("support", "anonymous")
        self.world.run(1)
        call.press()
        self.world.run(10)
        self.assertTrue(call.waiting)
        self.assertNotIn("support", self.waits._measured)
        self.alice.busy(False)
        self.world.run(60)
        self.assertEqual(self.known().left, 0)
        self.assertEqual(self.known().handling.weight, 1)

    def test_callers_whose_end_is_not_seen_are_forgotten(self) -> None:
        self.patch(expected_waits, "_MAX_CALLERS", 3)
        self.begin_with()
        tell = self.asterisk.tell
        for number in range(16):
            caller = (("Queue", "support"), ("Uniqueid", f"lost.{number}"))
            tell("QueueCallerJoin", "agent", *caller, ("Position", "1"))
            if number % 2:
                tell("QueueCallerLeave", "agent", *caller, ("Position", "1"))
        self.world.settle()
        for known in (self.waits._joined, self.waits._left):
            self.assertIn(len(known), (2, 3))

    def test_what_was_measured_survives_a_restart(self) -> None:
        self.begin_with()
        self.serve(3, 30)
        before = self.known()
        process = self.world.processes[-1]
        process.stop()
        self.world.run(5)
        self.begin_with()
        self.assertEqual(self.known(), before)

    def test_what_was_measured_survives_a_kill_after_some_minutes(self) -> None:
        self.begin_with()
        self.serve(3, 30)
        before = self.known()
        self.world.run(400)
        self.world.processes[-1].kill()
        self.begin_with()
        self.assertEqual(self.known(), before)

    def test_it_is_stored_seldom(self) -> None:
        self.begin_with()
        stored: list[str] = []
        self.world.processes[-1].database.takes_s = lambda name: (
            stored.append(name) or 0.0  # type: ignore[func-returns-value]
        )
        self.serve(20, 30)
        self.world.run(400)
        self.assertLessEqual(stored.count("set measured"), 4)
        self.assertEqual(stored.count("waiting tasks"), 0)

    def test_a_database_that_is_away_costs_nothing_but_the_delay(self) -> None:
        self.begin_with()
        database = self.world.processes[-1].database
        self.serve(2, 30)
        database.unavailable = "gone"
        self.world.run(400)
        database.unavailable = ""
        before = self.known()
        self.world.run(100)
        self.world.processes[-1].kill()
        self.begin_with()
        self.assertEqual(self.known(), before)


class TasksAheadTests(ExpectedWaitTestCase):
    def test_tasks_that_keep_the_place_count_for_callers_who_join_later(self) -> None:
        self.begin_with(fairness=Fairness.PLACE)
        self.alice.busy()
        self.world.settle()
        alone = self.waits.next_caller_s("support")
        for number in range(3):
            self.request(f"03012345{number:02}")
            self.world.run(5)
        behind = self.waits.next_caller_s("support")
        assert alone is not None and behind is not None
        # One is already in line, the two others are not; all three are ahead.
        self.assertEqual(len(self.support.visits), 1)
        self.assertGreater(behind, alone + 2 * HANDLING_S)

    def test_tasks_do_not_count_where_callers_go_first(self) -> None:
        self.begin_with()
        self.alice.busy()
        self.world.settle()
        alone = self.waits.next_caller_s("support")
        self.add()
        self.world.run(5)
        self.assertEqual(self.waits.next_caller_s("support"), alone)

    def test_a_caller_who_joined_before_a_task_does_not_wait_for_it(self) -> None:
        self.begin_with(fairness=Fairness.PLACE)
        self.alice.busy()
        self.live()
        before = self.expected_s(1)
        self.request(NUMBER)
        self.world.run(5)
        self.assertEqual(self.expected_s(1), before)


class ShownTests(ExpectedWaitTestCase):
    def status(self) -> Any:
        return self.world.ask("status")["result"]["queues"]["support"]

    def test_status_shows_agents_and_expected_waits(self) -> None:
        self.begin_with()
        status = self.status()
        self.assertEqual(status["agents"], 1)
        self.assertEqual(status["expected_wait_s"], RING_S)
        self.assertIsNone(status["expected_callback_s"])
        self.alice.busy()
        self.add()
        self.live()
        status = self.status()
        self.assertGreater(status["expected_wait_s"], 100)
        self.assertIsNotNone(status["expected_callback_s"])
        self.support.pause(ALICE)
        status = self.status()
        self.assertEqual((status["agents"], status["members"]), (0, 1))
        self.assertIsNone(status["expected_wait_s"])
        self.assertIsNone(status["expected_callback_s"])

    def test_tasks_say_when_they_are_expected_one_after_the_other(self) -> None:
        self.begin_with()
        self.alice.busy()
        for number in range(3):
            self.add(f"03011111{number:02}")
            self.world.run(1)
        rows = self.world.ask("tasks.list")["result"]
        times = [row["expected_at"] for row in reversed(rows)]
        self.assertNotIn(None, times)
        self.assertEqual(times, sorted(set(times)))
        story = self.world.ask("tasks.show", id=1)["result"]
        self.assertEqual(story["task"]["expected_at"][:19], times[0][:19])

    def test_placeholder_and_tasks_behind_it_say_when_they_are_expected(self) -> None:
        self.begin_with(fairness=Fairness.PLACE)
        self.alice.busy()
        for number in range(2):
            self.request(f"03011111{number:02}")
            self.world.run(3)
        rows = self.world.ask("tasks.list")["result"]
        self.assertEqual([row["status"] for row in rows], ["pending", "calling"])
        second, first = (row["expected_at"] for row in rows)
        self.assertLess(first, second)
        status = self.status()
        self.assertApproximates(
            status["expected_callback_s"], RING_S + HANDLING_S + RING_S, 0.1
        )

    def test_task_that_is_not_due_is_expected_when_it_is_due(self) -> None:
        self.begin_with(retry_delay="20m")
        self.client.always(Refuses.BUSY)
        self.add()
        self.world.run(30)
        task = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual(task["status"], "pending")
        self.assertEqual(task["expected_at"], task["due_at"])

    def test_it_is_not_known_while_the_queue_is_closed(self) -> None:
        closed = dict.fromkeys((day.lower() for day in day_name), "closed")
        self.begin_with(opening_hours={"time_zone": "UTC", **closed})
        self.add()
        task = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertTrue(task["queue_closed"])
        self.assertIsNone(task["expected_at"])

    def test_ended_task_expects_nothing(self) -> None:
        self.begin_with()
        self.add()
        self.world.run(60)
        task = self.world.ask("tasks.show", id=1)["result"]["task"]
        self.assertEqual(task["status"], "completed")
        self.assertIsNone(task["expected_at"])
