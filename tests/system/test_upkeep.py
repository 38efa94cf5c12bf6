# SPDX-License-Identifier: MIT
"""The service stores counts of past days, and erases what is too old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import attrs

from fastagi.config.sections import RetentionSettings
from fastagi.reports import ReportQuery, report
from fastagi.store import marks, schema, tallies
from tests.system.harness import NUMBER, ServiceTestCase, queue_settings

DAY_S = 86_400.0


class UpkeepTestCase(ServiceTestCase):
    """A client was reached, and time passes."""

    def reach(self) -> None:
        """Let a client be called back."""
        self.add()
        self.world.run(60)
        self.assert_status("completed")

    def set_clock_and_mark(self, days: float) -> None:
        """Set the clock, as if the service had run all these days."""
        self.world.set_wall_clock(days * DAY_S)
        now = datetime.fromtimestamp(self.world.wall_clock, UTC)
        self.world._read(marks.put, "retention", now)

    def days_pass(self, days: float) -> None:
        """Let days pass, and give the service the time for one look."""
        self.set_clock_and_mark(days)
        self.world.run(700)

    def stored(self) -> int:
        """Return the number of rows with counts."""
        rows = schema.tally.select()
        return self.world._read(lambda conn: len(conn.execute(rows).all()))

    def reached(self) -> int:
        """Return the number of clients reached according to the report."""
        day = self.world.task().created_at.date()
        query = ReportQuery(first=day, last=day)
        return self.world._read(report, query).totals.reached

    def test_numbers_are_erased_after_their_time(self) -> None:
        self.begin(retention=RetentionSettings(keep_numbers="30d"))
        self.reach()
        self.days_pass(29)
        self.assertEqual(self.world.task().number, NUMBER)
        self.days_pass(2)
        self.assertEqual(self.world.task().number, "erased")
        self.assertEqual(self.reached(), 1)
        self.assertEqual(self.warnings(), [])

    def test_days_are_not_looked_for_again_at_each_step_of_erasing(self) -> None:
        """With a million tasks there are thousands of steps."""
        found = []

        def not_stored(*args: Any) -> Any:
            found.append(tallies_not_stored(*args))
            return found[-1]

        tallies_not_stored = tallies.not_stored
        self.begin(retention=RetentionSettings(keep_numbers="30d"))
        self.reach()
        with mock.patch.object(tallies, "not_stored", not_stored):
            self.days_pass(31)
        self.assertEqual(self.world.task().number, "erased")
        self.assertEqual([bool(days) for days in found], [True, False])

    def test_upkeep_goes_on_after_a_restart(self) -> None:
        queue = queue_settings()
        self.begin(queue)
        self.reach()
        self.set_clock_and_mark(400)
        self.restart(queue)
        self.world.run(15)
        self.assertEqual(self.world.task().number, NUMBER)
        self.restart(queue)
        self.world.run(120)
        self.assertGreater(self.stored(), 400)
        self.world.run(120)
        self.assertEqual(self.world.task().number, "erased")

    def test_clock_that_is_set_far_ahead_erases_nothing_early(self) -> None:
        self.begin(
            retention=RetentionSettings(keep_numbers="30d", keep_tasks="60d"),
        )
        self.reach()
        self.world.set_wall_clock(3650 * DAY_S)
        self.world.run(700)
        self.assertEqual(self.world.task().number, NUMBER)
        self.assert_warned("clock is 3650 days ahead of the last time")
        self.assertEqual(len(self.warnings()), 1)
        self.world.set_wall_clock(-3650 * DAY_S)
        self.days_pass(31)
        self.assertEqual(self.world.task().number, "erased")

    def test_clock_that_is_far_ahead_at_the_start_erases_nothing_early(self) -> None:
        queue = queue_settings()
        retention = RetentionSettings(keep_numbers="2d", keep_tasks="2d")
        self.begin(queue, retention=retention)
        self.reach()
        self.world.processes[-1].kill()
        self.world.set_wall_clock(3650 * DAY_S)
        self.begin(queue, retention=retention)
        self.world.run(60)
        self.assertEqual(self.world.task().number, NUMBER)

    def test_days_without_the_service_are_made_up_for_at_a_day_an_hour(self) -> None:
        queue = queue_settings()
        retention = RetentionSettings(keep_numbers="2d")
        self.begin(queue, retention=retention)
        self.reach()
        self.set_clock_and_mark(1.9)
        self.world.processes[-1].kill()
        self.world.set_wall_clock(DAY_S)
        self.begin(queue, retention=retention)
        self.world.run(300)
        self.assertEqual(self.world.task().number, NUMBER)
        self.world.run(400)
        self.assertEqual(self.world.task().number, "erased")

    def test_an_open_task_is_kept_however_old_it_is(self) -> None:
        self.alice.busy()
        self.begin(
            queue_settings(request_expiry="30d"),
            retention=RetentionSettings(keep_numbers="2d", keep_tasks="2d"),
        )
        self.add()
        self.days_pass(20)
        self.assertEqual(self.world.task().number, NUMBER)
        self.assertTrue(self.world.task().is_open)
        self.alice.busy(False)
        self.world.run(60)
        self.assert_status("completed")

    def test_whole_tasks_are_deleted_after_their_time_and_still_count(self) -> None:
        self.begin(retention=RetentionSettings(keep_tasks="30d"))
        self.reach()
        day = self.world.task().created_at.date()
        self.days_pass(20)
        self.days_pass(11)
        self.assertEqual(self.world.tasks(), [])
        self.assertGreater(self.stored(), 28)
        query = ReportQuery(first=day, last=day + timedelta(days=1))
        self.assertEqual(self.world._read(report, query).totals.reached, 1)

    def test_a_change_of_the_settings_is_used_at_once(self) -> None:
        process = self.begin()
        self.reach()
        self.days_pass(20)
        self.assertEqual(self.world.task().number, NUMBER)
        former = process.service.settings()
        new = attrs.evolve(former, retention=RetentionSettings(keep_numbers="5d"))
        process.service.settings.replace(new)
        self.world.run(30)
        self.assertEqual(self.world.task().number, "erased")
