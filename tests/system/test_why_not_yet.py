# SPDX-License-Identifier: MIT
"""What an open task says that keeps it from being called, and when it is called."""

from __future__ import annotations

from typing import Any

from fastagi.config.queue_layers import DAYS_OF_WEEK
from fastagi.config.sections import LimitSettings
from fastagi.domain.turns import Fairness
from fastagi.domain.why_not_yet import NEXT
from tests.emulator.scenarios import Answers
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
)

#: The beginning of a test is a Friday at 08:00 UTC.
CLOSED = {
    "time_zone": "UTC",
    **dict.fromkeys(DAYS_OF_WEEK, "09:00-17:00"),
}


class WhyTestCase(ServiceTestCase):
    """Tasks that wait, and what they say."""

    def why(self, task_id: int = 1) -> dict[str, Any] | None:
        """Return what `tasks show` says of a task, after comparing with the list."""
        shown = self.world.ask("tasks.show", id=task_id)["result"]["task"]
        listed = self.world.ask("tasks.list", limit=200)["result"]
        (same,) = [task for task in listed if task["id"] == task_id]
        self.assertEqual(same["why_not_yet"], shown["why_not_yet"])
        found: dict[str, Any] | None = shown["why_not_yet"]
        return found

    def code(self, task_id: int = 1) -> str:
        """Return the code of what a task waits for; empty: nothing."""
        why = self.why(task_id)
        return "" if why is None else why["code"]


class LiveFirstTests(WhyTestCase):
    @live_first
    def test_a_task_waits_for_an_agent_and_says_what_the_agents_do(self) -> None:
        self.begin()
        self.alice.busy()
        self.world.settle()
        self.add()
        self.assertEqual(self.code(), "agents_busy")
        self.support.pause(ALICE)
        self.world.settle()
        self.assertEqual(self.code(), "agents_away")
        self.support.pause(ALICE, False)
        self.call("030777")
        why = self.why()
        assert why is not None
        self.assertEqual(why["code"], "live_callers_first")
        self.assertEqual(why["params"], {"callers": 1})
        self.assertEqual(why["words"], "live callers come first (1 wait)")
        self.assertEqual(self.originates, [])
        self.alice.busy(False)
        self.world.run_until(lambda: self.client.rung)
        self.assertEqual(self.code(), "")
        self.assert_status("calling")

    @live_first
    def test_tasks_behind_the_next_ones_say_that_others_come_first(self) -> None:
        self.begin()
        self.alice.busy()
        self.world.settle()
        for number in range(NEXT + 2):
            self.add(f"0301000{number:02}")
        self.assertEqual(self.code(NEXT), "agents_busy")
        self.assertEqual(self.code(NEXT + 1), "others_first")
        self.world.ask("tasks.cancel", id=1)
        self.assertEqual(self.code(NEXT + 1), "agents_busy")

    @live_first
    def test_a_task_with_a_later_time_says_when(self) -> None:
        self.begin()
        at = "2027-01-15T12:00Z"
        self.world.ask("tasks.add", queue="support", number=NUMBER, at=at)
        why = self.why()
        assert why is not None
        self.assertEqual(why["code"], "chosen_time_to_come")
        self.assertEqual(why["params"], {"chosen_at": at})
        self.client.plan.clear()
        self.client.always(Answers(after_s=1, hangs_up_after_s=1))
        self.world.ask("tasks.reschedule", id=1, now=True)
        self.world.run_until(lambda: self.world.task().attempts, 120)
        self.assertEqual(self.code(), "not_due")

    @live_first
    def test_a_task_of_a_closed_queue_says_when_it_opens(self) -> None:
        self.begin(queue_settings(opening_hours=CLOSED))
        self.add()
        why = self.why()
        assert why is not None
        self.assertEqual(why["code"], "closed_until")
        self.assertEqual(why["params"], {"until": "2027-01-15T09:00Z"})
        self.world.run_until(lambda: self.originates, 3700)
        self.assertEqual(self.code(), "")

    @live_first
    def test_a_task_that_a_limit_keeps_from_being_called_says_until_when(self) -> None:
        self.begin(
            queue_settings(calls_per_hour=1),
            limits=LimitSettings(calls_per_number=0, calls_per_minute=1),
        )
        self.add()
        self.add("030555")
        self.world.run_until(
            lambda: self.world.tasks()[0].status.value == "completed", 600
        )
        for _ in range(2):
            self.world.run(60)
            # Also when the limit of a minute is over.
            self.assertEqual(self.code(2), "hour_limit")
        self.assertEqual(len(self.originates), 1)
        self.world.run_until(lambda: len(self.originates) == 2, 3700)

    @live_first
    def test_a_task_whose_number_was_called_too_often_says_until_when(self) -> None:
        self.client.plan.clear()
        self.client.always(Answers(after_s=1, hangs_up_after_s=1))
        self.begin(
            queue_settings(request_expiry="3d"),
            limits=LimitSettings(calls_per_number=1),
        )
        self.add()
        self.world.run_until(
            lambda: self.world.task().why.code.value == "called_too_often", 4000
        )
        self.assertEqual(self.code(), "number_limit")

    @live_first
    def test_a_task_whose_client_is_in_a_call_says_so(self) -> None:
        self.alice.busy()
        self.begin()
        self.world.settle()
        self.add()
        self.support.remove(ALICE)
        self.call(NUMBER)
        self.assertEqual(self.code(), "client_in_a_call")

    @live_first
    def test_without_a_link_a_task_says_so(self) -> None:
        self.asterisk.freeze()
        self.begin()
        self.add()
        self.assertEqual(self.code(), "no_link")
        self.asterisk.thaw()
        self.world.run_until(lambda: self.originates, 120)
        self.assertEqual(self.code(), "")


