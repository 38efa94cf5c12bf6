# SPDX-License-Identifier: MIT
"""The list of channels is requested once for all parts that need it."""

from __future__ import annotations

from tests.emulator.scenarios import Answers
from tests.system.harness import NUMBER, ServiceTestCase

#: Longer than the interval of the list, so the talk spans two lists.
TALKS_ON = Answers(after_s=3, hangs_up_after_s=200)


class OneListTests(ServiceTestCase):
    """A callback is in progress, and another client waits in the queue."""

    def setUp(self) -> None:
        super().setUp()
        self.client.always(TALKS_ON)
        self.process = self.begin()
        self.add()
        self.world.run(20)
        self.waiting = self.asterisk.call("support", "0307654321")
        self.world.run(1)

    def lists(self) -> list[float]:
        """Return when the channels were requested."""
        return [
            self.world.since(at)
            for at, action in self.asterisk.manager.actions
            if action.name == "CoreShowChannels"
        ]

    def test_once_at_a_connect(self) -> None:
        before = len(self.lists())
        self.asterisk.cut_links()
        self.world.run(20)
        self.assertEqual(len(self.lists()) - before, 1)
        # The dialer has used the list: the attempt continues.
        (running,) = self.process.service.node.dialer.running.values()
        self.assertEqual(running.task.number, NUMBER)
        self.assertTrue(running.progress.was_bridged)
        # The call tracker has used it, too: both clients are known to be in a call.
        calls = self.process.service.node.call_tracker.calls
        self.assertIn(self.waiting.channel.uniqueid, calls)

    def test_without_the_database_it_is_known_who_is_in_a_call(self) -> None:
        self.process.database.unavailable = "disk full"
        self.asterisk.cut_links()
        other = self.asterisk.call("support", "0309876543")
        self.world.run(20)
        calls = self.process.service.node.call_tracker.calls
        self.assertIn(other.channel.uniqueid, calls)
        self.assert_warned("no call is placed until it is known which are under way")
        # The rest follows once the database is back.
        self.process.database.unavailable = ""
        self.waiting.hang_up()
        other.hang_up()
        self.world.run(300)
        self.assertEqual(self.world.tasks()[0].status.value, "completed")

    def test_once_a_minute(self) -> None:
        self.world.run(1)
        before = len(self.lists())
        self.world.run(120)
        self.assertEqual(len(self.lists()) - before, 2)

    def test_twice_at_a_start_in_the_middle_of_a_callback(self) -> None:
        """Once for the calls, and again for the attempt after it was read."""
        self.process.kill()
        self.world.run(1)
        before = len(self.lists())
        self.process = self.begin()
        self.world.run(20)
        self.assertEqual(len(self.lists()) - before, 2)
        (running,) = self.process.service.node.dialer.running.values()
        self.assertEqual(running.task.number, NUMBER)

    def test_once_at_any_other_start(self) -> None:
        self.waiting.hang_up()
        self.world.run(250)
        self.process.kill()
        self.world.run(1)
        before = len(self.lists())
        self.process = self.begin()
        self.world.run(20)
        self.assertEqual(len(self.lists()) - before, 1)

    def test_a_reload_of_the_queues_needs_no_list_of_channels(self) -> None:
        before = len(self.lists())
        self.support.reload([self.alice.interface], told=True)
        self.world.run(1)
        self.assertEqual(len(self.lists()), before)
