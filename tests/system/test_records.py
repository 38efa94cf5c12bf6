# SPDX-License-Identifier: MIT
"""queue_log has every callback once, whatever fails meanwhile."""

from __future__ import annotations

import attrs

from fastagi.config.sections import ReportSettings
from tests.emulator.scenarios import Refuses
from tests.system.harness import NUMBER, ServiceTestCase, live_first, queue_settings

#: A request, a busy client, and an attempt that succeeds.
WHOLE = [
    "CALLBACKREQUEST",
    "CALLBACKATTEMPT",
    "CALLBACKATTEMPT",
    "CALLBACKDONE",
]


class RecordsTests(ServiceTestCase):
    """A client is busy first."""

    def setUp(self) -> None:
        super().setUp()
        self.client.will(Refuses.BUSY)

    def words(self) -> list[str]:
        return [line.split("|")[3] for line in self.asterisk.queue_log]

    def assert_lacks_at_most_one(self, message: str) -> None:
        """All is in order; a line in transit is there once or not at all."""
        complete = [WHOLE, *(WHOLE[:at] + WHOLE[at + 1 :] for at in range(len(WHOLE)))]
        self.assertIn(self.words(), complete, message)

    def test_request_that_succeeds_at_the_second_attempt(self) -> None:
        self.begin()
        self.request()
        self.world.run(300)
        self.assertEqual(self.words(), WHOLE)
        linkedid = self.world.task().linkedid
        self.assertTrue(linkedid)
        attempts = [one.channel_id for one in self.world.attempts()]
        ids = [line.split("|")[0] for line in self.asterisk.queue_log]
        self.assertEqual(ids, [linkedid, *attempts, linkedid])
        self.assertIn(f"|1|{NUMBER}|", self.asterisk.queue_log[0])
        self.assertTrue(self.asterisk.queue_log[-1].endswith("|completed"))

    def test_what_happens_without_a_link_is_written_later(self) -> None:
        self.asterisk.manager.listening = False
        self.begin()
        self.add()
        self.world.run(60)
        self.assertEqual(self.words(), [])
        self.asterisk.manager.listening = True
        self.world.run(300)
        self.assertEqual(self.words(), WHOLE)

    def test_link_is_lost_before_each_line(self) -> None:
        for at in range(len(WHOLE)):
            with self.subTest(at=at):
                self._cut_before(at)
                self.begin()
                self.add()
                self.world.run(600)
                self.assert_lacks_at_most_one(f"cut before line {at}")
                self.again()

    def _cut_before(self, at: int) -> None:
        handlers = self.asterisk.manager.handlers
        write = handlers["QueueLog"]
        count = iter(range(100))

        def cut(action):  # type: ignore[no-untyped-def]
            if next(count) == at:
                self.asterisk.cut_links()
            return write(action)

        handlers["QueueLog"] = cut

    def test_process_is_killed_at_any_moment_around_a_line(self) -> None:
        process = self.begin()
        self.world.run(5)
        earlier = len(process.points)
        self.add()
        self.world.run(300)
        chosen = [
            number
            for number, point in enumerate(process.points, 1)
            if "position" in point and number > earlier
        ]
        self.assertGreater(len(chosen), len(WHOLE))
        for number in chosen:
            self.again()
            self.begin(kill_at=number)
            self.world.run(5)
            self.add()
            self.world.run(60)
            self.begin()
            self.world.run(600)
            self.assert_lacks_at_most_one(f"killed {process.points[number - 1]}")

    def test_restart_writes_nothing_again(self) -> None:
        process = self.begin()
        self.add()
        self.world.run(300)
        process.stop()
        self.world.run(5)
        self.begin()
        self.world.run(60)
        self.assertEqual(self.words(), WHOLE)

    def test_user_of_the_manager_may_not_write(self) -> None:
        user = self.asterisk.manager.user
        self.asterisk.manager.user = attrs.evolve(user, denied=frozenset({"QueueLog"}))
        self.begin()
        self.add()
        self.world.run(300)
        self.assertEqual(self.words(), [])
        self.assert_warned("add 'agent' to 'write' of the manager user")
        warnings = [one for one in self.warnings() if "queue_log" in one]
        self.assertEqual(len(warnings), 1)
        # Once the manager accepts them, nothing is lost.
        self.asterisk.manager.user = user
        self.asterisk.cut_links()
        self.world.run(60)
        self.assertEqual(self.words(), WHOLE)

    def test_database_fails_for_a_while(self) -> None:
        process = self.begin()
        process.database.broken["set position"] = "disk full"
        self.add()
        self.world.run(30)
        self.assertEqual(self.words(), [])
        process.database.broken.clear()
        self.world.run(300)
        self.assertEqual(self.words(), WHOLE)

    def test_switched_off_nothing_is_written_then_or_later(self) -> None:
        process = self.begin(reports=ReportSettings(queue_log=False))
        self.add()
        self.world.run(300)
        self.assertEqual(self.words(), [])
        process.stop()
        self.world.run(5)
        self.begin()
        self.world.run(60)
        self.assertEqual(self.words(), [])

    @live_first
    def test_task_that_expires(self) -> None:
        self.alice.busy()
        self.begin(queue_settings(request_expiry="1m"))
        self.add()
        self.world.run(120)
        self.assertEqual(self.words(), ["CALLBACKREQUEST", "CALLBACKDONE"])
        self.assertTrue(self.asterisk.queue_log[-1].endswith("|expired"))
