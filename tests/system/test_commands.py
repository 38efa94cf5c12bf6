# SPDX-License-Identifier: MIT
"""Answers to an operator through the control socket."""

from __future__ import annotations

from typing import Any

from fastagi.domain.turns import Fairness
from tests.harness.world import START
from tests.system.harness import NUMBER, ServiceTestCase, queue_settings


class CommandTests(ServiceTestCase):
    """Commands of the running service."""

    def test_client_who_was_reached_is_called_again_only_by_a_new_task(self) -> None:
        self.begin()
        self.add()
        self.world.run(60)
        self.assert_status("completed")
        answer = self.world.ask("tasks.retry", id=1)
        self.assertEqual(
            answer["error"],
            "a task that is completed can not be put back in line: the client was"
            " reached - for one more call, give 'callback-queue tasks add support"
            f" {NUMBER}'",
        )
        self.assert_status("completed")

    def test_cancelled_task_is_cancelled_again(self) -> None:
        self.alice.busy()
        self.begin()
        self.add()
        self.world.ask("tasks.cancel", id=1)
        answer = self.world.ask("tasks.cancel", id=1)
        self.assertEqual(answer["error"], "task 1 is cancelled already")
        self.assert_status("cancelled")

    def test_client_who_asks_again_while_a_cancellation_waits_is_called(self) -> None:
        self.alice.busy()
        process = self.begin(queue_settings(fairness=Fairness.LIVE_FIRST))
        caller = self.call()
        caller.press()
        self.world.run(5)
        again = self.call()
        self.world.run(5)
        process.database.takes_s = lambda name: 3.0 if name == "change" else 0.0
        self.world.clock.callLater(1, again.press)
        answer = self.world.ask("tasks.cancel", id=1)
        self.assertEqual(
            answer["error"],
            "task 1 was not cancelled: its client asked again in this moment; cancel it"
            " again if that is still right",
        )
        self.assert_status("pending")
        self.world.ask("tasks.cancel", id=1)
        self.assert_status("cancelled")

    def test_status_tells_since_when_the_first_in_line_waits(self) -> None:
        self.alice.busy()
        self.begin()
        status = self.world.ask("status")["result"]
        self.assertIsNone(status["oldest_task_since"])
        self.assertIsNone(status["queues"]["support"]["oldest_task_since"])
        self.add("0301111111")
        self.world.run(100)
        self.add("0302222222")
        status = self.world.ask("status")["result"]
        first = self.world.tasks()[0].joined_at.isoformat(timespec="seconds")
        self.assertEqual(status["oldest_task_since"], first)
        self.assertEqual(status["queues"]["support"]["oldest_task_since"], first)

    def test_status_tells_the_trouble_of_the_database_without_internal_names(
        self,
    ) -> None:
        process = self.begin()
        process.database.unavailable = "the disk is full"
        status = self.world.ask("status")["result"]
        self.assertEqual(status["database"], "the disk is full")
        self.assertEqual(
            status["database_problem"],
            {"where": "", "what": "the disk is full", "remedy": ""},
        )
        process.database.unavailable = ""
        self.assertEqual(self.world.ask("status")["result"]["database"], "ok")
        self.flushLoggedErrors()

    def test_list_is_continued_where_it_ended(self) -> None:
        self.alice.busy()
        self.begin()
        for number in range(5):
            self.add(f"030111111{number}")
        ids = []
        before_id = None
        while rows := self.world.ask("tasks.list", limit=2, before_id=before_id)[
            "result"
        ]:
            ids.append([row["id"] for row in rows])
            before_id = rows[-1]["id"]
        self.assertEqual(ids, [[5, 4], [3, 2], [1]])
        self.assertEqual(
            [row["id"] for row in self.world.ask("tasks.list")["result"]],
            [5, 4, 3, 2, 1],
        )

    def test_tasks_tell_how_far_their_call_is(self) -> None:
        self.begin()
        self.add()
        seen: dict[str, dict[str, Any]] = {}
        while self.world.task().is_open:
            for told in (
                self.world.ask("tasks.list", all=True)["result"][0],
                self.world.ask("tasks.show", id=1)["result"]["task"],
            ):
                if (call := told["call"]) is not None:
                    seen.setdefault(call["stage"], call)
            self.world.run(0.5)
        self.assertLessEqual({"agent_rings", "alert", "talk"}, seen.keys())
        since = [call["since"] for call in seen.values()]
        self.assertEqual(since, sorted(since))
        self.assertEqual(seen["agent_rings"]["agent"], "PJSIP/alice")
        self.assertFalse(seen["agent_rings"]["client_dialled"])
        self.assertEqual(seen["talk"]["agent"], "PJSIP/alice")
        self.assertTrue(seen["talk"]["client_dialled"])
        self.assertIsNone(self.world.ask("tasks.show", id=1)["result"]["task"]["call"])

    def test_refused_callers_are_listed_on_from_where_the_list_ended(self) -> None:
        self.alice.busy()
        self.begin()
        for _ in range(3):
            self.asterisk.call("support", "12").press()
            self.world.run(5)
        first = self.world.ask("numbers.refused", limit=2)["result"]
        rest = self.world.ask("numbers.refused", before_id=first[-1]["id"])["result"]
        self.assertEqual([row["id"] for row in first + rest], [3, 2, 1])
        self.assertGreater(self.world.clock.seconds(), START)