class InLineTests(WhyTestCase):
    members = (ALICE, BOB)

    def test_tasks_of_an_agent_who_is_away_are_in_nobodys_way(self) -> None:
        """Also if they are more than are looked at one by one."""
        for fairness in (Fairness.LIVE_FIRST, Fairness.PLACE):
            with self.subTest(fairness=fairness):
                self.again()
                self.begin(queue_settings(fairness=fairness))
                self.alice.busy()
                self.support.pause(BOB)
                self.world.settle()
                for number in range(110):
                    self.add(f"0301000{number:03}")
                ids = ",".join(str(number + 1) for number in range(110))
                self.world.ask("tasks.bulk", action="assign", ids=ids, agent=BOB)
                self.alice.busy(False)
                self.world.run(5)
                self.add(NUMBER)
                self.world.run(5)
                self.assertNotEqual(self.world.tasks()[110].status.value, "pending")
                self.alice.busy()
                self.world.run(60)
                for task_id in (1, 2, 110):
                    self.assertEqual(self.code(task_id), "waits_for_assigned")
                self.add("0309876543")
                self.assertNotIn(self.code(112), ("", "others_first"))

    def test_a_task_waits_for_its_turn_and_then_in_line(self) -> None:
        self.begin(queue_settings(fairness=Fairness.PLACE))
        self.alice.busy()
        self.asterisk.phone(BOB).busy()
        self.world.settle()
        for number in ("03071", "03072"):
            self.asterisk.call("support", number, talks_s=600)
            self.world.run(0.5)
        self.add()
        why = self.why()
        assert why is not None
        self.assertEqual((why["code"], why["params"]), ("turn_not_near", {"ahead": 2}))
        self.alice.busy(False)
        self.world.run(5)
        why = self.why()
        assert why is not None
        self.assertEqual((why["code"], why["params"]), ("in_line", {"position": 2}))
        self.support.pause(ALICE)
        self.support.pause(BOB)
        self.world.run(5)
        self.assertEqual(self.code(), "agents_away")


class TwoQueuesTests(WhyTestCase):
    @live_first
    def test_a_task_that_becomes_due_is_called_while_one_of_another_queue_waits(
        self,
    ) -> None:
        self.asterisk.add_queue("sales", (BOB,))
        self.asterisk.phone(BOB).always(Answers(after_s=2))
        # The queues are asked for once a minute from now on, and not at that time.
        self.world.run(20)
        self.begin(queue_settings("support"), queue_settings("sales"))
        self.alice.busy()
        self.world.settle()
        self.add()
        self.world.ask(
            "tasks.add", queue="sales", number="030555", at="2027-01-15T08:05Z"
        )
        self.run_to(302)
        self.assertEqual(self.originates, [300.0])
        self.assertEqual(self.code(1), "agents_busy")


class SteeredTests(WhyTestCase):
    @live_first
    def test_a_task_moved_to_the_front_is_among_the_next(self) -> None:
        self.begin()
        self.alice.busy()
        self.world.settle()
        for number in range(6 * NEXT):
            self.add(f"0301000{number:02}")
        self.assertEqual(self.code(6 * NEXT), "others_first")
        self.world.ask("tasks.move", id=6 * NEXT, front=True)
        self.assertEqual(self.code(6 * NEXT), "agents_busy")
        self.assertEqual(self.code(NEXT), "others_first")
