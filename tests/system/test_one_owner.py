# SPDX-License-Identifier: MIT
"""Two services on one database: the one that does not hold it changes nothing."""

from __future__ import annotations

import sqlalchemy as sa

from fastagi.domain.turns import Fairness
from fastagi.store import leases
from fastagi.store.engine import Database
from tests.emulator.asterisk import FakeAsterisk
from tests.emulator.scenarios import NO_ANSWER, Answers
from tests.harness.world import ServiceProcess
from tests.system.harness import (
    ALICE,
    BOB,
    NUMBER,
    ServiceTestCase,
    live_first,
    queue_settings,
    settings,
)
from tests.system.test_hours import HoursTestCase

TALKS_A_MINUTE = Answers(after_s=3, hangs_up_after_s=60)


class OneOwnerTests(ServiceTestCase):
    """A caller presses the key at 5, the agent becomes free at 20."""

    def ask_for_a_callback(self) -> None:
        self.client.always(TALKS_A_MINUTE)
        self.alice.busy()
        call = self.asterisk.call("support", NUMBER, talks_s=20)
        self.run_to(5)
        call.press()
        self.run_to(20)

    def execute(self, statement: str) -> None:
        database = Database(self.world.url, deliver=None)
        database.run_now("test", lambda conn: conn.execute(sa.text(statement)).close())
        _ = database.close()

    def test_service_without_the_lease_ends_no_attempt_of_the_holder(self) -> None:
        # A lock on a file would exclude a second service.
        self.world.leases_run_out = True
        self.begin(queue_settings(retry_delay="1m"))
        self.ask_for_a_callback()
        self.alice.busy(False)
        self.run_to(40)
        self.assertEqual(len(self.client.rung), 1)

        # Beside another Asterisk, which does not have the call.
        other = FakeAsterisk(self.world.clock, self.world.net)
        other.add_queue("support", (ALICE,))
        self.world.asterisk, ours = other, self.asterisk
        intruder = self.world.launch(settings(queue_settings(retry_delay="1m")))
        self.world.asterisk = ours
        self.execute("UPDATE lease SET token = 'run 1', epoch = 1")
        self.run_to(60)

        (task,) = self.world.tasks()
        self.assertEqual(task.status.value, "calling")
        self.assertEqual(len(self.client.rung), 1)
        intruder.kill()
        self.run_to(120)
        (task,) = self.world.tasks()
        self.assertEqual(task.status.value, "completed")

    @live_first
    def test_call_is_not_placed_if_the_lease_was_taken_after_its_commit(self) -> None:
        self.world.leases_run_out = True
        process = self.begin(queue_settings(retry_delay="1m"))
        self.ask_for_a_callback()
        # As if the process was frozen for a minute right after the COMMIT.
        database = process.database
        database.broken["renew lease"] = "frozen"
        database.takes_s = lambda name: 60.0 if name == "begin attempts" else 0.0

        def taken() -> None:
            del database.broken["renew lease"]
            self.execute("UPDATE lease SET token = 'another', epoch = 2")

        process.at("after COMMIT of begin attempts", taken)
        self.alice.busy(False)
        self.run_to(100)

        (task,) = self.world.tasks()
        self.assertEqual(task.status.value, "calling")
        self.assertEqual(self.client.rung, [])
        self.assertEqual(len(process.lease_lost), 1)
        process.kill()

    def test_missed_call_of_before_the_lease_was_taken_is_not_stored(self) -> None:
        self.world.leases_run_out = True
        process = self.begin(queue_settings())
        self.alice.busy()
        call = self.asterisk.call("support", NUMBER, talks_s=20)
        self.run_to(5)
        # As if the process was frozen for a minute before the COMMIT. By then the
        # client may have been served, which only the new holder knows.
        database = process.database
        database.broken["renew lease"] = "frozen"
        database.takes_s = lambda name: 60.0 if name == "add" else 0.0
        call.hang_up()
        self.run_to(30)
        del database.broken["renew lease"]
        self.execute("UPDATE lease SET token = 'another', epoch = 2")

        self.run_to(100)

        self.assertEqual(self.world.tasks(), [])
        self.assertEqual(len(process.lease_lost), 1)
        process.kill()

    @live_first
    def test_database_is_away_longer_than_the_lease_and_the_service_goes_on(
        self,
    ) -> None:
        self.world.leases_run_out = True
        process = self.begin(queue_settings(retry_delay="1m"))
        self.ask_for_a_callback()
        process.database.unavailable = "away"
        self.alice.busy(False)
        self.run_to(20 + 4 * leases.LENGTH_S)
        self.assertEqual(self.client.rung, [])

        process.database.unavailable = ""
        self.run_to(300)

        (task,) = self.world.tasks()
        self.assertEqual(task.status.value, "completed")
        self.assertEqual(process.lease_lost, [])
        self.flushLoggedErrors()


class AwayTests(HoursTestCase):
    """The database is unavailable longer than the lease lasts, with a task due."""

    def away_with_a_call_to_place(self, process: ServiceProcess) -> None:
        """Stop the database until the lease runs out, then free an agent."""
        process.database.unavailable = "away"
        self.world.run(2 * leases.LENGTH_S)
        self.bob.busy(False)
        self.world.settle()

    def setUp(self) -> None:
        super().setUp()
        self.world.leases_run_out = True
        self.asterisk.add_queue("sales", (BOB,))
        self.bob = self.asterisk.phone(BOB).always(TALKS_A_MINUTE)
        self.bob.busy()

    def comes_back(self, process: ServiceProcess) -> None:
        """Bring the database back; the due task is called."""
        process.database.unavailable = ""
        self.world.run(60)
        other = self.asterisk.client("0309999999")
        self.assertEqual(len(other.rung), 1)
        self.assertEqual(process.lease_lost, [])
        self.flushLoggedErrors()

    @live_first
    def test_agent_stops_ringing_when_the_queue_closes(self) -> None:
        self.alice.always(NO_ANSWER)
        self.go_to("2026-11-24 17:58")
        process = self.begin(
            self.open_support(member_ring_time="10m"), queue_settings("sales")
        )
        self.add()
        self.add("0309999999", queue="sales")
        self.world.run(5)
        self.away_with_a_call_to_place(process)
        self.go_to("2026-11-24 17:59:59")
        self.assertEqual(len(self.support.visits), 1)

        self.go_to("2026-11-24 18:00:01")

        self.assertEqual(len(self.support.visits), 0)
        self.comes_back(process)

    @live_first
    def test_placeholder_leaves_the_line_when_its_task_is_too_old(self) -> None:
        process = self.begin(
            queue_settings(fairness=Fairness.PLACE, request_expiry="60s"),
            queue_settings("sales"),
        )
        self.asterisk.call("support", "0301111111", talks_s=600)
        self.world.run(5)
        self.add()
        self.add("0309999999", queue="sales")
        self.world.run(5)
        self.assertEqual(len(self.support.visits), 1)
        self.away_with_a_call_to_place(process)

        self.world.run(60)

        self.assertEqual(len(self.support.visits), 0)
        self.comes_back(process)
