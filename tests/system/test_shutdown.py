# SPDX-License-Identifier: MIT
"""Asterisk refuses every call, as after ``core stop gracefully``: no attempt counts."""

from __future__ import annotations

import attrs

from tests.emulator.manager import Action, Answer, error
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    TALKS_10S,
    ServiceTestCase,
    gaps,
)

OTHER = "0307654321"


class ShutdownTests(ServiceTestCase):
    """Two agents, two clients."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.asterisk.client(OTHER).always(TALKS_10S)

    def begin_both(self) -> None:
        """Let two clients wait at an Asterisk that accepts no calls."""
        self.begin()
        self.asterisk.manager.shutting_down = True
        self.add(NUMBER)
        self.add(OTHER)

    def assert_nobody_paid(self) -> None:
        """Check that a refusal used up no attempt."""
        for task in self.world.tasks():
            self.assertEqual(task.member_attempts, 0, self.world.story(task.id))

    def originates_refused(self) -> list[float]:
        """Return when an Originate was refused."""
        return [
            self.world.since(at)
            for at, action in self.asterisk.manager.actions
            if action.name == "Originate"
        ]

    def test_graceful_stop_costs_no_task_a_try(self) -> None:
        self.begin_both()
        self.run_to(3600)
        self.assertEqual(self.originates_refused(), [0])
        self.assert_nobody_paid()
        self.assertEqual(self.dispositions(1) + self.dispositions(2), ["WITHDRAWN"])
        self.assert_status("pending", "Asterisk is shutting down")
        self.assert_warned("core abort shutdown")
        held = [one for one in self.warnings() if "Asterisk is shutting down" in one]
        self.assertEqual(len(held), 1, held)

    def test_aborted_shutdown_lets_callbacks_come(self) -> None:
        self.begin_both()
        self.run_to(600)
        self.asterisk.manager.shutting_down = False
        self.run_to(800)
        self.assert_nobody_paid()
        for task_id in (1, 2):
            self.assert_status("completed", task_id=task_id)
        self.assertLessEqual(self.originates_refused()[1], 661)

    def test_restarted_asterisk_is_called_at_once(self) -> None:
        self.begin_both()
        self.run_to(600)
        self.asterisk.manager.shutting_down = False
        self.asterisk.cut_links()
        self.run_to(615)
        self.assertLessEqual(self.originates_refused()[1], 605)
        self.assert_nobody_paid()

    def test_reload_of_asterisk_ends_the_pause(self) -> None:
        self.begin_both()
        self.run_to(600)
        self.asterisk.manager.shutting_down = False
        self.asterisk.tell("Reload", "system", ("Module", "All"), ("Status", "0"))
        self.world.run(1)
        self.assertEqual(self.originates_refused()[1], 600)

    def test_user_who_may_not_originate_is_tried_one_call_at_a_time(self) -> None:
        user = self.asterisk.manager.user
        self.asterisk.manager.user = attrs.evolve(user, denied=frozenset({"Originate"}))
        self.begin()
        self.add(NUMBER)
        self.add(OTHER)
        self.run_to(400)
        self.assert_nobody_paid()
        tried = self.originates_refused()
        self.assertEqual(
            gaps(tried), [2, 4, 8, 16, 32, 60, 60, 60, 60, 60][: len(tried) - 1]
        )
        held = [one for one in self.warnings() if "no callback is placed" in one]
        self.assertEqual(len(held), 1)
        self.asterisk.manager.user = user
        self.run_to(600)
        self.assert_status("completed")
        self.assert_status("completed", task_id=2)

    def test_refusal_of_one_task_alone_costs_that_task(self) -> None:
        originate = self.asterisk.manager.handlers["Originate"]

        def refuse_one(action: Action) -> Answer:
            one = any(NUMBER in value for value in action.all("Variable"))
            return error("Invalid channel") if one else originate(action)

        self.asterisk.manager.handlers["Originate"] = refuse_one
        self.begin()
        self.add(NUMBER)
        self.add(OTHER)
        self.run_to(100)
        self.assertIn("NOT PLACED", self.dispositions(1))
        self.assertGreaterEqual(self.world.tasks()[0].member_attempts, 1)
        self.assert_status("completed", task_id=2)

    def test_shutdown_that_begins_before_the_client_is_dialled(self) -> None:
        self.begin()
        self.add(NUMBER)
        self.run_to(1)
        self.assertEqual(self.dispositions(), ["under way"])
        # There is no channel to the agent's phone, so the queue gives up the call.
        self.asterisk.manager.shutting_down = True
        (callback,) = self.asterisk.callbacks
        callback.cut_off()
        self.run_to(60)
        self.assert_nobody_paid()
        self.assertEqual(self.dispositions(), ["WITHDRAWN"])
        self.asterisk.manager.shutting_down = False
        self.run_to(200)
        self.assert_status("completed")

    def test_queue_log_is_written_after_an_aborted_shutdown(self) -> None:
        self.begin_both()
        self.run_to(60)
        self.asterisk.manager.shutting_down = False
        self.run_to(300)
        words = [line for line in self.asterisk.queue_log if "CALLBACKREQUEST" in line]
        self.assertEqual(len(words), 2)
        self.assertFalse([one for one in self.warnings() if "queue_log" in one])
