# SPDX-License-Identifier: MIT
"""The database is set back under a running service.

A standby took over that lacked the last seconds, or somebody restored a copy: later
commits are lost, and ids are used again for other rows.
"""

from __future__ import annotations

from tests.emulator.scenarios import Answers
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
)

OTHER = "0307654321"
#: A client who answers after three seconds and talks for three minutes.
TALKS_LONG = Answers(after_s=3, hangs_up_after_s=180)


class SetBackTests(ServiceTestCase):
    """Two agents, so that one is free while the other talks."""

    members = (ALICE, BOB)

    def setUp(self) -> None:
        super().setUp()
        self.client.always(TALKS_LONG)
        self.alice.busy()

    def _pending(self, *numbers: str) -> None:
        """Add tasks while no agent is free."""
        self.support.pause(BOB)
        for number in numbers:
            self.add(number)

    def _agents_are_free(self) -> None:
        self.alice.busy(False)
        self.support.pause(BOB, False)

    def under_way(self) -> int:
        """Return the number of calls in progress in the service's status."""
        answer = self.world.ask("status")
        return int(answer["result"]["calls_under_way"])

    @live_first
    def test_client_in_a_talk_is_not_rung_again(self) -> None:
        self.begin()
        self._pending(NUMBER)
        copy = self.world.copy_database()
        self._agents_are_free()
        self.run_to(20)
        self.assertEqual(len(self.client.rung), 1)

        self.world.set_back_database(copy)
        # An event makes the scheduler look for due tasks.
        self.add(OTHER)
        self.run_to(400)

        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.under_way(), 0)
        self.assert_status("completed", "they talked for 180.0 s")
        self.assertEqual(self.dispositions(), ["ANSWERED"])
        self.assert_warned("the database was set back")

    def test_client_whose_file_was_replaced_is_not_rung_again(self) -> None:
        self.begin()
        self._pending(NUMBER)
        copy = self.world.copy_database()
        self._agents_are_free()
        self.run_to(20)

        self.world.replace_database(copy)
        # The request that notices it fails; the next ones use the new file.
        status = self.world.ask("status")["result"]
        self.assertIn("replaced while in use", status["database"])
        self.assertNotIn("set mark", status["database"])
        self.assertEqual(self.world.ask("status")["result"]["database"], "ok")
        self.add(OTHER)
        self.run_to(400)

        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.under_way(), 0)
        self.assert_status("completed", "they talked for 180.0 s")

    def test_copy_of_before_the_last_start_is_put_back(self) -> None:
        former = self.begin()
        self._pending(NUMBER)
        copy = self.world.copy_database()
        former.kill()
        process = self.begin()
        self.run_to(20)

        self.world.set_back_database(copy)
        self._agents_are_free()
        self.run_to(400)

        # In the copy the former run holds the database.
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed", "they talked for 180.0 s")
        self.assertEqual(process.lease_lost, [])
        self.assert_warned("the database was set back to an earlier state")

    def test_attempt_is_stored_again_while_it_is_under_way(self) -> None:
        self.begin()
        self._pending(NUMBER)
        copy = self.world.copy_database()
        self._agents_are_free()
        self.run_to(20)
        self.world.set_back_database(copy)

        self.run_to(100)

        self.assert_status("calling")
        self.assertEqual(self.dispositions(), ["under way"])
        # The next run of the service knows only what is in the database.
        self.world.processes[-1].kill()
        self.begin()
        self.run_to(400)
        self.assertEqual(len(self.client.rung), 1)
        self.assert_status("completed")

    def test_task_that_is_gone_ends_its_attempt(self) -> None:
        self.begin()
        copy = self.world.copy_database()
        self._pending(NUMBER)
        self._agents_are_free()
        self.run_to(20)
        self.world.set_back_database(copy)

        self.run_to(200)

        self.assertEqual(self.under_way(), 0)
        self.assertEqual(self.world.tasks(), [])
        self.assert_warned("is not in the database")
        # And the service continues.
        self.add(OTHER)
        self.asterisk.client(OTHER).always(Answers(after_s=1, hangs_up_after_s=10))
        self.world.run(60)
        self.assert_status("completed", task_id=1)

    def test_ids_that_are_given_again_end_nobody_elses_attempt(self) -> None:
        self.begin()
        copy = self.world.copy_database()
        self._pending(NUMBER)
        self._agents_are_free()
        self.run_to(20)
        self.world.set_back_database(copy)

        # Its task and its attempt have the ids of the lost ones.
        other = self.asterisk.client(OTHER).always(
            Answers(after_s=3, hangs_up_after_s=400)
        )
        self.add(OTHER)
        self.run_to(300)

        self.assertEqual(len(self.client.rung), 1)
        self.assertEqual(self.under_way(), 1)
        self.assert_status("calling")
        self.run_to(700)
        self.assertEqual(len(other.rung), 1)
        self.assert_status("completed", "they talked for 400.0 s")

    def test_attempt_that_ended_in_the_lost_seconds_ends_again(self) -> None:
        self.client.always(Answers(after_s=3, hangs_up_after_s=30))
        self.begin()
        self._pending(NUMBER)
        self._agents_are_free()
        self.run_to(20)
        copy = self.world.copy_database()
        self.run_to(60)
        self.assert_status("completed")
        # Another call replaces the outcome of the first in AstDB.
        self.add(OTHER)
        self.run_to(70)
        self.world.set_back_database(copy)
        self.assert_status("calling")

        self.run_to(240)

        self.assert_status("completed", "they talked for 30.0 s")
        self.assertEqual(len(self.client.rung), 1)

    def test_client_served_by_a_lost_attempt_is_not_called_once_more(self) -> None:
        # The copy has an earlier attempt of the same task.
        self.client.will(Answers(after_s=3, hangs_up_after_s=1)).always(TALKS_LONG)
        self.begin(queue_settings(retry_delay="5s"))
        self._pending(NUMBER)
        self._agents_are_free()
        self.run_to(5)
        copy = self.world.copy_database()
        self.assertEqual(self.dispositions(), ["under way"])
        self.run_to(30)
        self.assertEqual(len(self.client.rung), 2)
        self.world.set_back_database(copy)

        self.run_to(600)

        self.assertEqual(len(self.client.rung), 2)
        self.assertEqual(self.under_way(), 0)
        self.assertFalse(self.world.task().is_open)
